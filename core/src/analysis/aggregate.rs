//! One number for many assets.

use super::numeric::{is_flat, max_abs, mean, std_about, sum};
use super::tails::quantile;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// How the values of a metric over assets become one. The text forms are `mean`, `median`, `sum`, `min`, `max`,
/// `std` and `q05` .. `q95`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Aggregate {
    Mean,
    Median,
    Sum,
    Min,
    Max,
    /// Sample standard deviation (ddof 1).
    Std,
    /// A share between 0 and 1, with linear interpolation.
    Quantile(f64),
}

/// A text that names no aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown aggregate {text:?}: expected mean, median, sum, min, max, std or a quantile such as q05")]
pub struct ParseAggregateError {
    pub text: String,
}

/// One number from the defined (finite) values, and how many they were. NaN when less than the share
/// `min_defined` of all values, or none, is defined. The values are scratch: undefined ones are removed, the rest
/// may be reordered.
pub fn aggregate(values: &mut Vec<f64>, kind: Aggregate, min_defined: f64) -> (f64, usize) {
    let n = values.len();
    values.retain(|value| value.is_finite());
    let n_defined = values.len();
    // The product of a share and a count may come out above a whole number by rounding.
    let needed = min_defined * n as f64 * (1.0 - 4.0 * f64::EPSILON);
    if n_defined == 0 || needed.is_nan() || (n_defined as f64) < needed {
        return (f64::NAN, n_defined);
    }
    let value = match kind {
        Aggregate::Mean => mean(values),
        Aggregate::Median => quantile(values, 0.5),
        Aggregate::Sum => sum(values),
        Aggregate::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Std => deviation(values),
        Aggregate::Quantile(q) => quantile(values, q),
    };
    (if value.is_finite() { value } else { f64::NAN }, n_defined)
}

fn deviation(values: &[f64]) -> f64 {
    let std = std_about(values, mean(values));
    if is_flat(std, max_abs(values), 0.0) { 0.0 } else { std }
}

impl FromStr for Aggregate {
    type Err = ParseAggregateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParseAggregateError { text: text.to_owned() };
        match text {
            "mean" => Ok(Self::Mean),
            "median" => Ok(Self::Median),
            "sum" => Ok(Self::Sum),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            "std" => Ok(Self::Std),
            _ => {
                let digits = text.strip_prefix('q').ok_or_else(unknown)?;
                if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(unknown());
                }
                match digits.parse::<u8>() {
                    Ok(percent) if percent > 0 => Ok(Self::Quantile(f64::from(percent) / 100.0)),
                    Ok(_) | Err(_) => Err(unknown()),
                }
            }
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            Self::Median => f.write_str("median"),
            Self::Sum => f.write_str("sum"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Std => f.write_str("std"),
            Self::Quantile(q) => write!(f, "q{:02}", (q * 100.0).round()),
        }
    }
}

impl TryFrom<String> for Aggregate {
    type Error = ParseAggregateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Aggregate> for String {
    fn from(kind: Aggregate) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Aggregate; 8] = [
        Aggregate::Mean,
        Aggregate::Median,
        Aggregate::Sum,
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::Std,
        Aggregate::Quantile(0.05),
        Aggregate::Quantile(0.95),
    ];

    fn of(values: &[f64], kind: Aggregate) -> f64 {
        aggregate(&mut values.to_vec(), kind, 0.0).0
    }

    #[test]
    fn five_values() {
        // 1, 2, 3, 4, 10: sum 20, deviations 3, 2, 1, 0, 6: 50/4; q05 = 1 + 0.2, q95 = 4 + 0.8 * 6
        let values = [10.0, 1.0, 4.0, 2.0, 3.0];
        let found = KINDS.map(|kind| of(&values, kind));
        let expected = [4.0, 3.0, 20.0, 1.0, 10.0, 12.5_f64.sqrt(), 1.2, 8.8];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], Aggregate::Median), 2.5);
    }

    #[test]
    fn enough_must_be_defined() {
        let of = |values: &[f64], share| aggregate(&mut values.to_vec(), Aggregate::Sum, share);
        assert_eq!(of(&[1.0, f64::NAN], 0.5), (1.0, 1));
        let (value, n_defined) = of(&[1.0, f64::NAN, f64::INFINITY], 0.5);
        assert!(value.is_nan() && n_defined == 1);
        // 0.1 of 30 is 3.0000000000000004 in binary; three are enough.
        let mut three_of_thirty = vec![f64::NAN; 27];
        three_of_thirty.extend([1.0, 2.0, 3.0]);
        assert_eq!(of(&three_of_thirty, 0.1), (6.0, 3));
        assert!(of(&[], 0.0).0.is_nan());
        assert!(of(&[f64::NAN], 0.0).0.is_nan());
        assert!(of(&[1.0], f64::NAN).0.is_nan());
        assert!(of(&[f64::MAX, f64::MAX], 0.5).0.is_nan());
    }

    #[test]
    fn one_value_has_no_deviation_and_equal_values_have_none() {
        assert!(of(&[1.0], Aggregate::Std).is_nan());
        assert_eq!(of(&[0.1; 9], Aggregate::Std), 0.0);
    }

    #[test]
    fn text_forms() {
        for text in
            ["mean", "median", "sum", "min", "max", "std", "q05", "q07", "q29", "q57", "q95", "q01", "q99"]
        {
            let kind: Aggregate = text.parse().unwrap();
            assert_eq!(kind.to_string(), text);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Aggregate>(&format!("{text:?}")).unwrap(), kind);
        }
        for text in ["", "q", "q5", "q00", "q100", "q-5", "q+5", "q0.5", "Mean", "avg", "q５"] {
            let error = text.parse::<Aggregate>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    fn some_values() -> impl Strategy<Value = Vec<f64>> {
        let value =
            prop_oneof![8 => -1e6..1e6_f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(0.0)];
        prop::collection::vec(value, 0..40)
    }

    proptest! {
        #[test]
        fn undefined_values_change_nothing(values in some_values()) {
            let defined: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            for kind in KINDS {
                let (value, n_defined) = aggregate(&mut values.clone(), kind, 0.0);
                prop_assert_eq!(n_defined, defined.len());
                prop_assert_eq!(value.to_bits(), of(&defined, kind).to_bits());
                prop_assert!(!value.is_infinite());
            }
        }

        #[test]
        fn order_does_not_matter(values in some_values().prop_shuffle(), seed in any::<u64>()) {
            let mut other = values.clone();
            let n = other.len().max(1);
            other.rotate_left(seed as usize % n);
            other.reverse();
            for kind in KINDS {
                let (a, b) = (of(&values, kind), of(&other, kind));
                prop_assert!((a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (1.0 + a.abs()).max(1e6), "{kind}: {a} {b}");
            }
        }

        #[test]
        fn quantiles_stand_in_order(values in some_values()) {
            let q = [
                Aggregate::Min, Aggregate::Quantile(0.05), Aggregate::Quantile(0.25), Aggregate::Median,
                Aggregate::Quantile(0.75), Aggregate::Quantile(0.95), Aggregate::Max,
            ].map(|kind| of(&values, kind));
            prop_assert!(q.iter().all(|v| v.is_nan()) || q.windows(2).all(|w| w[0] <= w[1]), "{q:?}");
        }
    }
}
