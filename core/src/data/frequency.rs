//! Frequencies of bars that are made of others.

use crate::error::EngineError;
use std::fmt;

/// How long a coarse bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frequency {
    /// Of the clock, from the open of each session; at most a day.
    Minutes(u32),
    /// A trading date.
    Day,
    /// A calendar week of trading dates, Monday first.
    Week,
    /// A calendar month of trading dates.
    Month,
    /// So many bars of the instrument.
    Bars(u32),
}

const FORMS: &str = "5m, 1h, 1d, 1w, 1mo or 20bars";

impl Frequency {
    /// Reads `5m`, `1h`, `1d`, `1w`, `1mo` and `20bars`.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let refuse = || EngineError::Spec(format!("{text:?} is no frequency, expected one such as {FORMS}"));
        let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(n_digits);
        let n: u32 = number.parse().map_err(|_| refuse())?;
        let minutes = match unit {
            "m" => Some(n),
            "h" => n.checked_mul(60),
            _ => None,
        };
        match (n, unit, minutes) {
            (_, _, Some(minutes @ 1..=1440)) => Ok(Self::Minutes(minutes)),
            (1, "d", _) => Ok(Self::Day),
            (1, "w", _) => Ok(Self::Week),
            (1, "mo", _) => Ok(Self::Month),
            (1.., "bars", _) => Ok(Self::Bars(n)),
            _ => Err(refuse()),
        }
    }
}

/// One notation for equal frequencies.
impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(n) if n % 60 == 0 => write!(f, "{}h", n / 60),
            Self::Minutes(n) => write!(f, "{n}m"),
            Self::Day => f.write_str("1d"),
            Self::Week => f.write_str("1w"),
            Self::Month => f.write_str("1mo"),
            Self::Bars(n) => write!(f, "{n}bars"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_notation() {
        let shown = |text| Frequency::parse(text).map(|f| f.to_string()).unwrap_or_default();
        for (text, same) in
            [("5m", "5m"), ("60m", "1h"), ("240m", "4h"), ("1mo", "1mo"), ("20bars", "20bars")]
        {
            assert_eq!(shown(text), same);
        }
        for bad in ["", "m", "0m", "2d", "1441m", "25h", "1M", "5 m", "-5m", "0bars", "99999999999m", "1.5h"]
        {
            assert_eq!(shown(bad), "", "{bad}");
        }
    }
}
