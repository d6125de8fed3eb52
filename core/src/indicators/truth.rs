//! Three-valued truth, as conditions over columns with undefined values need it.
//!
//! The order false < undefined < true makes Kleene's `and` the minimum, `or` the maximum and `not` the mirror image,
//! so whole columns are combined without branches.

/// One value of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Truth(pub(crate) u8);

impl Truth {
    pub const FALSE: Self = Self(0);
    pub const UNDEFINED: Self = Self(1);
    pub const TRUE: Self = Self(2);

    #[inline(always)]
    pub fn of(value: bool) -> Self {
        Self(u8::from(value) << 1)
    }

    /// Whether the condition holds; an undefined one does not.
    #[inline(always)]
    pub fn holds(self) -> bool {
        self.0 == 2
    }

    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    #[inline(always)]
    pub fn negated(self) -> Self {
        Self(2 - self.0)
    }

    /// `value` if every operand is defined, else undefined. Comparisons with NaN give false, so `value` is false then.
    #[inline(always)]
    pub(crate) fn known(value: bool, is_defined: bool) -> Self {
        Self((u8::from(value & is_defined) << 1) | u8::from(!is_defined))
    }
}

#[cfg(test)]
mod tests {
    use super::Truth;

    #[test]
    fn kleene_tables() {
        let (f, u, t) = (Truth::FALSE, Truth::UNDEFINED, Truth::TRUE);
        assert_eq!([f.and(u), u.and(t), t.and(t), u.and(u)], [f, u, t, u]);
        assert_eq!([t.or(u), u.or(f), f.or(f), u.or(u)], [t, u, f, u]);
        assert_eq!([f.negated(), u.negated(), t.negated()], [t, u, f]);
        assert_eq!(
            [Truth::known(true, true), Truth::known(false, true), Truth::known(false, false)],
            [t, f, u]
        );
        assert!(!u.holds() && !f.holds() && t.holds());
    }
}
