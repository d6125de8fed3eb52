//! The checks of risk for a hypothetical order.

use super::errors;
use crate::model::Reject;
use crate::risk::Question;
use pyo3::prelude::*;

/// Units of the order and why it is refused.
#[pyfunction]
fn check_order(py: Python<'_>, question: &str) -> PyResult<(f64, Option<&'static str>)> {
    let answer = Question::from_json(question)
        .and_then(|question| question.answer())
        .map_err(|error| errors::to_py(py, error))?;
    Ok((answer.qty, answer.reject.map(Reject::name)))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_order, module)?)
}
