//! New trading dates, timers and coarse bars, told to the strategy before the bars of a step.

use super::Loop;
use crate::data::{BarAt, CoarseBarAt};
use crate::error::EngineError;
use crate::strategy::Strategy;

impl<S: Strategy> Loop<'_, '_, S> {
    /// `on_day`, then the timers that are due. What this step makes due is known before either is called, so that a
    /// timer set in one of them is due later than now.
    pub(super) fn tell_time(&mut self) -> Result<(), EngineError> {
        let clock = self.clock;
        let begins_date = clock.begins_date;
        if begins_date {
            let first = self.spec.bar_times.inside(clock.ts);
            self.engine.timers.begin_date(&clock, first);
        }
        if !self.engine.timers.is_empty() {
            self.engine.timers.begin_step(&clock, self.place);
        }
        if begins_date {
            self.call(|strategy, ctx| strategy.on_day(ctx, clock.date))?;
        }
        while let Some(timer) = self.engine.timers.take(&clock) {
            self.call(|strategy, ctx| strategy.on_timer(ctx, &timer))?;
        }
        Ok(())
    }

    /// The coarse bars that are known to be complete since the bar before.
    pub(super) fn tell_coarse_bars(&mut self, bars: &[BarAt]) -> Result<(), EngineError> {
        for bar in bars {
            for frame in &self.frames[bar.instrument.ix()].frames {
                let before = bar.row.checked_sub(1).map_or(0, |row| frame.n_complete_at(row));
                for ix in before..frame.n_complete_at(bar.row) {
                    let (instrument, frequency) = (bar.instrument, frame.frequency);
                    let coarse = CoarseBarAt { instrument, frequency, ix: ix as u32 };
                    self.call(|strategy, ctx| strategy.on_coarse_bar(ctx, coarse))?;
                }
            }
        }
        Ok(())
    }
}
