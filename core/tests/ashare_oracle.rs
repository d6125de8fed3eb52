//! Fees, lots and bands of the oracle's A-share rules, against the rules of the profile itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test stops where it fails"
)]

use akq_core::market::{Contract, Day, FeeModel, Lots, band, read_market};
use akq_core::model::Side;
use serde_json::Value;

/// The entries of a rule; none where `AKQ_ORACLE` does not name the folder of expected results.
fn cases(rule: &str) -> Vec<Value> {
    let Ok(folder) = std::env::var("AKQ_ORACLE") else {
        eprintln!("nothing is compared: AKQ_ORACLE does not name the folder of expected results");
        return Vec::new();
    };
    let text = std::fs::read_to_string(format!("{folder}/ashare_rules.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let found: Vec<Value> =
        all["cases"].as_array().unwrap().iter().filter(|case| case["rule"] == rule).cloned().collect();
    assert!(!found.is_empty(), "{rule}");
    found
}

fn contract(json: &str, symbol: &str) -> (akq_core::market::Market, Contract) {
    let market = read_market(&mut serde_json::Deserializer::from_str(json)).unwrap();
    let contract = Contract::resolve(&market, symbol).unwrap();
    (market, contract)
}

fn side(case: &Value) -> Side {
    if case["do"]["side"] == "buy" { Side::Buy } else { Side::Sell }
}

fn symbol(board: &str) -> &'static str {
    match board {
        "star" => "688981.SH",
        "bse" => "830799.BJ",
        "chinext" => "300750.SZ",
        _ => "600000.SH",
    }
}

#[test]
fn fees_of_a_date() {
    for case in cases("fees") {
        let (market, contract) =
            contract(r#"{"profile": "cn_stock"}"#, symbol(case["given"]["security"].as_str().unwrap()));
        let day: Day = case["given"]["date"].as_str().unwrap().parse().unwrap();
        let (price, qty) = (case["do"]["price"].as_f64().unwrap(), case["do"]["qty"].as_f64().unwrap());
        let paid = contract.fees(&market, day.0).fees(side(&case), qty, qty * price);
        let want = &case["expected"];
        let total = ["commission", "stamp_duty", "transfer_fee"].map(|item| want[item].as_f64().unwrap());
        assert!((paid - total.iter().sum::<f64>()).abs() < 1e-9, "{}: {paid}", case["id"]);
    }
}

#[test]
fn lots_of_a_board() {
    for case in cases("lot size") {
        let (_, contract) =
            contract(r#"{"profile": "cn_stock"}"#, symbol(case["given"]["board"].as_str().unwrap()));
        let taken = contract.lots.accept(
            side(&case),
            case["do"]["qty"].as_f64().unwrap(),
            case["given"]["sellable"].as_f64().unwrap(),
        );
        assert_eq!(taken, case["expected"]["accepted_qty"].as_f64().unwrap(), "{}", case["id"]);
    }
}

#[test]
fn bands_around_a_close() {
    for case in cases("price band") {
        let given = &case["given"];
        let found = band(given["prev_close"].as_f64().unwrap(), given["ratio"].as_f64().unwrap(), 0.01);
        assert_eq!(found.up, case["expected"]["limit_up"].as_f64().unwrap(), "{}", case["id"]);
        assert_eq!(found.down, case["expected"]["limit_down"].as_f64().unwrap(), "{}", case["id"]);
    }
}
