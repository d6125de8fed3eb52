//! The Python face of the engine: convert, call, convert back. No rule and no sum lives here.

mod arrow;
mod batch;

mod calendar;

mod errors;

mod frames;

mod guard;

mod indicator;

mod panel;

mod plan;

mod reference;

mod result;

mod risk;

mod rows;

mod search;

mod session;

mod strategy;

mod tick;

use pyo3::prelude::*;

/// The extension module `akq_dist._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("PROFILE", PROFILE)?;
    let build = format!("{}+{PROFILE}.{}", env!("CARGO_PKG_VERSION"), env!("AKQ_SOURCE_DIGEST"));
    module.add("BUILD", build)?;
    module.add("FEATURES", vec!["python"])?;
    module.add_class::<arrow::ArrowTable>()?;
    module.add_class::<batch::PyBatchResult>()?;
    module.add_class::<panel::PyPanel>()?;
    module.add_class::<plan::PyPlan>()?;
    module.add_class::<result::PyRunResult>()?;
    module.add_class::<strategy::PyBar>()?;
    module.add_class::<strategy::PyContext>()?;
    calendar::register(module)?;
    frames::register(module)?;
    module.add_class::<tick::PyTick>()?;
    module.add_class::<session::PyPaperSession>()?;
    indicator::register(module)?;
    reference::register(module)?;
    risk::register(module)?;
    search::register(module)
}

const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
