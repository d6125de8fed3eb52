//! Signals: the columns of a strategy's slots made by the caller instead of rules (SEMANTICS section 9).

use crate::error::EngineError;
use crate::trader::{EntrySpec, RuleColumns, RuleSpec};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt8Type};
use arrow_array::{Array, RecordBatch};
use arrow_buffer::ScalarBuffer;

/// Conditions, then numbers; an entry price has its kind of order in its name.
pub const SIGNAL_COLUMNS: [&str; 9] = [
    "enter",
    "exit",
    "enter_short",
    "exit_short",
    "entry_limit",
    "entry_stop",
    "entry_short_limit",
    "entry_short_stop",
    "weights",
];

const N_CONDITIONS: usize = 4;

/// Stands for a slot whose column is given; it is never read as a rule.
const GIVEN: &str = "signal";

/// The columns of one run, a row of the panel a row; or those of several runs, one after another.
#[derive(Debug, Clone, Default)]
pub struct SignalTable {
    n_rows: usize,
    conditions: [Option<ScalarBuffer<u8>>; N_CONDITIONS],
    numbers: [Option<ScalarBuffer<f64>>; SIGNAL_COLUMNS.len() - N_CONDITIONS],
}

fn refuse<T>(message: impl std::fmt::Display) -> Result<T, EngineError> {
    Err(EngineError::Spec(format!("signals: {message}")))
}

impl SignalTable {
    /// Takes the columns of a table: conditions are boolean, a missing one does not hold, or uint8 without missing
    /// ones, which are not copied; prices and weights are float64, what is missing or not finite is undefined.
    pub fn new(batch: &RecordBatch) -> Result<Self, EngineError> {
        let mut table = Self { n_rows: batch.num_rows(), ..Self::default() };
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            let Some(ix) = SIGNAL_COLUMNS.iter().position(|known| *known == name) else {
                return refuse(format!("unknown column {name:?}, expected {}", SIGNAL_COLUMNS.join(", ")));
            };
            let expected = if ix < N_CONDITIONS { "boolean" } else { "float64" };
            let done = match ix.checked_sub(N_CONDITIONS) {
                None => {
                    table.conditions[ix] = conditions(array.as_ref());
                    table.conditions[ix].is_some()
                }
                Some(number) => {
                    table.numbers[number] = numbers(array.as_ref());
                    table.numbers[number].is_some()
                }
            };
            if !done {
                return refuse(format!("{name} has type {}, expected {expected}", array.data_type()));
            }
        }
        Ok(table)
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The settings of a plan with the slots that this table fills.
    pub fn fill(&self, settings: &RuleSpec) -> Result<RuleSpec, EngineError> {
        let given = |present: bool| present.then(|| GIVEN.to_owned());
        let [enter, exit, enter_short, exit_short] =
            std::array::from_fn(|ix| given(self.conditions[ix].is_some()));
        let entry = |limit: usize, name: &str| match (&self.numbers[limit], &self.numbers[limit + 1]) {
            (Some(_), Some(_)) => refuse(format!("{name} has a limit and a stop, expected one of them")),
            (Some(_), None) => Ok(Some(EntrySpec::Limit(GIVEN.to_owned()))),
            (None, Some(_)) => Ok(Some(EntrySpec::Stop(GIVEN.to_owned()))),
            (None, None) => Ok(None),
        };
        Ok(RuleSpec {
            enter,
            exit,
            enter_short,
            exit_short,
            entry: entry(0, "entry")?,
            entry_short: entry(2, "entry_short")?,
            weights: given(self.numbers[4].is_some()),
            ..settings.clone()
        })
    }

    /// The columns of the rows of one asset.
    pub fn columns(&self, (first, end): (usize, usize)) -> RuleColumns<'_> {
        let condition = |ix: usize| self.conditions[ix].as_ref().map(|column| &column[first..end]);
        let number = |ix: usize| self.numbers[ix].as_ref().map(|column| &column[first..end]);
        RuleColumns {
            enter: condition(0),
            exit: condition(1),
            enter_short: condition(2),
            exit_short: condition(3),
            long_price: number(0).or_else(|| number(1)),
            short_price: number(2).or_else(|| number(3)),
            weights: number(4),
        }
    }
}

/// Refuses a slot of the settings that comes as a column.
pub fn check_settings(settings: &RuleSpec) -> Result<(), EngineError> {
    let slots = [
        ("enter", settings.enter.is_some()),
        ("exit", settings.exit.is_some()),
        ("enter_short", settings.enter_short.is_some()),
        ("exit_short", settings.exit_short.is_some()),
        ("entry", settings.entry.is_some()),
        ("entry_short", settings.entry_short.is_some()),
        ("weights", settings.weights.is_some()),
    ];
    match slots.iter().find(|(_, present)| *present) {
        Some((name, _)) => refuse(format!("{name} comes as a column of every run, not as a rule")),
        None => Ok(()),
    }
}

fn conditions(array: &dyn Array) -> Option<ScalarBuffer<u8>> {
    if let Some(typed) = array.as_primitive_opt::<UInt8Type>() {
        return (typed.null_count() == 0).then(|| typed.values().clone());
    }
    let typed = array.as_boolean_opt()?;
    Some((0..typed.len()).map(|row| u8::from(typed.is_valid(row) && typed.value(row))).collect())
}

fn numbers(array: &dyn Array) -> Option<ScalarBuffer<f64>> {
    let typed = array.as_primitive_opt::<Float64Type>()?;
    if typed.null_count() == 0 && !typed.values().iter().any(|v| v.is_infinite()) {
        return Some(typed.values().clone());
    }
    let defined = |v: Option<f64>| v.filter(|v| v.is_finite()).unwrap_or(f64::NAN);
    Some(typed.iter().map(defined).collect())
}
