//! Lots: which quantities a market takes.

use crate::model::Side;

/// What a market makes of an asked quantity.
pub trait Lots {
    /// Units it takes of `qty` when `available` could be sold; zero when it takes none.
    fn accept(&self, side: Side, qty: f64, available: f64) -> f64;
}

/// Steps of `lot` from `min_qty` on. What is left of a holding beyond whole lots may be sold, but only whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LotRule {
    /// Zero: any quantity.
    pub lot: f64,
    pub min_qty: f64,
    /// Whether it binds quantities given by the strategy, or only computed ones.
    pub binds: bool,
}

/// A quotient this close below a whole number of lots is that number.
const TOLERANCE: f64 = 1e-9;

impl LotRule {
    /// Whole lots within `qty`.
    #[inline]
    pub fn floor(&self, qty: f64) -> f64 {
        if self.lot > 0.0 { (qty / self.lot + TOLERANCE).floor() * self.lot } else { qty }
    }

    fn rest(&self, qty: f64) -> f64 {
        let rest = qty - self.floor(qty);
        if rest > TOLERANCE * self.lot { rest } else { 0.0 }
    }
}

impl Lots for LotRule {
    fn accept(&self, side: Side, qty: f64, available: f64) -> f64 {
        if !self.binds {
            return qty;
        }
        if side == Side::Sell && available > 0.0 {
            let asked = self.rest(qty);
            let is_rest = asked > 0.0 && (asked - self.rest(available)).abs() <= TOLERANCE * self.lot;
            if qty <= available && (qty == available || is_rest) {
                return qty;
            }
        }
        let whole = self.floor(qty);
        if whole >= self.min_qty { whole } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_of_the_chinese_exchanges() {
        let main = LotRule { lot: 100.0, min_qty: 100.0, binds: true };
        let star = LotRule { lot: 1.0, min_qty: 200.0, binds: true };
        let bse = LotRule { lot: 1.0, min_qty: 100.0, binds: true };
        assert_eq!(main.accept(Side::Buy, 1_999.0, 0.0), 1_900.0);
        assert_eq!(main.accept(Side::Buy, 99.0, 0.0), 0.0);
        assert_eq!(main.accept(Side::Sell, 250.0, 1_000.0), 200.0);
        assert_eq!(main.accept(Side::Sell, 30.0, 150.0), 0.0); // the rest is 50, sold in one go or not
        assert_eq!(main.accept(Side::Sell, 50.0, 150.0), 50.0);
        assert_eq!(main.accept(Side::Sell, 250.0, 350.0), 250.0); // with lots
        assert_eq!(star.accept(Side::Buy, 233.0, 0.0), 233.0);
        assert_eq!(star.accept(Side::Buy, 199.0, 0.0), 0.0);
        assert_eq!(star.accept(Side::Sell, 150.0, 150.0), 150.0); // under the minimum only all at once
        assert_eq!(star.accept(Side::Sell, 100.0, 150.0), 0.0);
        assert_eq!(bse.accept(Side::Buy, 101.0, 0.0), 101.0);
        assert_eq!(bse.accept(Side::Buy, 99.0, 0.0), 0.0);
    }
}
