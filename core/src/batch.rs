//! Trials x assets over shared data: asset-major, under rayon, the same bytes on any number of threads.

use crate::analysis::{Counts, N_METRICS, RunSummary, Scratch, aggregate, summarize};
use crate::data::{Panel, Timeline};
use crate::engine::{Engine, Keep, Record, RunSpec};
use crate::error::EngineError;
use crate::model::Order;
use crate::plan::{Mode, Plan};
use crate::rules::{BatchGraph, BoundSlot, Evaluator, PanelEvaluator, SeriesSource};
use crate::signals::SignalTable;
use crate::strategy::Strategy;
use crate::trader::{Column, CompiledRules, RuleColumns, RuleTrader};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of the metrics matrix held at once: bounds the memory of a call at about 24 MB.
const MAX_ROWS: usize = 1 << 16;

/// Tasks a thread: enough to even out assets of unequal length.
const TASKS_A_THREAD: usize = 4;

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

/// Runs every row of `rows` over every asset of the panel in the current rayon pool.
pub fn run_batch(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    cancel: &AtomicBool,
) -> Result<Vec<TrialOutcome>, EngineError> {
    plan.check(panel)?;
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    if plan.registered()?.is_some() {
        return run_named_batch(plan, panel, rows, &assets, cancel);
    }
    let rules = plan.compile(panel)?.ok_or_else(needs_rules)?;
    let n_accounts = if plan.spec().mode == Mode::Portfolio { 1 } else { assets.len() };
    let block = (MAX_ROWS / n_accounts).max(1);
    let mut outcomes = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(block) {
        let full_rows = full_rows(plan, chunk);
        let borrowed: Vec<&[f64]> = full_rows.iter().map(Vec::as_slice).collect();
        let graph = BatchGraph::bind(rules.program(), &borrowed);
        let batch = Batch { plan, panel, rules: &rules, graph: &graph, n_trials: chunk.len(), cancel };
        match plan.spec().mode {
            Mode::PerAsset => outcomes.extend(batch.per_asset(&assets)?),
            Mode::Portfolio => outcomes.extend(batch.portfolio(&assets)?),
        }
    }
    Ok(outcomes)
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
    let mut accounts = Vec::new();
    let mut engine = Engine::default();
    let mut scratch = Scratch::default();
    for universe in plan.accounts(assets) {
        columns.fill_all(&rules, &graph, bound, panel, &universe)?;
        let borrowed = columns.borrow();
        let mut trader = RuleTrader::new(&rules, numbers, &borrowed);
        accounts.push(run_account(
            plan,
            panel,
            universe,
            keep,
            cancel,
            &mut engine,
            &mut scratch,
            &mut trader,
        )?);
    }
    Ok(collect(plan, accounts))
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
    let rules = plan.compile_signals(panel, signals)?;
    let full_rows = full_rows(plan, &[row]);
    let graph = BatchGraph::bind(rules.program(), &[&full_rows[0]]);
    let numbers = rules.numbers(graph.trial(0).map_err(Clone::clone)?)?;
    let mut accounts = Vec::new();
    let mut engine = Engine::default();
    let mut scratch = Scratch::default();
    for universe in plan.accounts(assets) {
        let columns: Vec<RuleColumns<'_>> =
            universe.iter().map(|&asset| signals.columns(panel.rows(asset))).collect();
        let mut trader = RuleTrader::new(&rules, numbers, &columns);
        accounts.push(run_account(
            plan,
            panel,
            universe,
            keep,
            cancel,
            &mut engine,
            &mut scratch,
            &mut trader,
        )?);
    }
    Ok(collect(plan, accounts))
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
    cancel: &AtomicBool,
) -> Result<Vec<TrialOutcome>, EngineError> {
    let one = |row: &&[f64]| match run_named(plan, panel, row, assets, Keep::Metrics, cancel) {
        Ok(run) => Ok(run.outcome),
        Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
        Err(error) => Ok(failed(plan, error.to_string())),
    };
    rows.par_iter().map(one).collect()
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
    let mut accounts = Vec::new();
    let mut engine = Engine::default();
    let mut scratch = Scratch::default();
    for universe in plan.accounts(assets) {
        let mut strategy = make(&universe)?;
        accounts.push(run_account(
            plan,
            panel,
            universe,
            keep,
            cancel,
            &mut engine,
            &mut scratch,
            &mut strategy,
        )?);
    }
    Ok(collect(plan, accounts))
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

#[expect(clippy::too_many_arguments, reason = "one call per account; the buffers are the caller's")]
pub(crate) fn run_account<S: Strategy>(
    plan: &Plan,
    panel: &Panel,
    universe: Vec<usize>,
    keep: Keep,
    cancel: &AtomicBool,
    engine: &mut Engine,
    scratch: &mut Scratch,
    strategy: &mut S,
) -> Result<AccountResult, EngineError> {
    let timeline = Timeline::new(panel, &universe, plan.spec().window);
    let spec = RunSpec {
        panel,
        universe: &universe,
        timeline: &timeline,
        market: plan.market(),
        risk: &plan.spec().risk,
        keep,
        cancel,
    };
    engine.run(&spec, strategy)?;
    let mut metrics = vec![f64::NAN; N_METRICS];
    measure(plan, engine.record(), &timeline, scratch, &mut metrics);
    let orders = if keep == Keep::Everything { engine.orders().to_vec() } else { Vec::new() };
    let record = engine.take_record();
    Ok(AccountResult { universe, timeline, record, orders, metrics })
}

fn measure(plan: &Plan, record: &Record, timeline: &Timeline, scratch: &mut Scratch, out: &mut [f64]) {
    let summary = RunSummary {
        initial_cash: plan.market().cash,
        equity: &record.equity,
        dates: timeline.dates(),
        trips: &record.trips,
        counts: Counts {
            n_orders: record.n_orders,
            n_fills: record.n_fills,
            n_rejects: record.n_rejects,
            fees: record.fees,
            slippage_cost: record.slippage_cost,
            traded_notional: record.traded_notional,
            exposed_steps: record.exposed_steps,
            n_steps: timeline.n_steps() as u64,
        },
        settings: plan.settings(),
        benchmark: None,
    };
    summarize(&summary, scratch, out);
}

pub(crate) fn collect(plan: &Plan, accounts: Vec<AccountResult>) -> RunOutcome {
    let rows: Vec<&[f64]> = accounts.iter().map(|account| account.metrics.as_slice()).collect();
    let n_bars = accounts.iter().map(|account| account.timeline.n_bars() as u64).sum();
    RunOutcome { outcome: outcome_of(plan, &rows, n_bars), accounts }
}

/// The values of one trial from the metrics of its accounts, in account order.
fn outcome_of(plan: &Plan, rows: &[&[f64]], n_bars: u64) -> TrialOutcome {
    let mut hasher = blake3::Hasher::new();
    for row in rows {
        for value in *row {
            // Every NaN is the same NaN.
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            hasher.update(&bits.to_le_bytes());
        }
    }
    let hash = hasher.finalize().to_hex()[..32].to_owned();
    let mut values = Vec::with_capacity(plan.outputs().len());
    let mut column = Vec::with_capacity(rows.len());
    for output in plan.outputs() {
        column.clear();
        column.extend(rows.iter().map(|row| row[output.metric_ix]));
        values.push(match output.aggregate {
            Some(kind) => aggregate(&mut column, kind, plan.spec().min_defined).0,
            None => column.first().copied().unwrap_or(f64::NAN),
        });
    }
    let first = plan.outputs()[0].metric_ix;
    let n_defined = rows.iter().filter(|row| row[first].is_finite()).count();
    TrialOutcome { error: None, hash, n_bars, n_defined, values }
}

fn failed(plan: &Plan, message: String) -> TrialOutcome {
    TrialOutcome {
        error: Some(message),
        hash: String::new(),
        n_bars: 0,
        n_defined: 0,
        values: vec![f64::NAN; plan.outputs().len()],
    }
}

/// Memory of one thread, reused from asset to asset.
#[derive(Default)]
struct Worker {
    engine: Engine,
    scratch: Scratch,
    evaluator: Evaluator,
    columns: ColumnBuffers,
    timeline: Timeline,
}

struct Batch<'a> {
    plan: &'a Plan,
    panel: &'a Panel,
    rules: &'a CompiledRules,
    graph: &'a BatchGraph,
    n_trials: usize,
    cancel: &'a AtomicBool,
}

impl Batch<'_> {
    /// One task is one asset and a block of trials; few assets are split into more blocks.
    fn per_asset(&self, assets: &[usize]) -> Result<Vec<TrialOutcome>, EngineError> {
        let n_tasks = rayon::current_num_threads() * TASKS_A_THREAD;
        let n_blocks = n_tasks.div_ceil(assets.len()).clamp(1, self.n_trials);
        let block = self.n_trials.div_ceil(n_blocks);
        let mut metrics = vec![f64::NAN; assets.len() * self.n_trials * N_METRICS];
        let mut tasks = Vec::new();
        for (&asset, rows) in assets.iter().zip(metrics.chunks_mut(self.n_trials * N_METRICS)) {
            for (ix, rows) in rows.chunks_mut(block * N_METRICS).enumerate() {
                tasks.push((asset, ix * block, rows));
            }
        }
        let results: Result<Vec<_>, EngineError> = tasks
            .into_par_iter()
            .map_init(Worker::default, |worker, (asset, first, rows)| {
                self.one_asset(worker, asset, first, rows)
            })
            .collect();
        let mut n_bars = 0;
        let mut errors: Vec<Option<String>> = vec![None; self.n_trials];
        for task in results? {
            n_bars += if task.first == 0 { task.n_bars } else { 0 };
            for (trial, error) in task.errors {
                errors[trial].get_or_insert(error);
            }
        }
        let outcome = |trial: usize| {
            if let Some(message) = &errors[trial] {
                return failed(self.plan, message.clone());
            }
            let row = |asset: usize| {
                let at = (asset * self.n_trials + trial) * N_METRICS;
                &metrics[at..at + N_METRICS]
            };
            let rows: Vec<&[f64]> = (0..assets.len()).map(row).collect();
            outcome_of(self.plan, &rows, n_bars)
        };
        Ok((0..self.n_trials).into_par_iter().map(outcome).collect())
    }

    fn one_asset(
        &self,
        worker: &mut Worker,
        asset: usize,
        first: usize,
        rows: &mut [f64],
    ) -> Result<TaskReport, EngineError> {
        let universe = [asset];
        worker.timeline.rebuild(self.panel, &universe, self.plan.spec().window);
        let view = self.rules.source(self.panel.asset(asset));
        worker.evaluator.begin(self.graph, view.len());
        let mut report = TaskReport { first, n_bars: worker.timeline.n_bars() as u64, errors: Vec::new() };
        for (offset, out) in rows.chunks_mut(N_METRICS).enumerate() {
            let trial = first + offset;
            match self.one_backtest(worker, &universe, &view, trial, out) {
                Ok(()) => {}
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) => report.errors.push((trial, error.to_string())),
            }
        }
        Ok(report)
    }

    fn one_backtest(
        &self,
        worker: &mut Worker,
        universe: &[usize],
        view: &dyn SeriesSource,
        trial: usize,
        out: &mut [f64],
    ) -> Result<(), EngineError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        let bound = self.graph.trial(trial).map_err(Clone::clone)?;
        let numbers = self.rules.numbers(bound)?;
        worker.columns.resize(1);
        worker.columns.fill(0, self.rules, self.graph, bound, &mut worker.evaluator, view)?;
        let borrowed = worker.columns.borrow();
        let mut trader = RuleTrader::new(self.rules, numbers, &borrowed);
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
        measure(self.plan, worker.engine.record(), &worker.timeline, &mut worker.scratch, out);
        Ok(())
    }

    /// One task is one trial over all assets.
    fn portfolio(&self, assets: &[usize]) -> Result<Vec<TrialOutcome>, EngineError> {
        let timeline = Timeline::new(self.panel, assets, self.plan.spec().window);
        let one =
            |worker: &mut Worker, trial: usize| match self.one_portfolio(worker, assets, &timeline, trial) {
                Ok(outcome) => Ok(outcome),
                Err(EngineError::Cancelled) => Err(EngineError::Cancelled),
                Err(error) => Ok(failed(self.plan, error.to_string())),
            };
        (0..self.n_trials).into_par_iter().map_init(Worker::default, one).collect()
    }

    fn one_portfolio(
        &self,
        worker: &mut Worker,
        assets: &[usize],
        timeline: &Timeline,
        trial: usize,
    ) -> Result<TrialOutcome, EngineError> {
        let bound = self.graph.trial(trial).map_err(Clone::clone)?;
        let numbers = self.rules.numbers(bound)?;
        worker.columns.fill_all(self.rules, self.graph, bound, self.panel, assets)?;
        let borrowed = worker.columns.borrow();
        let mut trader = RuleTrader::new(self.rules, numbers, &borrowed);
        let spec = RunSpec {
            panel: self.panel,
            universe: assets,
            timeline,
            market: self.plan.market(),
            risk: &self.plan.spec().risk,
            keep: Keep::Metrics,
            cancel: self.cancel,
        };
        worker.engine.run(&spec, &mut trader)?;
        let mut metrics = [f64::NAN; N_METRICS];
        measure(self.plan, worker.engine.record(), timeline, &mut worker.scratch, &mut metrics);
        Ok(outcome_of(self.plan, &[&metrics], timeline.n_bars() as u64))
    }
}

struct TaskReport {
    first: usize,
    n_bars: u64,
    /// Trials of this task that failed, with the reason.
    errors: Vec<(usize, String)>,
}

/// The columns of one trial, by instrument.
#[derive(Debug, Default)]
pub(crate) struct ColumnBuffers {
    instruments: Vec<OneInstrument>,
}

#[derive(Debug, Default)]
struct OneInstrument {
    bools: [Option<Vec<u8>>; 4],
    nums: [Option<Vec<f64>>; 3],
}

impl ColumnBuffers {
    fn resize(&mut self, n: usize) {
        self.instruments.resize_with(n, OneInstrument::default);
    }

    /// Evaluates one trial over one instrument.
    fn fill(
        &mut self,
        at: usize,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        evaluator: &mut Evaluator,
        source: &dyn SeriesSource,
    ) -> Result<(), EngineError> {
        let instrument = &mut self.instruments[at];
        for (slot, column) in rules.columns() {
            match place(column) {
                Place::Bool(ix) => {
                    let out = instrument.bools[ix].get_or_insert_default();
                    match bound[slot] {
                        BoundSlot::Series(node) => evaluator.bools(graph, source, node, out)?,
                        BoundSlot::Scalar(value) => refill(out, source.len(), u8::from(value == 1.0)),
                    }
                }
                Place::Num(ix) => {
                    let out = instrument.nums[ix].get_or_insert_default();
                    match bound[slot] {
                        BoundSlot::Series(node) => evaluator.nums(graph, source, node, out)?,
                        BoundSlot::Scalar(value) => refill(out, source.len(), value),
                    }
                }
            }
        }
        Ok(())
    }

    /// Evaluates one trial over every instrument of a universe, across it where the rules rank.
    pub(crate) fn fill_all(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        panel: &Panel,
        universe: &[usize],
    ) -> Result<(), EngineError> {
        self.resize(universe.len());
        if rules.program().is_cross_sectional() {
            return self.fill_across(rules, graph, bound, panel, universe);
        }
        let mut evaluator = Evaluator::new();
        for (at, &asset) in universe.iter().enumerate() {
            let view = rules.source(panel.asset(asset));
            evaluator.begin(graph, view.len());
            self.fill(at, rules, graph, bound, &mut evaluator, &view)?;
        }
        Ok(())
    }

    fn fill_across(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        panel: &Panel,
        universe: &[usize],
    ) -> Result<(), EngineError> {
        let views: Vec<_> = universe.iter().map(|&asset| rules.source(panel.asset(asset))).collect();
        let sources: Vec<&dyn SeriesSource> = views.iter().map(|view| view as &dyn SeriesSource).collect();
        let timeline = Timeline::new(panel, universe, crate::data::Window::default());
        let mut steps: Vec<Vec<u32>> = views.iter().map(|view| Vec::with_capacity(view.len())).collect();
        for step in 0..timeline.n_steps() {
            for bar in timeline.bars(step) {
                steps[bar.instrument.ix()].push(step as u32);
            }
        }
        let steps: Vec<&[u32]> = steps.iter().map(Vec::as_slice).collect();
        let mut evaluator = PanelEvaluator::new(graph, &sources, &steps, timeline.n_steps())?;
        for (slot, column) in rules.columns() {
            let node = bound[slot];
            self.place_across(column, node, &mut evaluator, &sources)?;
        }
        Ok(())
    }

    fn place_across(
        &mut self,
        column: Column,
        node: BoundSlot,
        evaluator: &mut PanelEvaluator<'_>,
        sources: &[&dyn SeriesSource],
    ) -> Result<(), EngineError> {
        match (place(column), node) {
            (Place::Bool(ix), BoundSlot::Series(node)) => {
                for (instrument, values) in self.instruments.iter_mut().zip(evaluator.bools(node)?) {
                    instrument.bools[ix] = Some(values);
                }
            }
            (Place::Num(ix), BoundSlot::Series(node)) => {
                for (instrument, values) in self.instruments.iter_mut().zip(evaluator.nums(node)?.nums) {
                    instrument.nums[ix] = Some(values);
                }
            }
            (Place::Bool(ix), BoundSlot::Scalar(value)) => {
                for (instrument, source) in self.instruments.iter_mut().zip(sources) {
                    instrument.bools[ix] = Some(vec![u8::from(value == 1.0); source.len()]);
                }
            }
            (Place::Num(ix), BoundSlot::Scalar(value)) => {
                for (instrument, source) in self.instruments.iter_mut().zip(sources) {
                    instrument.nums[ix] = Some(vec![value; source.len()]);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn borrow(&self) -> Vec<RuleColumns<'_>> {
        self.instruments
            .iter()
            .map(|i| RuleColumns {
                enter: i.bools[0].as_deref(),
                exit: i.bools[1].as_deref(),
                enter_short: i.bools[2].as_deref(),
                exit_short: i.bools[3].as_deref(),
                long_price: i.nums[0].as_deref(),
                short_price: i.nums[1].as_deref(),
                weights: i.nums[2].as_deref(),
            })
            .collect()
    }
}

enum Place {
    Bool(usize),
    Num(usize),
}

fn place(column: Column) -> Place {
    match column {
        Column::Enter => Place::Bool(0),
        Column::Exit => Place::Bool(1),
        Column::EnterShort => Place::Bool(2),
        Column::ExitShort => Place::Bool(3),
        Column::LongPrice => Place::Num(0),
        Column::ShortPrice => Place::Num(1),
        Column::Weights => Place::Num(2),
    }
}

fn refill<T: Copy>(out: &mut Vec<T>, len: usize, value: T) {
    out.clear();
    out.resize(len, value);
}
