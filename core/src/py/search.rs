//! The Parzen estimator and its suggestions for Python.

use super::{errors, guard};
use crate::search::{Axis, Parzen, Random, Seen, Settings, suggest};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyParzen>()?;
    module.add_function(wrap_pyfunction!(tpe_suggest, module)?)
}

/// Lowest and highest value, step, whether logarithms are spread, and the number of choices (0 for a number).
type AxisTuple = (f64, f64, f64, bool, usize);

fn axes_of(py: Python<'_>, tuples: Vec<AxisTuple>) -> PyResult<Vec<Axis>> {
    let axes: Vec<Axis> = tuples
        .into_iter()
        .map(
            |(low, high, step, log, n)| {
                if n > 0 { Axis::Choice { n } } else { Axis::Number { low, high, step, log } }
            },
        )
        .collect();
    match axes.iter().find(|axis| !axis.is_valid()) {
        Some(axis) => Err(errors::spec_error(py, format!("an axis that cannot be searched: {axis:?}"))),
        None => Ok(axes),
    }
}

fn rows_of(py: Python<'_>, points: &PyBuffer<f64>, n_axes: usize) -> PyResult<Vec<f64>> {
    let values = points.to_vec(py)?;
    if n_axes == 0 || values.len() % n_axes != 0 {
        return Err(errors::spec_error(
            py,
            format!("points: {} values are no rows of {n_axes}", values.len()),
        ));
    }
    Ok(values)
}

fn split(values: Vec<f64>, n_axes: usize) -> Vec<Vec<f64>> {
    values.chunks_exact(n_axes).map(<[f64]>::to_vec).collect()
}

#[pyfunction]
#[pyo3(signature = (axes, points, losses, depths, violations, running, *, n, n_startup, n_candidates, seed))]
#[expect(clippy::too_many_arguments, reason = "columns of one table")]
fn tpe_suggest(
    py: Python<'_>,
    axes: Vec<AxisTuple>,
    points: PyBuffer<f64>,
    losses: PyBuffer<f64>,
    depths: PyBuffer<f64>,
    violations: PyBuffer<f64>,
    running: PyBuffer<u8>,
    n: usize,
    n_startup: usize,
    n_candidates: usize,
    seed: u64,
) -> PyResult<Vec<Vec<f64>>> {
    let axes = axes_of(py, axes)?;
    let points = rows_of(py, &points, axes.len())?;
    let (losses, depths, violations) = (losses.to_vec(py)?, depths.to_vec(py)?, violations.to_vec(py)?);
    let running: Vec<bool> = running.to_vec(py)?.into_iter().map(|flag| flag != 0).collect();
    let made = guard::run_briefly(py, || {
        let (points, losses, depths, violations) = (&points, &losses, &depths, &violations);
        let seen = Seen { points, losses, depths, violations, running: &running };
        suggest(&axes, seen, n, Settings { n_startup, n_candidates }, seed)
    })?;
    let made =
        made.ok_or_else(|| errors::spec_error(py, "columns must be as long as there are points".to_owned()))?;
    Ok(split(made, axes.len()))
}

#[pyclass(frozen, name = "Parzen", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyParzen {
    n_axes: usize,
    /// Masses that have been computed are kept.
    parzen: Mutex<Parzen>,
}

#[pymethods]
impl PyParzen {
    #[new]
    fn new(py: Python<'_>, axes: Vec<AxisTuple>, points: PyBuffer<f64>) -> PyResult<Self> {
        let axes = axes_of(py, axes)?;
        let points = rows_of(py, &points, axes.len())?;
        let parzen = Mutex::new(guard::run_briefly(py, || Parzen::new(&axes, &points))?);
        Ok(Self { n_axes: axes.len(), parzen })
    }

    fn ln_density(&self, py: Python<'_>, points: PyBuffer<f64>) -> PyResult<Vec<f64>> {
        let points = rows_of(py, &points, self.n_axes)?;
        guard::run_briefly(py, || {
            self.parzen.lock().unwrap_or_else(PoisonError::into_inner).ln_density(&points)
        })
    }

    fn sample(&self, py: Python<'_>, n: usize, seed: u64) -> PyResult<Vec<Vec<f64>>> {
        let sample =
            || self.parzen.lock().unwrap_or_else(PoisonError::into_inner).sample(n, &mut Random::new(seed));
        Ok(split(guard::run_briefly(py, sample)?, self.n_axes))
    }
}
