//! Fee schedules.

use super::round_half_up;
use crate::model::Side;
use serde::{Deserialize, Serialize};

/// What an execution costs.
pub trait FeeModel {
    /// Fees in account currency, not negative; `notional` is quantity x price x multiplier.
    fn fees(&self, side: Side, qty: f64, notional: f64) -> f64;
}

/// `max(rate x notional + per_share x qty, minimum)`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Commission {
    pub rate: f64,
    pub per_share: f64,
    pub minimum: f64,
}

/// Whether fees are whole cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeeRounding {
    #[default]
    None,
    /// Half a cent up, in decimal.
    Cent,
}

/// A commission, a tax on the notional of sells, and a charge on that of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fees {
    pub commission: Commission,
    pub sell_tax: f64,
    pub transfer: f64,
    pub rounding: FeeRounding,
}

impl FeeModel for Fees {
    #[inline]
    fn fees(&self, side: Side, qty: f64, notional: f64) -> f64 {
        let c = &self.commission;
        let commission = (notional * c.rate + qty * c.per_share).max(c.minimum);
        let taxed = match side {
            Side::Buy => commission,
            Side::Sell => commission + notional * self.sell_tax,
        };
        // Adding zero changes no bit.
        let whole = taxed + notional * self.transfer;
        match self.rounding {
            FeeRounding::None => whole,
            FeeRounding::Cent => round_half_up(whole, CENT),
        }
    }
}

const CENT: f64 = 0.01;

impl Fees {
    /// The largest multiple of `lot` (any fraction when `lot` is zero) whose cost with fees stays within `budget`.
    pub fn affordable(&self, side: Side, budget: f64, price: f64, multiplier: f64, lot: f64) -> f64 {
        let unit = price * multiplier;
        let cost = |qty: f64| qty * unit + self.fees(side, qty, qty * unit);
        if budget <= 0.0 || unit <= 0.0 || !budget.is_finite() {
            return 0.0;
        }
        let slack = match self.rounding {
            FeeRounding::None => 0.0,
            FeeRounding::Cent => 0.5 * CENT,
        };
        // Rounding may take half a cent more or less: fractions stay below it, whole lots are searched from above.
        let budget_with_slack = if lot <= 0.0 { budget - slack } else { budget + slack };
        let c = &self.commission;
        let tax = self.transfer + if side == Side::Sell { self.sell_tax } else { 0.0 };
        let proportional = budget_with_slack / (unit * (1.0 + c.rate + tax) + c.per_share);
        let with_minimum = (budget_with_slack - c.minimum) / (unit * (1.0 + tax));
        let raw = proportional.min(with_minimum).max(0.0);
        if lot <= 0.0 {
            return if cost(raw) <= budget { raw } else { raw * (1.0 - 1e-12) };
        }
        // The closed form is right up to rounding: one lot either way settles it.
        let mut lots = (raw / lot).floor() + 1.0;
        while lots > 0.0 && cost(lots * lot) > budget {
            lots -= 1.0;
        }
        lots * lot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn minimum_and_tax_add_up() {
        let fees = Fees {
            commission: Commission { rate: 0.0003, per_share: 0.0, minimum: 5.0 },
            sell_tax: 0.001,
            ..Fees::default()
        };
        assert_eq!(fees.fees(Side::Buy, 100.0, 1_000.0), 5.0); // 0.3 is below the minimum
        assert_eq!(fees.fees(Side::Sell, 100.0, 1_000.0), 6.0); // 5 + 1000 * 0.001
        assert!((fees.fees(Side::Buy, 100.0, 100_000.0) - 30.0).abs() < 1e-12);
    }

    #[test]
    fn cents_are_rounded_in_decimal_half_up() {
        let fees = Fees { sell_tax: 0.001, rounding: FeeRounding::Cent, ..Fees::default() };
        assert_eq!(fees.fees(Side::Sell, 1.0, 1_005.0), 1.01); // 1.005 is below itself in binary
        assert_eq!(fees.fees(Side::Sell, 1.0, 1_004.9), 1.0);
        assert_eq!(fees.fees(Side::Buy, 1.0, 1_005.0), 0.0);
    }

    proptest! {
        #[test]
        fn affordable_is_the_largest_lot_that_fits(
            budget in 0.0..1e7f64, price in 0.01..5e3f64, rate in 0.0..0.01f64,
            per_share in 0.0..0.05f64, minimum in 0.0..20.0f64, tax in 0.0..0.002f64, lot in 1u32..200,
            sell in any::<bool>(), cents in any::<bool>(),
        ) {
            let rounding = if cents { FeeRounding::Cent } else { FeeRounding::None };
            let side = if sell { Side::Sell } else { Side::Buy };
            let fees = Fees { commission: Commission { rate, per_share, minimum }, sell_tax: tax, rounding, ..Fees::default() };
            let lot = f64::from(lot);
            let cost = |q: f64| q * price + fees.fees(side, q, q * price);
            let qty = fees.affordable(side, budget, price, 1.0, lot);
            prop_assert!(qty >= 0.0 && (qty / lot).fract() == 0.0);
            prop_assert!(qty == 0.0 || cost(qty) <= budget);
            prop_assert!(cost(qty + lot) > budget * (1.0 - 1e-12));
        }
    }
}
