//! The one table from engine errors to Python exceptions.

use crate::error::{DataError, EngineError};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static ENGINE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PANEL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static RULE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static SPEC: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Makes the exception classes under those of `akq_dist.errors` and adds them to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let errors = py.import("akq_dist.errors")?;
    let table = [
        ("EngineError", "AkqError", &ENGINE, c"akq_dist._core.EngineError", c"A run that could not go on."),
        (
            "PanelError",
            "AkqDataError",
            &PANEL,
            c"akq_dist._core.PanelError",
            c"Data that do not make a panel; the message names symbol, column and row.",
        ),
        (
            "RuleError",
            "AkqUsageError",
            &RULE,
            c"akq_dist._core.RuleError",
            c"A rule text or parameter value that the rule language refuses.",
        ),
        (
            "SpecError",
            "AkqUsageError",
            &SPEC,
            c"akq_dist._core.SpecError",
            c"A plan that cannot be read or does not fit the panel.",
        ),
    ];
    for (name, base, cell, path, doc) in table {
        let base = errors.getattr(base)?.cast_into::<PyType>()?;
        let class = PyErr::new_type(py, path, Some(doc), Some(&base), None)?;
        module.add(name, class.clone_ref(py))?;
        let _ = cell.set(py, class);
    }
    Ok(())
}

fn raise(py: Python<'_>, cell: &PyOnceLock<Py<PyType>>, message: String) -> PyErr {
    match cell.get(py) {
        Some(class) => PyErr::from_type(class.bind(py).clone(), message),
        None => PyRuntimeError::new_err(message),
    }
}

/// The exception of an engine error.
pub fn to_py(py: Python<'_>, error: EngineError) -> PyErr {
    let message = error.to_string();
    match error {
        EngineError::Data(_) => raise(py, &PANEL, message),
        EngineError::Rule(_) => raise(py, &RULE, message),
        EngineError::Spec(_) | EngineError::Value(_) => raise(py, &SPEC, message),
        EngineError::UnknownInstrument { .. }
        | EngineError::Strategy { .. }
        | EngineError::InletGone
        | EngineError::GatewayReport { .. }
        | EngineError::Internal(_) => raise(py, &ENGINE, message),
        EngineError::Cancelled => PyKeyboardInterrupt::new_err(()),
    }
}

pub fn data_error(py: Python<'_>, error: DataError) -> PyErr {
    to_py(py, error.into())
}

/// A run or a session that cannot go on.
pub fn engine_error(py: Python<'_>, message: String) -> PyErr {
    raise(py, &ENGINE, message)
}

/// A fault of the caller about an argument.
pub fn spec_error(py: Python<'_>, message: String) -> PyErr {
    to_py(py, EngineError::Spec(message))
}
