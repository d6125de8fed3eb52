//! Every function of the language: its arguments, its definition and where the convention comes from.

use crate::indicators::Period;

/// What a function is and how it is called.
#[derive(Debug, Clone, Copy)]
pub struct FunctionDef {
    pub name: &'static str,
    pub args: &'static [ArgDef],
    /// The definition in one line.
    pub doc: &'static str,
    /// Where the convention comes from.
    pub source: &'static str,
    /// The last argument may be repeated.
    pub is_variadic: bool,
    pub(super) function: Function,
}

/// One argument of a function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArgDef {
    pub name: &'static str,
    pub kind: ArgKind,
    /// Taken when the argument is left out.
    pub default: Option<f64>,
}

/// What may stand for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// A number that varies from bar to bar.
    Series,
    /// Any number, a series or not.
    Number,
    /// A condition.
    Condition,
    /// A number of bars of parameters and numbers only, at least 1.
    Period,
    /// A number of bars of parameters and numbers only, 0 allowed.
    Lag,
    /// A number of parameters and numbers only.
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Adx,
    AroonDown,
    AroonUp,
    Atr,
    BarsSince,
    BbandsLower,
    BbandsMiddle,
    BbandsUpper,
    Cci,
    Ceil,
    Clip,
    CrossAbove,
    CrossBelow,
    Dema,
    Ema,
    Exp,
    Floor,
    Highest,
    Hma,
    IfElse,
    Log,
    Lowest,
    Macd,
    MacdHist,
    MacdSignal,
    Max,
    Mfi,
    Min,
    MinusDi,
    Mom,
    Natr,
    Obv,
    PlusDi,
    Pow,
    Rank,
    Roc,
    Rocp,
    Rsi,
    Shift,
    Sign,
    Sma,
    Sqrt,
    Stddev,
    StochD,
    StochK,
    Sum,
    Tema,
    Tr,
    Trix,
    Willr,
    Wma,
    Zscore,
}

/// Every function, in alphabetical order.
pub fn reference() -> Vec<FunctionDef> {
    FUNCTIONS.to_vec()
}

pub(super) fn find(name: &str) -> Option<&'static FunctionDef> {
    FUNCTIONS.iter().find(|def| def.name == name)
}

pub(super) fn names<'a>() -> impl Iterator<Item = &'a str> {
    FUNCTIONS.iter().map(|def| def.name)
}

impl FunctionDef {
    /// The columns that it reads without being given them.
    pub fn reads(&self) -> &'static [&'static str] {
        self.function.reads()
    }

    /// Whether it gives a condition rather than a number.
    pub fn is_condition(&self) -> bool {
        matches!(self.function, Function::CrossAbove | Function::CrossBelow)
    }

    /// How it is called: `bbands_upper(x, period, k=2)`.
    pub fn signature(&self) -> String {
        let args: Vec<String> = self
            .args
            .iter()
            .map(|arg| match arg.default {
                Some(value) => format!("{}={value}", arg.name),
                None => arg.name.to_string(),
            })
            .collect();
        let more = if self.is_variadic { ", ..." } else { "" };
        format!("{}({}{more})", self.name, args.join(", "))
    }
}

impl Function {
    /// The columns that a function reads without being given them.
    pub fn reads(self) -> &'static [&'static str] {
        match self {
            Self::Adx
            | Self::Atr
            | Self::Cci
            | Self::MinusDi
            | Self::Natr
            | Self::PlusDi
            | Self::StochD
            | Self::StochK
            | Self::Tr
            | Self::Willr => &["high", "low", "close"],
            Self::AroonDown => &["low"],
            Self::AroonUp => &["high"],
            Self::Mfi => &["high", "low", "close", "volume"],
            Self::Obv => &["close", "volume"],
            _ => &[],
        }
    }
}

impl ArgKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Number => "number",
            Self::Condition => "condition",
            Self::Period => "period",
            Self::Lag => "lag",
            Self::Constant => "constant",
        }
    }

    /// The rule that a value must keep, for the kinds that are checked when parameters are known.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Period => "a whole number from 1 to 1000000000",
            Self::Lag => "a whole number from 0 to 1000000000 (less would look ahead)",
            Self::Series | Self::Number | Self::Condition | Self::Constant => "finite",
        }
    }

    /// The value as a number of bars.
    pub(super) fn bars(self, value: f64) -> Option<u32> {
        let least = if self == Self::Lag { 0.0 } else { 1.0 };
        let fits = value.fract() == 0.0 && value >= least && value <= f64::from(Period::MAX);
        fits.then_some(value as u32)
    }
}

const fn arg(name: &'static str, kind: ArgKind) -> ArgDef {
    ArgDef { name, kind, default: None }
}

const fn preset(name: &'static str, kind: ArgKind, default: f64) -> ArgDef {
    ArgDef { name, kind, default: Some(default) }
}

const TALIB: &str = "TA-Lib";
const KLEENE: &str = "SEMANTICS section 9";
const MATHS: &str = "IEEE 754; a result that is not finite is undefined";

const X: ArgDef = arg("x", ArgKind::Series);
const NUMBER: ArgDef = arg("x", ArgKind::Number);
const PERIOD: ArgDef = arg("period", ArgKind::Period);
const PAIR: &[ArgDef] = &[arg("a", ArgKind::Number), arg("b", ArgKind::Number)];
const WINDOW: &[ArgDef] = &[X, PERIOD];
const BANDS: &[ArgDef] = &[X, PERIOD, preset("k", ArgKind::Constant, 2.0)];
const MACD: &[ArgDef] = &[
    X,
    preset("fast", ArgKind::Period, 12.0),
    preset("slow", ArgKind::Period, 26.0),
    preset("signal", ArgKind::Period, 9.0),
];
const STOCH: &[ArgDef] = &[
    preset("fast_k", ArgKind::Period, 5.0),
    preset("slow_k", ArgKind::Period, 3.0),
    preset("slow_d", ArgKind::Period, 3.0),
];

macro_rules! table {
    ($($name:literal $function:ident $args:expr, $source:expr, $doc:literal;)*) => {
        const FUNCTIONS: &[FunctionDef] = &[$(FunctionDef {
            name: $name,
            args: $args,
            doc: $doc,
            source: $source,
            is_variadic: matches!(Function::$function, Function::Min | Function::Max),
            function: Function::$function,
        }),*];
    };
}

table! {
    "abs" Abs &[NUMBER], MATHS, "x without its sign";
    "adx" Adx &[PERIOD], TALIB, "average directional index of high, low and close; from bar 2 period - 1";
    "aroon_down" AroonDown &[PERIOD], TALIB, "100 (period - bars since the lowest low) / period over period + 1 bars; from bar period";
    "aroon_up" AroonUp &[PERIOD], TALIB, "100 (period - bars since the highest high) / period over period + 1 bars; from bar period";
    "atr" Atr &[PERIOD], TALIB, "Wilder's average true range of high, low and close; from bar period";
    "bars_since" BarsSince &[arg("condition", ArgKind::Condition)], KLEENE, "0 on a bar where the condition holds, then 1, 2, ...; undefined before the first";
    "bbands_lower" BbandsLower BANDS, TALIB, "sma(x, period) - k stddev(x, period)";
    "bbands_middle" BbandsMiddle BANDS, TALIB, "sma(x, period)";
    "bbands_upper" BbandsUpper BANDS, TALIB, "sma(x, period) + k stddev(x, period)";
    "cci" Cci &[PERIOD], TALIB, "(tp - mean) / (0.015 mean absolute deviation), tp = (high + low + close) / 3; from bar period - 1";
    "ceil" Ceil &[NUMBER], MATHS, "the least whole number not below x";
    "clip" Clip &[NUMBER, arg("low", ArgKind::Number), arg("high", ArgKind::Number)], MATHS, "min(max(x, low), high)";
    "cross_above" CrossAbove PAIR, KLEENE, "a[t-1] <= b[t-1] and a[t] > b[t]";
    "cross_below" CrossBelow PAIR, KLEENE, "a[t-1] >= b[t-1] and a[t] < b[t]";
    "dema" Dema WINDOW, TALIB, "2 ema(x) - ema(ema(x)); from bar 2 (period - 1)";
    "ema" Ema WINDOW, TALIB, "e += 2 / (period + 1) (x - e), seeded with the mean of the first period values; from bar period - 1";
    "exp" Exp &[NUMBER], MATHS, "e to the power x";
    "floor" Floor &[NUMBER], MATHS, "the greatest whole number not above x";
    "highest" Highest WINDOW, KLEENE, "the highest of the last period values, the current one included";
    "hma" Hma WINDOW, "A. Hull, 2005", "wma(2 wma(x, period / 2) - wma(x, period), sqrt(period)), lengths rounded down";
    "if_else" IfElse &[arg("condition", ArgKind::Condition), arg("a", ArgKind::Number), arg("b", ArgKind::Number)], KLEENE, "a where the condition holds, b where it does not, undefined where it is undefined";
    "log" Log &[NUMBER], MATHS, "natural logarithm; undefined unless x is above zero";
    "lowest" Lowest WINDOW, KLEENE, "the lowest of the last period values, the current one included";
    "macd" Macd MACD, TALIB, "ema(x, fast) - ema(x, slow), both starting together; from bar slow + signal - 2";
    "macd_hist" MacdHist MACD, TALIB, "macd - macd_signal";
    "macd_signal" MacdSignal MACD, TALIB, "ema of the macd line over signal bars; from bar slow + signal - 2";
    "max" Max PAIR, MATHS, "the largest argument; undefined if one is";
    "mfi" Mfi &[PERIOD], TALIB, "100 p / (p + m), money flow of rising and falling bars; from bar period; 0 without any flow";
    "min" Min PAIR, MATHS, "the smallest argument; undefined if one is";
    "minus_di" MinusDi &[PERIOD], TALIB, "smoothed downward movement in percent of the smoothed true range; from bar period";
    "mom" Mom WINDOW, TALIB, "x - shift(x, period)";
    "natr" Natr &[PERIOD], TALIB, "100 atr(period) / close";
    "obv" Obv &[], TALIB, "volume summed with the sign of the change of close; the first volume counts";
    "plus_di" PlusDi &[PERIOD], TALIB, "smoothed upward movement in percent of the smoothed true range; from bar period";
    "pow" Pow &[NUMBER, arg("exponent", ArgKind::Number)], MATHS, "x to the power exponent";
    "rank" Rank &[X], KLEENE, "place of the asset's value among all assets with a bar and a defined value, ascending from 1, ties in panel order";
    "roc" Roc WINDOW, TALIB, "100 (x / shift(x, period) - 1); undefined where the older value is 0";
    "rocp" Rocp WINDOW, TALIB, "(x - shift(x, period)) / shift(x, period); undefined where the older value is 0";
    "rsi" Rsi WINDOW, TALIB, "100 g / (g + l) of Wilder's averages of gains and losses; from bar period; 0 without any change";
    "shift" Shift &[X, arg("n", ArgKind::Lag)], KLEENE, "x of n bars ago";
    "sign" Sign &[NUMBER], MATHS, "-1, 0 or 1";
    "sma" Sma WINDOW, TALIB, "mean of the last period values; from bar period - 1";
    "sqrt" Sqrt &[NUMBER], MATHS, "square root; undefined below zero";
    "stddev" Stddev WINDOW, TALIB, "population standard deviation of the last period values; from bar period - 1";
    "stoch_d" StochD STOCH, TALIB, "sma(stoch_k, slow_d); from bar fast_k + slow_k + slow_d - 3";
    "stoch_k" StochK STOCH, TALIB, "sma of 100 (close - lowest low) / (highest high - lowest low) over slow_k bars; from bar fast_k + slow_k + slow_d - 3";
    "sum" Sum WINDOW, TALIB, "sum of the last period values; from bar period - 1";
    "tema" Tema WINDOW, TALIB, "3 e1 - 3 e2 + e3 of nested ema; from bar 3 (period - 1)";
    "tr" Tr &[], TALIB, "largest of high - low, |high - last close|, |low - last close|; from bar 1";
    "trix" Trix WINDOW, TALIB, "one-bar rate of change in percent of a triple ema; from bar 3 (period - 1) + 1";
    "willr" Willr &[PERIOD], TALIB, "-100 (highest high - close) / (highest high - lowest low); from bar period - 1; 0 without any range";
    "wma" Wma WINDOW, TALIB, "mean of the last period values with weights 1 to period; from bar period - 1";
    "zscore" Zscore WINDOW, KLEENE, "(x - sma(x, period)) / stddev(x, period), population deviation; undefined where it is 0";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        let all: Vec<_> = names().collect();
        assert!(all.is_sorted(), "{all:?}");
        for def in reference() {
            assert!(!def.doc.is_empty() && !def.source.is_empty());
            assert!(
                def.args.iter().skip_while(|a| a.default.is_none()).all(|a| a.default.is_some()),
                "{}",
                def.name
            );
        }
    }

    #[test]
    fn signatures_show_defaults() {
        let signature = |name| find(name).map(FunctionDef::signature).unwrap_or_default();
        assert_eq!(signature("bbands_upper"), "bbands_upper(x, period, k=2)");
        assert_eq!(signature("min"), "min(a, b, ...)");
        assert_eq!(signature("obv"), "obv()");
    }

    #[test]
    fn bars_are_whole_and_in_range() {
        assert_eq!(ArgKind::Period.bars(10.0), Some(10));
        assert_eq!(ArgKind::Lag.bars(0.0), Some(0));
        for bad in [0.0, -1.0, 2.5, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(ArgKind::Period.bars(bad), None, "{bad}");
        }
        assert_eq!(ArgKind::Lag.bars(-1.0), None);
    }
}
