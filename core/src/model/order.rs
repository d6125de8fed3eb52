//! Orders: what is asked, what became of it.

use super::Progress;
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate, TsNs};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    /// +1 for a buy, -1 for a sell.
    #[inline]
    pub fn sign(self) -> f64 {
        match self {
            Self::Buy => 1.0,
            Self::Sell => -1.0,
        }
    }

    #[inline]
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// Prices are as asked: risk refuses one that is not finite and above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OrderKind {
    Market,
    Limit(f64),
    Stop(f64),
    /// A stop that becomes a limit when it is reached.
    StopLimit {
        stop: f64,
        limit: f64,
    },
    /// Fills at the close of the next trading date.
    MarketOnClose,
}

impl OrderKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit(_) => "limit",
            Self::Stop(_) => "stop",
            Self::StopLimit { .. } => "stop_limit",
            Self::MarketOnClose => "market_on_close",
        }
    }

    /// The limit and the stop, each where the kind has one.
    pub fn limit_and_stop(self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Market | Self::MarketOnClose => (None, None),
            Self::Limit(limit) => (Some(limit), None),
            Self::Stop(stop) => (None, Some(stop)),
            Self::StopLimit { stop, limit } => (Some(limit), Some(stop)),
        }
    }

    /// Limit or stop price, the limit of a stop-limit order; none for a market order.
    pub fn price(self) -> Option<f64> {
        match self {
            Self::Market | Self::MarketOnClose => None,
            Self::Limit(price) | Self::Stop(price) | Self::StopLimit { limit: price, .. } => Some(price),
        }
    }

    /// Every price of the order: its own, and the stop of a stop-limit order.
    pub fn prices(self) -> impl Iterator<Item = f64> {
        let stop = match self {
            Self::StopLimit { stop, .. } => Some(stop),
            _ => None,
        };
        self.price().into_iter().chain(stop)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeInForce {
    /// Until cancelled or the data ends.
    Gtc,
    /// Until the end of the trading date of its first possible match.
    Day,
    /// For this many bars of the instrument after the one it was placed on, at least one.
    Bars(u32),
    /// For its first bar only: what does not fill there is cancelled.
    Ioc,
    /// Whole on its first bar, or not at all.
    Fok,
    /// Until the end of this trading date.
    Gtd(TradingDate),
}

impl TimeInForce {
    /// Lives for one bar only.
    pub fn is_immediate(self) -> bool {
        matches!(self, Self::Ioc | Self::Fok)
    }
}

/// How much to trade. Computed quantities are floored to the lot of the instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// Exactly this many units.
    Qty(f64),
    /// The largest lot with `qty * price + fees <= value`, at the decision's close.
    Value(f64),
    /// This share of equity at the decision's close, excluding costs.
    PctEquity(f64),
    /// The largest lot that fits `min(budget, cash)` with its fees at the price of the fill.
    BudgetAtFill(f64),
}

/// A distance from a reference price.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionLevel {
    Pct(f64),
    Abs(f64),
}

impl ProtectionLevel {
    /// The distance in price units from `reference`.
    #[inline]
    pub fn distance(self, reference: f64) -> f64 {
        match self {
            Self::Pct(fraction) => reference * fraction,
            Self::Abs(points) => points,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrailOn {
    /// The best high (low for a short) of completed bars.
    #[default]
    High,
    /// The best close of completed bars.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrailingSpec {
    pub level: ProtectionLevel,
    pub on: TrailOn,
}

/// Orders the engine places by itself when an entry fills. A `reference` of `None` means the fill price after
/// slippage, otherwise the price at the signal.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Protection {
    pub stop_loss: Option<(ProtectionLevel, Option<f64>)>,
    pub take_profit: Option<(ProtectionLevel, Option<f64>)>,
    pub trailing: Option<TrailingSpec>,
}

impl Protection {
    pub fn is_none(&self) -> bool {
        self.stop_loss.is_none() && self.take_profit.is_none() && self.trailing.is_none()
    }
}

/// Why an order exists; a fill and a round trip carry it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OrderTag {
    #[default]
    None,
    Entry,
    Exit,
    StopLoss,
    TakeProfit,
    TrailingStop,
    MaxBars,
    Rebalance,
    /// Forced: the margin of the account does not carry its positions.
    Liquidation,
    /// An option whose last date has come.
    Expiry,
    /// A word of the strategy's own: a position in the list that its owner keeps.
    Custom(u32),
}

impl OrderTag {
    const NAMED: [Self; 10] = [
        Self::None,
        Self::Entry,
        Self::Exit,
        Self::StopLoss,
        Self::TakeProfit,
        Self::TrailingStop,
        Self::MaxBars,
        Self::Rebalance,
        Self::Liquidation,
        Self::Expiry,
    ];

    /// The tag that a word names, if it is one of the engine's own.
    pub fn named(word: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|tag| tag.name() == word)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Custom(_) => "custom",
            Self::None => "",
            Self::Entry => "entry",
            Self::Exit => "exit",
            Self::StopLoss => "stop_loss",
            Self::TakeProfit => "take_profit",
            Self::TrailingStop => "trailing_stop",
            Self::MaxBars => "max_bars",
            Self::Rebalance => "rebalance",
            Self::Liquidation => "liquidation",
            Self::Expiry => "expiry",
        }
    }
}

/// What a strategy asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderRequest {
    pub instrument: InstrumentIx,
    pub side: Side,
    pub kind: OrderKind,
    pub size: Size,
    pub tif: TimeInForce,
    /// Orders that share a group cancel each other when one of them fills.
    pub oco: Option<u64>,
    pub protection: Protection,
    /// A level that moves with the market; the order is a stop. One that a strategy asks for starts at the close of the
    /// decision, whatever its stop price says.
    pub trailing: Option<TrailingSpec>,
    /// An order with a parent is handed in when the parent ends with an execution, and cancelled when it ends without.
    pub parent: Option<OrderId>,
    pub tag: OrderTag,
}

impl OrderRequest {
    pub fn market(instrument: InstrumentIx, side: Side, size: Size) -> Self {
        Self {
            instrument,
            side,
            kind: OrderKind::Market,
            size,
            tif: TimeInForce::Gtc,
            oco: None,
            protection: Protection::default(),
            trailing: None,
            parent: None,
            tag: OrderTag::None,
        }
    }

    /// A stop that follows the market at a distance.
    pub fn trailing_stop(instrument: InstrumentIx, side: Side, size: Size, trailing: TrailingSpec) -> Self {
        let kind = OrderKind::Stop(f64::NAN); // set from the close when the order is handed in
        Self { kind, trailing: Some(trailing), ..Self::market(instrument, side, size) }
    }
}

/// Why an order was refused: a value, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// The quantity comes to nothing after flooring to the lot.
    ZeroQuantity,
    /// A quantity that is not finite or not above zero.
    BadQuantity,
    /// A price that is not finite or not above zero.
    BadPrice,
    /// Buying power does not cover the order.
    InsufficientCash,
    /// The market does not allow to sell short.
    ShortNotAllowed,
    /// The order named by a cancel or an amendment is not working.
    NotWorking,
    /// The parent named by an order does not exist before it.
    UnknownOrder,
    /// An amendment changes a price that the order does not have.
    NoSuchPrice,
    /// The instrument is not among the tradable ones.
    NotTradable,
    /// The instrument may only be reduced.
    Restricted,
    /// A quantity that is not a multiple of the lot.
    OffLot,
    /// A price that is not a multiple of the tick.
    OffTick,
    /// More units than one order may have.
    OrderQuantity,
    /// More value than one order may have.
    OrderValue,
    /// More than one position may be.
    PositionLimit,
    /// More of equity than one position may be.
    Concentration,
    GrossExposure,
    NetExposure,
    /// The drawdown has halted new risk.
    MaxDrawdown,
    /// The loss of the date has halted new risk.
    DailyLoss,
    /// More orders than a step or a date may have.
    OrderRate,
    /// New risk is halted from outside.
    Halted,
    /// The venue behind the gateway did not take it.
    Gateway,
    /// The market takes no such quantity.
    Lot,
    /// Units bought too recently, or already on offer.
    NotSellable,
    /// A limit outside the price limits of the day.
    PriceLimit,
    /// The margin of the account does not carry the order.
    InsufficientMargin,
}

impl Reject {
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroQuantity => "zero_quantity",
            Self::BadQuantity => "bad_quantity",
            Self::BadPrice => "bad_price",
            Self::InsufficientCash => "insufficient_cash",
            Self::ShortNotAllowed => "short_not_allowed",
            Self::NotWorking => "not_working",
            Self::UnknownOrder => "unknown_order",
            Self::NoSuchPrice => "no_such_price",
            Self::NotTradable => "not_tradable",
            Self::Restricted => "restricted",
            Self::OffLot => "off_lot",
            Self::OffTick => "off_tick",
            Self::OrderQuantity => "order_quantity",
            Self::OrderValue => "order_value",
            Self::PositionLimit => "position_limit",
            Self::Concentration => "concentration",
            Self::GrossExposure => "gross_exposure",
            Self::NetExposure => "net_exposure",
            Self::MaxDrawdown => "max_drawdown",
            Self::DailyLoss => "daily_loss",
            Self::OrderRate => "order_rate",
            Self::Halted => "halted",
            Self::Gateway => "gateway",
            Self::Lot => "lot",
            Self::NotSellable => "not_sellable",
            Self::PriceLimit => "price_limit",
            Self::InsufficientMargin => "insufficient_margin",
        }
    }
}

/// Why a working order ended without (further) fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// By the strategy.
    Request,
    /// Another order of its group filled.
    Oco,
    /// The position it protected is gone.
    PositionClosed,
    /// The order it waited for ended without an execution.
    Parent,
    /// Its time in force ran out.
    TimeInForce,
    /// The data ended.
    EndOfData,
    /// The instrument went ex: prices of the order mean something else now.
    CorporateAction,
    /// The account could not carry its positions.
    Liquidation,
    /// The contract has expired.
    Expiry,
}

impl CloseReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Oco => "oco",
            Self::PositionClosed => "position_closed",
            Self::Parent => "parent",
            Self::TimeInForce => "time_in_force",
            Self::EndOfData => "end_of_data",
            Self::CorporateAction => "corporate_action",
            Self::Liquidation => "liquidation",
            Self::Expiry => "expiry",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    Submitted,
    Accepted,
    /// Works on with a rest.
    PartiallyFilled,
    Filled,
    Rejected(Reject),
    Cancelled(CloseReason),
    Expired(CloseReason),
}

impl OrderStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Accepted => "accepted",
            Self::PartiallyFilled => "partially_filled",
            Self::Filled => "filled",
            Self::Rejected(_) => "rejected",
            Self::Cancelled(_) => "cancelled",
            Self::Expired(_) => "expired",
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Rejected(reject) => reject.name(),
            Self::Cancelled(reason) | Self::Expired(reason) => reason.name(),
            Self::Submitted | Self::Accepted | Self::PartiallyFilled | Self::Filled => "",
        }
    }

    pub fn is_final(self) -> bool {
        !matches!(self, Self::Submitted | Self::Accepted | Self::PartiallyFilled)
    }
}

/// Where a protective order comes from: the fill of its entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Birth {
    pub step: u32,
    /// Price of the entry before slippage: stands for the open of the bar it was born in.
    pub raw_price: f64,
    /// Price of the entry after slippage: where a trailing stop starts.
    pub price: f64,
    /// First step on which it may match.
    pub live_from: u32,
}

/// An order in the books: the request with its number, its resolved quantity and its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    pub id: OrderId,
    /// Whose order it is, where strategies share the account.
    pub owner: StrategyIx,
    pub request: OrderRequest,
    /// Units, zero until the size is resolved.
    pub qty: f64,
    pub submitted: TsNs,
    pub status: OrderStatus,
    /// Present for an order that the engine placed to protect an entry.
    pub birth: Option<Birth>,
    pub progress: Progress,
}

impl Order {
    /// The kind in a word: a trailing stop of a strategy has one of its own.
    pub fn kind_name(&self) -> &'static str {
        match (self.request.trailing, self.birth) {
            (Some(_), None) => "trailing_stop",
            _ => self.request.kind.name(),
        }
    }

    /// Units that have not filled; zero until the size is resolved.
    #[inline]
    pub fn remaining(&self) -> f64 {
        self.qty - self.progress.filled
    }
}
