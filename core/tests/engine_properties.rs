//! Invariants of core/SEMANTICS.md sections 2, 3 and 7 under random orders on random data.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::BarAt;
use akq_core::data::Panel;
use akq_core::ensemble::Ensemble;
use akq_core::event::ExecutionReport;
use akq_core::market::{
    BuyingPower, Commission, ExecutionSpec, FillMode, ImpactFormula, ImpactSpec, Intrabar, Market,
    OnInsufficientCash, SlippageSpec,
};
use akq_core::model::{
    Amendment, Fill, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel, Side, Size,
    TimeInForce, TrailOn, TrailingSpec,
};
use akq_core::registry::AnyStrategy;
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{InstrumentIx, OrderId, TradingDate};
use common::{Heard, Outcome, Random, Series, panel_of, panel_with, random_series, run_on, run_session};
use proptest::prelude::{Strategy as _, *};
use std::collections::BTreeSet;

/// Asks for random orders of every kind and checks the account after every event.
struct Gambler {
    random: Random,
    held: Vec<f64>,
    orders: Vec<OrderId>,
    limits_cash: bool,
    /// Orders that have ended: nothing may happen to them any more.
    ended: BTreeSet<u64>,
}

impl Gambler {
    fn new(seed: u64, n_instruments: usize, market: &Market) -> Self {
        let limits_cash = market.buying_power == BuyingPower::Cash;
        Self {
            random: Random(seed),
            held: vec![0.0; n_instruments],
            orders: Vec::new(),
            limits_cash,
            ended: BTreeSet::new(),
        }
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
        let kind = match random.below(7) {
            0 | 1 => OrderKind::Market,
            2 => OrderKind::Limit(near(random)),
            3 => OrderKind::StopLimit { stop: near(random), limit: near(random) },
            4 => OrderKind::MarketOnClose,
            _ => OrderKind::Stop(near(random)),
        };
        let size = match random.below(4) {
            0 => Size::PctEquity(0.3 * random.unit()),
            1 => Size::Value(50_000.0 * random.unit()),
            2 => Size::BudgetAtFill(80_000.0 * random.unit()),
            _ => Size::Qty((1 + random.below(300)) as f64),
        };
        let tif = match random.below(6) {
            0 => TimeInForce::Gtc,
            1 => TimeInForce::Day,
            2 => TimeInForce::Ioc,
            3 => TimeInForce::Fok,
            4 => TimeInForce::Gtd(TradingDate(ctx.clock.date.0 + random.below(4) as i32 - 1)),
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
        let follows = matches!(kind, OrderKind::Stop(_)) && random.below(3) == 0;
        let trailing = follows.then(|| TrailingSpec { level: level(random), on: TrailOn::Close });
        let parent = match self.orders.last() {
            Some(&last) if random.below(6) == 0 => Some(last),
            _ => None,
        };
        let request = OrderRequest {
            kind,
            tif,
            protection,
            oco,
            trailing,
            parent,
            tag: OrderTag::Entry,
            ..OrderRequest::market(bar.instrument, side, size)
        };
        self.orders.push(ctx.submit(request));
    }
}

impl Strategy for Gambler {
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.check(ctx);
        match self.random.below(7) {
            0..=2 => self.ask(ctx, bar),
            5 if !self.orders.is_empty() => {
                let pick = self.random.below(self.orders.len() as u64) as usize;
                let close = ctx.views[bar.instrument.ix()].close[bar.row as usize];
                let mut price = || {
                    let random = &mut self.random;
                    (random.below(2) == 0).then(|| close * (0.9 + 0.2 * random.unit()))
                };
                let (limit, stop) = (price(), price());
                let qty = (self.random.below(2) == 0).then(|| (1 + self.random.below(300)) as f64);
                ctx.amend(self.orders[pick], Amendment { limit, stop, qty });
            }
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
        let order = ctx.order(report.order).unwrap();
        let filled = order.progress.filled;
        assert!((0.0..=order.qty * (1.0 + 1e-12)).contains(&filled), "{filled} of {} filled", order.qty);
        if report.status == OrderStatus::Filled && report.fill.is_some() {
            assert_eq!(order.remaining(), 0.0, "filled is whole");
        }
        let was_final = self.ended.contains(&report.order.0);
        assert!(!was_final || report.refused.is_some(), "order {:?} went on after its end", report.order);
        if report.status.is_final() {
            self.ended.insert(report.order.0);
        }
        if let Some(fill) = &report.fill {
            assert!(fill.fees >= 0.0 && fill.qty > 0.0 && fill.price > 0.0);
            self.held[fill.instrument.ix()] = ctx.position(fill.instrument);
        }
        Ok(())
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        if self.limits_cash && fill.side == Side::Buy {
            assert!(ctx.account.cash() >= -1e-6, "cash is {} after a buy", ctx.account.cash());
        }
        Ok(())
    }
}

fn executions() -> impl proptest::strategy::Strategy<Value = ExecutionSpec> {
    (any::<[bool; 3]>(), 0usize..5, 0usize..3, 0.01..1.0f64).prop_map(
        |([capped, halts, cap_to_bar], model, intrabar, share)| {
            let impact =
                |formula| SlippageSpec::VolumeImpact(ImpactSpec { formula, coefficient: 0.1 * share });
            ExecutionSpec {
                max_participation: capped.then_some(share),
                halt_on_zero_volume: halts,
                slippage: [
                    None,
                    Some(SlippageSpec::Bps(5.0)),
                    Some(SlippageSpec::Ticks(2.0)),
                    Some(impact(ImpactFormula::SquareRoot)),
                    Some(impact(ImpactFormula::Linear)),
                ][model],
                cap_to_bar,
                tick: 0.01,
                intrabar: [Intrabar::Pessimistic, Intrabar::Optimistic, Intrabar::Path][intrabar],
            }
        },
    )
}

/// A panel whose bars have volumes: often none of it, sometimes zero.
fn traded(series: &[Series], seed: u64) -> Panel {
    let mut random = Random(seed ^ 0x5eed);
    let n_bars = series.iter().map(|one| one.bars.len()).sum();
    let volume = (0..n_bars).map(|_| match random.below(8) {
        0 => 0.0,
        1 => f64::NAN,
        _ => (100 + random.below(2_000)) as f64,
    });
    panel_with(series, 3, Some(volume.collect()))
}

fn markets() -> impl proptest::strategy::Strategy<Value = Market> {
    (any::<[bool; 4]>(), 0.0..30.0f64, 0.0..0.002f64, 0.0..5.0f64, 1u32..3, executions()).prop_map(
        |([close, cash, shorts, reduce], slippage_bps, rate, minimum, lot, execution)| Market {
            fill: if close { FillMode::Close } else { FillMode::NextOpen },
            buying_power: if cash { BuyingPower::Cash } else { BuyingPower::Unlimited },
            on_insufficient_cash: if reduce {
                OnInsufficientCash::Reduce
            } else {
                OnInsufficientCash::Reject
            },
            // Cash accounts do not go short here: a forced cover may need more than there is.
            shorts: shorts && !cash,
            slippage_bps: if execution.slippage.is_some() { 0.0 } else { slippage_bps },
            execution,
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
    let panel = traded(series, seed);
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
        market.execution.slippage = None;
        let series = universe(2, N_STEPS, seed);
        let panel = panel_of(&series, 3);
        let outcome = gamble(&series, &market, seed);
        for fill in &outcome.record.fills {
            let view = panel.asset(fill.instrument.ix());
            let row = fill.row as usize;
            prop_assert!(fill.price >= view.low[row] && fill.price <= view.high[row]);
        }
    }

    /// No bar trades more than its share of the volume, in whole lots where the order is one, and none that is halted.
    #[test]
    fn pitfall_18_no_bar_trades_more_than_its_share(mut market in markets(), seed in any::<u64>(), share in 0.01..0.5f64) {
        market.execution.max_participation = Some(share);
        market.execution.halt_on_zero_volume = true;
        let series = universe(2, N_STEPS, seed);
        let panel = traded(&series, seed);
        let outcome = run_on(&panel, &market, &mut Gambler::new(seed, series.len(), &market)).unwrap();
        let mut traded = std::collections::BTreeMap::new();
        for fill in &outcome.record.fills {
            *traded.entry((fill.instrument, fill.row)).or_insert(0.0) += fill.qty;
        }
        for ((instrument, row), qty) in traded {
            let volume = panel.asset(instrument.ix()).volume.unwrap()[row as usize];
            prop_assert!(volume.is_nan() || (volume > 0.0 && qty <= share * volume * (1.0 + 1e-9)));
        }
        for order in &outcome.orders {
            if order.request.tif == TimeInForce::Fok {
                let n = outcome.record.fills.iter().filter(|f| f.order == order.id).count();
                prop_assert!(n == 0 || (n == 1 && order.status == OrderStatus::Filled), "pitfall 11");
            }
        }
    }

    /// Pitfall 9: the fees of an order of one date are those of one execution of all of it.
    #[test]
    fn pitfall_9_fees_of_an_order_do_not_depend_on_its_parts(market in markets(), seed in any::<u64>()) {
        let series = universe(2, N_STEPS, seed);
        let outcome = gamble(&series, &market, seed);
        let mut sums = std::collections::BTreeMap::new();
        for fill in &outcome.record.fills {
            let date = fill.ts.0.div_euclid(86_400_000_000_000);
            let (notional, fees) = sums.entry((fill.order, date)).or_insert((0.0, 0.0));
            *notional += fill.qty * fill.price * market.multiplier;
            *fees += fill.fees;
        }
        for (notional, fees) in sums.into_values() {
            let whole = (notional * market.commission.rate).max(market.commission.minimum);
            prop_assert!((fees - whole).abs() <= 1e-9 * whole.max(1.0), "{} and {}", fees, whole);
        }
    }

    /// Pitfall 10: no fill violates the limit its order had when it filled.
    #[test]
    fn pitfall_10_no_limit_is_violated(market in markets(), seed in any::<u64>()) {
        struct Watch(Gambler);
        impl Strategy for Watch {
            fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
                self.0.on_bar(ctx, bar)
            }
            fn on_order(&mut self, ctx: &mut Context<'_>, r: &ExecutionReport) -> Result<(), StrategyFailure> {
                if let Some(fill) = &r.fill
                    && let OrderKind::Limit(limit) | OrderKind::StopLimit { limit, .. } =
                        ctx.order(r.order).unwrap().request.kind
                {
                    let better = (limit - fill.price) * fill.side.sign();
                    assert!(better >= 0.0, "filled at {} beyond the limit of {limit}", fill.price);
                }
                self.0.on_order(ctx, r)
            }
        }
        let series = universe(2, N_STEPS, seed);
        let mut strategy = Watch(Gambler::new(seed, series.len(), &market));
        run_on(&traded(&series, seed), &market, &mut strategy).unwrap();
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A paper session that is handed the bars one by one from another thread is the run over the panel: the same
    /// callbacks with the same sight, the same orders, fills, cash and equity.
    #[test]
    fn a_session_fed_bar_by_bar_equals_the_run(seed in any::<u64>(), n in 1u64..4, market in markets()) {
        let series = universe(n, 60, seed);
        let panel = traded(&series, seed);
        let gambler = || Heard::new(Gambler::new(seed, series.len(), &market));
        let mut run = gambler();
        let whole = run_on(&panel, &market, &mut run).unwrap();
        let fed = run_session(&panel, &market, gambler());
        prop_assert!(fed.outcome.is_ok(), "{:?}", fed.outcome);
        prop_assert_eq!(format!("{:?}", fed.orders), format!("{:?}", whole.orders));
        prop_assert_eq!(format!("{:?}", fed.record), format!("{:?}", whole.record));
        prop_assert_eq!(fed.strategy.log, run.log);
        prop_assert!(fed.unhandled.is_empty());
    }
    /// A strategy in a list of one trades as it does alone: the same callbacks, orders, fills, round trips and equity.
    #[test]
    fn a_list_of_one_strategy_equals_the_strategy(seed in any::<u64>(), n in 1u64..4, market in markets()) {
        let series = universe(n, 60, seed);
        let panel = traded(&series, seed);
        let whole = run_on(&panel, &market, &mut Gambler::new(seed, series.len(), &market)).unwrap();
        let mut alone = Ensemble::new(vec![Box::new(Gambler::new(seed, series.len(), &market))]);
        let mut listed = run_on(&panel, &market, &mut alone).unwrap();
        let gain = listed.record.net_profits[0];
        prop_assert_eq!(listed.record.trip_owners.len(), listed.record.trips.len());
        listed.record.net_profits.clear();
        listed.record.trip_owners.clear();
        prop_assert_eq!(format!("{:?}", listed.orders), format!("{:?}", whole.orders));
        prop_assert_eq!(format!("{:?}", listed.record), format!("{:?}", whole.record));
        let equity = whole.record.equity.last().unwrap();
        prop_assert!((gain - (equity - market.cash)).abs() <= 1e-9 * equity.abs());
    }

    /// Whatever the strategies ask for: each sees the position of its own fills (the gamblers check it at every event),
    /// and what they have earned adds up to what the account has gained.
    #[test]
    fn strategies_of_one_account_add_up_to_it(seed in any::<u64>(), n in 1u64..4, market in markets(), n_members in 2usize..4) {
        let series = universe(n, 60, seed);
        let panel = traded(&series, seed);
        let gambler = |ix: usize| Gambler::new(seed ^ (ix as u64) << 7, series.len(), &market);
        let members = (0..n_members).map(|ix| Box::new(gambler(ix)) as Box<dyn AnyStrategy>).collect();
        let run = run_on(&panel, &market, &mut Ensemble::new(members)).unwrap();
        let record = &run.record;
        let gain = record.equity.last().unwrap() - market.cash;
        let earned: f64 = record.net_profits.iter().sum();
        prop_assert!((gain - earned).abs() <= 1e-9 * market.cash, "{gain} gained, {earned} earned");
        prop_assert_eq!(record.trip_owners.len(), record.trips.len());
        // A round trip pairs fills of one strategy only: what its trips bought and sold is within its fills.
        for owner in 0..n_members {
            let own = |id: OrderId| run.orders[id.0 as usize - 1].owner.ix() == owner;
            let filled: f64 = record.fills.iter().filter(|f| own(f.order)).map(|f| f.qty).sum();
            let trips = record.trips.iter().zip(&record.trip_owners).filter(|(_, o)| o.ix() == owner);
            let paired: f64 = trips.map(|(trip, _)| 2.0 * trip.qty).sum();
            prop_assert!(paired <= filled * (1.0 + 1e-9), "{paired} of {filled} units paired");
        }
    }
}
