//! Technical indicators, each in two forms that give the same bits.
//!
//! The step form is a struct with `update`, one value in and one value out; the column form is a free function over
//! slices that writes into a buffer of the caller. An output that is not defined yet is NaN. An input that is not
//! finite has no output and restarts the indicator: the first defined output comes as many values later as at the
//! start. For window indicators that is the same as "undefined while the gap is in the window".
//!
//! Conventions (warm-up, seeds, population deviation) are those of TA-Lib unless the file says otherwise.

use crate::error::ValueError;

mod compensated;
mod rolling;
mod runs;

pub mod truth;

pub mod adx;
pub mod aroon;
pub mod atr;
pub mod bbands;
pub mod cci;
pub mod cross;
pub mod dema;
pub mod ema;
pub mod extremes;
pub mod hma;
pub mod macd;
pub mod mfi;
pub mod mom;
pub mod obv;
pub mod roc;
pub mod rsi;
pub mod shift;
pub mod since;
pub mod sma;
pub mod stddev;
pub mod stoch;
pub mod sum;
pub mod tema;
pub mod tr;
pub mod trix;
pub mod willr;
pub mod wma;
pub mod zscore;

#[cfg(test)]
pub(crate) mod testing;

pub use adx::{Adx, MinusDi, PlusDi};
pub use aroon::Aroon;
pub use atr::{Atr, Natr};
pub use bbands::{BollingerBands, BollingerPoint};
pub use cci::Cci;
pub use cross::{CrossAbove, CrossBelow};
pub use dema::Dema;
pub use ema::Ema;
pub use extremes::{Highest, Lowest};
pub use hma::Hma;
pub use macd::{Macd, MacdPeriods, MacdPoint};
pub use mfi::Mfi;
pub use mom::Mom;
pub use obv::Obv;
pub use roc::{Roc, Rocp};
pub use rsi::Rsi;
pub use shift::Shift;
pub use since::BarsSince;
pub use sma::Sma;
pub use stddev::Stddev;
pub use stoch::{Stoch, StochPeriods, StochPoint};
pub use sum::Sum;
pub use tema::Tema;
pub use tr::TrueRange;
pub use trix::Trix;
pub use truth::Truth;
pub use willr::Willr;
pub use wma::Wma;
pub use zscore::Zscore;

/// A window length in bars, from 1 to [`Period::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u32);

impl Period {
    /// Longer than any series, and small enough that the arithmetic on it is exact.
    pub const MAX: u32 = 1_000_000_000;

    /// Fails outside 1 to [`Period::MAX`].
    pub fn new(n_bars: u32) -> Result<Self, ValueError> {
        if (1..=Self::MAX).contains(&n_bars) {
            Ok(Self(n_bars))
        } else {
            let rule = "must be a whole number from 1 to 1000000000";
            Err(ValueError { what: "period", value: f64::from(n_bars), rule })
        }
    }

    #[inline]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) fn as_f64(self) -> f64 {
        f64::from(self.0)
    }

    /// The period scaled down, but never below 1.
    pub(crate) fn shrunk(self, by: impl Fn(u32) -> u32) -> Self {
        Self(by(self.0).clamp(1, Self::MAX))
    }
}

/// The three price columns that range indicators read, row by row of one asset.
#[derive(Debug, Clone, Copy)]
pub struct Hlc<'a> {
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
}

impl Hlc<'_> {
    /// Runs a step form down the columns.
    #[inline]
    fn run(self, out: &mut [f64], mut update: impl FnMut(f64, f64, f64) -> f64) {
        for (((o, &h), &l), &c) in out.iter_mut().zip(self.high).zip(self.low).zip(self.close) {
            *o = update(h, l, c);
        }
    }
}

/// The value itself if it is finite, otherwise NaN.
#[inline(always)]
pub(crate) fn defined(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

/// Runs a step form down one column.
#[inline]
fn run(x: &[f64], out: &mut [f64], mut update: impl FnMut(f64) -> f64) {
    for (o, &value) in out.iter_mut().zip(x) {
        *o = update(value);
    }
}
