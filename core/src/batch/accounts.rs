//! The accounts of one parameter set, run one after another.

use super::tally::Tally;
use super::{AccountResult, RunOutcome};
use crate::analysis::{Counts, N_METRICS, RunSummary, Scratch, summarize};
use crate::data::{Panel, Timeline};
use crate::engine::{Engine, Keep, Record, RunSpec};
use crate::error::EngineError;
use crate::model::Order;
use crate::plan::Plan;
use crate::strategy::Strategy;
use std::sync::atomic::AtomicBool;

/// Runs accounts in one engine, whose memory they share, and keeps what each did.
pub(crate) struct Accounts<'a> {
    plan: &'a Plan,
    panel: &'a Panel,
    keep: Keep,
    cancel: &'a AtomicBool,
    engine: Engine,
    scratch: Scratch,
    done: Vec<AccountResult>,
}

impl<'a> Accounts<'a> {
    pub fn new(plan: &'a Plan, panel: &'a Panel, keep: Keep, cancel: &'a AtomicBool) -> Self {
        Self {
            plan,
            panel,
            keep,
            cancel,
            engine: Engine::default(),
            scratch: Scratch::default(),
            done: Vec::new(),
        }
    }

    /// Runs one strategy over the next account.
    pub fn run<S: Strategy>(&mut self, universe: Vec<usize>, strategy: &mut S) -> Result<(), EngineError> {
        let timeline = Timeline::build(self.panel, &universe, self.plan.spec().window, self.cancel)?;
        let spec = RunSpec {
            panel: self.panel,
            universe: &universe,
            timeline: &timeline,
            market: self.plan.market(),
            risk: &self.plan.spec().risk,
            keep: self.keep,
            cancel: self.cancel,
        };
        self.engine.run(&spec, strategy)?;
        let mut metrics = vec![f64::NAN; N_METRICS];
        measure(self.plan, self.engine.record(), &timeline, &mut self.scratch, &mut metrics);
        let orders = if self.keep == Keep::Everything { self.engine.orders().to_vec() } else { Vec::new() };
        let record = self.engine.take_record();
        self.done.push(AccountResult { universe, timeline, record, orders, metrics });
        Ok(())
    }

    pub fn finish(self) -> RunOutcome {
        collect(self.plan, self.done)
    }
}

/// What a session did in its one account, as a run of its plan gives it.
pub fn session_outcome(
    plan: &Plan,
    universe: Vec<usize>,
    timeline: Timeline,
    record: Record,
    orders: Vec<Order>,
) -> RunOutcome {
    let mut metrics = vec![f64::NAN; N_METRICS];
    measure(plan, &record, &timeline, &mut Scratch::default(), &mut metrics);
    collect(plan, vec![AccountResult { universe, timeline, record, orders, metrics }])
}

/// Fills a row of metrics from the record of an account.
pub(super) fn measure(
    plan: &Plan,
    record: &Record,
    timeline: &Timeline,
    scratch: &mut Scratch,
    out: &mut [f64],
) {
    let n_steps = record.equity.len();
    let summary = RunSummary {
        initial_cash: plan.market().cash,
        equity: &record.equity,
        // Of a run that has been paused the first ones only.
        dates: &timeline.dates()[..n_steps],
        trips: &record.trips,
        counts: Counts {
            n_orders: record.n_orders,
            n_fills: record.n_fills,
            n_rejects: record.n_rejects,
            fees: record.fees,
            slippage_cost: record.slippage_cost,
            traded_notional: record.traded_notional,
            exposed_steps: record.exposed_steps,
            n_steps: n_steps as u64,
        },
        settings: plan.settings(),
        benchmark: None,
    };
    summarize(&summary, scratch, out);
}

fn collect(plan: &Plan, accounts: Vec<AccountResult>) -> RunOutcome {
    let mut tally = Tally::new(plan, accounts.len());
    for account in &accounts {
        tally.add(plan, &account.metrics);
    }
    let n_bars = accounts.iter().map(|account| account.timeline.n_bars() as u64).sum();
    RunOutcome { outcome: tally.finish(plan, n_bars), accounts }
}
