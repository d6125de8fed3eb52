//! The strategies that come with the engine. A new one is a file here and a line in [`ALL`].

mod donchian;
mod sma_cross;

use crate::context::Context;
use crate::model::{OrderRequest, OrderTag, Protection, Side, Size};
use crate::registry::Registered;
use crate::units::InstrumentIx;

pub use donchian::Donchian;
pub use sma_cross::SmaCross;

/// In alphabetical order.
pub const ALL: &[Registered] = &[donchian::REGISTERED, sma_cross::REGISTERED];

/// Asks for a long position.
fn enter(ctx: &mut Context<'_>, instrument: InstrumentIx, size: Size, protection: Protection) {
    let request = OrderRequest::market(instrument, Side::Buy, size);
    ctx.submit(OrderRequest { tag: OrderTag::Entry, protection, ..request });
}

/// Asks to close a long position.
fn leave(ctx: &mut Context<'_>, instrument: InstrumentIx, held: f64) {
    let request = OrderRequest::market(instrument, Side::Sell, Size::Qty(held));
    ctx.submit(OrderRequest { tag: OrderTag::Exit, ..request });
}
