//! One function of the language on its own: over whole columns, or value by value.

use super::functions::{self, ArgKind, Function, FunctionDef};
use super::{BatchGraph, BoundSlot, Evaluator, Program, SeriesSource, SlotDef, SlotKind};
use crate::error::RuleError;
use crate::indicators as ind;
use crate::indicators::Truth;

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    Column(&'a [f64]),
    Number(f64),
}

/// What a call gives: a column of numbers or of conditions.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Nums(Vec<f64>),
    Bools(Vec<u8>),
}

/// A call with its columns: those by name are what the function reads without being given them.
struct Columns<'a> {
    n_rows: usize,
    named: Vec<(String, &'a [f64])>,
}

impl SeriesSource for Columns<'_> {
    fn len(&self) -> usize {
        self.n_rows
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, column)| *column)
    }
}

fn refuse<T>(slot: &str, message: impl Into<String>) -> Result<T, RuleError> {
    Err(RuleError::Type { slot: slot.to_owned(), message: message.into() })
}

fn known(name: &str) -> Result<&'static FunctionDef, RuleError> {
    match functions::find(name) {
        Some(def) => Ok(def),
        None => Err(RuleError::UnknownName {
            slot: "indicator".to_owned(),
            what: "function",
            name: name.to_owned(),
            hint: String::new(),
        }),
    }
}

/// Calls a function over columns of equal length with the same bits as in a rule. `reads` are the columns that it reads
/// without being given them, in the order of [`FunctionDef::reads`]; a condition is a column of 0 and 1.
pub fn call(name: &str, reads: &[&[f64]], args: &[Input<'_>]) -> Result<Output, RuleError> {
    let def = known(name)?;
    if def.function == Function::Rank {
        return refuse(name, "compares assets: it has no meaning for one series");
    }
    let wanted = def.reads();
    if reads.len() != wanted.len() {
        return refuse(name, format!("reads {}, got {} columns", wanted.join(", "), reads.len()));
    }
    let mut columns = Columns { n_rows: 0, named: Vec::new() };
    let mut clean: Vec<Option<Vec<f64>>> = reads.iter().map(|column| without_infinities(column)).collect();
    for ((name, column), clean) in wanted.iter().zip(reads).zip(&mut clean) {
        columns.named.push(((*name).to_owned(), clean.as_deref().unwrap_or(column)));
    }
    let (mut texts, mut params, mut row) = (Vec::new(), Vec::new(), Vec::new());
    for (ix, input) in args.iter().enumerate() {
        let variable = format!("v{ix}");
        let is_condition = def.args.get(ix).is_some_and(|arg| arg.kind == ArgKind::Condition);
        texts.push(if is_condition { format!("({variable} != 0)") } else { variable.clone() });
        match input {
            Input::Column(column) => columns.named.push((variable, column)),
            Input::Number(number) => {
                params.push(variable);
                row.push(*number);
            }
        }
    }
    let lengths: Vec<usize> = columns.named.iter().map(|(_, column)| column.len()).collect();
    match lengths.as_slice() {
        [] => return refuse(name, "needs a column"),
        [first, rest @ ..] if rest.iter().all(|length| length == first) => columns.n_rows = *first,
        _ => return refuse(name, format!("columns of one length are needed, got {lengths:?}")),
    }
    let text = format!("{name}({})", texts.join(", "));
    let kind = if def.is_condition() { SlotKind::Bool } else { SlotKind::Num };
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let extra: Vec<&str> =
        columns.named.iter().skip(wanted.len()).map(|(variable, _)| variable.as_str()).collect();
    let program = Program::compile(&[SlotDef { name, kind, text: &text }], &params, &extra)?;
    let graph = BatchGraph::bind(&program, &[&row]);
    let mut evaluator = Evaluator::new();
    evaluator.begin(&graph, columns.n_rows);
    let slot = *graph.trial(0).map_err(Clone::clone)?.first().unwrap_or(&BoundSlot::Scalar(f64::NAN));
    match (slot, def.is_condition()) {
        (BoundSlot::Series(node), true) => {
            let mut out = Vec::new();
            evaluator.bools(&graph, &columns, node, &mut out)?;
            Ok(Output::Bools(out))
        }
        (BoundSlot::Series(node), false) => {
            let mut out = Vec::new();
            evaluator.nums(&graph, &columns, node, &mut out)?;
            Ok(Output::Nums(out))
        }
        (BoundSlot::Scalar(value), true) => Ok(Output::Bools(vec![u8::from(value == 1.0); columns.n_rows])),
        (BoundSlot::Scalar(value), false) => Ok(Output::Nums(vec![value; columns.n_rows])),
    }
}

fn without_infinities(column: &[f64]) -> Option<Vec<f64>> {
    let clean = || column.iter().map(|v| if v.is_finite() { *v } else { f64::NAN }).collect();
    column.iter().any(|v| v.is_infinite()).then(clean)
}

type Update = Box<dyn FnMut(&[f64]) -> f64 + Send + Sync>;

/// An indicator that takes one value of every input at a time, with the same bits as over columns.
pub struct Step {
    name: &'static str,
    inputs: Vec<&'static str>,
    numbers: Vec<f64>,
    is_condition: bool,
    update: Update,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("numbers", &self.numbers)
            .finish_non_exhaustive()
    }
}

impl Step {
    /// Makes the step form of a function from its numbers, in the order of its arguments; those with a default may be
    /// left out.
    pub fn new(name: &str, numbers: &[f64]) -> Result<Self, RuleError> {
        let def = known(name)?;
        let mut inputs = def.reads().to_vec();
        let mut wanted = Vec::new();
        for arg in def.args {
            match arg.kind {
                ArgKind::Period | ArgKind::Lag | ArgKind::Constant => wanted.push(arg),
                ArgKind::Series | ArgKind::Number | ArgKind::Condition => inputs.push(arg.name),
            }
        }
        let mut full = Vec::with_capacity(wanted.len());
        for (ix, arg) in wanted.iter().enumerate() {
            let Some(value) = numbers.get(ix).copied().or(arg.default) else {
                return refuse(name, format!("{} is missing", arg.name));
            };
            let fits = match arg.kind {
                ArgKind::Period | ArgKind::Lag => arg.kind.bars(value).is_some(),
                _ => value.is_finite(),
            };
            if !fits {
                let (argument, rule) = (arg.name, arg.kind.rule());
                let function = def.name;
                return Err(RuleError::BadArgument {
                    slot: name.to_owned(),
                    function,
                    argument,
                    rule,
                    value,
                });
            }
            full.push(value);
        }
        if numbers.len() > wanted.len() {
            return refuse(name, format!("takes {} numbers, got {}", wanted.len(), numbers.len()));
        }
        let Some(update) = update_of(def.function, &full)? else {
            return refuse(name, "has no step form: it looks at one bar alone, or at many assets");
        };
        let is_condition = def.is_condition();
        Ok(Self { name: def.name, inputs, numbers: full, is_condition, update })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Names of the values that [`Step::update`] takes, in order.
    pub fn inputs(&self) -> &[&'static str] {
        &self.inputs
    }

    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// Whether the values are conditions: 1 holds, 0 does not, NaN is undefined.
    pub fn is_condition(&self) -> bool {
        self.is_condition
    }

    /// Takes one value of every input and gives the indicator's, NaN where it is undefined.
    pub fn update(&mut self, values: &[f64]) -> Result<f64, RuleError> {
        if values.len() != self.inputs.len() {
            let expected = self.inputs.join(", ");
            return refuse(self.name, format!("update takes {expected}, got {} values", values.len()));
        }
        Ok((self.update)(values))
    }

    /// Forgets all values.
    pub fn reset(&mut self) -> Result<(), RuleError> {
        *self = Self::new(self.name, &self.numbers)?;
        Ok(())
    }
}

fn number_of(truth: Truth) -> f64 {
    match truth {
        Truth::TRUE => 1.0,
        Truth::FALSE => 0.0,
        _ => f64::NAN,
    }
}

fn truth_of(value: f64) -> Truth {
    Truth::known(value != 0.0, !value.is_nan())
}

/// The step struct of a function behind one closure; none for a function of one bar alone.
fn update_of(function: Function, numbers: &[f64]) -> Result<Option<Update>, RuleError> {
    let bars = |ix: usize| numbers.get(ix).map_or(1, |v| *v as u32);
    let period = |ix: usize| {
        ind::Period::new(bars(ix))
            .map_err(|error| RuleError::Type { slot: "period".to_owned(), message: error.to_string() })
    };
    macro_rules! one {
        ($step:ident) => {{
            let mut step = ind::$step::new(period(0)?);
            Box::new(move |x: &[f64]| step.update(x[0])) as Update
        }};
    }
    macro_rules! bar {
        ($step:ident) => {{
            let mut step = ind::$step::new(period(0)?);
            Box::new(move |x: &[f64]| step.update(x[0], x[1], x[2])) as Update
        }};
    }
    macro_rules! part {
        ($step:expr, $($field:ident).+) => {{
            let mut step = $step;
            Box::new(move |x: &[f64]| step.update(x[0])$(.$field)+) as Update
        }};
    }
    let bands = || -> Result<_, RuleError> {
        Ok(ind::BollingerBands::new(period(0)?, numbers.get(1).copied().unwrap_or(2.0)))
    };
    let macd = || -> Result<_, RuleError> {
        Ok(ind::Macd::new(ind::MacdPeriods { fast: period(0)?, slow: period(1)?, signal: period(2)? }))
    };
    let stoch = || -> Result<_, RuleError> {
        let periods = ind::StochPeriods { fast_k: period(0)?, slow_k: period(1)?, slow_d: period(2)? };
        Ok(ind::Stoch::new(periods))
    };
    Ok(Some(match function {
        Function::Adx => bar!(Adx),
        Function::AroonDown => {
            let mut step = ind::Aroon::new(period(0)?);
            Box::new(move |x| step.update_down(x[0]))
        }
        Function::AroonUp => {
            let mut step = ind::Aroon::new(period(0)?);
            Box::new(move |x| step.update_up(x[0]))
        }
        Function::Atr => bar!(Atr),
        Function::BarsSince => {
            let mut step = ind::BarsSince::new();
            Box::new(move |x| step.update(truth_of(x[0])))
        }
        Function::BbandsLower => part!(bands()?, lower),
        Function::BbandsMiddle => part!(bands()?, middle),
        Function::BbandsUpper => part!(bands()?, upper),
        Function::Cci => bar!(Cci),
        Function::CrossAbove => {
            let mut step = ind::CrossAbove::new();
            Box::new(move |x| number_of(step.update(ind::defined(x[0]), ind::defined(x[1]))))
        }
        Function::CrossBelow => {
            let mut step = ind::CrossBelow::new();
            Box::new(move |x| number_of(step.update(ind::defined(x[0]), ind::defined(x[1]))))
        }
        Function::Dema => one!(Dema),
        Function::Ema => one!(Ema),
        Function::Highest => one!(Highest),
        Function::Hma => one!(Hma),
        Function::Lowest => one!(Lowest),
        Function::Macd => part!(macd()?, line),
        Function::MacdHist => part!(macd()?, histogram),
        Function::MacdSignal => part!(macd()?, signal),
        Function::Mfi => {
            let mut step = ind::Mfi::new(period(0)?);
            Box::new(move |x| step.update(x[0], x[1], x[2], x[3]))
        }
        Function::MinusDi => bar!(MinusDi),
        Function::Mom => one!(Mom),
        Function::Natr => bar!(Natr),
        Function::Obv => {
            let mut step = ind::Obv::new();
            Box::new(move |x| step.update(x[0], x[1]))
        }
        Function::PlusDi => bar!(PlusDi),
        Function::Roc => one!(Roc),
        Function::Rocp => one!(Rocp),
        Function::Rsi => one!(Rsi),
        Function::Shift => {
            let mut step = ind::Shift::new(bars(0));
            Box::new(move |x| step.update(x[0]))
        }
        Function::Sma => one!(Sma),
        Function::Stddev => one!(Stddev),
        Function::StochD => {
            let mut step = stoch()?;
            Box::new(move |x| step.update(x[0], x[1], x[2]).d)
        }
        Function::StochK => {
            let mut step = stoch()?;
            Box::new(move |x| step.update(x[0], x[1], x[2]).k)
        }
        Function::Sum => one!(Sum),
        Function::Tema => one!(Tema),
        Function::Tr => {
            let mut step = ind::TrueRange::new();
            Box::new(move |x| step.update(x[0], x[1], x[2]))
        }
        Function::Trix => one!(Trix),
        Function::Willr => bar!(Willr),
        Function::Wma => one!(Wma),
        Function::Zscore => one!(Zscore),
        Function::Abs
        | Function::Ceil
        | Function::Clip
        | Function::Exp
        | Function::Floor
        | Function::IfElse
        | Function::Log
        | Function::Max
        | Function::Min
        | Function::Pow
        | Function::Rank
        | Function::Sign
        | Function::Sqrt => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_form_gives_the_bits_of_its_column_form() {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / 1e6
        };
        let close: Vec<f64> = (0..200).map(|i| if i == 90 { f64::NAN } else { 20.0 + next() }).collect();
        let high: Vec<f64> = close.iter().map(|c| c + next()).collect();
        let low: Vec<f64> = close.iter().map(|c| c - next()).collect();
        let volume: Vec<f64> = close.iter().map(|_| next()).collect();
        let flags: Vec<f64> = close.iter().map(|_| f64::from(u8::from(next() > 14.0))).collect();
        let column = |name: &str| match name {
            "high" => &high,
            "low" | "b" => &low,
            "volume" => &volume,
            "condition" => &flags,
            _ => &close,
        };
        let mut n_seen = 0;
        for def in functions::reference() {
            let needs_period = def.args.iter().any(|a| a.default.is_none() && a.kind == ArgKind::Period);
            let needs_lag = def.args.iter().any(|a| a.kind == ArgKind::Lag);
            let numbers: &[f64] = if needs_period || needs_lag { &[5.0] } else { &[] };
            let Ok(mut step) = Step::new(def.name, numbers) else { continue };
            n_seen += 1;
            let columns: Vec<&[f64]> = step.inputs().iter().map(|n| column(n).as_slice()).collect();
            let (reads, given) = columns.split_at(def.reads().len());
            let args: Vec<Input<'_>> = given
                .iter()
                .map(|c| Input::Column(c))
                .chain(numbers.iter().map(|n| Input::Number(*n)))
                .collect();
            let whole = match call(def.name, reads, &args).unwrap() {
                Output::Nums(values) => values,
                Output::Bools(values) => values.into_iter().map(f64::from).collect(),
            };
            for row in 0..close.len() {
                let values: Vec<f64> = columns.iter().map(|c| c[row]).collect();
                let one = step.update(&values).unwrap();
                let one = if step.is_condition() && one.is_nan() { 0.0 } else { one };
                let same = one.to_bits() == whole[row].to_bits() || (one.is_nan() && whole[row].is_nan());
                assert!(same, "{} row {row}: step {one}, column {}", def.name, whole[row]);
            }
        }
        assert!(n_seen > 35, "{n_seen}");
    }

    #[test]
    fn bad_calls_are_refused() {
        let x = [1.0, 2.0];
        assert!(Step::new("sma", &[0.0]).is_err() && Step::new("sma", &[]).is_err());
        assert!(Step::new("nothing", &[]).is_err() && Step::new("abs", &[]).is_err());
        assert!(call("rank", &[], &[Input::Column(&x)]).is_err());
        assert!(call("sma", &[], &[Input::Column(&x), Input::Number(1.5)]).is_err());
        assert!(call("cross_above", &[], &[Input::Column(&x), Input::Column(&x[..1])]).is_err());
    }
}
