//! Strategies written in Rust, by name: what they are called, what parameters they take, how one is made.

use crate::context::Context;
use crate::data::{BarAt, CoarseBarAt, Frequency};
use crate::error::EngineError;
use crate::event::ExecutionReport;
use crate::model::{Fill, Timer};
use crate::strategies;
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::TradingDate;

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParamKind {
    /// A whole number, this one or more.
    Whole(u32),
    /// A finite number, this one or more.
    Number(f64),
}

/// A declared parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamDef {
    pub name: &'static str,
    pub kind: ParamKind,
    /// Taken when no value is given; without one a value is needed.
    pub default: Option<f64>,
    pub doc: &'static str,
}

impl ParamDef {
    fn check(&self, strategy: &str, value: f64) -> Result<f64, EngineError> {
        let (fits, rule) = match self.kind {
            ParamKind::Whole(least) => (
                value.fract() == 0.0 && value >= f64::from(least) && value <= f64::from(u32::MAX),
                format!("a whole number of at least {least}"),
            ),
            ParamKind::Number(least) => {
                (value.is_finite() && value >= least, format!("a finite number of at least {least}"))
            }
        };
        if fits {
            return Ok(value);
        }
        Err(EngineError::Spec(format!("{strategy}.{} must be {rule}, got {value}", self.name)))
    }
}

/// The values of one parameter set: one for each declared parameter.
#[derive(Debug, Clone)]
pub struct ParamValues {
    values: Vec<(&'static str, f64)>,
}

impl ParamValues {
    /// A declared parameter; a name that is not declared is a fault of the strategy.
    pub fn number(&self, name: &'static str) -> Result<f64, EngineError> {
        let found = self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        found
            .ok_or_else(|| EngineError::Spec(format!("the strategy does not declare its parameter {name:?}")))
    }

    /// A parameter declared as a whole number.
    pub fn whole(&self, name: &'static str) -> Result<u32, EngineError> {
        Ok(self.number(name)? as u32)
    }
}

/// One call of the loop.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    Start,
    Step(&'a [BarAt]),
    Day(TradingDate),
    Timer(&'a Timer),
    CoarseBar(CoarseBarAt),
    Bar(BarAt),
    Tick(BarAt),
    Bars(&'a [BarAt]),
    Order(&'a ExecutionReport),
    Trade(&'a Fill),
    Stop,
}

/// A strategy of any type.
pub trait AnyStrategy {
    /// As `Strategy::frequencies`.
    fn frequencies(&self) -> Vec<Frequency>;

    fn handle(&mut self, ctx: &mut Context<'_>, call: Call<'_>) -> Result<(), StrategyFailure>;
}

impl<S: Strategy> AnyStrategy for S {
    fn frequencies(&self) -> Vec<Frequency> {
        Strategy::frequencies(self)
    }

    fn handle(&mut self, ctx: &mut Context<'_>, call: Call<'_>) -> Result<(), StrategyFailure> {
        match call {
            Call::Start => self.on_start(ctx),
            Call::Step(bars) => {
                self.on_step(ctx, bars);
                Ok(())
            }
            Call::Day(date) if S::WANTS_CLOCK => self.on_day(ctx, date),
            Call::Timer(timer) if S::WANTS_CLOCK => self.on_timer(ctx, timer),
            Call::Day(_) | Call::Timer(_) => Ok(()),
            Call::CoarseBar(bar) => self.on_coarse_bar(ctx, bar),
            Call::Bar(bar) => self.on_bar(ctx, bar),
            Call::Tick(tick) => self.on_tick(ctx, tick),
            Call::Bars(bars) => self.on_bars(ctx, bars),
            Call::Order(report) if S::WANTS_REPORTS => self.on_order(ctx, report),
            Call::Trade(fill) if S::WANTS_REPORTS => self.on_trade(ctx, fill),
            Call::Order(_) | Call::Trade(_) => Ok(()),
            Call::Stop => self.on_stop(ctx),
        }
    }
}

/// A strategy found by its name, for one account.
pub struct NamedStrategy(Box<dyn AnyStrategy>);

impl std::fmt::Debug for NamedStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamedStrategy")
    }
}

impl Strategy for NamedStrategy {
    fn frequencies(&self) -> Vec<Frequency> {
        self.0.frequencies()
    }

    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Start)
    }

    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        // The hook of a step cannot fail.
        let _ = self.0.handle(ctx, Call::Step(bars));
    }

    fn on_day(&mut self, ctx: &mut Context<'_>, date: TradingDate) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Day(date))
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Timer(timer))
    }

    fn on_coarse_bar(&mut self, ctx: &mut Context<'_>, bar: CoarseBarAt) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::CoarseBar(bar))
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Bar(bar))
    }

    fn on_tick(&mut self, ctx: &mut Context<'_>, tick: BarAt) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Tick(tick))
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Bars(bars))
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Order(report))
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Trade(fill))
    }

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.0.handle(ctx, Call::Stop)
    }
}

/// Makes a strategy for an account of so many instruments.
pub type Make = fn(&ParamValues, usize) -> Result<Box<dyn AnyStrategy>, EngineError>;

/// A strategy that can be asked for by name.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    pub name: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    pub params: &'static [ParamDef],
    pub make: Make,
}

/// Every registered strategy, in alphabetical order.
pub fn registered() -> &'static [Registered] {
    strategies::ALL
}

/// The strategy of a name; an unknown one is refused with those that are known.
pub fn find(name: &str) -> Result<&'static Registered, EngineError> {
    registered().iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = registered().iter().map(|entry| entry.name).collect();
        EngineError::Spec(format!("strategy.rust: unknown strategy {name:?}, known are {}", known.join(", ")))
    })
}

impl Registered {
    /// Refuses names that are not declared, and tells which of those without a default are missing.
    pub fn check_names(&self, names: &[&str]) -> Result<(), EngineError> {
        let declared: Vec<&str> = self.params.iter().map(|param| param.name).collect();
        if let Some(name) = names.iter().find(|name| !declared.contains(name)) {
            let message = format!("{} has no parameter {name:?}, it has {}", self.name, declared.join(", "));
            return Err(EngineError::Spec(message));
        }
        let missing = |param: &&ParamDef| param.default.is_none() && !names.contains(&param.name);
        match self.params.iter().find(missing) {
            Some(param) => Err(EngineError::Spec(format!(
                "{} needs a value for its parameter {}",
                self.name, param.name
            ))),
            None => Ok(()),
        }
    }

    /// The values of one parameter set, completed and checked.
    pub fn values(&self, names: &[&str], row: &[f64]) -> Result<ParamValues, EngineError> {
        self.check_names(names)?;
        let mut values = Vec::with_capacity(self.params.len());
        for param in self.params {
            let given = names.iter().zip(row).find(|(name, _)| **name == param.name).map(|(_, value)| *value);
            let value = given.or(param.default).unwrap_or(f64::NAN);
            values.push((param.name, param.check(self.name, value)?));
        }
        Ok(ParamValues { values })
    }

    /// A fresh strategy for an account of so many instruments.
    pub fn make(&self, values: &ParamValues, n_instruments: usize) -> Result<NamedStrategy, EngineError> {
        (self.make)(values, n_instruments).map(NamedStrategy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_parameters_distinct() {
        assert!(registered().windows(2).all(|pair| pair[0].name < pair[1].name));
        for entry in registered() {
            let mut names: Vec<_> = entry.params.iter().map(|param| param.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), entry.params.len(), "{}", entry.name);
            for param in entry.params {
                if let Some(value) = param.default {
                    assert!(param.check(entry.name, value).is_ok(), "{}.{}", entry.name, param.name);
                }
            }
        }
    }

    #[test]
    fn what_is_not_declared_is_refused() {
        let text = |result: Result<ParamValues, EngineError>| result.err().map(|e| e.to_string());
        let entry = registered().iter().find(|entry| entry.name == "sma_cross");
        let Some(entry) = entry else { panic!("sma_cross is not registered") };
        let values = |names: &[&str], row: &[f64]| text(entry.values(names, row)).unwrap_or_default();
        assert!(values(&["fst", "slow"], &[1.0, 2.0]).contains("no parameter \"fst\", it has fast, slow"));
        assert!(values(&["fast", "slow"], &[2.5, 9.0]).contains("fast must be a whole number of at least 1"));
        assert!(values(&["share"], &[f64::INFINITY]).contains("share must be a finite number"));
        assert_eq!(values(&["fast", "slow"], &[2.0, 9.0]), "");
        let unknown = find("sma_corss").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(unknown.contains("known are donchian, sma_cross"), "{unknown}");
    }
}
