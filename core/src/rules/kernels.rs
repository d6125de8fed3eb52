//! Operations on each bar alone, over whole columns.

use super::ast::CompareOp;
use crate::indicators::{BarsSince, Truth, defined};
use crate::wide::widest;

/// A number of one operand and no parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum UnaryOp {
    Abs,
    Ceil,
    Exp,
    Floor,
    Log,
    Negate,
    Sign,
    Sqrt,
}

/// A number of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
    Min,
    Max,
}

/// A column of numbers or the same number on every bar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Nums<'a> {
    Column(&'a [f64]),
    Same(f64),
}

/// A column of truth values or the same one on every bar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Truths<'a> {
    Column(&'a [Truth]),
    Same(Truth),
}

impl UnaryOp {
    /// The value for one bar, NaN where undefined.
    #[inline(always)]
    pub fn apply(self, a: f64) -> f64 {
        defined(match self {
            Self::Abs => a.abs(),
            Self::Ceil => a.ceil(),
            Self::Exp => a.exp(),
            Self::Floor => a.floor(),
            Self::Log => a.ln(),
            Self::Negate => -a,
            Self::Sign if a == 0.0 => 0.0,
            Self::Sign => a.signum(),
            Self::Sqrt => a.sqrt(),
        })
    }
}

impl BinaryOp {
    /// The value for one bar, NaN where undefined.
    #[inline(always)]
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => defined(a + b),
            Self::Sub => defined(a - b),
            Self::Mul => defined(a * b),
            Self::Div => defined(a / b),
            Self::Rem => defined(modulo(a, b)),
            // A power of NaN is 1 for exponent 0, and 1 to the power NaN is 1; an undefined operand stays undefined here.
            Self::Pow if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Pow => defined(a.powf(b)),
            Self::Min if a <= b => a,
            Self::Max if a >= b => a,
            Self::Min | Self::Max if a.is_nan() => f64::NAN,
            Self::Min | Self::Max => defined(b),
        }
    }
}

/// The remainder with the sign of the divisor, as in Python.
#[inline]
fn modulo(a: f64, b: f64) -> f64 {
    let r = a % b;
    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
}

impl CompareOp {
    /// Undefined if an operand is.
    #[inline(always)]
    pub fn apply(self, a: f64, b: f64) -> Truth {
        let is_defined = !(a.is_nan() | b.is_nan());
        let value = match self {
            Self::Lt => a < b,
            Self::Le => a <= b,
            Self::Gt => a > b,
            Self::Ge => a >= b,
            Self::Eq => a == b,
            Self::Ne => is_defined & (a != b),
        };
        Truth::known(value, is_defined)
    }
}

/// The one of two numbers that a condition picks.
#[inline(always)]
pub(super) fn picked(condition: Truth, a: f64, b: f64) -> f64 {
    match condition {
        Truth::TRUE => a,
        Truth::FALSE => b,
        _ => f64::NAN,
    }
}

pub(super) fn unary(op: UnaryOp, a: Nums<'_>, out: &mut [f64]) {
    macro_rules! each {
        ($($op:ident),*) => {
            match op { $(UnaryOp::$op => map(a, out, |a| UnaryOp::$op.apply(a))),* }
        };
    }
    each!(Abs, Ceil, Exp, Floor, Log, Negate, Sign, Sqrt);
}

pub(super) fn binary(op: BinaryOp, a: Nums<'_>, b: Nums<'_>, out: &mut [f64]) {
    macro_rules! each {
        ($($op:ident),*) => {
            match op { $(BinaryOp::$op => zip(a, b, out, |a, b| BinaryOp::$op.apply(a, b))),* }
        };
    }
    each!(Add, Sub, Mul, Div, Rem, Pow, Min, Max);
}

/// Writes 1 where a condition holds, 0 where it does not or is undefined.
pub(super) fn held(truths: &[Truth], out: &mut [u8]) {
    widest(
        #[inline(always)]
        || {
            for (o, truth) in out.iter_mut().zip(truths) {
                *o = u8::from(truth.holds());
            }
        },
    );
}

pub(super) fn and(a: Truths<'_>, b: Truths<'_>, out: &mut [Truth]) {
    combine(a, b, out, Truth::and);
}

pub(super) fn or(a: Truths<'_>, b: Truths<'_>, out: &mut [Truth]) {
    combine(a, b, out, Truth::or);
}

pub(super) fn not(a: Truths<'_>, out: &mut [Truth]) {
    combine(a, Truths::Same(Truth::TRUE), out, |a, _| a.negated());
}

pub(super) fn if_else(condition: Truths<'_>, a: Nums<'_>, b: Nums<'_>, out: &mut [f64]) {
    match condition {
        Truths::Same(condition) => zip(a, b, out, |a, b| picked(condition, a, b)),
        Truths::Column(conditions) => {
            zip(a, b, out, |a, _| a);
            match b {
                Nums::Same(b) => {
                    for (o, &c) in out.iter_mut().zip(conditions) {
                        *o = picked(c, *o, b);
                    }
                }
                Nums::Column(b) => {
                    for ((o, &c), &b) in out.iter_mut().zip(conditions).zip(b) {
                        *o = picked(c, *o, b);
                    }
                }
            }
        }
    }
}

pub(super) fn bars_since(condition: Truths<'_>, out: &mut [f64]) {
    let mut step = BarsSince::new();
    match condition {
        Truths::Same(condition) => out.fill_with(|| step.update(condition)),
        Truths::Column(conditions) => {
            for (o, &c) in out.iter_mut().zip(conditions) {
                *o = step.update(c);
            }
        }
    }
}

#[inline(always)]
fn map(a: Nums<'_>, out: &mut [f64], f: impl Fn(f64) -> f64) {
    match a {
        Nums::Column(a) => {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(a);
            }
        }
        Nums::Same(a) => out.fill(f(a)),
    }
}

#[inline(always)]
fn zip(a: Nums<'_>, b: Nums<'_>, out: &mut [f64], f: impl Fn(f64, f64) -> f64) {
    match (a, b) {
        (Nums::Column(a), Nums::Column(b)) => {
            for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *o = f(a, b);
            }
        }
        (Nums::Column(a), Nums::Same(b)) => {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(a, b);
            }
        }
        (Nums::Same(a), Nums::Column(b)) => {
            for (o, &b) in out.iter_mut().zip(b) {
                *o = f(a, b);
            }
        }
        (Nums::Same(a), Nums::Same(b)) => out.fill(f(a, b)),
    }
}

#[inline(always)]
fn combine(a: Truths<'_>, b: Truths<'_>, out: &mut [Truth], f: impl Fn(Truth, Truth) -> Truth) {
    match (a, b) {
        (Truths::Column(a), Truths::Column(b)) => {
            for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *o = f(a, b);
            }
        }
        (Truths::Column(a), Truths::Same(b)) => {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(a, b);
            }
        }
        (Truths::Same(a), Truths::Column(b)) => {
            for (o, &b) in out.iter_mut().zip(b) {
                *o = f(a, b);
            }
        }
        (Truths::Same(a), Truths::Same(b)) => out.fill(f(a, b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modulo_has_the_sign_of_the_divisor() {
        let rem = |a, b| BinaryOp::Rem.apply(a, b);
        assert_eq!([rem(7.0, 5.0), rem(-1.0, 5.0), rem(1.0, -5.0), rem(-10.0, 5.0)], [2.0, 4.0, -4.0, 0.0]);
        assert!(rem(1.0, 0.0).is_nan());
    }

    #[test]
    fn undefined_is_contagious_in_numbers() {
        let nan = f64::NAN;
        for op in [BinaryOp::Add, BinaryOp::Min, BinaryOp::Max, BinaryOp::Pow, BinaryOp::Rem] {
            for (a, b) in [(nan, 0.0), (1.0, nan), (nan, nan)] {
                assert!(op.apply(a, b).is_nan(), "{op:?} {a} {b}");
            }
        }
        assert!(BinaryOp::Div.apply(1.0, 0.0).is_nan() && UnaryOp::Log.apply(0.0).is_nan());
        assert!(UnaryOp::Exp.apply(1000.0).is_nan() && UnaryOp::Sign.apply(nan).is_nan());
        assert_eq!([UnaryOp::Sign.apply(-0.0), UnaryOp::Sign.apply(-3.0)], [0.0, -1.0]);
    }

    #[test]
    fn comparisons_with_undefined_are_undefined() {
        for op in [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Eq, CompareOp::Ne] {
            assert_eq!(op.apply(f64::NAN, 1.0), Truth::UNDEFINED);
            assert_eq!(op.apply(1.0, f64::NAN), Truth::UNDEFINED);
        }
        assert_eq!(CompareOp::Ne.apply(1.0, 2.0), Truth::TRUE);
    }

    #[test]
    fn picks_the_defined_branch() {
        let conditions = [Truth::TRUE, Truth::FALSE, Truth::UNDEFINED];
        let mut out = [0.0; 3];
        if_else(Truths::Column(&conditions), Nums::Same(1.0), Nums::Column(&[f64::NAN, 2.0, 2.0]), &mut out);
        assert_eq!(out[..2], [1.0, 2.0]);
        assert!(out[2].is_nan());
    }
}
