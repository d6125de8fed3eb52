//! How two numbers stand to each other, bar by bar: what comparisons and crossings have in common.
//!
//! A rule that enters on one crossing and leaves on the opposite one compares the same two columns twice over; here
//! the columns are read once and the rest is done on bytes.

use super::ast::CompareOp;
use super::kernels::Nums;
use crate::indicators::Truth;
use crate::wide::widest;

/// One of less, equal, greater, as a bit; no bit if a number is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Relation(u8);

/// The relations under which a comparison holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Relations(u8);

const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;

impl Relation {
    pub const UNDEFINED: Self = Self(0);

    #[inline(always)]
    fn bits(a: f64, b: f64) -> u64 {
        u64::from(a < b) | (u64::from(a == b) << 1) | (u64::from(a > b) << 2)
    }

    pub fn of(a: f64, b: f64) -> Self {
        Self(Self::bits(a, b) as u8)
    }

    #[inline(always)]
    pub fn is_one_of(self, relations: Relations) -> Truth {
        Truth::known(self.0 & relations.0 != 0, self.0 != 0)
    }
}

impl Relations {
    pub fn of(op: CompareOp) -> Self {
        Self(match op {
            CompareOp::Lt => LESS,
            CompareOp::Le => LESS | EQUAL,
            CompareOp::Gt => GREATER,
            CompareOp::Ge => GREATER | EQUAL,
            CompareOp::Eq => EQUAL,
            CompareOp::Ne => LESS | GREATER,
        })
    }

    /// The same with both numbers exchanged.
    pub fn mirrored(self) -> Self {
        Self((self.0 & EQUAL) | ((self.0 & LESS) << 2) | ((self.0 & GREATER) >> 2))
    }
}

/// Rows that are compared together: whole registers on every machine.
const BLOCK: usize = 16;

/// Writes how `a` stands to `b`.
pub(super) fn relate(a: Nums<'_>, b: Nums<'_>, out: &mut [Relation]) {
    match (a, b) {
        (Nums::Column(a), Nums::Column(b)) => {
            let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
            let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            for ((o, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
                block(o, a, b);
            }
            for ((o, &a), &b) in rest.iter_mut().zip(a_rest).zip(b_rest) {
                *o = Relation::of(a, b);
            }
        }
        (Nums::Column(a), Nums::Same(b)) => {
            relate_to(a, out, |o, a| block(o, a, &[b; BLOCK]), |a| Relation::of(a, b));
        }
        (Nums::Same(a), Nums::Column(b)) => {
            relate_to(b, out, |o, b| block(o, &[a; BLOCK], b), |b| Relation::of(a, b));
        }
        (Nums::Same(a), Nums::Same(b)) => out.fill(Relation::of(a, b)),
    }
}

#[inline(always)]
fn relate_to(
    x: &[f64],
    out: &mut [Relation],
    block: impl Fn(&mut [Relation; BLOCK], &[f64; BLOCK]),
    one: impl Fn(f64) -> Relation,
) {
    let (x_blocks, x_rest) = x.as_chunks::<BLOCK>();
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for (o, x) in blocks.iter_mut().zip(x_blocks) {
        block(o, x);
    }
    for (o, &x) in rest.iter_mut().zip(x_rest) {
        *o = one(x);
    }
}

/// Comparison in the width of the numbers first, then to bytes: in one step it would not be done in registers.
#[inline(always)]
fn block(out: &mut [Relation; BLOCK], a: &[f64; BLOCK], b: &[f64; BLOCK]) {
    let mut wide = [0; BLOCK];
    for ((w, &a), &b) in wide.iter_mut().zip(a).zip(b) {
        *w = Relation::bits(a, b);
    }
    for (o, w) in out.iter_mut().zip(wide) {
        *o = Relation(w as u8);
    }
}

/// Writes where one of the relations stands.
pub(super) fn test(relation: &[Relation], relations: Relations, out: &mut [Truth]) {
    widest(
        #[inline(always)]
        || {
            for (o, r) in out.iter_mut().zip(relation) {
                *o = r.is_one_of(relations);
            }
        },
    );
}

/// Writes where one of the first relations stood a bar before and one of the others stands now.
pub(super) fn cross(relation: &[Relation], before: Relations, now: Relations, out: &mut [Truth]) {
    let (Some((first, rest)), Some((&start, later))) = (out.split_first_mut(), relation.split_first()) else {
        return;
    };
    *first = Truth::UNDEFINED.and(start.is_one_of(now));
    widest(
        #[inline(always)]
        || {
            for ((o, last), r) in rest.iter_mut().zip(relation).zip(later) {
                *o = last.is_one_of(before).and(r.is_one_of(now));
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::{CrossAbove, CrossBelow, testing::column};
    use proptest::prelude::*;

    const OPS: [CompareOp; 6] =
        [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Eq, CompareOp::Ne];

    proptest! {
        /// Blocks, remainders and constants all equal the comparison of one pair, from either side.
        #[test]
        fn relations_are_comparisons(a in column(), b in column()) {
            let n = a.len().min(b.len());
            let (a, b) = (&a[..n], &b[..n]);
            let same = b.first().copied().unwrap_or(1.0);
            let mut found = vec![Relation::UNDEFINED; n];
            let mut truths = vec![Truth::UNDEFINED; n];
            for op in OPS {
                relate(Nums::Column(a), Nums::Column(b), &mut found);
                test(&found, Relations::of(op), &mut truths);
                prop_assert!((0..n).all(|i| truths[i] == op.apply(a[i], b[i])));
                relate(Nums::Column(b), Nums::Column(a), &mut found);
                test(&found, Relations::of(op).mirrored(), &mut truths);
                prop_assert!((0..n).all(|i| truths[i] == op.apply(a[i], b[i])));
                relate(Nums::Column(a), Nums::Same(same), &mut found);
                test(&found, Relations::of(op), &mut truths);
                prop_assert!((0..n).all(|i| truths[i] == op.apply(a[i], same)));
                relate(Nums::Same(same), Nums::Column(a), &mut found);
                test(&found, Relations::of(op), &mut truths);
                prop_assert!((0..n).all(|i| truths[i] == op.apply(same, a[i])));
            }
        }

        /// Crossings of columns equal the step form.
        #[test]
        fn crossings_equal_the_step_form(a in column(), b in column()) {
            let n = a.len().min(b.len());
            let (a, b) = (&a[..n], &b[..n]);
            let (mut found, mut truths) = (vec![Relation::UNDEFINED; n], vec![Truth::UNDEFINED; n]);
            relate(Nums::Column(a), Nums::Column(b), &mut found);
            let (le, gt) = (Relations::of(CompareOp::Le), Relations::of(CompareOp::Gt));
            cross(&found, le, gt, &mut truths);
            let mut step = CrossAbove::new();
            prop_assert!((0..n).all(|i| truths[i] == step.update(a[i], b[i])));
            cross(&found, le.mirrored(), gt.mirrored(), &mut truths);
            let mut step = CrossBelow::new();
            prop_assert!((0..n).all(|i| truths[i] == step.update(a[i], b[i])));
        }
    }
}
