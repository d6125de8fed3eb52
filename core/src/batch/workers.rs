//! Memory of threads, reused from task to task.

use super::columns::InstrumentColumns;
use crate::analysis::Scratch;
use crate::data::Timeline;
use crate::engine::Engine;
use crate::rules::Evaluator;
use crate::trader::SignalSteps;
use std::sync::{Mutex, PoisonError};

/// Shared columns of one asset that a thread keeps: what does not fit is computed again.
const MAX_COLUMN_BYTES: usize = 256 << 20;

/// What one thread works with.
pub(super) struct Worker {
    pub engine: Engine,
    pub scratch: Scratch,
    pub evaluator: Evaluator,
    pub columns: InstrumentColumns,
    pub timeline: Timeline,
    pub signals: SignalSteps,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            scratch: Scratch::default(),
            evaluator: Evaluator::with_memory_limit(MAX_COLUMN_BYTES),
            columns: InstrumentColumns::default(),
            timeline: Timeline::default(),
            signals: SignalSteps::default(),
        }
    }
}

/// Workers that wait for a task: as many as threads have been at work at once.
#[derive(Default)]
pub(super) struct Workers {
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    /// Does a task with a worker that no other thread has.
    pub fn with<T>(&self, task: impl FnOnce(&mut Worker) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worker = idle().pop().unwrap_or_default();
        let done = task(&mut worker);
        idle().push(worker);
        done
    }
}
