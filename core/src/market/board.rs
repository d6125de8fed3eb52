//! Boards and products: parts of a market with rules of their own, told apart by symbol.

use super::{Commission, LimitRule, Rates};
use serde::{Deserialize, Serialize};

/// What a part of a market does in another way; what it leaves out is as in the market.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    pub name: String,
    /// Digits: beginnings of the six-digit code. Letters: the product before the digits of a contract.
    pub symbols: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_qty: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sell_after_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission: Option<Commission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_today: Option<Commission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_duty: Option<Rates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_fee: Option<Rates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_limit: Option<Vec<LimitRule>>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// The items of a board that an override of the whole market replaces.
pub const BOARD_ITEMS: [&str; 11] = [
    "lot",
    "min_qty",
    "tick",
    "multiplier",
    "margin",
    "sell_after_days",
    "commission",
    "close_today",
    "stamp_duty",
    "transfer_fee",
    "price_limit",
];

/// The board of a symbol: the longest beginning that fits.
pub fn board_of(boards: &[Board], symbol: &str) -> Option<usize> {
    let code = six_digits(symbol);
    let product = product(symbol);
    let fits = |pattern: &str| {
        if pattern.bytes().all(|b| b.is_ascii_digit()) {
            code.is_some_and(|code| code.starts_with(pattern))
        } else {
            product.is_some_and(|product| product.eq_ignore_ascii_case(pattern))
        }
    };
    let mut best: Option<(usize, usize)> = None;
    for (ix, board) in boards.iter().enumerate() {
        for pattern in board.symbols.iter().filter(|pattern| !pattern.is_empty() && fits(pattern)) {
            if best.is_none_or(|(length, _)| pattern.len() > length) {
                best = Some((pattern.len(), ix));
            }
        }
    }
    best.map(|(_, ix)| ix)
}

/// The code in `600000.SH`, `sh600000`, `XSHG.600000`.
fn six_digits(symbol: &str) -> Option<&str> {
    symbol.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6)
}

/// The letters in `rb2410`, `SHFE.rb2410`, `IF2406.CFX`.
fn product(symbol: &str) -> Option<&str> {
    symbol.split(['.', '_', '-', ':']).find_map(|part| {
        let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_product = !letters.is_empty()
            && letters.len() < part.len()
            && letters.bytes().all(|b| b.is_ascii_alphabetic());
        is_product.then_some(letters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_in_several_spellings_find_their_board() {
        let board = |name: &str, symbols: &[&str]| Board {
            name: name.to_owned(),
            symbols: symbols.iter().map(|s| (*s).to_owned()).collect(),
            ..Board::default()
        };
        let boards = [board("main", &["60", "00"]), board("star", &["688"]), board("rebar", &["rb"])];
        let of = |symbol| board_of(&boards, symbol);
        for symbol in ["600000.SH", "sh600000", "XSHG.600000", "600000", "000001.XSHE"] {
            assert_eq!(of(symbol), Some(0), "{symbol}");
        }
        assert_eq!(of("688981.SH"), Some(1));
        for symbol in ["rb2410", "SHFE.rb2410", "RB2410.SHF"] {
            assert_eq!(of(symbol), Some(2), "{symbol}");
        }
        for symbol in ["AAPL", "900901.SH", "6000001", "hc2410", ""] {
            assert_eq!(of(symbol), None, "{symbol}");
        }
    }
}
