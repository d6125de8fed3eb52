//! Trials x assets over shared data: asset-major, under rayon, the same bytes on any number of threads.

mod accounts;
mod columns;
mod per_asset;
mod pooled;
mod shared_cash;
mod staged;
mod tally;
mod workers;

use crate::analysis::N_METRICS;
use crate::data::{Panel, Timeline};
use crate::engine::{Keep, Record};
use crate::error::EngineError;
use crate::model::Order;
use crate::plan::{Mode, Plan};
use crate::rules::BatchGraph;
use crate::signals::SignalTable;
use crate::strategy::Strategy;
use crate::trader::{CompiledRules, RuleColumns, RuleTrader};
pub(crate) use accounts::Accounts;
use accounts::measure;
pub use accounts::session_outcome;
pub(crate) use columns::ColumnBuffers;
use rayon::prelude::*;
pub use staged::{Stages, run_staged};
use std::sync::atomic::{AtomicBool, Ordering};
use tally::Tally;
use workers::Workers;

/// Values of a block of assets that are held at once: bounds their memory at about 24 MB.
const MAX_BLOCK: usize = 3 << 20;

/// Trials that are run together at most: their state between blocks stays below 10 MB.
const MAX_TRIALS: usize = 1 << 12;

/// What became of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialOutcome {
    /// Why it has no values.
    pub error: Option<String>,
    /// Digest of every metric of every account.
    pub hash: String,
    pub n_bars: u64,
    /// Accounts whose first output is defined.
    pub n_defined: usize,
    /// One an output; undefined is NaN.
    pub values: Vec<f64>,
}

/// Everything one account did.
#[derive(Debug)]
pub struct AccountResult {
    pub universe: Vec<usize>,
    pub timeline: Timeline,
    pub record: Record,
    pub orders: Vec<Order>,
    pub metrics: Vec<f64>,
}

/// One parameter set: its values and, when asked for, its accounts.
#[derive(Debug)]
pub struct RunOutcome {
    pub outcome: TrialOutcome,
    pub accounts: Vec<AccountResult>,
}

/// What a batch gives besides the values of its trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extras {
    /// The outputs of every account, before they are aggregated.
    pub by_account: bool,
    /// The returns of every trial by trading date.
    pub returns: bool,
}

/// What a batch gives, trials in the order of their rows.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    pub trials: Vec<TrialOutcome>,
    /// With `Extras::by_account`: outputs of account after account of trial after trial; NaN for one that failed.
    pub by_account: Vec<f64>,
    /// With `Extras::returns`: trading dates of all assets inside the window, in days since 1970-01-01.
    pub dates: Vec<i32>,
    /// With `Extras::returns`: for trial after trial the return of each date after the first, of all accounts together.
    pub returns: Vec<f64>,
}

/// Runs every row of `rows` over every asset of the panel in the current rayon pool.
pub fn run_batch(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    cancel: &AtomicBool,
) -> Result<Vec<TrialOutcome>, EngineError> {
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    Ok(run_batch_on(plan, panel, rows, &assets, Extras::default(), cancel)?.trials)
}

/// As `run_batch`, over some assets (positions in the panel, ascending) and with more to come back.
pub fn run_batch_on(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    assets: &[usize],
    extras: Extras,
    cancel: &AtomicBool,
) -> Result<BatchOutcome, EngineError> {
    plan.check(panel, assets.len())?;
    let mut out = BatchOutcome::default();
    if extras.returns {
        out.dates = pooled::dates_of(panel, assets, plan.spec().window, cancel)?;
    }
    if plan.registered()?.is_some() {
        run_named_batch(plan, panel, rows, assets, extras, cancel, &mut out)?;
        return Ok(out);
    }
    let rules = plan.compile(panel)?.ok_or_else(needs_rules)?;
    let workers = Workers::new(cancel);
    let n_bars =
        assets.iter().map(|&asset| plan.spec().window.rows(panel.asset(asset).date).len() as u64).sum();
    let dates = std::mem::take(&mut out.dates);
    for rows in rows.chunks(n_trials_together(plan, assets.len(), dates.len())) {
        let full_rows = full_rows(plan, rows);
        let borrowed: Vec<&[f64]> = full_rows.iter().map(Vec::as_slice).collect();
        let graph = BatchGraph::bind(rules.program(), &borrowed);
        let batch = Batch {
            plan,
            panel,
            assets,
            rules: &rules,
            graph: &graph,
            n_trials: rows.len(),
            n_bars,
            dates: &dates,
            extras,
            cancel,
        };
        match plan.spec().mode {
            Mode::PerAsset => batch.per_asset(&workers, &mut out)?,
            Mode::Portfolio => batch.shared_cash(&workers, &mut out)?,
        }
    }
    out.dates = dates;
    Ok(out)
}

/// Trials whose values fit into memory together: of one asset, and the outputs of all of them.
fn n_trials_together(plan: &Plan, n_assets: usize, n_dates: usize) -> usize {
    let row = N_METRICS + n_dates;
    let outputs = n_assets * plan.outputs().len();
    MAX_TRIALS.min(MAX_BLOCK / row).min(MAX_BLOCK / outputs.max(1)).max(1)
}

/// Some trials over some assets.
struct Batch<'a> {
    plan: &'a Plan,
    panel: &'a Panel,
    assets: &'a [usize],
    rules: &'a CompiledRules,
    graph: &'a BatchGraph,
    n_trials: usize,
    /// Bars of all assets inside the window.
    n_bars: u64,
    /// Trading dates to note equity on; none where returns are not asked for.
    dates: &'a [i32],
    extras: Extras,
    cancel: &'a AtomicBool,
}

impl Batch<'_> {
    /// Between two parts of the work: an error where the batch was told to stop.
    fn go_on(&self) -> Result<(), EngineError> {
        if self.cancel.load(Ordering::Relaxed) { Err(EngineError::Cancelled) } else { Ok(()) }
    }
}

/// Runs one parameter set of a rule strategy over some assets.
pub fn run_rules(
    plan: &Plan,
    panel: &Panel,
    row: &[f64],
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
) -> Result<RunOutcome, EngineError> {
    let rules = plan.compile(panel)?.ok_or_else(needs_rules)?;
    let full_rows = full_rows(plan, &[row]);
    let graph = BatchGraph::bind(rules.program(), &[&full_rows[0]]);
    let bound = graph.trial(0).map_err(Clone::clone)?;
    let numbers = rules.numbers(bound)?;
    let mut columns = ColumnBuffers::default();
    let mut accounts = Accounts::new(plan, panel, keep, cancel);
    for universe in plan.accounts(assets) {
        columns.fill_all(&rules, &graph, bound, panel, &universe, cancel)?;
        let borrowed = columns.borrow();
        let mut trader = RuleTrader::new(&rules, numbers, &borrowed);
        accounts.run(universe, &mut trader)?;
    }
    Ok(accounts.finish())
}

/// Runs one parameter set over columns that the caller has made.
pub fn run_signals(
    plan: &Plan,
    panel: &Panel,
    row: &[f64],
    signals: &SignalTable,
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
) -> Result<RunOutcome, EngineError> {
    let rules = plan.compile_signals(panel, signals, 1)?;
    run_given(plan, panel, &rules, row, &|asset| signals.columns(panel.rows(asset)), assets, keep, cancel)
}

/// Runs parameter sets over columns that the caller has made, in the current rayon pool; the columns of the sets follow
/// one another in the table. A set that fails fails alone.
pub fn run_signals_batch(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    signals: &SignalTable,
    cancel: &AtomicBool,
) -> Result<Vec<TrialOutcome>, EngineError> {
    plan.check(panel, panel.n_assets())?;
    let rules = plan.compile_signals(panel, signals, rows.len())?;
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    let n_accounts = plan.accounts(&assets).len();
    let one = |(set, row): (usize, &&[f64])| {
        let columns = |asset: usize| {
            let (first, end) = panel.rows(asset);
            let before = set * panel.n_rows();
            signals.columns((before + first, before + end))
        };
        match run_given(plan, panel, &rules, row, &columns, &assets, Keep::Metrics, cancel) {
            Ok(run) => Ok(run.outcome),
            Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
            Err(error) => {
                let mut tally = Tally::new(plan, n_accounts);
                tally.fail(error.to_string());
                Ok(tally.finish(plan, 0))
            }
        }
    };
    rows.par_iter().enumerate().map(one).collect()
}

#[expect(clippy::too_many_arguments, reason = "one call a parameter set; the rest is the batch's")]
fn run_given<'s>(
    plan: &Plan,
    panel: &Panel,
    rules: &CompiledRules,
    row: &[f64],
    columns: &dyn Fn(usize) -> RuleColumns<'s>,
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
) -> Result<RunOutcome, EngineError> {
    let full_rows = full_rows(plan, &[row]);
    let graph = BatchGraph::bind(rules.program(), &[&full_rows[0]]);
    let numbers = rules.numbers(graph.trial(0).map_err(Clone::clone)?)?;
    let mut accounts = Accounts::new(plan, panel, keep, cancel);
    for universe in plan.accounts(assets) {
        let columns: Vec<RuleColumns<'_>> = universe.iter().map(|&asset| columns(asset)).collect();
        let mut trader = RuleTrader::new(rules, numbers, &columns);
        accounts.run(universe, &mut trader)?;
    }
    Ok(accounts.finish())
}

/// Runs one parameter set of a strategy of the engine.
pub fn run_named(
    plan: &Plan,
    panel: &Panel,
    row: &[f64],
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
) -> Result<RunOutcome, EngineError> {
    run_strategies(plan, panel, assets, keep, cancel, plan.named_strategy(row)?)
}

fn run_named_batch(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    assets: &[usize],
    extras: Extras,
    cancel: &AtomicBool,
    out: &mut BatchOutcome,
) -> Result<(), EngineError> {
    let n_accounts = plan.accounts(assets).len();
    let one = |row: &&[f64]| {
        let mut tally = Tally::new(plan, n_accounts);
        let mut pooled = vec![0.0; out.dates.len()];
        let mut n_bars = 0;
        match run_named(plan, panel, row, assets, Keep::Metrics, cancel) {
            Ok(run) => {
                n_bars = run.outcome.n_bars;
                let mut equity = vec![0.0; out.dates.len()];
                for account in &run.accounts {
                    tally.add(plan, &account.metrics);
                    let record = &account.record.equity;
                    pooled::equity_on(&out.dates, &account.timeline, record, plan.market().cash, &mut equity);
                    pooled.iter_mut().zip(&equity).for_each(|(sum, equity)| *sum += equity);
                }
            }
            Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
            Err(error) => {
                tally.fail(error.to_string());
                pooled.fill(f64::NAN);
                (0..n_accounts).for_each(|_| tally.add(plan, &[f64::NAN; N_METRICS]));
            }
        }
        Ok((tally, pooled, n_bars))
    };
    let done: Result<Vec<_>, EngineError> = rows.par_iter().map(one).collect();
    for (tally, pooled, n_bars) in done? {
        pooled::push_returns(&pooled, &mut out.returns);
        if extras.by_account {
            out.by_account.extend(tally.by_account());
        }
        out.trials.push(tally.finish(plan, n_bars));
    }
    Ok(())
}

/// Runs callback strategies over some assets: `make` gives a fresh one for every account, and gets it back after.
pub fn run_strategies<S: Strategy>(
    plan: &Plan,
    panel: &Panel,
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
    mut make: impl FnMut(&[usize]) -> Result<S, EngineError>,
) -> Result<RunOutcome, EngineError> {
    let mut accounts = Accounts::new(plan, panel, keep, cancel);
    for universe in plan.accounts(assets) {
        let mut strategy = make(&universe)?;
        accounts.run(universe, &mut strategy)?;
    }
    Ok(accounts.finish())
}

fn needs_rules() -> EngineError {
    EngineError::Spec(
        "a batch needs rules or a strategy of the engine: the plan's decisions are made by the caller"
            .to_owned(),
    )
}

fn full_rows(plan: &Plan, rows: &[&[f64]]) -> Vec<Vec<f64>> {
    let full = |row: &&[f64]| {
        let mut out = Vec::new();
        plan.full_row(row, &mut out);
        out
    };
    rows.iter().map(full).collect()
}
