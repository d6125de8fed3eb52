//! What happens to an order: the book it waits in, the price it fills at, the slippage it pays.

mod book;
mod charge;
mod gateway;
mod liquidity;
mod matching;
mod slippage;

pub use book::{Closing, OrderBook, Resting, Trail};
pub use charge::charge;
pub use gateway::{Gateway, GatewayRefusal, Venue};
pub use liquidity::Liquidity;
pub use matching::{OhlcBar, StopLimitMatch, limit_price, stop_limit_match, stop_price};
pub use slippage::{BpsSlippage, Offer, Slippage, SlippageModel, TickSlippage, VolumeImpact};
