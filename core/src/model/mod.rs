//! The nouns of trading: what the engine talks about. No rules live here.

mod amendment;
mod bar;
mod fill;
mod gateway_report;
mod instrument;
mod order;
mod progress;
mod step;
mod tick;
mod timer;
mod trip;

pub use amendment::Amendment;
pub use bar::BarValues;
pub use fill::Fill;
pub use gateway_report::{GatewayReport, GatewayUpdate};
pub use instrument::Instrument;
pub use order::{
    Birth, CloseReason, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel,
    Reject, Side, Size, TimeInForce, TrailOn, TrailingSpec,
};
pub use progress::Progress;
pub use step::{Step, StepBar};
pub use tick::{Tick, check_quote};
pub use timer::Timer;
pub use trip::RoundTrip;
