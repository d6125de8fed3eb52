//! References and pure functions for Python.

use super::arrow::ArrowTable;
use super::errors;
use crate::analysis::{Aggregate, METRICS, MetricSettings, ReturnBasis, aggregate as over_assets};
use crate::error::EngineError;
use crate::market::{CorporateAction, distributions};
use crate::registry::{ParamKind, registered};
use crate::rules::reference as functions;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(market_profiles, module)?)?;
    module.add_function(wrap_pyfunction!(market_profile, module)?)?;
    module.add_function(wrap_pyfunction!(price_band, module)?)?;
    module.add_function(wrap_pyfunction!(adjustment_factors, module)?)?;
    module.add_function(wrap_pyfunction!(metric_names, module)?)?;
    module.add_function(wrap_pyfunction!(metric_reference, module)?)?;
    module.add_function(wrap_pyfunction!(function_reference, module)?)?;
    module.add_function(wrap_pyfunction!(strategy_reference, module)?)?;
    module.add_function(wrap_pyfunction!(summarize_returns, module)?)?;
    module.add_function(wrap_pyfunction!(aggregate, module)?)
}

fn column(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

#[pyfunction]
fn market_profiles() -> Vec<&'static str> {
    crate::market::PROFILES.iter().map(|(name, _)| *name).collect()
}

#[pyfunction]
fn market_profile(py: Python<'_>, name: &str) -> PyResult<String> {
    let items = crate::market::profile_items(name).map_err(|e| errors::to_py(py, e))?;
    Ok(serde_json::Value::Object(items).to_string())
}

#[pyfunction]
fn price_band(reference: f64, rate: f64, tick: f64) -> (f64, f64) {
    let band = crate::market::band(reference, rate, tick);
    (band.down, band.up)
}

#[pyfunction]
fn adjustment_factors(
    py: Python<'_>,
    dates: Vec<i32>,
    close: Vec<f64>,
    actions: &str,
    symbol: &str,
) -> PyResult<Vec<f64>> {
    if dates.len() != close.len() || !dates.is_sorted() {
        let message = "dates must ascend and be as many as the closes".to_owned();
        return Err(errors::to_py(py, EngineError::Spec(message)));
    }
    let mut actions: Vec<CorporateAction> =
        serde_json::from_str(actions).map_err(|e| errors::to_py(py, EngineError::Spec(e.to_string())))?;
    actions.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    Ok(crate::market::adjustment_factors(&dates, &close, &distributions(&actions, symbol)))
}

#[pyfunction]
fn metric_names() -> Vec<&'static str> {
    METRICS.iter().map(|metric| metric.name).collect()
}

#[pyfunction]
fn metric_reference() -> PyResult<ArrowTable> {
    ArrowTable::new(RecordBatch::try_from_iter([
        ("name", column(METRICS.iter().map(|m| m.name.to_owned()))),
        ("unit", column(METRICS.iter().map(|m| m.unit.to_owned()))),
        ("natural", column(METRICS.iter().map(|m| m.natural.to_string()))),
        ("definition", column(METRICS.iter().map(|m| m.definition.to_owned()))),
        ("source", column(METRICS.iter().map(|m| m.source.to_owned()))),
    ]))
}

#[pyfunction]
fn function_reference() -> PyResult<ArrowTable> {
    let all = functions();
    ArrowTable::new(RecordBatch::try_from_iter([
        ("name", column(all.iter().map(|f| f.name.to_owned()))),
        (
            "arguments",
            column(all.iter().map(|f| f.args.iter().map(|a| a.name).collect::<Vec<_>>().join(", "))),
        ),
        ("signature", column(all.iter().map(|f| f.signature()))),
        ("definition", column(all.iter().map(|f| f.doc.to_owned()))),
        ("source", column(all.iter().map(|f| f.source.to_owned()))),
        ("reads", column(all.iter().map(|f| f.reads().join(", ")))),
        (
            "kinds",
            column(all.iter().map(|f| f.args.iter().map(|a| a.kind.name()).collect::<Vec<_>>().join(", "))),
        ),
    ]))
}

/// Strategies of the engine: a row a parameter.
#[pyfunction]
fn strategy_reference() -> PyResult<ArrowTable> {
    // Arrow wants to know how many there are.
    let rows: Vec<_> =
        registered().iter().flat_map(|entry| entry.params.iter().map(move |param| (entry, param))).collect();
    let all = || rows.iter().copied();
    let defaults: Float64Array = all().map(|(_, param)| param.default).collect();
    let kind = |kind: ParamKind| match kind {
        ParamKind::Whole(least) => format!("whole number of at least {least}"),
        ParamKind::Number(least) => format!("number of at least {least}"),
    };
    ArrowTable::new(RecordBatch::try_from_iter_with_nullable([
        ("strategy", column(all().map(|(entry, _)| entry.name.to_owned())), false),
        ("definition", column(all().map(|(entry, _)| entry.doc.to_owned())), false),
        ("parameter", column(all().map(|(_, param)| param.name.to_owned())), false),
        ("kind", column(all().map(|(_, param)| kind(param.kind))), false),
        ("default", Arc::new(defaults) as ArrayRef, true),
        ("meaning", column(all().map(|(_, param)| param.doc.to_owned())), false),
    ]))
}

#[pyfunction]
#[pyo3(signature = (returns, periods_per_year, risk_free = 0.0, mar = 0.0, benchmark = None))]
fn summarize_returns(
    py: Python<'_>,
    returns: PyBuffer<f64>,
    periods_per_year: f64,
    risk_free: f64,
    mar: f64,
    benchmark: Option<PyBuffer<f64>>,
) -> PyResult<BTreeMap<&'static str, f64>> {
    let r = returns.to_vec(py)?;
    let b = benchmark.map(|b| b.to_vec(py)).transpose()?;
    if b.as_ref().is_some_and(|b| b.len() != r.len()) {
        return Err(errors::spec_error(py, "benchmark and returns must have the same length".to_owned()));
    }
    let settings = MetricSettings { basis: ReturnBasis::Bar, periods_per_year, risk_free, mar };
    Ok(crate::analysis::summarize_returns(&r, &settings, b.as_deref()).into_iter().collect())
}

#[pyfunction]
fn aggregate(py: Python<'_>, values: PyBuffer<f64>, how: &str, min_defined: f64) -> PyResult<(f64, usize)> {
    let kind: Aggregate = how
        .parse()
        .map_err(|e: crate::analysis::ParseAggregateError| errors::spec_error(py, e.to_string()))?;
    Ok(over_assets(&mut values.to_vec(py)?, kind, min_defined))
}
