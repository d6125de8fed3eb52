//! One error enum per area; messages name the offending value.

use thiserror::Error;

/// A number that its type does not admit.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{what} {rule}, got {value}")]
pub struct ValueError {
    pub what: &'static str,
    pub value: f64,
    pub rule: &'static str,
}

/// A panel that cannot be built or does not hold what was asked of it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DataError {
    #[error("column {column} is missing")]
    MissingColumn { column: String },
    #[error("column {column} has type {found}, expected {expected}")]
    WrongType { column: String, found: String, expected: &'static str },
    #[error("column {column} has {n} missing values, the first at row {row}")]
    Nulls { column: String, n: usize, row: usize },
    #[error("{symbol}: {column} is {value} at row {row}, expected a finite price above zero")]
    BadPrice { symbol: String, column: &'static str, value: f64, row: usize },
    #[error("{symbol}: high {high} is below low {low} at row {row}")]
    HighBelowLow { symbol: String, high: f64, low: f64, row: usize },
    #[error("{symbol}: {column} {value} is outside [low, high] = [{low}, {high}] at row {row}")]
    OutsideRange { symbol: String, column: &'static str, value: f64, low: f64, high: f64, row: usize },
    #[error("{symbol}: volume is {value} at row {row}, expected a number not below zero or nothing")]
    BadVolume { symbol: String, value: f64, row: usize },
    #[error("{symbol}: time does not increase at row {row}")]
    TimeOrder { symbol: String, row: usize },
    #[error("{symbol}: bid {bid} is above ask {ask} at row {row}")]
    CrossedQuote { symbol: String, bid: f64, ask: f64, row: usize },
    #[error("instrument {instrument} is not one of the {n} of the session")]
    UnknownInstrument { instrument: u32, n: usize },
    #[error("{symbol}: bar {row} of a step does not stand in panel order, each instrument once")]
    StepOrder { symbol: String, row: usize },
    #[error("{symbol}: a bar has {found} further columns, the session declares {expected}")]
    ExtraColumns { symbol: String, found: usize, expected: usize },
    #[error("a step at {ts} comes after one at {last}: time does not increase")]
    StepTime { ts: i64, last: i64 },
    #[error(
        "{symbol}: a bar comes {gap_s} s after the one before it at row {row}, but data.bar says {length_s} s"
    )]
    Overlap { symbol: String, row: usize, gap_s: f64, length_s: f64 },
    #[error("offsets do not fit: {reason}")]
    BadOffsets { reason: &'static str },
    #[error("the panel holds no rows")]
    Empty,
    #[error("symbol {symbol:?} is not in the panel")]
    UnknownSymbol { symbol: String },
    #[error("arrow: {0}")]
    Arrow(String),
}

/// A rule text or a parameter value that the rule language does not accept.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RuleError {
    #[error("{slot}: {message} at column {column} of {text:?}")]
    Syntax { slot: String, text: String, column: usize, message: String },
    #[error("{slot}: unknown {what} {name:?}{hint}")]
    UnknownName { slot: String, what: &'static str, name: String, hint: String },
    #[error("{slot}: {function} takes {expected}, got {got}")]
    Arity { slot: String, function: String, expected: String, got: usize },
    #[error("{slot}: {message}")]
    Type { slot: String, message: String },
    #[error("{slot}: {function}: {argument} must be {rule}, got {value}")]
    BadArgument {
        slot: String,
        function: &'static str,
        argument: &'static str,
        rule: &'static str,
        value: f64,
    },
    #[error("parameter {name:?} {rule}")]
    BadParameter { name: String, rule: &'static str },
    #[error("the evaluation was cancelled")]
    Cancelled,
}

/// A timer that cannot be set or taken back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimerError {
    #[error("a timer named {name:?} is set already: cancel it first, or choose another name")]
    Duplicate { name: String },
    #[error("no timer is named {name:?}, set are {known:?}")]
    Unknown { name: String, known: Vec<String> },
    #[error("timer {name:?} goes by the sessions of the market, and it has none: set market.sessions")]
    NoSessions { name: String },
    #[error("timer {name:?} goes by the local clock of the market: set market.time_zone")]
    NoZone { name: String },
    #[error("timer {name:?}: {rule}")]
    Rule { name: String, rule: &'static str },
}

/// What can end a run before its last step.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Rule(RuleError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("{0}")]
    Spec(String),
    #[error("the strategy asked for {symbol:?}, which is not in the panel")]
    UnknownInstrument { symbol: String },
    #[error("the run was cancelled")]
    Cancelled,
    #[error("every inlet of the session is gone, and none of them has sent a stop")]
    InletGone,
    #[error("order {order}: a report of the gateway does not fit: {reason}")]
    GatewayReport { order: u64, reason: &'static str },
    /// Raised by the strategy itself; the payload is opaque to the engine and handed back to its owner.
    #[error("the strategy failed: {message}")]
    Strategy { message: String },
    #[error("internal: {0}")]
    Internal(&'static str),
}

impl From<RuleError> for EngineError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Cancelled => Self::Cancelled,
            error => Self::Rule(error),
        }
    }
}
