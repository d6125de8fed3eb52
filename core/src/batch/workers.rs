//! Memory of threads, reused from task to task.

use super::columns::InstrumentColumns;
use crate::analysis::Scratch;
use crate::data::Timeline;
use crate::engine::Engine;
use crate::rules::Evaluator;
use crate::trader::SignalSteps;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

/// Shared columns of one asset that a thread keeps: what does not fit is computed again.
const MAX_COLUMN_BYTES: usize = 256 << 20;

/// What one thread works with.
pub(super) struct Worker<'c> {
    pub engine: Engine,
    pub scratch: Scratch,
    pub evaluator: Evaluator<'c>,
    pub columns: InstrumentColumns,
    pub timeline: Timeline,
    pub signals: SignalSteps,
}

impl<'c> Worker<'c> {
    fn new(cancel: &'c AtomicBool) -> Self {
        Self {
            engine: Engine::default(),
            scratch: Scratch::default(),
            evaluator: Evaluator::with_memory_limit(MAX_COLUMN_BYTES).cancelled_by(cancel),
            columns: InstrumentColumns::default(),
            timeline: Timeline::default(),
            signals: SignalSteps::default(),
        }
    }
}

/// Workers that wait for a task: as many as threads have been at work at once.
pub(super) struct Workers<'c> {
    idle: Mutex<Vec<Worker<'c>>>,
    cancel: &'c AtomicBool,
}

impl<'c> Workers<'c> {
    /// None yet; what they evaluate ends when the flag is set.
    pub fn new(cancel: &'c AtomicBool) -> Self {
        Self { idle: Mutex::default(), cancel }
    }

    /// Does a task with a worker that no other thread has.
    pub fn with<T>(&self, task: impl FnOnce(&mut Worker<'c>) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worker = idle().pop().unwrap_or_else(|| Worker::new(self.cancel));
        let done = task(&mut worker);
        idle().push(worker);
        done
    }
}
