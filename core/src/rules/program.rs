//! The rules of one strategy, read and checked.

use super::ast::{ArithmeticOp, CompareOp, LogicOp};
use super::functions::{Function, FunctionDef};
use super::{BAR_INDEX, ON, STANDARD_SERIES, bind, canonical, functions, lexer, resolve};
use crate::data::Frequency;
use crate::error::RuleError;

/// What a slot of a strategy must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A condition.
    Bool,
    /// A number, a series or not.
    Num,
    /// A number made of parameters and numbers only.
    Scalar,
}

/// One text of a strategy: where it belongs, what it must be, what it says.
#[derive(Debug, Clone, Copy)]
pub struct SlotDef<'a> {
    pub name: &'a str,
    pub kind: SlotKind,
    pub text: &'a str,
}

/// The rules of one strategy: names looked up, types checked, parameters still open.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) slots: Vec<Slot>,
    /// Expressions of all slots; one stands after all those that it is made of.
    pub(super) exprs: Vec<Expr>,
    pub(super) params: Vec<String>,
    /// Columns that are read.
    pub(super) series: Vec<String>,
    /// Frequencies of `on`: what `Expr::space` counts, from 1.
    pub(super) frequencies: Vec<Frequency>,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub name: String,
    pub kind: SlotKind,
    pub root: ExprIx,
}

/// Position of an expression in its program.
pub(super) type ExprIx = usize;

#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub kind: ExprKind,
    pub is_condition: bool,
    /// The same for every bar.
    pub is_scalar: bool,
    /// The same for every trial.
    pub is_fixed: bool,
    /// Which bars it is evaluated on: 0 the bars themselves, else the place of a frequency, from 1.
    pub space: u8,
    /// The slot it was written in.
    pub slot_ix: usize,
}

#[derive(Debug, Clone)]
pub(super) enum ExprKind {
    Number(f64),
    Bool(bool),
    BarIndex,
    Series(u32),
    Param(usize),
    Negate(ExprIx),
    Not(ExprIx),
    Arithmetic(ArithmeticOp, ExprIx, ExprIx),
    Logic(LogicOp, ExprIx, ExprIx),
    Compare {
        ops: Vec<CompareOp>,
        operands: Vec<ExprIx>,
    },
    Call {
        def: &'static FunctionDef,
        args: Vec<ExprIx>,
    },
    /// An expression of coarse bars, as of the last complete one.
    On {
        space: u8,
        x: ExprIx,
    },
}

impl Program {
    /// Reads the texts of all slots. `params` are the declared parameters in the order of their values; `extra` are the
    /// columns of the panel beside the standard ones.
    pub fn compile(slots: &[SlotDef<'_>], params: &[&str], extra: &[&str]) -> Result<Self, RuleError> {
        check_params(params, extra)?;
        let mut program = Self {
            slots: Vec::with_capacity(slots.len()),
            exprs: Vec::new(),
            params: params.iter().map(|&p| p.to_string()).collect(),
            series: Vec::new(),
            frequencies: Vec::new(),
        };
        for slot in slots {
            resolve::add_slot(&mut program, slot, extra)?;
        }
        bind::check_fixed(&program)?;
        Ok(program)
    }

    /// All slots in one notation that white space, redundant parentheses, defaults left out and the order of named
    /// arguments do not change. Two programs with the same text give the same values.
    pub fn canonical(&self) -> String {
        canonical::of_program(self)
    }

    /// Whether assets are ranked against each other, so that one asset cannot be evaluated alone.
    pub fn is_cross_sectional(&self) -> bool {
        self.exprs
            .iter()
            .any(|e| matches!(&e.kind, ExprKind::Call { def, .. } if def.function == Function::Rank))
    }

    pub fn n_slots(&self) -> usize {
        self.slots.len()
    }

    /// Declared parameters that no slot uses.
    pub fn unused_params(&self) -> Vec<String> {
        let is_used = |ix: usize| self.exprs.iter().any(|e| matches!(e.kind, ExprKind::Param(p) if p == ix));
        self.params.iter().enumerate().filter(|(ix, _)| !is_used(*ix)).map(|(_, name)| name.clone()).collect()
    }

    /// Frequencies of coarse bars that some slot reads, in order of first use.
    pub fn frequencies(&self) -> &[Frequency] {
        &self.frequencies
    }

    /// Columns that some slot reads, in order of first use.
    pub fn series(&self) -> &[String] {
        &self.series
    }

    pub(super) fn slot_name(&self, slot_ix: usize) -> &str {
        self.slots.get(slot_ix).map_or("rule", |slot| slot.name.as_str())
    }
}

/// A parameter must be a name of its own.
fn check_params(params: &[&str], extra: &[&str]) -> Result<(), RuleError> {
    for (ix, &name) in params.iter().enumerate() {
        let rule = if lexer::WORDS.contains(&name) {
            "is a word of the rule language"
        } else if !lexer::is_name(name) {
            "is not a name: letters, digits and underscores, not a digit first"
        } else if name == BAR_INDEX || STANDARD_SERIES.contains(&name) || extra.contains(&name) {
            "has the name of a series"
        } else if functions::find(name).is_some() || name == ON {
            "has the name of a function"
        } else if params[..ix].contains(&name) {
            "is declared twice"
        } else {
            continue;
        };
        return Err(RuleError::BadParameter { name: name.to_string(), rule });
    }
    Ok(())
}
