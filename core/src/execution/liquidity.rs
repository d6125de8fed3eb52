//! What a bar can trade: participation in its volume, and halts.

use crate::market::ExecutionSpec;
use crate::units::InstrumentIx;

/// A quotient this close below a whole number of lots is that number.
const LOT_TOLERANCE: f64 = 1e-9;

/// Volume of the current bars that the account has used up.
#[derive(Debug, Default)]
pub struct Liquidity {
    spec: ExecutionSpec,
    /// Step and units traded on its bar, by instrument; empty without a cap.
    used: Vec<(u32, f64)>,
}

impl Liquidity {
    /// Forgets the last run and keeps its memory.
    pub fn reset(&mut self, spec: ExecutionSpec, n_instruments: usize) {
        self.spec = spec;
        self.used.clear();
        if spec.max_participation.is_some() {
            self.used.resize(n_instruments, (u32::MAX, 0.0));
        }
    }

    /// Whether a bar of this volume trades nothing at all.
    #[inline]
    pub fn is_halted(&self, volume: Option<f64>) -> bool {
        self.spec.halt_on_zero_volume && volume == Some(0.0)
    }

    /// Units that may still be traded on the bar of a step: a multiple of the lot, endless without a cap or a volume.
    #[inline]
    pub fn room(&self, instrument: InstrumentIx, step: u32, volume: Option<f64>, lot: f64) -> f64 {
        let (Some(share), Some(volume)) = (self.spec.max_participation, volume) else { return f64::INFINITY };
        let (at, traded) = self.used[instrument.ix()];
        let used = if at == step { traded } else { 0.0 };
        floor_to_lot((share * volume - used).max(0.0), lot)
    }

    /// Notes an execution.
    #[inline]
    pub fn take(&mut self, instrument: InstrumentIx, step: u32, qty: f64) {
        if let Some((at, traded)) = self.used.get_mut(instrument.ix()) {
            *traded = if *at == step { *traded + qty } else { qty };
            *at = step;
        }
    }
}

/// The largest multiple of `lot` within `qty`, any quantity when `lot` is zero; a rounding error costs no lot.
fn floor_to_lot(qty: f64, lot: f64) -> f64 {
    if lot > 0.0 { (qty / lot + LOT_TOLERANCE).floor() * lot } else { qty }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstrumentIx = InstrumentIx(0);

    fn capped(share: f64) -> Liquidity {
        let mut liquidity = Liquidity::default();
        let spec = ExecutionSpec {
            max_participation: Some(share),
            halt_on_zero_volume: true,
            ..ExecutionSpec::default()
        };
        liquidity.reset(spec, 1);
        liquidity
    }

    #[test]
    fn room_is_a_share_of_the_volume_in_whole_lots_less_what_the_bar_has_traded() {
        let mut liquidity = capped(0.25);
        assert_eq!(liquidity.room(A, 3, Some(1_000.0), 100.0), 200.0); // 250 floored
        liquidity.take(A, 3, 100.0);
        assert_eq!(liquidity.room(A, 3, Some(1_000.0), 100.0), 100.0); // 150 floored
        assert_eq!(liquidity.room(A, 4, Some(1_000.0), 100.0), 200.0);
        assert_eq!(capped(0.29).room(A, 0, Some(100.0), 1.0), 29.0); // 0.29 x 100 is 28.999999999999996
    }

    /// Pitfall 20: a series without volume is not a series of volume zero.
    #[test]
    fn pitfall_20_absent_volume_neither_caps_nor_halts() {
        let liquidity = capped(0.1);
        assert_eq!(liquidity.room(A, 0, None, 1.0), f64::INFINITY);
        assert!(!liquidity.is_halted(None));
        assert_eq!(liquidity.room(A, 0, Some(0.0), 1.0), 0.0);
        assert!(liquidity.is_halted(Some(0.0)));
    }
}
