//! Every check of the risk manager acts, and is off by default (core/SEMANTICS.md section 5, pitfall 8).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::Context;
use akq_core::data::BarAt;
use akq_core::market::{ExecutionSpec, Market};
use akq_core::model::{OrderKind, OrderRequest, OrderStatus, Reject, Side, Size};
use akq_core::risk::RiskSpec;
use akq_core::units::InstrumentIx;
use common::{Outcome, Script, Series, panel_of, run_within};

const A: InstrumentIx = InstrumentIx(0);
const B: InstrumentIx = InstrumentIx(1);

fn order(instrument: InstrumentIx, side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(instrument, side, Size::Qty(qty))
}

fn buy(qty: f64) -> OrderRequest {
    order(A, Side::Buy, qty)
}

fn sell(qty: f64) -> OrderRequest {
    order(A, Side::Sell, qty)
}

/// An account of 1,000 over A and B, which follow `prices`; `requests` names the step of each order.
fn run(risk: &RiskSpec, prices: &[f64], steps_a_day: i64, requests: &[(u32, OrderRequest)]) -> Outcome {
    let bars: Vec<_> = prices.iter().map(|&price| [price; 4]).collect();
    let panel = panel_of(&[Series::dense("A", &bars), Series::dense("B", &bars)], steps_a_day);
    let execution = ExecutionSpec { tick: 0.05, ..ExecutionSpec::default() };
    let market = Market { cash: 1_000.0, lot: 10.0, execution, ..Market::default() };
    risk.check(&market).unwrap();
    let mut strategy = Script(|ctx: &mut Context<'_>, bar: BarAt| {
        for (_, request) in requests.iter().filter(|(step, _)| *step == bar.row && bar.instrument == B) {
            ctx.submit(*request);
        }
    });
    run_within(&panel, &market, risk, &mut strategy).unwrap()
}

fn answers(outcome: &Outcome) -> Vec<&'static str> {
    let answer = |status: OrderStatus| match status {
        OrderStatus::Rejected(reject) => reject.name(),
        other => other.name(),
    };
    outcome.orders.iter().map(|o| answer(o.status)).collect()
}

/// Orders of the first step at a price of 10 and the answers to them.
fn expect(risk: &RiskSpec, cases: &[(OrderRequest, &str)]) {
    let requests: Vec<_> = cases.iter().map(|(request, _)| (0, *request)).collect();
    let outcome = run(risk, &[10.0; 4], 1, &requests);
    let expected: Vec<_> = cases.iter().map(|(_, answer)| *answer).collect();
    assert_eq!(answers(&outcome), expected, "{risk:?}");
    let n_rejects: u64 = outcome.record.rejects.values().sum();
    assert_eq!(n_rejects, outcome.record.n_rejects);
    // Without the limits nothing is refused: it is they that act.
    let free = run(&RiskSpec::default(), &[10.0; 4], 1, &requests);
    assert_eq!(free.record.n_rejects, 0);
}

#[test]
fn lists_say_what_may_be_traded() {
    let tradable = RiskSpec { tradable: Some(vec!["A".to_owned()]), ..RiskSpec::default() };
    expect(&tradable, &[(buy(10.0), "filled"), (order(B, Side::Buy, 10.0), "not_tradable")]);
    let restricted = RiskSpec { restricted: vec!["B".to_owned()], ..RiskSpec::default() };
    expect(&restricted, &[(buy(10.0), "filled"), (order(B, Side::Buy, 10.0), "restricted")]);
}

#[test]
fn lots_and_ticks_of_given_numbers() {
    expect(&RiskSpec { lot: true, ..RiskSpec::default() }, &[(buy(20.0), "filled"), (buy(15.0), "off_lot")]);
    let at = |price| OrderRequest { kind: OrderKind::Limit(price), ..buy(10.0) };
    let both = OrderKind::StopLimit { stop: 10.01, limit: 10.05 };
    expect(
        &RiskSpec { tick: true, ..RiskSpec::default() },
        &[
            (at(10.15), "filled"),
            (at(10.17), "off_tick"),
            (OrderRequest { kind: both, ..buy(10.0) }, "off_tick"),
        ],
    );
}

#[test]
fn an_odd_remainder_can_be_closed_whole() {
    let risk = RiskSpec { lot: true, ..RiskSpec::default() };
    let budget = OrderRequest::market(A, Side::Buy, Size::Qty(20.0));
    let outcome = run(&risk, &[10.0; 6], 1, &[(0, budget), (1, sell(15.0)), (2, sell(20.0))]);
    assert_eq!(answers(&outcome), ["filled", "off_lot", "filled"]);
}

#[test]
fn caps_of_one_order() {
    let qty = RiskSpec { max_order_qty: Some(30.0), ..RiskSpec::default() };
    expect(&qty, &[(buy(30.0), "filled"), (buy(40.0), "order_quantity")]);
    let value = RiskSpec { max_order_value: Some(300.0), ..RiskSpec::default() };
    let dear = OrderRequest { kind: OrderKind::Limit(20.0), ..buy(20.0) };
    let budget = |money| OrderRequest::market(A, Side::Buy, Size::BudgetAtFill(money));
    expect(
        &value,
        &[
            (buy(30.0), "filled"),
            (dear, "order_value"), // 20 x 20 at its own price
            (budget(300.0), "filled"),
            (budget(310.0), "order_value"),
        ],
    );
}

#[test]
fn caps_of_one_position_count_working_orders_of_the_side() {
    let cases = [(buy(30.0), "filled"), (buy(20.0), "filled"), (buy(10.0), "position_limit")];
    expect(&RiskSpec { max_position_qty: Some(50.0), ..RiskSpec::default() }, &cases);
    expect(&RiskSpec { max_position_value: Some(500.0), ..RiskSpec::default() }, &cases);
    let share = RiskSpec { max_concentration: Some(0.5), ..RiskSpec::default() };
    expect(&share, &[(buy(50.0), "filled"), (buy(10.0), "concentration"), (sell(50.0), "filled")]);
}

#[test]
fn caps_of_all_positions_together() {
    let gross = RiskSpec { max_gross_exposure: Some(1.0), ..RiskSpec::default() };
    expect(
        &gross,
        &[
            (buy(60.0), "filled"),
            (order(B, Side::Sell, 40.0), "filled"),
            (order(B, Side::Sell, 10.0), "gross_exposure"),
        ],
    );
    let net = RiskSpec { max_net_exposure: Some(0.5), ..RiskSpec::default() };
    expect(
        &net,
        &[
            (buy(50.0), "filled"),
            (order(B, Side::Buy, 10.0), "net_exposure"),
            (order(B, Side::Sell, 50.0), "filled"),
            (order(B, Side::Sell, 10.0), "net_exposure"),
        ],
    );
}

#[test]
fn the_rate_of_orders_is_capped_by_step_and_by_day() {
    let risk = RiskSpec { max_orders_per_step: Some(2), max_orders_per_day: Some(3), ..RiskSpec::default() };
    let requests: Vec<_> = [0, 0, 0, 1, 1, 2].into_iter().map(|step| (step, buy(10.0))).collect();
    // Two bars a date: two orders at step 0, one more on the same date, then a new date.
    let outcome = run(&risk, &[10.0; 6], 2, &requests);
    assert_eq!(answers(&outcome), ["filled", "filled", "order_rate", "filled", "order_rate", "filled"]);
    assert_eq!(outcome.record.rejects.get(&Reject::OrderRate), Some(&2));
}

#[test]
fn a_drawdown_halts_new_risk_for_good_and_lets_positions_be_reduced() {
    // 100 units: equity 1,000 at 10, 1,200 at 12, 900 at 9, which is 25 % below the peak; 13 is above it again.
    let risk = RiskSpec { max_drawdown: Some(0.25), ..RiskSpec::default() };
    let prices = [10.0, 10.0, 12.0, 9.0, 13.0, 13.0, 13.0];
    let requests =
        [(0, buy(100.0)), (2, buy(10.0)), (3, buy(10.0)), (4, buy(10.0)), (4, sell(20.0)), (4, sell(100.0))];
    let outcome = run(&risk, &prices, 1, &requests);
    // 110 are held from step 3 on: after the sell of 20 is accepted only 90 are left to reduce.
    assert_eq!(
        answers(&outcome),
        ["filled", "filled", "max_drawdown", "max_drawdown", "filled", "max_drawdown"]
    );
}

#[test]
fn a_daily_loss_halts_new_risk_until_the_next_date() {
    let risk = RiskSpec { max_daily_loss: Some(0.1), ..RiskSpec::default() };
    // Two bars a date; 100 units fall from 10 to 9 on the second date: 10 % of 1,000.
    let prices = [10.0, 10.0, 9.5, 9.0, 9.0, 9.0, 9.0];
    let requests = [(0, buy(100.0)), (2, buy(10.0)), (3, buy(10.0)), (3, sell(50.0)), (4, buy(10.0))];
    let outcome = run(&risk, &prices, 2, &requests);
    assert_eq!(answers(&outcome), ["filled", "filled", "daily_loss", "filled", "filled"]);
}

#[test]
fn the_market_s_own_check_switched_off_at_acceptance_still_holds_at_the_fill() {
    let panel = panel_of(&[Series::dense("A", &[[10.0; 4]; 4])], 1);
    let market = Market { shorts: false, ..Market::default() };
    for (sellable, n_working) in [(true, 0), (false, 1)] {
        let mut accepted = 0;
        let mut strategy = Script(|ctx: &mut Context<'_>, bar: BarAt| {
            if bar.row == 0 {
                ctx.submit(OrderRequest { kind: OrderKind::Limit(11.0), ..sell(1.0) });
                ctx.submit(OrderRequest { kind: OrderKind::MarketOnClose, ..buy(1.0) });
            } else if bar.row == 1 {
                accepted = ctx.book.resting.len();
            }
        });
        let risk = RiskSpec { sellable, ..RiskSpec::default() };
        let outcome = run_within(&panel, &market, &risk, &mut strategy).unwrap();
        assert_eq!(accepted, n_working, "sellable: {sellable}");
        assert!(outcome.record.fills.iter().all(|fill| fill.side == Side::Buy));
    }
}

#[test]
fn limits_that_no_order_could_keep_are_refused() {
    let bad = [
        RiskSpec { max_order_qty: Some(0.0), ..RiskSpec::default() },
        RiskSpec { max_gross_exposure: Some(f64::NAN), ..RiskSpec::default() },
        RiskSpec { max_drawdown: Some(1.0), ..RiskSpec::default() },
        RiskSpec { max_orders_per_day: Some(0), ..RiskSpec::default() },
        RiskSpec { tick: true, ..RiskSpec::default() },
    ];
    for risk in bad {
        assert!(risk.check(&Market::default()).is_err(), "{risk:?}");
    }
    let text = r#"{"max_order_quantity": 1.0}"#;
    let error = serde_json::from_str::<RiskSpec>(text).unwrap_err().to_string();
    assert!(error.contains("unknown field `max_order_quantity`"), "{error}");
}
