//! Kernels in the widest registers that the machine has.
//!
//! Four numbers are worked on together, by one instruction where there is AVX2 and one by one where there is not. Both do
//! the same operations in the same order, and none joins a multiplication with an addition: the bits are the same.

use std::ops::{Add, Div, Mul, Sub};

/// Numbers that one operation handles together.
pub(crate) const LANES: usize = 4;

pub(crate) type Lanes = [f64; LANES];

/// Applies a function to each lane.
#[inline(always)]
pub(crate) fn each(mut f: impl FnMut(usize) -> f64) -> Lanes {
    [f(0), f(1), f(2), f(3)]
}

/// Work written for any width of registers. Everything that `run` calls on quads must be `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;

    fn run<Q: Quad>(self, machine: Q::Machine) -> Self::Output;
}

/// Runs a kernel in the registers of the machine at hand.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let pulp::Arch::V3(machine) = pulp::Arch::new() {
        return pulp::Simd::vectorize(
            machine,
            #[inline(always)]
            || kernel.run::<avx2::Avx2>(machine),
        );
    }
    kernel.run::<Plain>(())
}

/// Runs plain loops compiled for the registers of the machine at hand. The closure must be `#[inline(always)]` down to
/// its loops.
#[inline]
pub(crate) fn widest<T>(kernel: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(kernel)
}

/// Four numbers.
pub(crate) trait Quad:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// What shows that the instructions exist.
    type Machine: Copy;

    fn new(machine: Self::Machine, lanes: Lanes) -> Self;

    fn lanes(self) -> Lanes;

    fn abs(self) -> Self;

    /// For each lane the number itself if it is above the other one, else the other one: that, too, for NaN.
    fn or_if_above(self, other: Self) -> Self;

    /// For each lane the number itself if it is below the other one, else the other one: that, too, for NaN.
    fn or_if_below(self, other: Self) -> Self;

    /// For each lane `yes` if the number is above the other one, else `no`.
    fn if_above(self, other: Self, yes: Self, no: Self) -> Self;

    /// A bit for each lane, set if the number is below the other one.
    fn below(self, other: Self) -> u32;

    /// A bit for each lane, set if the number is the other one or below it.
    fn at_most(self, other: Self) -> u32;

    /// A bit for each lane, set if both numbers are the same.
    fn equal(self, other: Self) -> u32;

    /// `m` and `k` with `x = m 2^k` and `m` from `sqrt(1/2)` to `sqrt(2)`, for normal numbers above zero.
    fn mantissa_and_exponent(self) -> (Self, Self);

    #[inline(always)]
    fn splat(machine: Self::Machine, x: f64) -> Self {
        Self::new(machine, [x; LANES])
    }
}

/// Every lane.
pub(crate) const ALL: u32 = (1 << LANES) - 1;

const MANTISSA_BITS: u32 = 52;
const BIAS: u64 = 1023 << MANTISSA_BITS;
/// The bits of the square root of one half.
const ROOT_OF_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
/// A number whose lowest mantissa bit is worth 1: an integer below 2^52 in its place makes it that much larger.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// One number after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain(Lanes);

macro_rules! by_lane {
    ($($trait:ident $method:ident $op:tt),*) => {$(
        impl $trait for Plain {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(each(|i| self.0[i] $op other.0[i]))
            }
        }
    )*};
}
by_lane!(Add add +, Sub sub -, Mul mul *, Div div /);

impl Plain {
    #[inline(always)]
    fn bits(self, other: Self, holds: impl Fn(f64, f64) -> bool) -> u32 {
        (0..LANES).fold(0, |bits, i| bits | (u32::from(holds(self.0[i], other.0[i])) << i))
    }
}

impl Quad for Plain {
    type Machine = ();

    #[inline(always)]
    fn new((): (), lanes: Lanes) -> Self {
        Self(lanes)
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        self.0
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f64::abs))
    }

    #[inline(always)]
    fn or_if_above(self, other: Self) -> Self {
        self.if_above(other, self, other)
    }

    #[inline(always)]
    fn or_if_below(self, other: Self) -> Self {
        other.if_above(self, self, other)
    }

    #[inline(always)]
    fn if_above(self, other: Self, yes: Self, no: Self) -> Self {
        Self(each(|i| if self.0[i] > other.0[i] { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn below(self, other: Self) -> u32 {
        self.bits(other, |a, b| a < b)
    }

    #[inline(always)]
    fn at_most(self, other: Self) -> u32 {
        self.bits(other, |a, b| a <= b)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u32 {
        self.bits(other, |a, b| a == b)
    }

    #[inline(always)]
    fn mantissa_and_exponent(self) -> (Self, Self) {
        let exponent = |x: f64| x.to_bits().wrapping_sub(ROOT_OF_HALF).wrapping_add(BIAS) >> MANTISSA_BITS;
        let mantissa = |x: f64| {
            f64::from_bits(x.to_bits().wrapping_sub(exponent(x) << MANTISSA_BITS).wrapping_add(BIAS))
        };
        let number = |x: f64| f64::from_bits(TWO_52.to_bits() | exponent(x)) - (TWO_52 + 1023.0);
        (Self(self.0.map(mantissa)), Self(self.0.map(number)))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{BIAS, Lanes, MANTISSA_BITS, Quad, ROOT_OF_HALF, TWO_52};
    use core::arch::x86_64::{__m256d, __m256i, _CMP_EQ_OQ, _CMP_GT_OQ, _CMP_LE_OQ, _CMP_LT_OQ};
    use pulp::{cast, x86::V3};
    use std::ops::{Add, Div, Mul, Sub};

    /// One register.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx2 {
        machine: V3,
        x: __m256d,
    }

    macro_rules! by_register {
        ($($trait:ident $method:ident $instruction:ident),*) => {$(
            impl $trait for Avx2 {
                type Output = Self;

                #[inline(always)]
                fn $method(self, other: Self) -> Self {
                    Self { x: self.machine.avx.$instruction(self.x, other.x), ..self }
                }
            }
        )*};
    }
    by_register!(Add add _mm256_add_pd, Sub sub _mm256_sub_pd, Mul mul _mm256_mul_pd, Div div _mm256_div_pd);

    impl Avx2 {
        #[inline(always)]
        fn bits<const HOLDS: i32>(self, other: Self) -> u32 {
            let avx = self.machine.avx;
            avx._mm256_movemask_pd(avx._mm256_cmp_pd::<HOLDS>(self.x, other.x)) as u32
        }
    }

    impl Quad for Avx2 {
        type Machine = V3;

        #[inline(always)]
        fn new(machine: V3, lanes: Lanes) -> Self {
            Self { machine, x: cast(lanes) }
        }

        #[inline(always)]
        fn lanes(self) -> Lanes {
            cast(self.x)
        }

        #[inline(always)]
        fn abs(self) -> Self {
            let avx = self.machine.avx;
            Self { x: avx._mm256_andnot_pd(avx._mm256_set1_pd(-0.0), self.x), ..self }
        }

        #[inline(always)]
        fn or_if_above(self, other: Self) -> Self {
            Self { x: self.machine.avx._mm256_max_pd(self.x, other.x), ..self }
        }

        #[inline(always)]
        fn or_if_below(self, other: Self) -> Self {
            Self { x: self.machine.avx._mm256_min_pd(self.x, other.x), ..self }
        }

        #[inline(always)]
        fn if_above(self, other: Self, yes: Self, no: Self) -> Self {
            let avx = self.machine.avx;
            let is_above = avx._mm256_cmp_pd::<_CMP_GT_OQ>(self.x, other.x);
            Self { x: avx._mm256_blendv_pd(no.x, yes.x, is_above), ..self }
        }

        #[inline(always)]
        fn below(self, other: Self) -> u32 {
            self.bits::<_CMP_LT_OQ>(other)
        }

        #[inline(always)]
        fn at_most(self, other: Self) -> u32 {
            self.bits::<_CMP_LE_OQ>(other)
        }

        #[inline(always)]
        fn equal(self, other: Self) -> u32 {
            self.bits::<_CMP_EQ_OQ>(other)
        }

        #[inline(always)]
        fn mantissa_and_exponent(self) -> (Self, Self) {
            let V3 { avx, avx2, .. } = self.machine;
            let same = |bits: u64| avx._mm256_set1_epi64x(bits as i64);
            let bits: __m256i = cast(self.x);
            let from_root =
                avx2._mm256_add_epi64(avx2._mm256_sub_epi64(bits, same(ROOT_OF_HALF)), same(BIAS));
            let exponent = avx2._mm256_srli_epi64::<{ MANTISSA_BITS as i32 }>(from_root);
            let shifted = avx2._mm256_slli_epi64::<{ MANTISSA_BITS as i32 }>(exponent);
            let mantissa = avx2._mm256_add_epi64(avx2._mm256_sub_epi64(bits, shifted), same(BIAS));
            let number: __m256d = cast(avx2._mm256_or_si256(same(TWO_52.to_bits()), exponent));
            let number = avx._mm256_sub_pd(number, avx._mm256_set1_pd(TWO_52 + 1023.0));
            (Self { x: cast(mantissa), ..self }, Self { x: number, ..self })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every operation on two quads, as bits.
    struct Everything(Lanes, Lanes);

    impl Kernel for Everything {
        type Output = Vec<u64>;

        #[inline(always)]
        fn run<Q: Quad>(self, machine: Q::Machine) -> Vec<u64> {
            let (a, b) = (Q::new(machine, self.0), Q::new(machine, self.1));
            let (mantissa, exponent) = a.mantissa_and_exponent();
            let quads = [
                a + b,
                a - b,
                a * b,
                a / b,
                a * b + a,
                a.abs(),
                a.or_if_above(b),
                a.or_if_below(b),
                a.if_above(b, a, Q::splat(machine, 7.0)),
                mantissa,
                exponent,
            ];
            // Every NaN is the same NaN: nothing reads its payload.
            let bits = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
            let lanes = quads.into_iter().flat_map(Q::lanes).map(bits);
            lanes.chain([a.below(b), a.at_most(b), a.equal(b)].map(u64::from)).collect()
        }
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => -1e3..1e3_f64,
            4 => any::<f64>(),
            1 => prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        ]
    }

    proptest! {
        #[test]
        fn wide_registers_do_not_change_bits(a in prop::array::uniform4(number()), b in prop::array::uniform4(number())) {
            prop_assert_eq!(dispatch(Everything(a, b)), Everything(a, b).run::<Plain>(()));
            prop_assert_eq!(dispatch(Everything(a, a)), Everything(a, a).run::<Plain>(()));
        }
    }

    /// A product and a sum that differ from their fused form, in vectors and in the rest behind them.
    #[test]
    fn plain_loops_are_not_fused() {
        let xs: Vec<f64> = (1..100).map(|i| 1.0 + f64::from(i) * f64::EPSILON * 7919.0).collect();
        let (mut wide, mut plain) = (vec![0.0; xs.len()], vec![0.0; xs.len()]);
        widest(
            #[inline(always)]
            || {
                for (o, x) in wide.iter_mut().zip(&xs) {
                    *o = x * x - (1.0 + 2.0 * (x - 1.0));
                }
            },
        );
        for (o, x) in plain.iter_mut().zip(&xs) {
            *o = std::hint::black_box(x * x) - (1.0 + 2.0 * (x - 1.0));
        }
        assert_eq!(wide, plain);
        let fused = |x: f64| x.mul_add(x, -(1.0 + 2.0 * (x - 1.0)));
        assert!(xs.iter().zip(&plain).any(|(&x, &o)| fused(x) != o));
    }
}
