//! Memory of threads, reused from task to task and from batch to batch.

use super::columns::InstrumentColumns;
use crate::analysis::Scratch;
use crate::data::Timeline;
use crate::engine::Engine;
use crate::rules::{Evaluator, Pools};
use crate::trader::SignalSteps;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared columns of one asset that a thread keeps: what does not fit is computed again.
const MAX_COLUMN_BYTES: usize = 256 << 20;

/// Memory of all workers that waits for the next batch: what would be more is let go.
const MAX_KEPT_BYTES: usize = 128 << 20;

/// Memory of the workers of past batches: fresh pages cost more than what is written to them. It holds nothing that a
/// batch reads before it writes.
static KEPT: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

/// What one thread works with.
pub(super) struct Worker<'c> {
    pub evaluator: Evaluator<'c>,
    pub engine: Engine,
    pub scratch: Scratch,
    pub columns: InstrumentColumns,
    pub timeline: Timeline,
    pub signals: SignalSteps,
}

/// A worker without a batch.
#[derive(Default)]
struct Memory {
    pools: Pools,
    engine: Engine,
    scratch: Scratch,
    columns: InstrumentColumns,
    timeline: Timeline,
    signals: SignalSteps,
}

impl Memory {
    fn n_bytes(&self) -> usize {
        let equity = self.engine.record().equity.capacity() * size_of::<f64>();
        self.pools.n_bytes()
            + equity
            + self.scratch.n_bytes()
            + self.columns.n_bytes()
            + self.timeline.n_bytes()
            + self.signals.n_bytes()
    }
}

impl<'c> Worker<'c> {
    fn new(cancel: &'c AtomicBool) -> Self {
        let kept = locked(&KEPT).pop();
        Self::with(kept.unwrap_or_default(), cancel)
    }

    fn with(memory: Memory, cancel: &'c AtomicBool) -> Self {
        let Memory { pools, engine, scratch, columns, timeline, signals } = memory;
        let evaluator = Evaluator::with_memory_limit(MAX_COLUMN_BYTES).with_pools(pools).cancelled_by(cancel);
        Self { evaluator, engine, scratch, columns: columns.emptied(), timeline, signals }
    }

    fn into_memory(self) -> Memory {
        let Self { evaluator, engine, scratch, columns, timeline, signals } = self;
        Memory { pools: evaluator.into_pools(), engine, scratch, columns, timeline, signals }
    }
}

/// Workers that wait for a task: as many as threads have been at work at once.
pub(super) struct Workers<'c> {
    idle: Mutex<Vec<Worker<'c>>>,
    cancel: &'c AtomicBool,
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        let done = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut kept = locked(&KEPT);
        done.into_iter().for_each(|worker| keep(&mut kept, worker.into_memory()));
    }
}

fn keep(kept: &mut Vec<Memory>, memory: Memory) {
    let n_bytes: usize = kept.iter().map(Memory::n_bytes).sum();
    if n_bytes + memory.n_bytes() <= MAX_KEPT_BYTES {
        kept.push(memory);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'c> Workers<'c> {
    /// None yet; what they evaluate ends when the flag is set.
    pub fn new(cancel: &'c AtomicBool) -> Self {
        Self { idle: Mutex::default(), cancel }
    }

    /// Does a task with a worker that no other thread has.
    pub fn with<T>(&self, task: impl FnOnce(&mut Worker<'c>) -> T) -> T {
        let waiting = locked(&self.idle).pop();
        let mut worker = waiting.unwrap_or_else(|| Worker::new(self.cancel));
        let done = task(&mut worker);
        locked(&self.idle).push(worker);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BarAt;
    use crate::units::{InstrumentIx, TradingDate, TsNs};

    #[test]
    fn what_is_kept_between_batches_is_bounded() {
        let mut kept = Vec::new();
        for _ in 0..5 {
            let mut grown = Memory::default();
            let bar = BarAt { instrument: InstrumentIx(0), row: 0 };
            while grown.n_bytes() <= MAX_KEPT_BYTES / 4 {
                grown.timeline.push(TsNs(0), TradingDate(0), std::iter::repeat_n(bar, 100_000));
            }
            keep(&mut kept, grown);
        }
        let n_bytes: usize = kept.iter().map(Memory::n_bytes).sum();
        assert!(!kept.is_empty() && n_bytes <= MAX_KEPT_BYTES, "{} with {n_bytes} bytes", kept.len());
    }

    #[test]
    fn a_worker_hands_on_the_memory_it_was_given() {
        let cancel = AtomicBool::new(false);
        let mut memory = Memory::default();
        memory.timeline.push(TsNs(0), TradingDate(0), []);
        let n_bytes = memory.n_bytes();
        assert!(n_bytes > 0);
        assert_eq!(Worker::with(memory, &cancel).into_memory().n_bytes(), n_bytes);
    }
}
