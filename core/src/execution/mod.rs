//! What happens to an order: the book it waits in, the price it fills at, the slippage it pays.

mod book;
mod matching;
mod slippage;

pub use book::{OrderBook, Resting, Trail};
pub use matching::{OhlcBar, limit_price, stop_price};
pub use slippage::{BpsSlippage, SlippageModel};
