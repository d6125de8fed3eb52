//! Positions by strategy where several share an account; there are none where one strategy has it for itself.

use crate::model::{Fill, RoundTrip};
use crate::portfolio::Portfolio;
use crate::units::{InstrumentIx, StrategyIx};

/// One portfolio a strategy, that of its own executions. It starts without cash: what it is worth at the last closes is
/// what the strategy has earned after costs.
#[derive(Debug, Default)]
pub struct Sleeves {
    own: Vec<Portfolio>,
    /// Round trips of the account as a whole, which belong to nobody.
    netted: Vec<RoundTrip>,
}

impl Sleeves {
    /// Forgets the last run.
    pub fn reset(&mut self, n_sleeves: usize, n_instruments: usize, multiplier: f64) {
        self.own.resize_with(n_sleeves, Portfolio::default);
        for sleeve in &mut self.own {
            sleeve.reset(0.0, n_instruments, multiplier);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    pub fn all(&self) -> &[Portfolio] {
        &self.own
    }

    /// Every sleeve, to take in what holds for all of them: terms, dates, rates, ex-dates.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Portfolio> {
        self.own.iter_mut()
    }

    /// Who holds an instrument, with signed units: the strategies, or the account where it is one strategy's alone.
    pub fn holders(&self, account: &Portfolio, instrument: InstrumentIx) -> Vec<(StrategyIx, f64)> {
        let held = |portfolio: &Portfolio| portfolio.position(instrument).qty();
        if self.own.is_empty() {
            return vec![(StrategyIx::default(), held(account))];
        }
        let own = self.own.iter().enumerate();
        own.map(|(ix, sleeve)| (StrategyIx(ix as u32), held(sleeve))).filter(|(_, qty)| *qty != 0.0).collect()
    }

    /// Units that count for the orders of a strategy: its own, or those of the account.
    #[inline]
    pub fn held(&self, account: &Portfolio, owner: StrategyIx, instrument: InstrumentIx) -> f64 {
        self.own.get(owner.ix()).unwrap_or(account).position(instrument).qty()
    }

    /// Books an execution in the account and in the sleeve of its strategy; the round trips are those of the sleeve.
    pub fn apply(
        &mut self,
        account: &mut Portfolio,
        owner: StrategyIx,
        fill: &Fill,
        (high, low): (&[f64], &[f64]),
        trips: &mut Vec<RoundTrip>,
    ) {
        match self.own.get_mut(owner.ix()) {
            None => account.apply(fill, high, low, trips),
            Some(sleeve) => {
                self.netted.clear();
                account.apply(fill, high, low, &mut self.netted);
                sleeve.apply(fill, high, low, trips);
            }
        }
    }

    /// Notes the close of an instrument.
    #[inline]
    pub fn mark(&mut self, instrument: InstrumentIx, close: f64) {
        for sleeve in &mut self.own {
            sleeve.mark(instrument, close);
        }
    }

    /// What each strategy has earned after costs, at the last closes: together the gain of the account.
    pub fn net_profits(&self) -> impl Iterator<Item = f64> + '_ {
        self.own.iter().map(Portfolio::equity)
    }
}
