//! Slippage models.

use crate::error::EngineError;
use crate::market::{ImpactFormula, ImpactSpec, Market, SlippageSpec};
use crate::model::Side;
use crate::units::Bps;

/// What a fill meets: the price before slippage, its units and its bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    pub price: f64,
    pub qty: f64,
    pub high: f64,
    pub low: f64,
    /// None where the series has none.
    pub volume: Option<f64>,
    /// Smallest step of the instrument's price.
    pub tick: f64,
}

/// Moves the price of a market or stop fill against the order; a limit fill never slips.
pub trait SlippageModel {
    fn slipped(&self, side: Side, offer: &Offer) -> f64;
}

/// A fixed fraction of the price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BpsSlippage {
    fraction: f64,
}

impl BpsSlippage {
    pub fn new(bps: Bps) -> Self {
        Self { fraction: bps.fraction() }
    }
}

impl SlippageModel for BpsSlippage {
    #[inline]
    fn slipped(&self, side: Side, offer: &Offer) -> f64 {
        match side {
            Side::Buy => offer.price * (1.0 + self.fraction),
            Side::Sell => offer.price * (1.0 - self.fraction),
        }
    }
}

/// A fixed number of price steps; a sell keeps at least one step, or its price where that is less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TickSlippage {
    pub ticks: f64,
}

impl SlippageModel for TickSlippage {
    #[inline]
    fn slipped(&self, side: Side, offer: &Offer) -> f64 {
        let moved = offer.price + side.sign() * self.ticks * offer.tick;
        moved.max(offer.tick.min(offer.price))
    }
}

/// A fraction of the price that grows with the share of the bar's volume, which counts as one at most (a bar of volume
/// zero is all of it). Without a volume nothing slips.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VolumeImpact {
    pub spec: ImpactSpec,
}

impl SlippageModel for VolumeImpact {
    #[inline]
    fn slipped(&self, side: Side, offer: &Offer) -> f64 {
        let share = match offer.volume {
            Some(volume) if offer.qty > 0.0 => (offer.qty / volume).min(1.0),
            _ => 0.0,
        };
        let impact = match self.spec.formula {
            ImpactFormula::SquareRoot => self.spec.coefficient * share.sqrt(),
            ImpactFormula::Linear => self.spec.coefficient * share,
        };
        offer.price * (1.0 + side.sign() * impact)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Model {
    None,
    Bps(BpsSlippage),
    Ticks(TickSlippage),
    Impact(VolumeImpact),
}

/// The slippage of a market.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slippage {
    model: Model,
    cap_to_bar: bool,
}

impl Slippage {
    pub fn of(market: &Market) -> Result<Self, EngineError> {
        let execution = &market.execution;
        let model = match execution.slippage {
            None => Model::Bps(BpsSlippage::new(Bps::new(market.slippage_bps)?)),
            Some(SlippageSpec::None) => Model::None,
            Some(SlippageSpec::Bps(bps)) => Model::Bps(BpsSlippage::new(Bps::new(bps)?)),
            Some(SlippageSpec::Ticks(ticks)) => Model::Ticks(TickSlippage { ticks }),
            Some(SlippageSpec::VolumeImpact(spec)) => Model::Impact(VolumeImpact { spec }),
        };
        Ok(Self { model, cap_to_bar: execution.cap_to_bar })
    }

    /// Whether the range of the bar bounds the price.
    #[inline]
    pub fn caps_to_bar(&self) -> bool {
        self.cap_to_bar
    }

    /// Whether more units get another price: only then the volume counts.
    #[inline]
    pub fn depends_on_qty(&self) -> bool {
        matches!(self.model, Model::Impact(_))
    }
}

impl SlippageModel for Slippage {
    #[inline]
    fn slipped(&self, side: Side, offer: &Offer) -> f64 {
        let price = match self.model {
            Model::None => offer.price,
            Model::Bps(model) => model.slipped(side, offer),
            Model::Ticks(model) => model.slipped(side, offer),
            Model::Impact(model) => model.slipped(side, offer),
        };
        match side {
            _ if !self.cap_to_bar => price,
            // Never better than without slippage, where a price lies a rounding error outside its bar.
            Side::Buy => price.min(offer.high).max(offer.price),
            Side::Sell => price.max(offer.low).min(offer.price),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer =
        Offer { price: 100.0, qty: 25.0, high: 100.5, low: 99.0, volume: Some(100.0), tick: 0.25 };

    #[test]
    fn ticks_are_steps_of_the_instrument() {
        let model = TickSlippage { ticks: 2.0 };
        assert_eq!(model.slipped(Side::Buy, &OFFER), 100.5);
        assert_eq!(model.slipped(Side::Sell, &OFFER), 99.5);
        let penny = Offer { price: 0.5, ..OFFER };
        assert_eq!(model.slipped(Side::Sell, &penny), 0.25);
    }

    #[test]
    fn impact_grows_with_the_share_of_the_volume() {
        let root = VolumeImpact { spec: ImpactSpec { formula: ImpactFormula::SquareRoot, coefficient: 0.1 } };
        let linear = VolumeImpact { spec: ImpactSpec { formula: ImpactFormula::Linear, coefficient: 0.1 } };
        // A quarter of the volume: 0.1 x 0.5 and 0.1 x 0.25.
        assert_eq!(root.slipped(Side::Buy, &OFFER), 100.0 * 1.05);
        assert_eq!(linear.slipped(Side::Sell, &OFFER), 100.0 * 0.975);
        let whole = Offer { volume: Some(0.0), ..OFFER };
        assert_eq!(linear.slipped(Side::Buy, &whole), 100.0 * 1.1);
        let absent = Offer { volume: None, ..OFFER };
        assert_eq!(root.slipped(Side::Buy, &absent), 100.0);
    }

    #[test]
    fn a_capped_price_stays_inside_the_bar() {
        let market = |cap_to_bar| {
            let mut market = Market { slippage_bps: 200.0, ..Market::default() };
            market.execution.cap_to_bar = cap_to_bar;
            Slippage::of(&market).map(|s| (s.slipped(Side::Buy, &OFFER), s.slipped(Side::Sell, &OFFER)))
        };
        assert_eq!(market(true).ok(), Some((100.5, 99.0)));
        assert_eq!(market(false).ok(), Some((100.0 * 1.02, 100.0 * 0.98)));
    }
}
