//! What holding costs or brings: borrowed units, interest, funding, and the rates of other currencies (SEMANTICS
//! section 7).

use super::{Loop, RunSpec};
use crate::data::{AssetView, BarAt};
use crate::error::EngineError;
use crate::market::Market;
use crate::strategy::Strategy;
use crate::units::TradingDate;

/// Days of a year that borrowing and interest are counted by.
const DAYS_A_YEAR: f64 = 365.0;

/// Column with the price of what an option is on.
pub(super) const UNDERLYING: &str = "underlying_close";

/// Refuses data that lack a column which the market reads; `has` says which columns an instrument has.
pub(super) fn check_columns(
    market: &Market,
    symbol: &str,
    has: impl Fn(&str) -> bool,
) -> Result<(), EngineError> {
    let is_option = market.options.iter().any(|option| option.symbol == symbol);
    let wanted = [
        ("market.funding_column", market.funding_column.as_deref()),
        ("market.fx_column", market.fx_column.as_deref()),
        ("market.options", is_option.then_some(UNDERLYING)),
    ];
    for (item, name) in wanted {
        if let Some(name) = name.filter(|name| !has(name)) {
            return Err(EngineError::Spec(format!("{item}: the data have no column {name:?}")));
        }
    }
    Ok(())
}

/// Refuses a panel that lacks a column, or begins without an exchange rate.
pub(super) fn check_series(spec: &RunSpec<'_>, views: &[AssetView<'_>]) -> Result<(), EngineError> {
    for (view, &asset) in views.iter().zip(spec.universe) {
        let symbol = spec.panel.symbols()[asset].as_str();
        check_columns(spec.market, symbol, |name| view.named(name).is_some())?;
        let rates = spec.market.fx_column.as_deref().and_then(|name| view.named(name));
        if rates.and_then(|rates| rates.first()).is_some_and(|&rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(EngineError::Spec(format!(
                "market.fx_column: no rate above zero on the first bar of {symbol:?}"
            )));
        }
    }
    Ok(())
}

impl<S: Strategy> Loop<'_, '_, S> {
    /// Borrowed units and borrowed cash cost a share of their value for every calendar day since the last date.
    pub(super) fn pay_for_days(&mut self, last: TradingDate) {
        let market = self.spec.market;
        let portfolio = &self.engine.portfolio;
        let mut yearly = 0.0;
        if market.borrow_rate > 0.0 {
            yearly += portfolio.short_value() * market.borrow_rate;
        }
        if market.interest_rate > 0.0 {
            yearly += (-portfolio.cash()).max(0.0) * market.interest_rate;
        }
        let n_days = f64::from(self.clock.date.0 - last.0);
        self.pay(yearly * n_days / DAYS_A_YEAR);
    }

    /// Takes in the exchange rate and the funding of the bars that begin. Whoever holds units when a bar begins that
    /// carries a funding rate pays that share of their value at its open; whoever is short receives it.
    pub(super) fn read_columns(&mut self, bars: &[BarAt]) {
        let market = self.spec.market;
        for bar in bars {
            let view = &self.views[bar.instrument.ix()];
            let at = |name: &Option<String>| {
                let column = view.named(name.as_deref()?)?;
                column.get(bar.row as usize).copied().filter(|value| value.is_finite())
            };
            // A bar without a rate keeps the last one.
            if let Some(rate) = at(&market.fx_column).filter(|rate| *rate > 0.0) {
                let multiplier = self.engine.contracts[bar.instrument.ix()].multiplier;
                self.engine.portfolio.set_point_value(bar.instrument, multiplier * rate);
                for sleeve in self.engine.sleeves.each() {
                    sleeve.set_point_value(bar.instrument, multiplier * rate);
                }
            }
            if let Some(rate) = at(&market.funding_column) {
                let portfolio = &self.engine.portfolio;
                let units = portfolio.position(bar.instrument).qty() * portfolio.point_value(bar.instrument);
                self.pay(units * view.open[bar.row as usize] * rate);
            }
        }
    }

    fn pay(&mut self, amount: f64) {
        if amount != 0.0 {
            self.engine.portfolio.charge(amount);
            self.engine.record.financing += amount;
        }
    }
}
