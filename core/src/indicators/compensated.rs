//! Sums that do not drift: the part that rounding takes away is carried along.
//!
//! A running sum of plain f64 leaves a flat price series with an average that is off by a few units in the last
//! place, and two averages of it then cross where nothing moved. With the carried part the average of equal values is
//! that value to the bit.

/// `a + b` as the rounded sum and its exact rounding error (Knuth).
#[inline(always)]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    (s, rounding(a, b, s))
}

/// What rounding took from `a + b`, which came out as `s`.
#[inline(always)]
fn rounding(a: f64, b: f64, s: f64) -> f64 {
    let b_part = s - a;
    (a - (s - b_part)) + (b - b_part)
}

/// Splits into a part of at most 26 significant bits and the rest, without overflow.
#[inline(always)]
pub(crate) fn split(a: f64) -> (f64, f64) {
    let high = f64::from_bits(a.to_bits() & 0xffff_ffff_f800_0000);
    (high, a - high)
}

/// `a * a` as the rounded square and its rounding error.
#[inline]
pub(crate) fn two_square(a: f64) -> (f64, f64) {
    let p = a * a;
    let (h, l) = split(a);
    (p, ((h * h - p) + 2.0 * h * l) + l * l)
}

/// `a * n` as the rounded product and its rounding error, for whole `n` below 2^27.
#[inline]
pub(crate) fn two_times(a: f64, n: f64) -> (f64, f64) {
    let p = a * n;
    let (h, l) = split(a);
    (p, (h * n - p) + l * n)
}

/// A sum kept as `hi + lo`, where `lo` carries what rounding took from `hi`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DoubleSum {
    pub hi: f64,
    pub lo: f64,
}

impl DoubleSum {
    #[inline]
    pub fn add(&mut self, hi: f64, lo: f64) {
        let (sum, error) = two_sum(self.hi, hi);
        self.hi = sum;
        self.lo += error + lo;
    }

    /// Turns the changes of the first rows of a block into the sums there.
    #[inline]
    pub fn run(&mut self, block: &mut SumBlock, n_rows: usize) {
        for (hi, lo) in block.hi.iter_mut().zip(&mut block.lo).take(n_rows) {
            self.add(*hi, *lo);
            (*hi, *lo) = (self.hi, self.lo);
        }
    }

    #[inline]
    pub fn value(self) -> f64 {
        self.hi + self.lo
    }

    /// The sum as a rounded value and the rest.
    #[inline(always)]
    pub fn normalised(self) -> (f64, f64) {
        two_sum(self.hi, self.lo)
    }

    /// False after an overflow; once lost, a sum does not come back.
    #[inline]
    pub fn is_finite(self) -> bool {
        self.hi.is_finite() && self.lo.is_finite()
    }
}

/// Rows that are worked on together: what does not wait for the row before is done for the whole block at once.
pub(crate) const BLOCK: usize = 64;

/// The changes of a moving sum over some rows, then its values there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SumBlock {
    pub hi: [f64; BLOCK],
    pub lo: [f64; BLOCK],
}

impl SumBlock {
    pub const ZERO: Self = Self { hi: [0.0; BLOCK], lo: [0.0; BLOCK] };

    /// The change of each row: one value enters and one leaves.
    #[inline]
    pub fn set_changes(&mut self, entering: &[f64], leaving: &[f64]) {
        for (((hi, lo), &x), &oldest) in self.hi.iter_mut().zip(&mut self.lo).zip(entering).zip(leaving) {
            (*hi, *lo) = two_sum(x, -oldest);
        }
    }

    /// The change of each row in the sum of squares.
    #[inline]
    pub fn set_square_changes(&mut self, entering: &[f64], leaving: &[f64]) {
        for (((hi, lo), &x), &oldest) in self.hi.iter_mut().zip(&mut self.lo).zip(entering).zip(leaving) {
            (*hi, *lo) = square_change(x, oldest);
        }
    }
}

/// Several moving sums over the same rows. Each is a chain of additions that wait for one another, so chains side by
/// side take hardly longer than one.
#[derive(Debug)]
pub(crate) struct SumChains<const N: usize> {
    sums: [DoubleSum; N],
    /// The change of each row, then what rounding took from it.
    changes: [SumBlock; N],
    /// The sum before the block and after each row of it.
    his: [[f64; BLOCK + 1]; N],
}

impl<const N: usize> SumChains<N> {
    pub fn new() -> Self {
        Self { sums: [DoubleSum::default(); N], changes: [SumBlock::ZERO; N], his: [[0.0; BLOCK + 1]; N] }
    }

    /// Where the changes of a block are written.
    #[inline(always)]
    pub fn changes(&mut self, chain: usize) -> &mut SumBlock {
        &mut self.changes[chain]
    }

    /// Adds the changes of the first rows of a block, as [`DoubleSum::add`] does one by one: only the sums themselves
    /// wait for the row before, the rounding of each is known from the sums.
    #[inline(always)]
    pub fn run(&mut self, n_rows: usize) {
        let n_rows = n_rows.min(BLOCK);
        for (his, sum) in self.his.iter_mut().zip(&self.sums) {
            his[0] = sum.hi;
        }
        let mut his = self.sums.map(|sum| sum.hi);
        for row in 0..n_rows {
            for ((hi, changes), kept) in his.iter_mut().zip(&self.changes).zip(&mut self.his) {
                *hi += changes.hi[row];
                kept[row + 1] = *hi;
            }
        }
        for (his, changes) in self.his.iter().zip(&mut self.changes) {
            let pairs = his[..n_rows].iter().zip(&his[1..]);
            for (((&before, &sum), &change), lo) in pairs.zip(&changes.hi).zip(&mut changes.lo) {
                *lo += rounding(before, change, sum);
            }
        }
        let mut los = self.sums.map(|sum| sum.lo);
        for row in 0..n_rows {
            for (lo, changes) in los.iter_mut().zip(&mut self.changes) {
                *lo += changes.lo[row];
                changes.lo[row] = *lo;
            }
        }
        for (chain, sum) in self.sums.iter_mut().enumerate() {
            *sum = DoubleSum { hi: his[chain], lo: los[chain] };
        }
    }

    /// The sums of a chain after the rows of the block.
    #[inline(always)]
    pub fn sums(&self, chain: usize) -> impl Iterator<Item = DoubleSum> + '_ {
        let his = self.his[chain][1..].iter();
        his.zip(&self.changes[chain].lo).map(|(&hi, &lo)| DoubleSum { hi, lo })
    }

    /// False for good once a sum has overflowed.
    pub fn is_finite(&self, chain: usize) -> bool {
        self.sums[chain].is_finite()
    }
}

/// What a sum gains when one value enters and one leaves, for each row; nothing leaves a window that is not full.
#[inline(always)]
pub(crate) fn set_window_changes(block: &mut SumBlock, x: &[f64], rows: std::ops::Range<usize>, n: usize) {
    let n_growing = n.saturating_sub(rows.start).min(rows.len());
    block.hi[..n_growing].copy_from_slice(&x[rows.start..rows.start + n_growing]);
    block.lo[..n_growing].fill(0.0);
    let entering = &x[rows.start + n_growing..rows.end];
    let leaving = &x[(rows.start + n_growing).saturating_sub(n)..];
    let (hi, lo) = (&mut block.hi[n_growing..], &mut block.lo[n_growing..]);
    for (((hi, lo), &x), &oldest) in hi.iter_mut().zip(lo).zip(entering).zip(leaving) {
        (*hi, *lo) = two_sum(x, -oldest);
    }
}

/// What a sum of squares gains when one value enters and one leaves.
#[inline]
pub(crate) fn square_change(x: f64, oldest: f64) -> (f64, f64) {
    let (entering, entering_error) = two_square(x);
    let (leaving, leaving_error) = two_square(oldest);
    let (change, error) = two_sum(entering, -leaving);
    (change, error + (entering_error - leaving_error))
}

/// Divides sums by a fixed count, rounded as if from the exact sum, without a division per value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divisor {
    n: f64,
    inverse: f64,
}

impl Divisor {
    pub fn new(n: f64) -> Self {
        Self { n, inverse: 1.0 / n }
    }

    #[inline(always)]
    pub fn divide(self, sum: DoubleSum) -> f64 {
        let (s, rest) = sum.normalised();
        let quotient = s * self.inverse;
        let (h, l) = split(quotient);
        let remainder = (s - h * self.n) - l * self.n;
        quotient + (remainder + rest) * self.inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any number of equal values has exactly that value as its mean, whatever passed through the sum before.
        #[test]
        fn mean_of_equal_values_is_the_value(x in -1e9..1e9f64, n in 1..3000u32, before in prop::collection::vec(-1e12..1e12f64, 0..50)) {
            let mut sum = DoubleSum::default();
            for &b in &before { sum.add(b, 0.0); }
            for _ in 0..n { sum.add(x, 0.0); }
            for &b in &before { sum.add(-b, 0.0); }
            prop_assert_eq!(Divisor::new(f64::from(n)).divide(sum), x);
        }

        #[test]
        fn products_are_exact_pairs(x in -1e9..1e9f64, n in 1..100_000u32) {
            let n = f64::from(n);
            let (p, e) = two_times(x, n);
            prop_assert_eq!((p, e), (x * n, x.mul_add(n, -(x * n))));
            let (p, e) = two_square(x);
            prop_assert_eq!(p, x * x);
            let exact = x.mul_add(x, -(x * x));
            prop_assert!((e - exact).abs() <= exact.abs() * 1e-15 + f64::EPSILON * f64::EPSILON * p);
        }
    }
}
