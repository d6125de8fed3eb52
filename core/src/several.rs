//! One run of several strategies that share every account of a plan.

use crate::batch::{Accounts, ColumnBuffers, RunOutcome};
use crate::data::Panel;
use crate::engine::Keep;
use crate::ensemble::Ensemble;
use crate::error::EngineError;
use crate::plan::{Plan, StrategySpec};
use crate::registry::AnyStrategy;
use crate::rules::{BatchGraph, BoundSlot};
use crate::trader::{CompiledRules, RuleNumbers, RuleTrader};
use std::sync::atomic::AtomicBool;

/// Runs the strategies of a plan over some assets, in the order in which the plan has them. Rules and strategies of the
/// engine come from the plan; `make` gives a fresh callback strategy for a member and an account.
pub fn run_several(
    plan: &Plan,
    panel: &Panel,
    assets: &[usize],
    keep: Keep,
    cancel: &AtomicBool,
    mut make: impl FnMut(usize, &[usize]) -> Result<Box<dyn AnyStrategy>, EngineError>,
) -> Result<RunOutcome, EngineError> {
    let mut rules = Vec::with_capacity(plan.members().len());
    for member in plan.members() {
        rules.push(MemberRules::new(&member.plan, panel)?);
    }
    let mut columns: Vec<ColumnBuffers> = rules.iter().map(|_| ColumnBuffers::default()).collect();
    let mut accounts = Accounts::new(plan, panel, keep, cancel);
    for universe in plan.accounts(assets) {
        for (rules, columns) in rules.iter().zip(&mut columns) {
            if let Some(rules) = rules {
                columns.fill_all(&rules.compiled, &rules.graph, rules.bound()?, panel, &universe, cancel)?;
            }
        }
        let borrowed: Vec<_> = columns.iter().map(ColumnBuffers::borrow).collect();
        let mut members: Vec<Box<dyn AnyStrategy + '_>> = Vec::with_capacity(rules.len());
        for (ix, member) in plan.members().iter().enumerate() {
            members.push(match (&rules[ix], &member.plan.spec().strategy) {
                (Some(rules), _) => Box::new(RuleTrader::new(&rules.compiled, rules.numbers, &borrowed[ix])),
                (None, StrategySpec::Rust(_)) => Box::new(member.plan.named_strategy(&[])?(&universe)?),
                (None, _) => make(ix, &universe)?,
            });
        }
        let mut ensemble = Ensemble::new(members);
        accounts.run(universe, &mut ensemble)?;
    }
    Ok(accounts.finish())
}

/// The rules of a member with its parameters.
struct MemberRules {
    compiled: CompiledRules,
    graph: BatchGraph,
    numbers: RuleNumbers,
}

impl MemberRules {
    fn new(plan: &Plan, panel: &Panel) -> Result<Option<Self>, EngineError> {
        let Some(compiled) = plan.compile(panel)? else { return Ok(None) };
        let mut row = Vec::new();
        plan.full_row(&[], &mut row);
        let graph = BatchGraph::bind(compiled.program(), &[&row]);
        let numbers = compiled.numbers(graph.trial(0).map_err(Clone::clone)?)?;
        Ok(Some(Self { compiled, graph, numbers }))
    }

    fn bound(&self) -> Result<&[BoundSlot], EngineError> {
        Ok(self.graph.trial(0).map_err(Clone::clone)?)
    }
}
