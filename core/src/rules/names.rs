//! The nearest known name for one that is not known.

/// A clause that suggests the nearest of the known names, or nothing when none is near.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let wanted: Vec<char> = name.to_lowercase().chars().take(MAX_LENGTH).collect();
    let reach = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let letters: Vec<char> = candidate.to_lowercase().chars().take(MAX_LENGTH).collect();
        let d = distance(&wanted, &letters);
        if d <= reach && best.is_none_or(|(least, _)| d < least) {
            best = Some((d, candidate));
        }
    }
    best.map_or_else(String::new, |(_, candidate)| format!(", did you mean '{candidate}'?"))
}

/// Longer names are compared by their beginning only, so that an absurd name costs nothing.
const MAX_LENGTH: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that lead from one to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_of_several() {
        let known = ["open", "close", "cross_above"];
        assert_eq!(suggestion("clsoe", known.into_iter()), ", did you mean 'close'?");
        assert_eq!(suggestion("Close", known.into_iter()), ", did you mean 'close'?");
        assert_eq!(suggestion("crossabove", known.into_iter()), ", did you mean 'cross_above'?");
        assert_eq!(suggestion("volume", known.into_iter()), "");
        assert_eq!(suggestion("x", [].into_iter()), "");
    }
}
