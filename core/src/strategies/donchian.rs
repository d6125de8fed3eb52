//! Buys a break out of the channel of the last highs, leaves through the channel of the last lows.

use super::{enter, leave};
use crate::context::Context;
use crate::data::BarAt;
use crate::error::EngineError;
use crate::indicators::{Highest, Lowest, Period};
use crate::model::{Protection, ProtectionLevel, Size};
use crate::registry::{AnyStrategy, ParamDef, ParamKind, ParamValues, Registered};
use crate::strategy::{Strategy, StrategyFailure};

pub(super) const REGISTERED: Registered = Registered {
    name: "donchian",
    doc: "buys a close above the highest high of the bars before, sells a close below their lowest low",
    params: &[
        ParamDef {
            name: "entry",
            kind: ParamKind::Whole(1),
            default: Some(20.0),
            doc: "bars of the entry channel",
        },
        ParamDef {
            name: "leave",
            kind: ParamKind::Whole(1),
            default: Some(10.0),
            doc: "bars of the exit channel",
        },
        ParamDef {
            name: "qty",
            kind: ParamKind::Number(0.0),
            default: Some(0.0),
            doc: "units of an entry; 0 invests all equity",
        },
        ParamDef {
            name: "stop",
            kind: ParamKind::Number(0.0),
            default: Some(0.0),
            doc: "distance of the stop loss as a share of the fill price; 0 is none",
        },
    ],
    make,
};

#[derive(Debug)]
struct Channel {
    high: Highest,
    low: Lowest,
    /// Of the bars before the newest.
    top: f64,
    bottom: f64,
    /// First row that has not been seen.
    next_row: u32,
}

/// Trades the channels of each instrument for itself.
#[derive(Debug)]
pub struct Donchian {
    qty: f64,
    stop: f64,
    channels: Vec<Channel>,
}

fn make(values: &ParamValues, n_instruments: usize) -> Result<Box<dyn AnyStrategy>, EngineError> {
    let (entry, leave) = (Period::new(values.whole("entry")?)?, Period::new(values.whole("leave")?)?);
    let fresh = || Channel {
        high: Highest::new(entry),
        low: Lowest::new(leave),
        top: f64::NAN,
        bottom: f64::NAN,
        next_row: 0,
    };
    let channels = (0..n_instruments).map(|_| fresh()).collect();
    Ok(Box::new(Donchian { qty: values.number("qty")?, stop: values.number("stop")?, channels }))
}

impl Strategy for Donchian {
    const WANTS_REPORTS: bool = false;
    const WANTS_CLOCK: bool = false;

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        let channel = &mut self.channels[bar.instrument.ix()];
        let view = ctx.views[bar.instrument.ix()];
        let (mut above, mut below) = (false, false);
        // Bars before the first step of the run warm the channels.
        for row in channel.next_row..=bar.row {
            let row = row as usize;
            above = view.close[row] > channel.top;
            below = view.close[row] < channel.bottom;
            channel.top = channel.high.update(view.high[row]);
            channel.bottom = channel.low.update(view.low[row]);
        }
        channel.next_row = bar.row + 1;
        if ctx.has_pending_market(bar.instrument) {
            return Ok(());
        }
        let held = ctx.position(bar.instrument);
        if held > 0.0 && below {
            leave(ctx, bar.instrument, held);
        } else if held == 0.0 && above && !below {
            let size = if self.qty > 0.0 { Size::Qty(self.qty) } else { Size::BudgetAtFill(ctx.equity) };
            let stop_loss = (self.stop > 0.0).then_some((ProtectionLevel::Pct(self.stop), None));
            enter(ctx, bar.instrument, size, Protection { stop_loss, ..Protection::default() });
        }
        Ok(())
    }
}
