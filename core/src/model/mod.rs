//! The nouns of trading: what the engine talks about. No rules live here.

mod amendment;
mod fill;
mod instrument;
mod order;
mod progress;
mod trip;

pub use amendment::Amendment;
pub use fill::Fill;
pub use instrument::Instrument;
pub use order::{
    Birth, CloseReason, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel,
    Reject, Side, Size, TimeInForce, TrailOn, TrailingSpec,
};
pub use progress::Progress;
pub use trip::RoundTrip;
