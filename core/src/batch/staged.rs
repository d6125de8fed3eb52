//! Trials that are looked at on the way: after some of the assets, or at some dates, and stopped there when the caller
//! says so. Nothing is run twice: what a trial has done stands, and one that is never stopped gives the bits of a batch.

use super::columns::ColumnBuffers;
use super::tally::Tally;
use super::workers::{Worker, Workers};
use super::{Batch, BatchOutcome, Extras, TrialOutcome, full_rows, measure, needs_rules};
use crate::analysis::{N_METRICS, Scratch};
use crate::data::{Panel, RowSteps, Timeline, Window};
use crate::engine::{Engine, Keep, Progress, RunSpec};
use crate::error::EngineError;
use crate::plan::{Mode, Plan};
use crate::rules::{BatchGraph, SeriesSource};
use crate::trader::{RuleTrader, SignalSteps, WaitingEntries};
use rayon::prelude::*;
use std::sync::atomic::AtomicBool;

/// Memory of the trials that are under way together.
const MAX_BYTES: usize = 256 << 20;

/// Memory of an account beside its equity and its columns, about.
const ACCOUNT_BYTES: usize = 4 << 10;

/// When trials are looked at, in order; after the last look the rest is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stages {
    /// After these assets, positions in the panel: each list holds the one before it. For accounts of one asset.
    Assets(Vec<Vec<usize>>),
    /// At the end of these trading dates, in days since 1970-01-01.
    Dates(Vec<i32>),
}

impl Stages {
    fn n_looks(&self) -> usize {
        match self {
            Self::Assets(parts) => parts.len(),
            Self::Dates(dates) => dates.len(),
        }
    }

    fn check(&self, plan: &Plan, panel: &Panel) -> Result<(), EngineError> {
        let refuse = |message: &str| Err(EngineError::Spec(format!("stages: {message}")));
        match self {
            Self::Assets(_) if plan.spec().mode == Mode::Portfolio => refuse(
                "one account trades all assets together, so there is none to look at after a part of them",
            ),
            Self::Assets(parts) => {
                let is_inside = |part: &Vec<usize>| part.iter().all(|&asset| asset < panel.n_assets());
                let is_nested = |pair: &[Vec<usize>]| pair[0].iter().all(|asset| pair[1].contains(asset));
                if parts.iter().all(is_inside) && parts.windows(2).all(is_nested) {
                    return Ok(());
                }
                refuse("each list of assets holds the one before it, and names assets of the panel")
            }
            Self::Dates(dates) if dates.windows(2).any(|pair| pair[0] >= pair[1]) => {
                refuse("dates must be ascending")
            }
            Self::Dates(_) => Ok(()),
        }
    }
}

/// What a look shows: its number, the rows that are still under way, what they came to so far by account. Behind them
/// stands the row to compare with, if there is one. The answer says for each of the rows whether it is stopped.
pub type Look<'a> = dyn FnMut(usize, &[usize], BatchOutcome) -> Result<Vec<bool>, EngineError> + 'a;

/// Runs rows of rules over all assets of a panel in the current rayon pool, each to the look that stops it or to its end.
///
/// `reference` is a further row that every look shows for comparison; it is never stopped and has no outcome. A row that
/// was stopped has no values and no hash, and the bars that it was run over.
pub fn run_staged(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    reference: Option<&[f64]>,
    stages: &Stages,
    cancel: &AtomicBool,
    look: &mut Look<'_>,
) -> Result<Vec<TrialOutcome>, EngineError> {
    plan.check(panel, panel.n_assets())?;
    stages.check(plan, panel)?;
    let rules = plan.compile(panel)?.ok_or_else(needs_rules)?;
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    let workers = Workers::new(cancel);
    let window = plan.spec().window;
    let n_bars = assets.iter().map(|&asset| window.rows(panel.asset(asset).date).len() as u64).sum();
    let shared = match plan.spec().mode {
        Mode::PerAsset => None,
        Mode::Portfolio => Some(SharedSteps::of(plan, panel, &assets, cancel)?),
    };
    let mut outcomes = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(n_together(plan, panel, stages)) {
        let first = outcomes.len();
        let with_reference: Vec<&[f64]> = chunk.iter().copied().chain(reference).collect();
        let full = full_rows(plan, &with_reference);
        let borrowed: Vec<&[f64]> = full.iter().map(Vec::as_slice).collect();
        let graph = BatchGraph::bind(rules.program(), &borrowed);
        let batch = Batch {
            plan,
            panel,
            assets: &assets,
            rules: &rules,
            graph: &graph,
            n_trials: with_reference.len(),
            n_bars,
            dates: &[],
            extras: Extras { by_account: true, returns: false },
            cancel,
        };
        let staged = Staged {
            accounts: plan.accounts(&assets),
            cells: Vec::new(),
            metrics: Vec::new(),
            is_under_way: vec![true; with_reference.len()],
            stopped: vec![None; chunk.len()],
            shared: shared.as_ref(),
            batch: &batch,
        };
        outcomes.extend(staged.run(&workers, stages, first, look)?);
    }
    Ok(outcomes)
}

/// Rows under way together: their equity, columns and metrics fit into memory, and every thread has one.
fn n_together(plan: &Plan, panel: &Panel, stages: &Stages) -> usize {
    let accounts = match plan.spec().mode {
        Mode::PerAsset => panel.n_assets(),
        Mode::Portfolio => 1,
    };
    let held = match stages {
        Stages::Assets(_) => 0,
        // Equity by step and some columns by row.
        Stages::Dates(_) => 2 * panel.n_rows() * size_of::<f64>() + accounts * ACCOUNT_BYTES,
    };
    (MAX_BYTES / (held + accounts * N_METRICS * size_of::<f64>())).max(rayon::current_num_threads())
}

/// The steps of an account that all assets share.
struct SharedSteps {
    timeline: Timeline,
    rows: RowSteps,
    /// Those before the window too.
    all_rows: RowSteps,
}

impl SharedSteps {
    fn of(plan: &Plan, panel: &Panel, assets: &[usize], cancel: &AtomicBool) -> Result<Self, EngineError> {
        let timeline = Timeline::build(panel, assets, plan.spec().window, cancel)?;
        let rows = RowSteps::of(&timeline, assets.len());
        let whole = Timeline::build(panel, assets, Window::default(), cancel)?;
        Ok(Self { timeline, rows, all_rows: RowSteps::of(&whole, assets.len()) })
    }
}

/// One trial over one account.
#[derive(Default)]
enum Cell {
    #[default]
    Fresh,
    Paused(Box<Paused>),
    /// With what went wrong.
    Failed(String),
    /// Its metrics stand.
    Done,
}

/// An account between two looks.
#[derive(Default)]
struct Paused {
    engine: Engine,
    progress: Progress,
    waiting: Option<WaitingEntries>,
    columns: ColumnBuffers,
    signals: SignalSteps,
}

struct Staged<'a> {
    batch: &'a Batch<'a>,
    accounts: Vec<Vec<usize>>,
    shared: Option<&'a SharedSteps>,
    /// Account after account, of each the trials.
    cells: Vec<Cell>,
    /// As the cells, of each the metrics up to the newest look.
    metrics: Vec<f64>,
    /// By trial, the one to compare with last.
    is_under_way: Vec<bool>,
    /// Bars of the trials that were stopped.
    stopped: Vec<Option<u64>>,
}

impl Staged<'_> {
    fn run(
        mut self,
        workers: &Workers<'_>,
        stages: &Stages,
        first: usize,
        look: &mut Look<'_>,
    ) -> Result<Vec<TrialOutcome>, EngineError> {
        let n_cells = self.accounts.len() * self.batch.n_trials;
        self.cells.resize_with(n_cells, Cell::default);
        self.metrics.resize(n_cells * N_METRICS, f64::NAN);
        let n_rows = self.stopped.len();
        for at in 0..stages.n_looks() {
            self.advance(workers, self.part_of(stages, at), self.date_of(stages, at))?;
            let trials: Vec<usize> = (0..n_rows).filter(|&trial| self.is_under_way[trial]).collect();
            if trials.is_empty() {
                break;
            }
            let shown = trials.iter().copied().chain(n_rows..self.batch.n_trials);
            let n_bars = self.n_bars_at(stages, at);
            let mut found = BatchOutcome::default();
            for trial in shown {
                let tally = self.tally(trial, &self.part_of(stages, at));
                found.by_account.extend(tally.by_account());
                found.trials.push(tally.finish(self.batch.plan, n_bars));
            }
            let numbers: Vec<usize> = trials.iter().map(|trial| first + trial).collect();
            let verdicts = look(at, &numbers, found)?;
            if verdicts.len() != trials.len() {
                let message = format!("a look at {} trials gave {} answers", trials.len(), verdicts.len());
                return Err(EngineError::Spec(message));
            }
            for (trial, _) in trials.into_iter().zip(verdicts).filter(|(_, is_stopped)| *is_stopped) {
                self.is_under_way[trial] = false;
                self.stopped[trial] = Some(n_bars);
                self.cells.iter_mut().skip(trial).step_by(self.batch.n_trials).for_each(|cell| {
                    *cell = Cell::Done;
                });
            }
        }
        // Nothing is compared any more.
        self.is_under_way[n_rows..].fill(false);
        let everything: Vec<usize> = (0..self.accounts.len()).collect();
        self.advance(workers, everything.clone(), None)?;
        let outcome = |trial: usize| match self.stopped[trial] {
            Some(n_bars) => TrialOutcome {
                error: None,
                hash: String::new(),
                n_bars,
                n_defined: 0,
                values: vec![f64::NAN; self.batch.plan.outputs().len()],
            },
            None => self.tally(trial, &everything).finish(self.batch.plan, self.batch.n_bars),
        };
        Ok((0..n_rows).map(outcome).collect())
    }

    /// Accounts that have been run at a look.
    fn part_of(&self, stages: &Stages, at: usize) -> Vec<usize> {
        match stages {
            Stages::Assets(parts) => {
                let mut part = parts[at].clone();
                part.sort_unstable();
                part
            }
            Stages::Dates(_) => (0..self.accounts.len()).collect(),
        }
    }

    fn date_of(&self, stages: &Stages, at: usize) -> Option<i32> {
        match stages {
            Stages::Assets(_) => None,
            Stages::Dates(dates) => Some(dates[at]),
        }
    }

    /// Bars of a trial up to a look.
    fn n_bars_at(&self, stages: &Stages, at: usize) -> u64 {
        let window = self.batch.plan.spec().window;
        let n_rows = |asset: usize, until: Option<i32>| {
            let dates = self.batch.panel.asset(asset).date;
            let rows = window.rows(dates);
            let end = until.map_or(dates.len(), |until| dates.partition_point(|&date| date <= until));
            rows.end.min(end).saturating_sub(rows.start) as u64
        };
        let part = self.part_of(stages, at);
        let assets = part.iter().flat_map(|&account| &self.accounts[account]);
        assets.map(|&asset| n_rows(asset, self.date_of(stages, at))).sum()
    }

    /// The metrics of a trial over some accounts, in panel order.
    fn tally(&self, trial: usize, accounts: &[usize]) -> Tally {
        let mut tally = Tally::new(self.batch.plan, accounts.len());
        for account in accounts {
            let ix = account * self.batch.n_trials + trial;
            if let Cell::Failed(error) = &self.cells[ix] {
                tally.fail(error.clone());
            }
            tally.add(self.batch.plan, &self.metrics[ix * N_METRICS..][..N_METRICS]);
        }
        tally
    }

    /// Runs the trials under way over some accounts, to the end of a date or to the end.
    fn advance(
        &mut self,
        workers: &Workers<'_>,
        accounts: Vec<usize>,
        until: Option<i32>,
    ) -> Result<(), EngineError> {
        let n_trials = self.batch.n_trials;
        let n_tasks = rayon::current_num_threads() * super::per_asset::TASKS_A_THREAD;
        let part = n_trials.div_ceil(n_tasks.div_ceil(accounts.len().max(1)).clamp(1, n_trials));
        let mut is_wanted = vec![false; self.accounts.len()];
        accounts.into_iter().for_each(|account| is_wanted[account] = true);
        let mut tasks = Vec::new();
        let rows = self.metrics.chunks_mut(n_trials * N_METRICS);
        for (account, (cells, rows)) in self.cells.chunks_mut(n_trials).zip(rows).enumerate() {
            if is_wanted[account] {
                let parts = cells.chunks_mut(part).zip(rows.chunks_mut(part * N_METRICS)).enumerate();
                tasks.extend(parts.map(|(ix, (cells, rows))| Task {
                    universe: &self.accounts[account],
                    first_trial: ix * part,
                    cells,
                    rows,
                }));
            }
        }
        let (batch, shared, is_under_way) = (self.batch, self.shared, &self.is_under_way);
        tasks.par_iter_mut().try_for_each(|task| {
            workers.with(|worker| match (shared, until) {
                (None, None) => task.finish(batch, worker, is_under_way),
                (None, Some(_)) => task.of_one_asset(batch, worker, is_under_way, until),
                (Some(shared), _) => task.of_all_assets(batch, worker, is_under_way, shared, until),
            })
        })
    }
}

/// Some trials over one account.
struct Task<'a> {
    universe: &'a [usize],
    first_trial: usize,
    cells: &'a mut [Cell],
    rows: &'a mut [f64],
}

impl Task<'_> {
    /// From wherever the trials stand: those that have not begun run like those of any batch.
    fn finish(
        &mut self,
        batch: &Batch<'_>,
        worker: &mut Worker<'_>,
        is_under_way: &[bool],
    ) -> Result<(), EngineError> {
        if self.cells.iter().any(|cell| matches!(cell, Cell::Paused(_))) {
            return self.of_one_asset(batch, worker, is_under_way, None);
        }
        let &[asset] = self.universe else { return Ok(()) };
        worker.timeline.rebuild(batch.panel, &[asset], batch.plan.spec().window, batch.cancel)?;
        let source = batch.rules.source(batch.panel.asset(asset));
        worker.evaluator.begin(batch.graph, source.len());
        for (ix, (cell, row)) in self.cells.iter_mut().zip(self.rows.chunks_mut(N_METRICS)).enumerate() {
            let trial = self.first_trial + ix;
            if is_under_way[trial] && matches!(cell, Cell::Fresh) {
                let done = batch.one_backtest(worker, &[asset], &source, trial, row);
                *cell = ended(done.map(|()| Cell::Done))?;
            }
        }
        Ok(())
    }

    fn of_one_asset(
        &mut self,
        batch: &Batch<'_>,
        worker: &mut Worker<'_>,
        is_under_way: &[bool],
        until: Option<i32>,
    ) -> Result<(), EngineError> {
        let &[asset] = self.universe else { return Ok(()) };
        worker.timeline.rebuild(batch.panel, &[asset], batch.plan.spec().window, batch.cancel)?;
        let source = batch.rules.source(batch.panel.asset(asset));
        worker.evaluator.begin(batch.graph, source.len());
        let Worker { timeline, evaluator, scratch, .. } = worker;
        self.each_account(batch, is_under_way, timeline, scratch, until, |trial| {
            let mut paused = Box::<Paused>::default();
            let bound = batch.graph.trial(trial).map_err(Clone::clone)?;
            paused.columns.fill_one(batch.rules, batch.graph, bound, evaluator, &source)?;
            Ok(paused)
        })
    }

    fn of_all_assets(
        &mut self,
        batch: &Batch<'_>,
        worker: &mut Worker<'_>,
        is_under_way: &[bool],
        shared: &SharedSteps,
        until: Option<i32>,
    ) -> Result<(), EngineError> {
        self.each_account(batch, is_under_way, &shared.timeline, &mut worker.scratch, until, |trial| {
            Paused::with_all_assets(batch, trial, shared)
        })
    }

    /// Lets the account of every trial that is under way go on; `begin` makes those that have not begun.
    fn each_account(
        &mut self,
        batch: &Batch<'_>,
        is_under_way: &[bool],
        timeline: &Timeline,
        scratch: &mut Scratch,
        until: Option<i32>,
        mut begin: impl FnMut(usize) -> Result<Box<Paused>, EngineError>,
    ) -> Result<(), EngineError> {
        for (ix, (cell, row)) in self.cells.iter_mut().zip(self.rows.chunks_mut(N_METRICS)).enumerate() {
            let trial = self.first_trial + ix;
            if !is_under_way[trial] {
                continue;
            }
            let going = match std::mem::take(cell) {
                Cell::Fresh => begin(trial),
                Cell::Paused(paused) => Ok(paused),
                other => {
                    *cell = other;
                    continue;
                }
            };
            let run = |mut paused: Box<Paused>| {
                paused.go_on(batch, trial, self.universe, timeline, until)?;
                measure(batch.plan, paused.engine.record(), timeline, scratch, row);
                Ok(if until.is_some() { Cell::Paused(paused) } else { Cell::Done })
            };
            *cell = ended(going.and_then(run))?;
        }
        Ok(())
    }
}

/// A trial that failed is a result; a batch that was told to stop is not.
fn ended(cell: Result<Cell, EngineError>) -> Result<Cell, EngineError> {
    match cell {
        Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
        Err(error) => Ok(Cell::Failed(error.to_string())),
        Ok(cell) => Ok(cell),
    }
}

impl Paused {
    fn with_all_assets(
        batch: &Batch<'_>,
        trial: usize,
        shared: &SharedSteps,
    ) -> Result<Box<Self>, EngineError> {
        let mut paused = Box::<Self>::default();
        let bound = batch.graph.trial(trial).map_err(Clone::clone)?;
        let numbers = batch.rules.numbers(bound)?;
        let columns = &mut paused.columns;
        if batch.rules.program().is_cross_sectional() {
            let all_rows = &shared.all_rows;
            columns.fill_across(
                batch.rules,
                batch.graph,
                bound,
                batch.panel,
                batch.assets,
                all_rows,
                batch.cancel,
            )?;
        } else {
            columns.fill_all(batch.rules, batch.graph, bound, batch.panel, batch.assets, batch.cancel)?;
        }
        let borrowed = columns.borrow();
        if RuleTrader::new(batch.rules, numbers, &borrowed).decides_by_signals() {
            paused.signals.rebuild(&shared.rows, &borrowed);
        }
        Ok(paused)
    }

    /// Runs the account on, to the end of a date or to the end.
    fn go_on(
        &mut self,
        batch: &Batch<'_>,
        trial: usize,
        universe: &[usize],
        timeline: &Timeline,
        until: Option<i32>,
    ) -> Result<(), EngineError> {
        batch.go_on()?;
        let numbers = batch.rules.numbers(batch.graph.trial(trial).map_err(Clone::clone)?)?;
        let columns = self.columns.borrow();
        let mut trader = RuleTrader::new(batch.rules, numbers, &columns);
        if universe.len() > 1 {
            trader = trader.seeing(&self.signals);
        }
        if let Some(waiting) = self.waiting.take() {
            trader = trader.resumed(waiting);
        }
        let spec = RunSpec {
            panel: batch.panel,
            universe,
            timeline,
            market: batch.plan.market(),
            risk: &batch.plan.spec().risk,
            keep: Keep::Metrics,
            cancel: batch.cancel,
        };
        let end = until.map_or(usize::MAX, |until| timeline.dates().partition_point(|&date| date <= until));
        self.engine.run_until(&spec, &mut trader, &mut self.progress, end)?;
        self.waiting = Some(trader.into_waiting());
        Ok(())
    }
}
