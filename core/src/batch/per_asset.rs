//! Assets with their own cash: every trial over every asset, a block of assets at a time.

use super::pooled::{equity_on, push_returns};
use super::tally::Tally;
use super::workers::{Worker, Workers};
use super::{Batch, BatchOutcome, TrialOutcome, measure};
use crate::analysis::N_METRICS;
use crate::engine::{Keep, RunSpec};
use crate::error::EngineError;
use crate::rules::SeriesSource;
use crate::trader::RuleTrader;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Tasks a thread: enough to even out assets of unequal length.
pub(super) const TASKS_A_THREAD: usize = 4;

/// Where a task writes: the rows of one asset for trials one after another.
struct Task<'a> {
    asset: usize,
    first_trial: usize,
    rows: &'a mut [f64],
}

/// Trials that failed, each with the reason of its first asset that did.
type Failures = BTreeMap<usize, String>;

/// A trial while its assets come in.
struct TrialState {
    tally: Tally,
    /// Equity of all assets together, by date.
    pooled: Vec<f64>,
}

impl TrialState {
    fn new(batch: &Batch<'_>) -> Self {
        let tally = Tally::new(batch.plan, batch.assets.len());
        Self { tally, pooled: vec![0.0; batch.dates.len()] }
    }

    /// Takes the rows of a block of assets.
    fn add(&mut self, batch: &Batch<'_>, rows: &[f64], trial: usize) {
        let width = batch.row_width();
        for asset in rows.chunks(batch.n_trials * width) {
            let (metrics, equity) = asset[trial * width..][..width].split_at(N_METRICS);
            self.tally.add(batch.plan, metrics);
            self.pooled.iter_mut().zip(equity).for_each(|(sum, equity)| *sum += equity);
        }
    }

    fn finish(mut self, batch: &Batch<'_>, error: Option<&String>) -> Finished {
        if let Some(error) = error {
            self.tally.fail(error.clone());
            self.pooled.fill(f64::NAN);
        }
        let by_account = if batch.extras.by_account { self.tally.by_account().collect() } else { Vec::new() };
        Finished { outcome: self.tally.finish(batch.plan, batch.n_bars), by_account, pooled: self.pooled }
    }
}

struct Finished {
    outcome: TrialOutcome,
    by_account: Vec<f64>,
    pooled: Vec<f64>,
}

impl Finished {
    fn append(self, out: &mut BatchOutcome) {
        push_returns(&self.pooled, &mut out.returns);
        out.by_account.extend(self.by_account);
        out.trials.push(self.outcome);
    }
}

impl Batch<'_> {
    /// Blocks bound the memory; within one, a task is one asset and some of the trials.
    pub(super) fn per_asset(&self, workers: &Workers<'_>, out: &mut BatchOutcome) -> Result<(), EngineError> {
        let n_row_values = self.n_trials * self.row_width();
        let block = (super::MAX_BLOCK / n_row_values).clamp(1, self.assets.len());
        let mut buffer = vec![f64::NAN; block * n_row_values];
        if block == self.assets.len() {
            let failures = self.block(workers, self.assets, &mut buffer)?;
            let one = |trial: usize| {
                self.go_on()?;
                let mut state = TrialState::new(self);
                state.add(self, &buffer, trial);
                Ok(state.finish(self, failures.get(&trial)))
            };
            let done: Result<Vec<Finished>, EngineError> =
                (0..self.n_trials).into_par_iter().map(one).collect();
            done?.into_iter().for_each(|trial| trial.append(out));
            return Ok(());
        }
        let mut states: Vec<TrialState> = (0..self.n_trials).map(|_| TrialState::new(self)).collect();
        let mut failures = Failures::new();
        for assets in self.assets.chunks(block) {
            let rows = &mut buffer[..assets.len() * n_row_values];
            for (trial, error) in self.block(workers, assets, rows)? {
                failures.entry(trial).or_insert(error);
            }
            states.par_iter_mut().enumerate().for_each(|(trial, state)| state.add(self, rows, trial));
        }
        for (trial, state) in states.into_iter().enumerate() {
            self.go_on()?;
            state.finish(self, failures.get(&trial)).append(out);
        }
        Ok(())
    }

    /// Fills the rows of a block of assets: metrics, and equity by date where it is wanted.
    fn block(
        &self,
        workers: &Workers<'_>,
        assets: &[usize],
        rows: &mut [f64],
    ) -> Result<Failures, EngineError> {
        let width = self.row_width();
        let n_threads = rayon::current_num_threads();
        // What trials share is computed once a task: a thread's trials of a lone asset are one task.
        let n_tasks = if assets.len() < n_threads { n_threads } else { n_threads * TASKS_A_THREAD };
        let n_parts = n_tasks.div_ceil(assets.len()).clamp(1, self.n_trials);
        let part = self.n_trials.div_ceil(n_parts);
        let mut tasks = Vec::new();
        for (&asset, rows) in assets.iter().zip(rows.chunks_mut(self.n_trials * width)) {
            for (ix, rows) in rows.chunks_mut(part * width).enumerate() {
                tasks.push(Task { asset, first_trial: ix * part, rows });
            }
        }
        let done: Result<Vec<_>, EngineError> =
            tasks.par_iter_mut().map(|task| workers.with(|worker| self.one_task(worker, task))).collect();
        let mut failures = Failures::new();
        for (trial, error) in done?.into_iter().flatten() {
            failures.entry(trial).or_insert(error);
        }
        Ok(failures)
    }

    fn one_task(
        &self,
        worker: &mut Worker<'_>,
        task: &mut Task<'_>,
    ) -> Result<Vec<(usize, String)>, EngineError> {
        let universe = [task.asset];
        worker.timeline.rebuild(self.panel, &universe, self.plan.spec().window, self.cancel)?;
        let source = self.rules.source(self.panel.asset(task.asset));
        worker.evaluator.begin(self.graph, source.len());
        let mut failures = Vec::new();
        for (ix, row) in task.rows.chunks_mut(self.row_width()).enumerate() {
            let trial = task.first_trial + ix;
            match self.one_backtest(worker, &universe, &source, trial, row) {
                Ok(()) => {}
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) => failures.push((trial, error.to_string())),
            }
        }
        Ok(failures)
    }

    pub(super) fn one_backtest(
        &self,
        worker: &mut Worker<'_>,
        universe: &[usize; 1],
        source: &dyn SeriesSource,
        trial: usize,
        row: &mut [f64],
    ) -> Result<(), EngineError> {
        self.go_on()?;
        let bound = self.graph.trial(trial).map_err(Clone::clone)?;
        let numbers = self.rules.numbers(bound)?;
        worker.columns.fill(self.rules, self.graph, bound, &mut worker.evaluator, source)?;
        let columns = [worker.columns.borrow()];
        let mut trader = RuleTrader::new(self.rules, numbers, &columns);
        let spec = RunSpec {
            panel: self.panel,
            universe,
            timeline: &worker.timeline,
            market: self.plan.market(),
            risk: &self.plan.spec().risk,
            keep: Keep::Metrics,
            cancel: self.cancel,
        };
        worker.engine.run(&spec, &mut trader)?;
        let (metrics, by_date) = row.split_at_mut(N_METRICS);
        let record = worker.engine.record();
        measure(self.plan, record, &worker.timeline, &mut worker.scratch, metrics);
        let cash = self.plan.market().cash;
        equity_on(self.dates, &worker.timeline, &record.equity, cash, by_date);
        Ok(())
    }

    fn row_width(&self) -> usize {
        N_METRICS + self.dates.len()
    }
}
