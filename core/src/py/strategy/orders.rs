//! Orders as callbacks say them.

use crate::model::{OrderKind, Protection, ProtectionLevel, TimeInForce, TrailOn, TrailingSpec};
use crate::units::TradingDate;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A limit and a stop together make a stop-limit order; the level of a trailing stop is the engine's.
pub(super) fn read_kind(
    limit: Option<f64>,
    stop: Option<f64>,
    is_trailing: bool,
    on_close: bool,
) -> PyResult<OrderKind> {
    match (limit, stop, is_trailing, on_close) {
        (None, None, false, false) => Ok(OrderKind::Market),
        (Some(limit), None, false, false) => Ok(OrderKind::Limit(limit)),
        (None, Some(stop), false, false) => Ok(OrderKind::Stop(stop)),
        (Some(limit), Some(stop), false, false) => Ok(OrderKind::StopLimit { stop, limit }),
        (None, None, true, false) => Ok(OrderKind::Stop(f64::NAN)),
        (None, None, false, true) => Ok(OrderKind::MarketOnClose),
        _ => Err(PyValueError::new_err("trail and on_close stand alone: no limit, no stop, not both")),
    }
}

pub(super) fn read_tif(
    valid_bars: Option<u32>,
    day: bool,
    tif: Option<&str>,
    good_till: Option<i32>,
) -> PyResult<TimeInForce> {
    let n_given = [valid_bars.is_some(), day, tif.is_some(), good_till.is_some()];
    if n_given.iter().filter(|given| **given).count() > 1 {
        let message = "an order ends in one way: by valid_bars, by day, by tif or by good_till";
        return Err(PyValueError::new_err(message));
    }
    match (valid_bars, good_till, tif) {
        (Some(0), ..) => Err(PyValueError::new_err("valid_bars must be at least 1")),
        (Some(n), ..) => Ok(TimeInForce::Bars(n)),
        (_, Some(date), _) => Ok(TimeInForce::Gtd(TradingDate(date))),
        (.., Some("gtc")) => Ok(TimeInForce::Gtc),
        (.., Some("day")) => Ok(TimeInForce::Day),
        (.., Some("ioc")) => Ok(TimeInForce::Ioc),
        (.., Some("fok")) => Ok(TimeInForce::Fok),
        (.., Some(other)) => {
            Err(PyValueError::new_err(format!("unknown tif {other:?}, expected gtc, day, ioc or fok")))
        }
        (.., None) => Ok(if day { TimeInForce::Day } else { TimeInForce::Gtc }),
    }
}

pub(super) fn read_trailing(dict: &Bound<'_, PyDict>, name: &str) -> PyResult<TrailingSpec> {
    let level = read_level(dict, name, &["pct", "abs", "on"])?;
    let on = [TrailOn::High, TrailOn::Close][read_word(dict, name, "on", ["high", "close"])?];
    Ok(TrailingSpec { level, on })
}

fn read_level(dict: &Bound<'_, PyDict>, name: &str, keys: &[&str]) -> PyResult<ProtectionLevel> {
    for key in dict.keys() {
        let key: String = key.extract()?;
        if !keys.contains(&key.as_str()) {
            let message = format!("{name}: unknown key {key:?}, expected {}", keys.join(", "));
            return Err(PyValueError::new_err(message));
        }
    }
    let number = |key: &str| dict.get_item(key)?.map(|v| v.extract::<f64>()).transpose();
    let (level, value) = match (number("pct")?, number("abs")?) {
        (Some(v), None) => (ProtectionLevel::Pct(v), v),
        (None, Some(v)) => (ProtectionLevel::Abs(v), v),
        _ => return Err(PyValueError::new_err(format!("{name}: give pct or abs"))),
    };
    if !(value.is_finite() && value > 0.0) {
        return Err(PyValueError::new_err(format!("{name} must be finite and above zero, got {value}")));
    }
    Ok(level)
}

fn read_word(dict: &Bound<'_, PyDict>, name: &str, key: &str, words: [&str; 2]) -> PyResult<usize> {
    let Some(value) = dict.get_item(key)? else { return Ok(0) };
    let word: String = value.extract()?;
    words.iter().position(|w| *w == word).ok_or_else(|| {
        PyValueError::new_err(format!("{name}.{key} must be {:?} or {:?}, got {word:?}", words[0], words[1]))
    })
}

pub(super) fn read_protection(dict: &Bound<'_, PyDict>, signal: Option<f64>) -> PyResult<Protection> {
    let mut protection = Protection::default();
    for (key, value) in dict.iter() {
        let name: String = key.extract()?;
        let level = value.cast::<PyDict>()?;
        let bracket = || -> PyResult<(ProtectionLevel, Option<f64>)> {
            let distance = read_level(level, &name, &["pct", "abs", "from"])?;
            let from_signal = read_word(level, &name, "from", ["fill", "signal"])? == 1;
            Ok((distance, if from_signal { signal } else { None }))
        };
        match name.as_str() {
            "stop_loss" => protection.stop_loss = Some(bracket()?),
            "take_profit" => protection.take_profit = Some(bracket()?),
            "trailing" => protection.trailing = Some(read_trailing(level, &name)?),
            other => return Err(PyValueError::new_err(format!("unknown protection {other:?}"))),
        }
    }
    Ok(protection)
}
