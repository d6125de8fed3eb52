//! A hypothetical order of a hypothetical account: the checks of a run, asked from outside of one.

use super::{Limits, RiskManager, RiskSpec, RiskView};
use crate::clock::Clock;
use crate::error::EngineError;
use crate::execution::OrderBook;
use crate::market::{Contract, Market};
use crate::model::{
    Fill, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Progress, Reject, Side, Size,
};
use crate::portfolio::Portfolio;
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate, TsNs};
use serde::Deserialize;

/// What is asked: would this account accept this order?
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    #[serde(deserialize_with = "crate::market::read_market")]
    pub market: Market,
    pub risk: RiskSpec,
    pub account: Account,
    pub order: AskedOrder,
}

/// An account in which no order works and nothing was ordered on this date; what it holds may be sold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub cash: f64,
    pub holdings: Vec<Held>,
    /// Highest equity so far; that of now when absent.
    pub peak_equity: Option<f64>,
    /// Equity before the date; that of now when absent.
    pub date_equity: Option<f64>,
}

/// An instrument with its last close, and what is held of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    pub symbol: String,
    /// Negative when short.
    pub qty: f64,
    pub price: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedOrder {
    pub symbol: String,
    pub side: AskedSide,
    pub size: AskedSize,
    pub limit: Option<f64>,
    pub stop: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedSide {
    Buy,
    Sell,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedSize {
    Qty(f64),
    Value(f64),
    PctEquity(f64),
}

/// Units that the order comes to, zero where it does not come that far, and why it is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    pub qty: f64,
    pub reject: Option<Reject>,
}

impl Question {
    pub fn from_json(text: &str) -> Result<Self, EngineError> {
        serde_json::from_str(text).map_err(|error| EngineError::Spec(format!("question: {error}")))
    }

    /// Asks the checks of the engine. An error is a question without sense.
    pub fn answer(&self) -> Result<Answer, EngineError> {
        self.market.check()?;
        self.risk.check(&self.market)?;
        self.account.check()?;
        let holdings = &self.account.holdings;
        let Some(asked) = holdings.iter().position(|held| held.symbol == self.order.symbol) else {
            let message = format!("order: '{}' is not among the holdings", self.order.symbol);
            return Err(EngineError::Spec(message));
        };
        let contracts = holdings
            .iter()
            .map(|held| Contract::resolve(&self.market, &held.symbol))
            .collect::<Result<Vec<_>, _>>()?;
        let portfolio = self.account.portfolio(&contracts, &self.market);
        let equity = portfolio.equity();
        let view = RiskView {
            market: &self.market,
            contracts: &contracts,
            date: TradingDate(0),
            days_ahead: 1,
            portfolio: &portfolio,
            book: &OrderBook::default(),
            decision_equity: equity,
            spec: &self.risk,
        };
        let order = self.order.order(InstrumentIx(asked as u32));
        let qty = match RiskManager.check(&order, &view) {
            Ok(qty) => qty,
            Err(reject) => return Ok(Answer { qty: 0.0, reject: Some(reject) }),
        };
        let mut limits = Limits::default();
        let peak = self.account.peak_equity.unwrap_or(equity);
        limits.reset(&self.risk, peak, holdings.iter().map(|held| held.symbol.as_str()));
        limits.begin_step(&Clock::default(), self.account.date_equity.unwrap_or(equity));
        limits.mark(equity);
        Ok(Answer { qty, reject: limits.check(&order, qty, &view, true).err() })
    }
}

impl Account {
    fn check(&self) -> Result<(), EngineError> {
        let refuse = |text: String| Err(EngineError::Spec(format!("account: {text}")));
        let equities = [("peak_equity", self.peak_equity), ("date_equity", self.date_equity)];
        for (name, value) in [("cash", Some(self.cash))].into_iter().chain(equities) {
            if value.is_some_and(|value| !value.is_finite()) {
                return refuse(format!("{name} must be finite, got {value:?}"));
            }
        }
        for Held { symbol, qty, price } in &self.holdings {
            if !(qty.is_finite() && price.is_finite() && *price > 0.0) {
                return refuse(format!("{symbol}: {qty} units at {price} cannot be held"));
            }
        }
        Ok(())
    }

    /// The account as a run would have it: bought at the last close, on an earlier date, from cash that is left as given.
    fn portfolio(&self, contracts: &[Contract], market: &Market) -> Portfolio {
        let mut portfolio = Portfolio::default();
        let cost = |(held, contract): (&Held, &Contract)| held.qty * held.price * contract.multiplier;
        let spent =
            if market.daily_settlement { 0.0 } else { self.holdings.iter().zip(contracts).map(cost).sum() };
        portfolio.reset(self.cash + spent, self.holdings.len(), market.multiplier);
        portfolio.set_terms(contracts, market.daily_settlement);
        for (ix, held) in self.holdings.iter().enumerate() {
            let instrument = InstrumentIx(ix as u32);
            portfolio.mark(instrument, held.price);
            if held.qty == 0.0 {
                continue;
            }
            let fill = Fill {
                order: OrderId(0),
                instrument,
                ts: TsNs(0),
                row: 0,
                side: if held.qty > 0.0 { Side::Buy } else { Side::Sell },
                qty: held.qty.abs(),
                price: held.price,
                fees: 0.0,
                slippage_cost: 0.0,
                tag: OrderTag::default(),
            };
            portfolio.apply(&fill, &[], &[], &mut Vec::new());
        }
        let longest = contracts.iter().map(|contract| contract.sell_after_days).max().unwrap_or(0);
        for day in 0..=longest {
            portfolio.begin_dates(1, TradingDate(day as i32));
        }
        portfolio
    }
}

impl AskedOrder {
    fn order(&self, instrument: InstrumentIx) -> Order {
        let side = match self.side {
            AskedSide::Buy => Side::Buy,
            AskedSide::Sell => Side::Sell,
        };
        let size = match self.size {
            AskedSize::Qty(qty) => Size::Qty(qty),
            AskedSize::Value(value) => Size::Value(value),
            AskedSize::PctEquity(share) => Size::PctEquity(share),
        };
        let kind = match (self.limit, self.stop) {
            (None, None) => OrderKind::Market,
            (Some(limit), None) => OrderKind::Limit(limit),
            (None, Some(stop)) => OrderKind::Stop(stop),
            (Some(limit), Some(stop)) => OrderKind::StopLimit { stop, limit },
        };
        Order {
            id: OrderId(1),
            owner: StrategyIx::default(),
            request: OrderRequest { kind, ..OrderRequest::market(instrument, side, size) },
            qty: 0.0,
            submitted: TsNs(0),
            status: OrderStatus::Submitted,
            birth: None,
            progress: Progress::NONE,
        }
    }
}
