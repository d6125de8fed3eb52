//! Corporate actions: what happens to a holding on an ex-date (SEMANTICS section 6).

use super::dated::Day;
use serde::{Deserialize, Serialize};

/// Ratios are exact in hundredths of a millionth.
const RATIO_SCALE: f64 = 1e8;

/// One distribution. Several of one instrument and day add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorporateAction {
    pub symbol: String,
    pub ex_date: Day,
    /// Currency a unit held the day before, before tax.
    #[serde(default)]
    pub cash: f64,
    /// New units for each unit held: bonus and conversion shares; a split of 2 for 1 is 1.
    #[serde(default)]
    pub bonus: f64,
    /// Units that may be subscribed for each unit held, at `rights_price`.
    #[serde(default)]
    pub rights: f64,
    #[serde(default)]
    pub rights_price: f64,
}

/// All actions of one instrument and day, as a rational map of prices and quantities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distribution {
    pub ex_date: Day,
    pub cash: f64,
    pub bonus: f64,
    pub rights: f64,
    pub rights_price: f64,
}

impl Distribution {
    pub fn of(action: &CorporateAction) -> Self {
        Self {
            ex_date: action.ex_date,
            cash: action.cash,
            bonus: action.bonus,
            rights: action.rights,
            rights_price: action.rights_price,
        }
    }

    /// Takes another action of the same day in; rights of two prices have their mean.
    pub fn add(&mut self, action: &CorporateAction) {
        let rights = self.rights + action.rights;
        if rights > 0.0 {
            self.rights_price =
                (self.rights * self.rights_price + action.rights * action.rights_price) / rights;
        }
        self.rights = rights;
        self.cash += action.cash;
        self.bonus += action.bonus;
    }

    /// Whether it changes the number of units and nothing else.
    pub fn is_split(&self) -> bool {
        self.bonus != 0.0 && self.cash == 0.0 && self.rights == 0.0
    }

    /// The price that leaves a holder as rich as `close` did.
    pub fn reference(&self, close: f64) -> f64 {
        (close - self.cash + self.rights * self.rights_price) / (1.0 + self.bonus + self.rights)
    }

    /// Units after the bonus; rights are subscribed apart.
    pub fn multiplied(&self, qty: f64) -> f64 {
        scaled(qty, 1.0 + self.bonus)
    }

    /// Units that the rights of `qty` units buy.
    pub fn subscribed(&self, qty: f64) -> f64 {
        scaled(qty, self.rights)
    }
}

/// `qty x ratio` with the ratio as a fraction, so that 300 x 1.1 is 330.
fn scaled(qty: f64, ratio: f64) -> f64 {
    qty * (ratio * RATIO_SCALE).round() / RATIO_SCALE
}

/// The distributions of a symbol in order of days; `actions` are in order of symbols.
pub fn distributions(actions: &[CorporateAction], symbol: &str) -> Vec<Distribution> {
    let mut out: Vec<Distribution> = Vec::new();
    let first = actions.partition_point(|action| action.symbol.as_str() < symbol);
    for action in actions[first..].iter().take_while(|action| action.symbol == symbol) {
        match out.iter_mut().find(|known| known.ex_date == action.ex_date) {
            Some(known) => known.add(action),
            None => out.push(Distribution::of(action)),
        }
    }
    out.sort_by_key(|distribution| distribution.ex_date);
    out
}

impl CorporateAction {
    /// Whether its numbers can be.
    pub fn is_sound(&self) -> bool {
        let finite = [self.cash, self.bonus, self.rights, self.rights_price].iter().all(|v| v.is_finite());
        finite && self.cash >= 0.0 && self.bonus > -1.0 && self.rights >= 0.0 && self.rights_price >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(cash: f64, bonus: f64, rights: f64, rights_price: f64) -> CorporateAction {
        let ex_date = "2024-06-03".parse().unwrap();
        CorporateAction { symbol: "A".to_owned(), ex_date, cash, bonus, rights, rights_price }
    }

    #[test]
    fn the_reference_price_leaves_the_holder_as_rich() {
        assert_eq!(Distribution::of(&action(0.5, 0.0, 0.0, 0.0)).reference(22.0), 21.5);
        assert_eq!(Distribution::of(&action(0.0, 0.5, 0.0, 0.0)).reference(30.0), 20.0);
        // 10 for 3 at 5 each: (20 + 0.3 * 5) / 1.3.
        assert_eq!(Distribution::of(&action(0.0, 0.0, 0.3, 5.0)).reference(20.0), 21.5 / 1.3);
    }

    #[test]
    fn quantities_are_rational() {
        assert_eq!(Distribution::of(&action(0.0, 0.1, 0.0, 0.0)).multiplied(300.0), 330.0);
        assert_eq!(Distribution::of(&action(0.0, 0.3, 0.0, 0.0)).multiplied(100.0), 130.0);
        assert_eq!(Distribution::of(&action(0.0, -0.9, 0.0, 0.0)).multiplied(50.0), 5.0); // ten old for one
    }

    #[test]
    fn two_actions_of_a_day_add_up() {
        let both = distributions(&[action(0.46, 0.0, 0.0, 0.0), action(2.51, 0.2, 0.0, 0.0)], "A");
        assert_eq!(both.len(), 1);
        assert_eq!((both[0].cash, both[0].bonus), (0.46 + 2.51, 0.2));
        assert!(distributions(&[action(0.46, 0.0, 0.0, 0.0)], "B").is_empty());
    }
}
