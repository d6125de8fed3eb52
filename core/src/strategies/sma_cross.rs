//! Long while a fast average is above a slow one.

use super::{enter, leave};
use crate::context::Context;
use crate::data::BarAt;
use crate::error::EngineError;
use crate::indicators::{CrossAbove, CrossBelow, Period, Sma};
use crate::model::{Protection, Size};
use crate::registry::{AnyStrategy, ParamDef, ParamKind, ParamValues, Registered};
use crate::strategy::{Strategy, StrategyFailure};

pub(super) const REGISTERED: Registered = Registered {
    name: "sma_cross",
    doc: "buys when sma(close, fast) crosses above sma(close, slow), sells when it crosses below",
    params: &[
        ParamDef {
            name: "fast",
            kind: ParamKind::Whole(1),
            default: Some(10.0),
            doc: "bars of the fast average",
        },
        ParamDef {
            name: "slow",
            kind: ParamKind::Whole(1),
            default: Some(50.0),
            doc: "bars of the slow average",
        },
        ParamDef {
            name: "share",
            kind: ParamKind::Number(0.0),
            default: Some(1.0),
            doc: "share of equity that an entry may cost",
        },
    ],
    make,
};

#[derive(Debug)]
struct Lines {
    fast: Sma,
    slow: Sma,
    above: CrossAbove,
    below: CrossBelow,
    /// First row that has not been seen.
    next_row: u32,
}

/// Trades the crossings of two averages, each instrument for itself.
#[derive(Debug)]
pub struct SmaCross {
    share: f64,
    lines: Vec<Lines>,
}

fn make(values: &ParamValues, n_instruments: usize) -> Result<Box<dyn AnyStrategy>, EngineError> {
    let (fast, slow) = (Period::new(values.whole("fast")?)?, Period::new(values.whole("slow")?)?);
    let fresh = || Lines {
        fast: Sma::new(fast),
        slow: Sma::new(slow),
        above: CrossAbove::new(),
        below: CrossBelow::new(),
        next_row: 0,
    };
    let lines = (0..n_instruments).map(|_| fresh()).collect();
    Ok(Box::new(SmaCross { share: values.number("share")?, lines }))
}

impl Strategy for SmaCross {
    const WANTS_REPORTS: bool = false;
    const WANTS_CLOCK: bool = false;

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        let lines = &mut self.lines[bar.instrument.ix()];
        let close = ctx.views[bar.instrument.ix()].close;
        let (mut rises, mut falls) = (false, false);
        // Bars before the first step of the run warm the averages.
        for row in lines.next_row..=bar.row {
            let close = close[row as usize];
            let (fast, slow) = (lines.fast.update(close), lines.slow.update(close));
            rises = lines.above.update(fast, slow).holds();
            falls = lines.below.update(fast, slow).holds();
        }
        lines.next_row = bar.row + 1;
        if ctx.has_pending_market(bar.instrument) {
            return Ok(());
        }
        let held = ctx.position(bar.instrument);
        if held > 0.0 && falls {
            leave(ctx, bar.instrument, held);
        } else if held == 0.0 && rises {
            let size = Size::BudgetAtFill(self.share * ctx.equity);
            enter(ctx, bar.instrument, size, Protection::default());
        }
        Ok(())
    }
}
