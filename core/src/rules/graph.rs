//! The expressions of all trials of a batch as one graph without duplicates.

use super::STANDARD_SERIES;
use super::bind;
use super::kernels::{BinaryOp, UnaryOp};
use super::program::Program;
use super::relation::Relations;
use crate::data::Frequency;
use crate::error::RuleError;
use crate::indicators::{MacdPeriods, Period, StochPeriods, Truth};

/// A node of a [`BatchGraph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub(super) u32);

impl NodeIx {
    #[inline]
    pub fn ix(self) -> usize {
        self.0 as usize
    }
}

/// A slot of one trial, its parameters substituted. A condition is always a series, even if it never changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoundSlot {
    /// The same number on every bar. For a slot that may be a series it can be NaN: undefined on every bar.
    Scalar(f64),
    Series(NodeIx),
}

/// All expressions of all trials: equal ones are one node, constants are folded.
#[derive(Debug)]
pub struct BatchGraph {
    pub(super) nodes: Vec<Node>,
    /// For each node, how many nodes and slots read it.
    pub(super) uses: Vec<u32>,
    /// For each moving average, the next one of the same column: they are computed together.
    pub(super) next_average: Vec<Option<NodeIx>>,
    /// For each node, whether a rank stands in it or below.
    pub(super) ranked: Vec<bool>,
    pub(super) series: Vec<SeriesName>,
    pub(super) frequencies: Vec<Frequency>,
    pub(super) n_slots: usize,
    /// Slots of all good trials, one after another.
    pub(super) slots: Vec<BoundSlot>,
    /// For each trial, where its slots begin or its fault.
    pub(super) trials: Vec<Result<usize, Box<RuleError>>>,
    pub(super) no_such_trial: RuleError,
}

impl BatchGraph {
    /// Substitutes one row of parameter values per trial, in the order of the declared names.
    pub fn bind(program: &Program, rows: &[&[f64]]) -> Self {
        bind::bind(program, rows)
    }

    /// The slots of a trial in the order of compilation, or why its parameters do not fit.
    pub fn trial(&self, trial: usize) -> Result<&[BoundSlot], &RuleError> {
        match self.trials.get(trial) {
            Some(Ok(start)) => Ok(self.slots.get(*start..*start + self.n_slots).unwrap_or(&[])),
            Some(Err(error)) => Err(error),
            None => Err(&self.no_such_trial),
        }
    }

    pub fn n_trials(&self) -> usize {
        self.trials.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The moving averages of the same column that stand behind one and are read by somebody.
    pub(super) fn later_averages(&self, ix: NodeIx) -> impl Iterator<Item = NodeIx> + '_ {
        let next = |ix: &NodeIx| self.next_average.get(ix.ix()).copied().flatten();
        std::iter::successors(next(&ix), next).filter(|ix| self.uses[ix.ix()] > 0)
    }

    #[inline]
    pub(super) fn node(&self, ix: NodeIx) -> &Node {
        &self.nodes[ix.ix()]
    }
}

/// A column that some node reads.
#[derive(Debug, Clone)]
pub(super) struct SeriesName {
    pub name: String,
    /// Standard columns are finite or NaN; an extra one may hold anything.
    pub is_standard: bool,
}

impl SeriesName {
    pub fn of(name: &str) -> Self {
        Self { name: name.to_string(), is_standard: STANDARD_SERIES.contains(&name) }
    }
}

/// An operation and what it is applied to; every operand stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub op: Op,
    /// Which bars it is evaluated on, as `Expr::space`.
    space: u8,
    args: [NodeIx; 4],
    n_args: u8,
}

impl Node {
    pub fn new(op: Op, space: u8, operands: &[NodeIx]) -> Self {
        debug_assert!(operands.len() <= 4, "operands of {op:?}");
        let mut args = [NodeIx(0); 4];
        for (arg, &operand) in args.iter_mut().zip(operands) {
            *arg = operand;
        }
        Self { op, space, args, n_args: operands.len().min(4) as u8 }
    }

    #[inline]
    pub fn args(&self) -> &[NodeIx] {
        &self.args[..usize::from(self.n_args)]
    }
}

/// What a node does. Constants are kept as bits, so that nodes can be compared and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Const(u64),
    Truth(Truth),
    BarIndex,
    Series(u32),
    Unary(UnaryOp),
    Binary(BinaryOp),
    IfElse,
    /// Two numbers; neither a number nor a condition itself.
    Relation,
    /// A relation, to one of these
    Test(Relations),
    /// A relation, from one of the first a bar before to one of the second now
    Cross(Relations, Relations),
    And,
    Or,
    Not,
    BarsSince,
    /// x
    Window(WindowFn, Period),
    /// x
    Shift(u32),
    /// x
    Macd(MacdOut, MacdPeriods),
    /// mean, deviation; the number of deviations as bits
    Band(u64),
    /// x, mean, deviation
    Score,
    /// atr, close
    Percent,
    /// high, low, close
    Range(RangeFn, Period),
    /// high, low, close
    TrueRange,
    /// high, low, close
    Stoch(StochOut, StochPeriods),
    /// close, volume
    Obv,
    /// high, low, close, volume
    Mfi(Period),
    /// x, over all assets
    Rank,
    /// A number of coarse bars, as of the last complete one
    OnNums(u8),
    /// A condition of coarse bars, as of the last complete one
    OnTruths(u8),
}

/// Indicators of one column and one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WindowFn {
    AroonDown,
    AroonUp,
    Dema,
    Ema,
    Highest,
    Hma,
    Lowest,
    Mom,
    Roc,
    Rocp,
    Rsi,
    Sma,
    Stddev,
    Sum,
    Tema,
    Trix,
    Wma,
}

/// Indicators of high, low, close and one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RangeFn {
    Adx,
    Atr,
    Cci,
    MinusDi,
    PlusDi,
    Willr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum MacdOut {
    Line,
    Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum StochOut {
    K,
    D,
}

impl Op {
    pub fn is_condition(self) -> bool {
        matches!(
            self,
            Self::Truth(_)
                | Self::Test(_)
                | Self::Cross(..)
                | Self::And
                | Self::Or
                | Self::Not
                | Self::OnTruths(_)
        )
    }

    /// Whether operands are read as whole columns, so that a constant one must be written out.
    pub fn reads_columns(self) -> bool {
        let each_bar_alone = matches!(
            self,
            Self::Unary(_) | Self::Binary(_) | Self::IfElse | Self::Relation | Self::BarsSince
        );
        !each_bar_alone && !self.is_condition()
    }
}
