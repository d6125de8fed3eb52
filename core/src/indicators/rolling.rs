//! What every moving-window indicator has in common: one core, run over a ring of past values or over a column.

use super::{Period, defined, runs::over_runs};
use std::fmt::Debug;

/// The arithmetic of one window indicator; it is told each value that enters and the one that leaves.
pub(crate) trait WindowCore: Debug + Clone {
    /// Forgets everything.
    fn reset(&mut self);
    /// A value enters a window that is not full yet; the last one fills it.
    fn grow(&mut self, x: f64) -> f64;
    /// A value enters a full window and the oldest leaves.
    fn slide(&mut self, x: f64, oldest: f64) -> f64;
    /// A stretch of slides. A core may do it block by block in registers, as long as the bits stay the same.
    #[inline]
    fn slide_column(&mut self, entering: &[f64], leaving: &[f64], out: &mut [f64]) {
        for ((y, &x), &oldest) in out.iter_mut().zip(entering).zip(leaving) {
            *y = defined(self.slide(x, oldest));
        }
    }
    /// True for good once a sum has overflowed.
    fn is_lost(&self) -> bool {
        false
    }
}

/// The last `n` values, the oldest replaced first. Memory grows with use, so a huge period costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    values: Vec<f64>,
    n: usize,
    next: usize,
}

impl Ring {
    pub fn new(n: Period) -> Self {
        Self { values: Vec::new(), n: n.get(), next: 0 }
    }

    pub fn clear(&mut self) {
        self.values.clear();
        self.next = 0;
    }

    /// Stores a value; gives the one that it replaces once the ring is full.
    #[inline]
    pub fn push(&mut self, x: f64) -> Option<f64> {
        if self.values.len() < self.n {
            self.values.push(x);
            return None;
        }
        let oldest = std::mem::replace(&mut self.values[self.next], x);
        self.next = if self.next + 1 == self.n { 0 } else { self.next + 1 };
        Some(oldest)
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = f64> {
        let (newer, older) = self.values.split_at(self.next);
        older.iter().chain(newer).copied()
    }
}

/// The step form of a core.
#[derive(Debug, Clone)]
pub(crate) struct Rolling<C> {
    core: C,
    ring: Ring,
}

impl<C: WindowCore> Rolling<C> {
    pub fn new(core: C, n: Period) -> Self {
        Self { core, ring: Ring::new(n) }
    }

    pub fn reset(&mut self) {
        self.core.reset();
        self.ring.clear();
    }

    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        if !x.is_finite() {
            self.reset();
            return f64::NAN;
        }
        let y = match self.ring.push(x) {
            None => self.core.grow(x),
            Some(oldest) => self.core.slide(x, oldest),
        };
        if self.core.is_lost() {
            self.reset();
            return f64::NAN;
        }
        defined(y)
    }
}

/// The column form of a core.
#[inline]
pub(crate) fn rolling_column<C: WindowCore>(x: &[f64], core: &C, n: Period, out: &mut [f64]) {
    over_runs(x, out, |xs, ys| {
        let mut state = core.clone();
        state.reset();
        let head = n.get().min(xs.len());
        for (y, &value) in ys[..head].iter_mut().zip(xs) {
            *y = defined(state.grow(value));
        }
        state.slide_column(&xs[head..], xs, &mut ys[head..]);
        if state.is_lost() {
            by_steps(xs, core, n, ys);
        }
    });
}

/// The column form where a sum overflows, which is rare: a gap, which only the step form handles in the middle of a
/// stretch.
#[cold]
pub(crate) fn by_steps<C: WindowCore>(xs: &[f64], core: &C, n: Period, ys: &mut [f64]) {
    let mut step = Rolling::new(core.clone(), n);
    step.reset();
    super::run(xs, ys, |value| step.update(value));
}

/// Declares the step form of a window indicator around its core.
macro_rules! rolling_step {
    ($(#[$doc:meta])* $name:ident, $core:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name($crate::indicators::rolling::Rolling<$core>);

        impl $name {
            pub fn new(n: $crate::indicators::Period) -> Self {
                Self($crate::indicators::rolling::Rolling::new($core::new(n), n))
            }

            pub fn reset(&mut self) {
                self.0.reset();
            }

            /// Takes the next value and gives the output for it, NaN while undefined.
            #[inline]
            pub fn update(&mut self, x: f64) -> f64 {
                self.0.update(x)
            }
        }
    };
}
pub(crate) use rolling_step;
