//! Assets that share one cash: a trial is one account over all of them.

use super::columns::{ColumnBuffers, InstrumentColumns, bytes_per_row};
use super::pooled::{equity_on, push_returns};
use super::tally::Tally;
use super::workers::{Worker, Workers};
use super::{Batch, BatchOutcome, measure};
use crate::analysis::N_METRICS;
use crate::data::{RowSteps, Timeline, Window};
use crate::engine::{Keep, RunSpec};
use crate::error::{EngineError, RuleError};
use crate::rules::SeriesSource;
use crate::trader::{RuleColumns, RuleNumbers, RuleTrader};
use rayon::prelude::*;

/// Memory of the columns that are evaluated together.
const MAX_COLUMN_BYTES: usize = 64 << 20;

/// The columns of some trials over all assets, asset after asset.
#[derive(Default)]
struct Columns {
    cells: Vec<Cell>,
    n_trials: usize,
}

#[derive(Default)]
struct Cell {
    columns: InstrumentColumns,
    error: Option<EngineError>,
}

impl Columns {
    /// The columns of one trial, in panel order, or the first thing that was wrong with them.
    fn of(&self, trial: usize) -> Result<Vec<RuleColumns<'_>>, String> {
        let cells = || self.cells.iter().skip(trial).step_by(self.n_trials);
        match cells().find_map(|cell| cell.error.as_ref()) {
            Some(error) => Err(error.to_string()),
            None => Ok(cells().map(|cell| cell.columns.borrow()).collect()),
        }
    }
}

impl Batch<'_> {
    /// One task is one trial over all assets. Columns are evaluated before, for as many trials together as memory
    /// allows, one asset after another: what trials share is computed once.
    pub(super) fn shared_cash(
        &self,
        workers: &Workers<'_>,
        out: &mut BatchOutcome,
    ) -> Result<(), EngineError> {
        let timeline = Timeline::build(self.panel, self.assets, self.plan.spec().window, self.cancel)?;
        let rows = RowSteps::of(&timeline, self.assets.len());
        let n_rows: usize = self.assets.iter().map(|&asset| self.panel.asset(asset).len()).sum();
        let n_fit = MAX_COLUMN_BYTES / (n_rows * bytes_per_row(self.rules)).max(1);
        let n_together = n_fit.max(rayon::current_num_threads()).min(self.n_trials);
        let across = if self.rules.program().is_cross_sectional() {
            Some(self.steps_of_all_rows(&rows)?)
        } else {
            None
        };
        let mut columns = Columns::default();
        for first in (0..self.n_trials).step_by(n_together) {
            let trials = first..self.n_trials.min(first + n_together);
            if across.is_none() {
                self.evaluate(workers, trials.clone(), &mut columns);
                self.go_on()?;
            }
            let one = |trial: usize| {
                workers.with(|worker| {
                    let numbers = match self.numbers(trial) {
                        Ok(numbers) => numbers,
                        Err(error) => return Ok(Err(EngineError::from(error).to_string())),
                    };
                    if let Some(all_rows) = &across {
                        let columns = match self.ranked_columns(all_rows, trial) {
                            Ok(columns) => columns,
                            Err(error) => return settled(Err(error)),
                        };
                        let account = self.one_account(worker, &timeline, &rows, numbers, &columns.borrow());
                        return settled(account);
                    }
                    match columns.of(trial - first) {
                        Ok(columns) => settled(self.one_account(worker, &timeline, &rows, numbers, &columns)),
                        Err(message) => Ok(Err(message)),
                    }
                })
            };
            let accounts: Result<Vec<_>, EngineError> = trials.into_par_iter().map(one).collect();
            for account in accounts? {
                self.take(account, out);
            }
        }
        Ok(())
    }

    /// The steps of every row, those before the window that only warm indicators included.
    fn steps_of_all_rows(&self, rows: &RowSteps) -> Result<RowSteps, EngineError> {
        if self.plan.spec().window == Window::default() {
            return Ok(rows.clone());
        }
        let whole = Timeline::build(self.panel, self.assets, Window::default(), self.cancel)?;
        Ok(RowSteps::of(&whole, self.assets.len()))
    }

    /// The columns of rules that compare assets: they need all of them at once.
    fn ranked_columns(&self, all_rows: &RowSteps, trial: usize) -> Result<ColumnBuffers, EngineError> {
        let bound = self.graph.trial(trial).map_err(Clone::clone)?;
        let mut columns = ColumnBuffers::default();
        columns.fill_across(self.rules, self.graph, bound, self.panel, self.assets, all_rows, self.cancel)?;
        Ok(columns)
    }

    fn numbers(&self, trial: usize) -> Result<RuleNumbers, RuleError> {
        self.rules.numbers(self.graph.trial(trial).map_err(Clone::clone)?)
    }

    fn evaluate(&self, workers: &Workers<'_>, trials: std::ops::Range<usize>, columns: &mut Columns) {
        columns.n_trials = trials.len();
        columns.cells.resize_with(trials.len() * self.assets.len(), Cell::default);
        let rows = columns.cells.par_chunks_mut(trials.len()).zip(self.assets);
        rows.for_each(|(cells, &asset)| {
            workers.with(|worker| {
                let source = self.rules.source(self.panel.asset(asset));
                worker.evaluator.begin(self.graph, source.len());
                for (cell, trial) in cells.iter_mut().zip(trials.clone()) {
                    cell.error = None;
                    // A trial that cannot be bound says so when it runs.
                    let Ok(bound) = self.graph.trial(trial) else { continue };
                    let filled =
                        cell.columns.fill(self.rules, self.graph, bound, &mut worker.evaluator, &source);
                    cell.error = filled.err();
                }
            });
        });
    }

    fn one_account(
        &self,
        worker: &mut Worker<'_>,
        timeline: &Timeline,
        rows: &RowSteps,
        numbers: RuleNumbers,
        columns: &[RuleColumns<'_>],
    ) -> Result<Account, EngineError> {
        let mut trader = RuleTrader::new(self.rules, numbers, columns);
        if trader.decides_by_signals() {
            worker.signals.rebuild(rows, columns);
            trader = trader.seeing(&worker.signals);
        }
        let spec = RunSpec {
            panel: self.panel,
            universe: self.assets,
            timeline,
            market: self.plan.market(),
            risk: &self.plan.spec().risk,
            keep: Keep::Metrics,
            cancel: self.cancel,
        };
        worker.engine.run(&spec, &mut trader)?;
        let record = worker.engine.record();
        let mut metrics = vec![f64::NAN; N_METRICS];
        measure(self.plan, record, timeline, &mut worker.scratch, &mut metrics);
        let mut by_date = vec![f64::NAN; self.dates.len()];
        equity_on(self.dates, timeline, &record.equity, self.plan.market().cash, &mut by_date);
        Ok(Account { metrics, by_date })
    }

    fn take(&self, account: Result<Account, String>, out: &mut BatchOutcome) {
        let mut tally = Tally::new(self.plan, 1);
        let account = account.unwrap_or_else(|message| {
            tally.fail(message);
            Account { metrics: vec![f64::NAN; N_METRICS], by_date: vec![f64::NAN; self.dates.len()] }
        });
        tally.add(self.plan, &account.metrics);
        push_returns(&account.by_date, &mut out.returns);
        if self.extras.by_account {
            out.by_account.extend(tally.by_account());
        }
        out.trials.push(tally.finish(self.plan, self.n_bars));
    }
}

/// A trial that failed is a result; a batch that was told to stop is not.
fn settled(account: Result<Account, EngineError>) -> Result<Result<Account, String>, EngineError> {
    match account {
        Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
        other => Ok(other.map_err(|error| error.to_string())),
    }
}

struct Account {
    metrics: Vec<f64>,
    by_date: Vec<f64>,
}
