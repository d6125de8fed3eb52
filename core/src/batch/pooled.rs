//! The equity of all accounts of a trial together, by trading date, and its returns.

use crate::data::{Panel, Timeline, Window};
use crate::error::EngineError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Trading dates of all assets inside a window, ascending.
pub(super) fn dates_of(
    panel: &Panel,
    assets: &[usize],
    window: Window,
    cancel: &AtomicBool,
) -> Result<Vec<i32>, EngineError> {
    let mut dates: Vec<i32> = Vec::new();
    for &asset in assets {
        if cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        let own = panel.asset(asset).date;
        let known = dates.len();
        let mut at = 0;
        for &date in &own[window.rows(own)] {
            while at < known && dates[at] < date {
                at += 1;
            }
            let is_new = dates[..known].get(at) != Some(&date);
            if is_new && (dates.len() == known || dates.last() != Some(&date)) {
                dates.push(date);
            }
        }
        if dates.len() > known {
            dates.sort_unstable();
        }
    }
    Ok(dates)
}

/// Writes the last equity at or before each date; `cash` before the first step.
pub(super) fn equity_on(dates: &[i32], timeline: &Timeline, equity: &[f64], cash: f64, out: &mut [f64]) {
    let (mut step, mut last) = (0, cash);
    for (date, out) in dates.iter().zip(out) {
        while timeline.dates().get(step).is_some_and(|on| on <= date) {
            last = equity[step];
            step += 1;
        }
        *out = last;
    }
}

/// Appends `E_d / E_(d-1) - 1` for every date after the first; NaN where the equity before is not above zero.
pub(super) fn push_returns(equity: &[f64], out: &mut Vec<f64>) {
    out.extend(equity.windows(2).map(
        |pair| {
            if pair[0] > 0.0 { (pair[1] - pair[0]) / pair[0] } else { f64::NAN }
        },
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_of_an_account_that_is_gone_are_undefined() {
        let mut out = Vec::new();
        push_returns(&[100.0, 110.0, 0.0, 5.0], &mut out);
        assert_eq!(out[..2], [0.1, -1.0]);
        assert!(out[2].is_nan());
    }
}
