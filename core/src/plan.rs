//! A plan: strategy, market, window and wanted outputs as plain data, checked once.

use crate::analysis::{Aggregate, METRICS, MetricSettings, ReturnBasis, metric_ix};
use crate::data::{Panel, Window};
use crate::error::{EngineError, RuleError};
use crate::market::Market;
use crate::registry::{self, NamedStrategy, Registered};
use crate::risk::RiskSpec;
use crate::rules::suggestion;
use crate::signals::{SignalTable, check_settings};
use crate::trader::{CompiledRules, RuleSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategySpec {
    Rules(Box<RuleSpec>),
    /// The columns of the slots come with every run; here are sizing, protection and the like.
    Signals(Box<RuleSpec>),
    /// A strategy of the engine, by its name in the registry.
    Rust(String),
    /// A strategy object that the caller brings to every run.
    Callback(bool),
    /// Strategies that share every account, in the order in which they are called.
    Several(Vec<MemberSpec>),
}

/// One of several strategies that share an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    pub name: String,
    pub strategy: StrategySpec,
    /// Values of its parameters; a callback strategy has its own where it comes from.
    #[serde(default)]
    pub params: BTreeMap<String, f64>,
}

/// A member with the plan that it would have alone.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    pub plan: Plan,
}

/// Whose cash it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every asset has its own account; values are aggregated over assets.
    #[default]
    PerAsset,
    /// All assets share one account.
    Portfolio,
}

/// How returns are counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricSpec {
    pub basis: ReturnBasis,
    pub periods_per_year: f64,
    pub risk_free: f64,
    pub mar: f64,
}

impl Default for MetricSpec {
    fn default() -> Self {
        Self { basis: ReturnBasis::Daily, periods_per_year: 252.0, risk_free: 0.0, mar: 0.0 }
    }
}

/// The JSON that crosses from Python.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSpec {
    pub strategy: StrategySpec,
    /// Columns of the parameter matrix.
    #[serde(default)]
    pub params: Vec<String>,
    /// Parameters of rules that are the same for every trial.
    #[serde(default)]
    pub constants: BTreeMap<String, f64>,
    #[serde(default, deserialize_with = "crate::market::read_market")]
    pub market: Market,
    #[serde(default)]
    pub risk: RiskSpec,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub window: Window,
    #[serde(default)]
    pub metrics: MetricSpec,
    /// Metric and aggregate over assets; no aggregate where there is one account.
    pub outputs: Vec<(String, Option<Aggregate>)>,
    /// Share of assets that must have a defined value.
    #[serde(default = "half")]
    pub min_defined: f64,
}

fn half() -> f64 {
    0.5
}

/// One value of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output {
    pub metric_ix: usize,
    pub aggregate: Option<Aggregate>,
}

impl Output {
    /// `sharpe.median`, or `sharpe` for one account.
    pub fn name(&self) -> String {
        let metric = METRICS[self.metric_ix].name;
        match self.aggregate {
            Some(aggregate) => format!("{metric}.{aggregate}"),
            None => metric.to_owned(),
        }
    }
}

/// A checked plan.
#[derive(Debug, Clone)]
pub struct Plan {
    spec: PlanSpec,
    outputs: Vec<Output>,
    settings: MetricSettings,
    members: Vec<Member>,
}

impl Plan {
    pub fn from_json(text: &str) -> Result<Self, EngineError> {
        let spec: PlanSpec =
            serde_json::from_str(text).map_err(|error| EngineError::Spec(format!("plan: {error}")))?;
        Self::new(spec)
    }

    pub fn new(spec: PlanSpec) -> Result<Self, EngineError> {
        spec.market.check()?;
        spec.risk.check(&spec.market)?;
        if !(0.0..=1.0).contains(&spec.min_defined) {
            let message = format!("min_defined must be a share from 0 to 1, got {}", spec.min_defined);
            return Err(EngineError::Spec(message));
        }
        if spec.outputs.is_empty() {
            return Err(EngineError::Spec("outputs: at least one is needed".to_owned()));
        }
        let mut outputs = Vec::with_capacity(spec.outputs.len());
        for (name, aggregate) in &spec.outputs {
            let metric_ix = metric_ix(name)
                .ok_or_else(|| EngineError::Spec(format!("outputs: unknown metric {name:?}")))?;
            outputs.push(Output { metric_ix, aggregate: *aggregate });
        }
        for name in spec.constants.keys() {
            if spec.params.contains(name) {
                return Err(EngineError::Spec(format!("{name:?} is both searched and fixed")));
            }
        }
        let m = spec.metrics;
        if !(m.periods_per_year.is_finite() && m.periods_per_year > 0.0) {
            let message = format!("metrics.periods_per_year must be above zero, got {}", m.periods_per_year);
            return Err(EngineError::Spec(message));
        }
        let settings = MetricSettings {
            basis: m.basis,
            periods_per_year: m.periods_per_year,
            risk_free: m.risk_free,
            mar: m.mar,
        };
        let members = members_of(&spec)?;
        let plan = Self { spec, outputs, settings, members };
        if let StrategySpec::Signals(settings) = &plan.spec.strategy {
            check_settings(settings)?;
            CompiledRules::compile_numbers(settings, &plan.names())?;
        }
        if let Some(entry) = plan.registered()? {
            entry.check_names(&plan.names())?;
        }
        let rules = plan.compile_open()?;
        if plan.spec.mode == Mode::PerAsset && rules.is_some_and(|rules| rules.program().is_cross_sectional())
        {
            let message =
                "rank compares assets, so it needs one account for all of them: set mode to portfolio";
            return Err(EngineError::Spec(message.to_owned()));
        }
        Ok(plan)
    }

    pub fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub fn settings(&self) -> &MetricSettings {
        &self.settings
    }

    /// The strategies that share every account; none where one strategy has it for itself.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn market(&self) -> &Market {
        &self.spec.market
    }

    /// Accounts of a run over these assets: each with the positions of its instruments in the panel.
    pub fn accounts(&self, assets: &[usize]) -> Vec<Vec<usize>> {
        match self.spec.mode {
            Mode::PerAsset => assets.iter().map(|&asset| vec![asset]).collect(),
            Mode::Portfolio => vec![assets.to_vec()],
        }
    }

    /// Compiles the rules against the columns of a panel; none for a callback strategy.
    pub fn compile(&self, panel: &Panel) -> Result<Option<CompiledRules>, EngineError> {
        let extra: Vec<&str> = panel.extra_names().iter().map(String::as_str).collect();
        let rules = match &self.spec.strategy {
            StrategySpec::Rules(rules) => self.compile_rules(rules, &extra)?.at(self.spec.market.place()?),
            StrategySpec::Signals(_)
            | StrategySpec::Rust(_)
            | StrategySpec::Callback(_)
            | StrategySpec::Several(_) => return Ok(None),
        };
        if !panel.has_volume() && rules.program().series().iter().any(|name| name == "volume") {
            let hint = ": the data have no volume column".to_owned();
            let slot = "strategy.rules".to_owned();
            return Err(
                RuleError::UnknownName { slot, what: "series", name: "volume".to_owned(), hint }.into()
            );
        }
        Ok(Some(rules))
    }

    /// The strategy of the engine that the plan names.
    pub fn registered(&self) -> Result<Option<&'static Registered>, EngineError> {
        match &self.spec.strategy {
            StrategySpec::Rust(name) => registry::find(name).map(Some),
            _ => Ok(None),
        }
    }

    /// A maker of the named strategy for one parameter set, an account at a time.
    pub fn named_strategy(
        &self,
        row: &[f64],
    ) -> Result<impl Fn(&[usize]) -> Result<NamedStrategy, EngineError> + use<>, EngineError> {
        let entry = self
            .registered()?
            .ok_or_else(|| EngineError::Spec("the plan names no strategy of the engine".to_owned()))?;
        let mut full = Vec::new();
        self.full_row(row, &mut full);
        let values = entry.values(&self.names(), &full)?;
        Ok(move |universe: &[usize]| entry.make(&values, universe.len()))
    }

    /// Joins the settings of a signal plan with the columns of so many runs.
    pub fn compile_signals(
        &self,
        panel: &Panel,
        signals: &SignalTable,
        n_runs: usize,
    ) -> Result<CompiledRules, EngineError> {
        let StrategySpec::Signals(settings) = &self.spec.strategy else {
            return Err(EngineError::Spec("the plan takes no signals".to_owned()));
        };
        let (got, wanted) = (signals.n_rows(), panel.n_rows());
        if n_runs.checked_mul(wanted) != Some(got) {
            let runs = if n_runs == 1 { String::new() } else { format!(" for {n_runs} runs") };
            let message =
                format!("signals: {got} rows{runs}, expected one for each of the {wanted} of the panel");
            return Err(EngineError::Spec(message));
        }
        CompiledRules::compile_given(&signals.fill(settings)?, &self.names())
    }

    /// Raises what a run over so many assets of the panel would raise before its first step.
    pub fn check(&self, panel: &Panel, n_assets: usize) -> Result<(), EngineError> {
        self.compile(panel)?;
        self.check_symbols(panel)?;
        for member in &self.members {
            member.plan.compile(panel).map_err(|error| member.names(&error))?;
        }
        let n_accounts = if self.spec.mode == Mode::Portfolio { 1 } else { n_assets };
        match self.outputs.iter().find(|output| output.aggregate.is_none()) {
            Some(output) if n_accounts > 1 => Err(EngineError::Spec(format!(
                "{} needs an aggregate over {n_accounts} assets, such as median",
                output.name()
            ))),
            _ => Ok(()),
        }
    }

    /// A list of symbols with one that the panel does not have would act on less than it says.
    fn check_symbols(&self, panel: &Panel) -> Result<(), EngineError> {
        let risk = &self.spec.risk;
        let tradable = risk.tradable.iter().flatten().map(|symbol| ("tradable", symbol));
        let restricted = risk.restricted.iter().map(|symbol| ("restricted", symbol));
        for (list, symbol) in tradable.chain(restricted) {
            if !panel.symbols().contains(symbol) {
                let hint = suggestion(symbol, panel.symbols().iter().map(String::as_str));
                let message = format!("risk.{list} names '{symbol}', which the data do not have{hint}");
                return Err(EngineError::Spec(message));
            }
        }
        Ok(())
    }

    /// The rules in a form that does not depend on white space.
    pub fn canonical_rules(&self) -> Result<Option<String>, EngineError> {
        Ok(self.compile_open()?.map(|rules| rules.program().canonical()))
    }

    /// Searched parameters that no slot of the rules uses.
    pub fn unused_params(&self) -> Result<Vec<String>, EngineError> {
        let rules = match &self.spec.strategy {
            StrategySpec::Signals(settings) => Some(CompiledRules::compile_numbers(settings, &self.names())?),
            _ => self.compile_open()?,
        };
        let unused = rules.map(|rules| rules.program().unused_params()).unwrap_or_default();
        Ok(unused)
    }

    /// A parameter row with the fixed values behind it, as the compiled rules take it.
    pub fn full_row(&self, row: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend_from_slice(row);
        out.extend(self.spec.constants.values());
    }

    /// Parameters in the order of a full row.
    fn names(&self) -> Vec<&str> {
        self.spec.params.iter().chain(self.spec.constants.keys()).map(String::as_str).collect()
    }

    fn compile_rules(&self, rules: &RuleSpec, extra: &[&str]) -> Result<CompiledRules, EngineError> {
        CompiledRules::compile(rules, &self.names(), extra)
    }

    /// Compiles without a panel: a name that is nothing else is taken for one of its columns.
    fn compile_open(&self) -> Result<Option<CompiledRules>, EngineError> {
        let StrategySpec::Rules(rules) = &self.spec.strategy else { return Ok(None) };
        let mut extra: Vec<String> = Vec::new();
        loop {
            let names: Vec<&str> = extra.iter().map(String::as_str).collect();
            match self.compile_rules(rules, &names) {
                Err(EngineError::Rule(RuleError::UnknownName { what: "name", name, .. }))
                    if !extra.contains(&name) =>
                {
                    extra.push(name);
                }
                other => return other.map(Some),
            }
        }
    }
}

impl Member {
    fn names(&self, error: &EngineError) -> EngineError {
        EngineError::Spec(format!("strategy {:?}: {error}", self.name))
    }
}

/// The plans of the strategies that share an account: checked as if each were alone.
fn members_of(spec: &PlanSpec) -> Result<Vec<Member>, EngineError> {
    let StrategySpec::Several(given) = &spec.strategy else { return Ok(Vec::new()) };
    if given.is_empty() {
        return Err(EngineError::Spec("strategy: at least one is needed".to_owned()));
    }
    if !spec.params.is_empty() || !spec.constants.is_empty() {
        let message = "several strategies have their parameters beside them: the plan takes none";
        return Err(EngineError::Spec(message.to_owned()));
    }
    let mut members: Vec<Member> = Vec::with_capacity(given.len());
    for member in given {
        let refuse = |why: &str| EngineError::Spec(format!("strategy {:?}: {why}", member.name));
        if members.iter().any(|other| other.name == member.name) {
            return Err(refuse("two of them have this name"));
        }
        if matches!(member.strategy, StrategySpec::Several(_) | StrategySpec::Signals(_)) {
            return Err(refuse("signals and further lists cannot be one of several strategies"));
        }
        let alone =
            PlanSpec { strategy: member.strategy.clone(), constants: member.params.clone(), ..spec.clone() };
        let plan = Plan::new(alone).map_err(|error| refuse(&error.to_string()))?;
        members.push(Member { name: member.name.clone(), plan });
    }
    Ok(members)
}
