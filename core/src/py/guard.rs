//! The one door for long work: detaches the interpreter, hears Ctrl-C, turns a panic into an exception.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How long Ctrl-C may go unheard.
const SIGNAL_EVERY: Duration = Duration::from_millis(20);

struct Pools {
    owner: u32,
    by_threads: BTreeMap<usize, Arc<ThreadPool>>,
}

static POOLS: Mutex<Option<Pools>> = Mutex::new(None);

fn pool(n_threads: usize) -> PyResult<Arc<ThreadPool>> {
    let mut guard = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = std::process::id();
    let pools = guard.get_or_insert_with(|| Pools { owner, by_threads: BTreeMap::new() });
    if pools.owner != owner {
        return Err(PyRuntimeError::new_err(
            "the engine was used before this process was forked: start workers with the spawn method",
        ));
    }
    if let Some(pool) = pools.by_threads.get(&n_threads) {
        return Ok(Arc::clone(pool));
    }
    let built = ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .thread_name(|ix| format!("akq-{ix}"))
        .build()
        .map_err(|e| PyRuntimeError::new_err(format!("{n_threads} engine threads cannot be started: {e}")))?;
    let built = Arc::new(built);
    pools.by_threads.insert(n_threads, Arc::clone(&built));
    Ok(built)
}

/// Runs `work` in a pool of `n_threads` without the interpreter; the flag tells it to stop.
pub fn run_detached<T: Send>(
    py: Python<'_>,
    n_threads: usize,
    work: impl FnOnce(&AtomicBool) -> T + Send,
) -> PyResult<T> {
    let pool = pool(n_threads)?;
    let cancel = AtomicBool::new(false);
    let flag = &cancel;
    std::thread::scope(|scope| {
        let (done, wait) = mpsc::sync_channel(1);
        let wait = Mutex::new(wait); // a receiver alone may not be shared with a detached closure
        let wait_a_moment = || wait.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SIGNAL_EVERY);
        let runner = scope.spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| pool.install(|| work(flag))));
            // The receiver waits until this arrives or the thread is gone.
            let _ = done.send(());
            result
        });
        let mut interrupted = None;
        while matches!(py.detach(wait_a_moment), Err(mpsc::RecvTimeoutError::Timeout)) {
            if interrupted.is_none()
                && let Err(signal) = py.check_signals()
            {
                flag.store(true, Ordering::Relaxed);
                interrupted = Some(signal);
            }
        }
        match (interrupted, py.detach(|| runner.join())) {
            (Some(signal), _) => Err(signal),
            (None, Ok(Ok(value))) => Ok(value),
            (None, Ok(Err(panic)) | Err(panic)) => Err(panic_error(&*panic)),
        }
    })
}

/// Runs milliseconds of `work` in the calling thread without the interpreter: too short for a pool and for Ctrl-C.
pub fn run_briefly<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| panic_error(&*panic))
}

fn panic_error(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    PyRuntimeError::new_err(format!("internal: the engine panicked: {text}"))
}
