//! The rule language: conditions and numbers over the columns of an asset, written as text.
//!
//! A text is read once ([`Program`]), bound to all parameter sets of a batch ([`BatchGraph`], where equal
//! sub-expressions of different trials become one node), and evaluated to columns, asset by asset ([`Evaluator`]) or
//! over a whole universe where assets are ranked against each other ([`PanelEvaluator`]).
//!
//! An undefined value is NaN; a condition over one is undefined (Kleene's logic) and does not hold in the end.

mod ast;
mod bind;
mod call;
mod canonical;
mod eval;
mod frames;
mod functions;
mod graph;
mod kernels;
mod lexer;
mod names;
mod panel;
mod parser;
mod program;
mod relation;
mod resolve;

pub use call::{Input, Output, Step, call};
pub use eval::Evaluator;
pub(crate) use eval::Pools;
pub use functions::{ArgDef, ArgKind, FunctionDef, reference};
pub use graph::{BatchGraph, BoundSlot, NodeIx};
pub(crate) use names::suggestion;
pub use panel::{PanelColumns, PanelEvaluator};
pub use program::{Program, SlotDef, SlotKind};

use crate::data::{CoarseFrame, Frequency};

/// The price and volume columns that every panel has.
pub const STANDARD_SERIES: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// The series that is made rather than read: 0 on the first bar of the asset, then 1, 2, ...
pub const BAR_INDEX: &str = "bar_index";

/// The form that evaluates an expression on coarse bars: `on("1d", sma(close, 20))`.
pub const ON: &str = "on";

/// The columns of one asset, all of the same length.
pub trait SeriesSource {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the standard series or an extra column, by name.
    fn column(&self, name: &str) -> Option<&[f64]>;

    /// Its coarse bars of a frequency, for expressions in `on`.
    fn frame(&self, frequency: Frequency) -> Option<&CoarseFrame<'_>> {
        let _ = frequency;
        None
    }
}
