//! Invariants of core/SEMANTICS.md sections 2, 3 and 7 under random orders on random data.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::BarAt;
use akq_core::event::ExecutionReport;
use akq_core::market::{BuyingPower, Commission, FillMode, Market, OnInsufficientCash};
use akq_core::model::{
    Fill, OrderKind, OrderRequest, OrderTag, Protection, ProtectionLevel, Side, Size, TimeInForce, TrailOn,
    TrailingSpec,
};
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{InstrumentIx, OrderId};
use common::{Outcome, Random, Series, panel_of, random_series, run_on};
use proptest::prelude::{Strategy as _, *};

/// Asks for random orders of every kind and checks the account after every event.
struct Gambler {
    random: Random,
    held: Vec<f64>,
    orders: Vec<OrderId>,
    limits_cash: bool,
}

impl Gambler {
    fn new(seed: u64, n_instruments: usize, market: &Market) -> Self {
        let limits_cash = market.buying_power == BuyingPower::Cash;
        Self { random: Random(seed), held: vec![0.0; n_instruments], orders: Vec::new(), limits_cash }
    }

    fn check(&self, ctx: &Context<'_>) {
        let mut value = 0.0;
        for (ix, &held) in self.held.iter().enumerate() {
            let instrument = InstrumentIx(ix as u32);
            assert_eq!(ctx.position(instrument), held, "the sum of fills is the position");
            if held != 0.0 {
                value += held * ctx.portfolio.last_close(instrument) * ctx.market.multiplier;
            }
        }
        let equity = ctx.portfolio.cash() + value;
        assert!(
            (ctx.portfolio.equity() - equity).abs() <= 1e-9 * equity.abs().max(1.0),
            "cash + value = equity"
        );
    }

    fn ask(&mut self, ctx: &mut Context<'_>, bar: BarAt) {
        let close = ctx.views[bar.instrument.ix()].close[bar.row as usize];
        let random = &mut self.random;
        let near = |random: &mut Random| close * (0.9 + 0.2 * random.unit());
        let kind = match random.below(4) {
            0 | 1 => OrderKind::Market,
            2 => OrderKind::Limit(near(random)),
            _ => OrderKind::Stop(near(random)),
        };
        let size = match random.below(4) {
            0 => Size::PctEquity(0.3 * random.unit()),
            1 => Size::Value(50_000.0 * random.unit()),
            2 => Size::BudgetAtFill(80_000.0 * random.unit()),
            _ => Size::Qty((1 + random.below(300)) as f64),
        };
        let tif = match random.below(3) {
            0 => TimeInForce::Gtc,
            1 => TimeInForce::Day,
            _ => TimeInForce::Bars(1 + random.below(4) as u32),
        };
        let level = |random: &mut Random| ProtectionLevel::Pct(0.005 + 0.05 * random.unit());
        let mut protection = Protection::default();
        if random.below(2) == 0 {
            protection.stop_loss = Some((level(random), None));
        }
        if random.below(2) == 0 {
            protection.take_profit = Some((level(random), Some(close)));
        }
        if random.below(4) == 0 {
            protection.trailing = Some(TrailingSpec { level: level(random), on: TrailOn::High });
        }
        let oco = (random.below(3) == 0).then(|| random.below(5));
        let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let request = OrderRequest {
            kind,
            tif,
            protection,
            oco,
            tag: OrderTag::Entry,
            ..OrderRequest::market(bar.instrument, side, size)
        };
        self.orders.push(ctx.submit(request));
    }
}

impl Strategy for Gambler {
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.check(ctx);
        match self.random.below(6) {
            0..=2 => self.ask(ctx, bar),
            3 => ctx.target(bar.instrument, Target::Pct(self.random.unit() - 0.5), OrderTag::Rebalance),
            4 if !self.orders.is_empty() => {
                let pick = self.random.below(self.orders.len() as u64) as usize;
                ctx.cancel(self.orders[pick]);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        if let Some(fill) = &report.fill {
            assert!(fill.fees >= 0.0 && fill.qty > 0.0 && fill.price > 0.0);
            self.held[fill.instrument.ix()] = ctx.position(fill.instrument);
        }
        Ok(())
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        if self.limits_cash && fill.side == Side::Buy {
            assert!(ctx.portfolio.cash() >= -1e-6, "cash is {} after a buy", ctx.portfolio.cash());
        }
        Ok(())
    }
}

fn markets() -> impl proptest::strategy::Strategy<Value = Market> {
    (any::<[bool; 4]>(), 0.0..30.0f64, 0.0..0.002f64, 0.0..5.0f64, 1u32..3).prop_map(
        |([close, cash, shorts, reduce], slippage_bps, rate, minimum, lot)| Market {
            fill: if close { FillMode::Close } else { FillMode::NextOpen },
            buying_power: if cash { BuyingPower::Cash } else { BuyingPower::Unlimited },
            on_insufficient_cash: if reduce {
                OnInsufficientCash::Reduce
            } else {
                OnInsufficientCash::Reject
            },
            // Cash accounts do not go short here: a forced cover may need more than there is.
            shorts: shorts && !cash,
            slippage_bps,
            commission: Commission { rate, per_share: 0.0, minimum },
            sell_tax: 0.0,
            lot: f64::from(lot),
            ..Market::default()
        },
    )
}

fn universe(n: u64, n_steps: i64, seed: u64) -> Vec<Series> {
    (0..n)
        .map(|ix| random_series(&format!("S{ix}"), n_steps, seed.wrapping_mul(31).wrapping_add(ix)))
        .collect()
}

fn gamble(series: &[Series], market: &Market, seed: u64) -> Outcome {
    let panel = panel_of(series, 3);
    run_on(&panel, market, &mut Gambler::new(seed, series.len(), market)).unwrap()
}

const N_STEPS: i64 = 120;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// 400 cases x 120 steps x 3 instruments: the checks inside hold after every event; those below at the end.
    #[test]
    fn the_account_balances_after_every_event(market in markets(), seed in any::<u64>()) {
        let series = universe(3, N_STEPS, seed);
        let outcome = gamble(&series, &market, seed ^ 0x5eed);
        let mut cash = market.cash;
        for fill in &outcome.record.fills {
            cash -= fill.side.sign() * fill.qty * fill.price * market.multiplier + fill.fees;
        }
        let last = outcome.record.cash.last().copied().unwrap_or(market.cash);
        prop_assert!((cash - last).abs() <= 1e-6, "fills explain cash: {} and {}", cash, last);
        let fees: f64 = outcome.record.fills.iter().map(|f| f.fees).sum();
        prop_assert!((fees - outcome.record.fees).abs() <= 1e-9 * fees.max(1.0));
    }

    /// Without slippage no fill lies outside its bar, and computed sizes are whole lots.
    #[test]
    fn no_fill_lies_outside_its_bar(mut market in markets(), seed in any::<u64>()) {
        market.slippage_bps = 0.0;
        let series = universe(2, N_STEPS, seed);
        let panel = panel_of(&series, 3);
        let outcome = gamble(&series, &market, seed);
        for fill in &outcome.record.fills {
            let view = panel.asset(fill.instrument.ix());
            let row = fill.row as usize;
            prop_assert!(fill.price >= view.low[row] && fill.price <= view.high[row]);
        }
    }

    /// Changing every bar after t leaves fills and equity up to t as they were.
    #[test]
    fn the_future_does_not_reach_back(market in markets(), seed in any::<u64>(), t in 5i64..115) {
        let series = universe(2, N_STEPS, seed);
        let mut changed = series.clone();
        for one in &mut changed {
            for (step, bar) in &mut one.bars {
                if *step > t {
                    *bar = bar.map(|price| price * 1.7 + 3.0);
                }
            }
        }
        let (before, after) = (gamble(&series, &market, seed), gamble(&changed, &market, seed));
        let until = |outcome: &Outcome| {
            let last = t * 86_400_000_000_000 / 3;
            outcome.record.fills.iter().filter(|f| f.ts.0 <= last).copied().collect::<Vec<_>>()
        };
        prop_assert_eq!(until(&before), until(&after));
        let panel = panel_of(&series, 3);
        let timeline = akq_core::data::Timeline::new(&panel, &[0, 1], akq_core::data::Window::default());
        let n = timeline.timestamps().partition_point(|&ts| ts <= t * 86_400_000_000_000 / 3);
        prop_assert_eq!(&before.record.equity[..n], &after.record.equity[..n]);
    }

    /// The same seed gives the same bits, whatever ran before in the same engine.
    #[test]
    fn runs_do_not_leak_into_each_other(market in markets(), seed in any::<u64>()) {
        let series = universe(2, 60, seed);
        let first = gamble(&series, &market, seed);
        let again = gamble(&series, &market, seed);
        prop_assert_eq!(first.record.fills, again.record.fills);
        prop_assert_eq!(first.record.equity, again.record.equity);
        prop_assert_eq!(first.orders, again.orders);
    }

    /// Doubling all prices doubles the profit of fixed quantities at no cost.
    #[test]
    fn profit_scales_with_prices(seed in any::<u64>()) {
        struct Fixed(Random);
        impl Strategy for Fixed {
            fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
                if self.0.below(3) == 0 {
                    let side = if self.0.below(2) == 0 { Side::Buy } else { Side::Sell };
                    ctx.submit(OrderRequest::market(bar.instrument, side, Size::Qty(10.0)));
                }
                Ok(())
            }
        }
        let series = universe(2, 80, seed);
        let mut doubled = series.clone();
        for bar in doubled.iter_mut().flat_map(|one| &mut one.bars) {
            bar.1 = bar.1.map(|price| price * 2.0);
        }
        let market = Market::default();
        let profit = |series: &[Series]| {
            let outcome = run_on(&panel_of(series, 1), &market, &mut Fixed(Random(seed))).unwrap();
            outcome.record.equity.last().unwrap() - market.cash
        };
        let (once, twice) = (profit(&series), profit(&doubled));
        prop_assert!((twice - 2.0 * once).abs() <= 1e-6 * once.abs().max(1.0));
    }

    /// Symbol names do not matter: the same series under other names give the same fills.
    #[test]
    fn names_do_not_matter(market in markets(), seed in any::<u64>()) {
        let series = universe(3, 60, seed);
        let mut renamed = series.clone();
        for (ix, one) in renamed.iter_mut().enumerate() {
            one.symbol = format!("Z{}", 9 - ix);
        }
        prop_assert_eq!(gamble(&series, &market, seed).record.fills, gamble(&renamed, &market, seed).record.fills);
    }
}
