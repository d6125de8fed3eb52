//! Invariants of core/SEMANTICS.md sections 6 and 7 after every step, under random orders, markets, actions and data.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::{BarAt, Panel};
use akq_core::market::{BuyingPower, Contract, FillMode, Market, PriceLimits, read_market};
use akq_core::model::{
    Fill, OrderKind, OrderRequest, OrderTag, Protection, ProtectionLevel, Side, Size, TimeInForce,
};
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::InstrumentIx;
use common::{Random, Series, panel_columns, random_series, run_on};
use proptest::prelude::{Strategy as _, *};

const N_STEPS: i64 = 120;
const STEPS_A_DAY: i64 = 3;

/// Places random orders and audits the account before and after everything that happens to it.
struct Auditor<'a> {
    random: Random,
    market: &'a Market,
    contracts: Vec<Contract>,
    /// Units as the fills since the last ex-date explain them.
    held: Vec<f64>,
    /// Units that could be sold when the date began, less those sold since.
    sellable: Vec<f64>,
    /// Equity at the end of the step before.
    equity: Option<f64>,
    n_checks: u64,
}

impl<'a> Auditor<'a> {
    fn new(seed: u64, market: &'a Market, panel: &Panel) -> Self {
        let contracts: Vec<Contract> =
            panel.symbols().iter().map(|symbol| Contract::resolve(market, symbol).unwrap()).collect();
        let n = contracts.len();
        Self {
            random: Random(seed),
            market,
            contracts,
            held: vec![0.0; n],
            sellable: vec![0.0; n],
            equity: None,
            n_checks: 0,
        }
    }

    fn instruments(&self) -> impl Iterator<Item = InstrumentIx> + use<> {
        (0..self.held.len() as u32).map(InstrumentIx)
    }

    /// Cash, positions and equity fit together.
    fn audit(&mut self, ctx: &Context<'_>) {
        self.n_checks += 1;
        let portfolio = ctx.portfolio;
        let mut value = 0.0;
        for instrument in self.instruments() {
            let qty = ctx.position(instrument);
            let wanted = self.held[instrument.ix()];
            assert!((qty - wanted).abs() <= 1e-6, "position {qty}, fills explain {wanted}");
            assert!(self.market.shorts || qty >= 0.0, "short without shorts");
            let sellable = portfolio.sellable(instrument);
            assert!((0.0..=qty.max(0.0)).contains(&sellable), "{sellable} of {qty} sellable");
            if qty != 0.0 {
                value += qty * portfolio.last_close(instrument) * portfolio.point_value(instrument);
            }
        }
        if !self.market.daily_settlement {
            let equity = portfolio.cash() + value;
            assert!(
                (portfolio.equity() - equity).abs() <= 1e-9 * equity.abs().max(1e6),
                "cash and value are {equity}, equity is {}",
                portfolio.equity()
            );
        }
        if self.market.buying_power == BuyingPower::Cash {
            assert!(portfolio.cash() >= -1e-6, "cash is {}", portfolio.cash());
        }
    }

    fn ask(&mut self, ctx: &mut Context<'_>, bar: BarAt) {
        let close = ctx.views[bar.instrument.ix()].close[bar.row as usize];
        let random = &mut self.random;
        let near = |random: &mut Random| close * (0.92 + 0.16 * random.unit());
        let kind = match random.below(5) {
            0 | 1 => OrderKind::Market,
            2 => OrderKind::Limit(near(random)),
            3 => OrderKind::StopLimit { stop: near(random), limit: near(random) },
            _ => OrderKind::Stop(near(random)),
        };
        let size = match random.below(4) {
            0 => Size::PctEquity(0.4 * random.unit()),
            1 => Size::Value(200_000.0 * random.unit()),
            2 => Size::BudgetAtFill(200_000.0 * random.unit()),
            _ => Size::Qty((1 + random.below(3_000)) as f64),
        };
        let tif = match random.below(4) {
            0 => TimeInForce::Day,
            1 => TimeInForce::Ioc,
            _ => TimeInForce::Gtc,
        };
        let level = |random: &mut Random| ProtectionLevel::Pct(0.01 + 0.05 * random.unit());
        let mut protection = Protection::default();
        if random.below(3) == 0 {
            protection.stop_loss = Some((level(random), None));
            protection.take_profit = Some((level(random), None));
        }
        let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let request =
            OrderRequest { kind, tif, protection, ..OrderRequest::market(bar.instrument, side, size) };
        ctx.submit(request);
    }
}

impl Strategy for Auditor<'_> {
    fn on_step(&mut self, ctx: &mut Context<'_>, _bars: &[BarAt]) {
        // Ex-dates have been applied: whatever they did, the account is worth what it was.
        let free_of_cost = self.market.borrow_rate == 0.0 && self.market.interest_rate == 0.0;
        if let Some(before) = self.equity.filter(|_| free_of_cost && self.market.fx_column.is_none()) {
            let now = ctx.portfolio.equity();
            assert!((now - before).abs() <= 1e-9 * before.abs().max(1e6), "{before} became {now} overnight");
        }
        for instrument in self.instruments() {
            let ix = instrument.ix();
            let qty = ctx.position(instrument);
            let goes_ex = self.contracts[ix]
                .distributions
                .iter()
                .any(|d| d.ex_date.0 <= ctx.clock.date && d.ex_date.0.0 > ctx.clock.date.0 - 3);
            if goes_ex {
                self.held[ix] = qty;
            }
            if ctx.clock.begins_date {
                self.sellable[ix] = qty.max(0.0);
            }
        }
        self.audit(ctx);
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.audit(ctx);
        match self.random.below(6) {
            0..=2 => self.ask(ctx, bar),
            3 => ctx.target(bar.instrument, Target::Pct(self.random.unit() - 0.4), OrderTag::Rebalance),
            _ => {}
        }
        Ok(())
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        let ix = fill.instrument.ix();
        self.held[ix] += fill.side.sign() * fill.qty;
        self.audit(ctx);
        assert!(fill.fees >= 0.0 && fill.qty > 0.0 && fill.price > 0.0);
        let contract = &self.contracts[ix];
        if contract.sell_after_days > 0 && fill.side == Side::Sell {
            self.sellable[ix] -= fill.qty;
            assert!(self.sellable[ix] >= -1e-6, "sold {} bought today", -self.sellable[ix]);
        }
        let view = &ctx.views[ix];
        if let Some(band) = contract.band_at(self.market, view, fill.row as usize) {
            let (high, low) = (view.high[fill.row as usize], view.low[fill.row as usize]);
            // The data here know no limits: what lies in a bar inside the band fills inside it.
            if low >= band.down && high <= band.up {
                assert_eq!(band.clamp(fill.price), fill.price, "filled outside {band:?}");
            }
            assert!(!(fill.side == Side::Buy && low >= band.up), "bought in a bar at the limit");
            assert!(!(fill.side == Side::Sell && high <= band.down), "sold in a bar at the limit");
        }
        let is_whole = |qty: f64, lot: f64| (qty / lot - (qty / lot).round()).abs() < 1e-9;
        if contract.lots.binds && fill.side == Side::Buy && fill.tag != OrderTag::Liquidation {
            assert!(is_whole(fill.qty, contract.lots.lot), "bought {} of {}", fill.qty, contract.lots.lot);
        }
        Ok(())
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, _bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.audit(ctx);
        Ok(())
    }
}

/// A panel of A-shares: prices on the cent, volumes that are sometimes zero or absent, days of special treatment.
fn shares(seed: u64) -> Panel {
    let mut random = Random(seed ^ 0xa5a5);
    let cent = |price: f64| (price * 100.0).round() / 100.0;
    let series: Vec<Series> = ["300750.SZ", "600000.SH", "688981.SH"]
        .iter()
        .enumerate()
        .map(|(ix, symbol)| {
            let mut one = random_series(symbol, N_STEPS, seed.wrapping_mul(17).wrapping_add(ix as u64));
            for (_, bar) in &mut one.bars {
                *bar = bar.map(cent);
                // Now and then a bar of one price, as at a limit.
                if random.below(10) == 0 {
                    *bar = [bar[3]; 4];
                }
            }
            one
        })
        .collect();
    let n_bars = series.iter().map(|one| one.bars.len()).sum();
    let mut column = |zeros: u64| -> Vec<f64> {
        (0..n_bars)
            .map(|_| if random.below(zeros) == 0 { 0.0 } else { (100 + random.below(9_000)) as f64 })
            .collect()
    };
    let volume = column(9);
    let is_st = column(2).into_iter().map(|v| f64::from(u8::from(v == 0.0))).collect();
    panel_columns(&series, STEPS_A_DAY, &[("volume", volume), ("is_st", is_st)])
}

/// Actions of every kind on random dates, several of one date among them.
fn actions(seed: u64) -> String {
    let mut random = Random(seed ^ 0xac7);
    let mut items = Vec::new();
    for symbol in ["300750.SZ", "600000.SH", "688981.SH"] {
        for _ in 0..random.below(5) {
            let (month, day) = (1, 2 + random.below(28));
            let terms = match random.below(5) {
                0 => format!(r#""cash": {}"#, random.below(40) as f64 / 100.0),
                1 => format!(r#""bonus": {}"#, random.below(11) as f64 / 10.0),
                2 => r#""bonus": -0.2"#.to_owned(),
                3 => format!(r#""rights": 0.3, "rights_price": {}"#, 1 + random.below(9)),
                _ => r#""cash": 0.1, "bonus": 0.3, "rights": 0.2, "rights_price": 2"#.to_owned(),
            };
            items
                .push(format!(r#"{{"symbol": "{symbol}", "ex_date": "1970-{month:02}-{day:02}", {terms}}}"#));
        }
    }
    items.join(", ")
}

fn share_markets() -> impl proptest::strategy::Strategy<Value = Market> {
    (any::<[bool; 5]>(), any::<u64>(), 0u32..4).prop_map(
        |([close, reduce, capped, limits, free], seed, days)| {
            let list = actions(seed);
            let limits = if limits {
                r#""price_limit": [{"from": "1970-01-01", "rate": 0.1, "st_rate": 0.05}],"#
            } else {
                r#""price_limit": [],"#
            };
            let text = format!(
                r#"{{"profile": "cn_stock", {limits} "sell_after_days": {days}, "slippage_bps": 10,
                "stamp_duty": 0.001, "corporate_actions": [{list}]}}"#
            );
            let mut market = read_market(&mut serde_json::Deserializer::from_str(&text)).unwrap();
            market.check().unwrap();
            market.fill = if close { FillMode::Close } else { FillMode::NextOpen };
            if reduce {
                market.on_insufficient_cash = akq_core::market::OnInsufficientCash::Reduce;
            }
            market.execution.max_participation = capped.then_some(0.5);
            if free {
                market.buying_power = BuyingPower::Unlimited;
            }
            market
        },
    )
}

fn future_markets() -> impl proptest::strategy::Strategy<Value = Market> {
    (any::<[bool; 3]>(), 0.02..0.5f64, 0.0..1.0f64).prop_map(
        |([close, settles, reduce], margin, maintenance)| {
            let text = r#"{"profile": "cn_future", "cash": 2000000, "board": "IF"}"#;
            let mut market = read_market(&mut serde_json::Deserializer::from_str(text)).unwrap();
            for board in &mut market.boards {
                board.margin = Some(margin);
            }
            market.maintenance = maintenance;
            market.daily_settlement = settles;
            market.fill = if close { FillMode::Close } else { FillMode::NextOpen };
            if reduce {
                market.on_insufficient_cash = akq_core::market::OnInsufficientCash::Reduce;
            }
            market
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// 300 cases x 120 steps x 3 instruments, several checks a step: more than 10^5 audited states.
    #[test]
    fn shares_balance_under_random_actions(market in share_markets(), seed in any::<u64>()) {
        let panel = shares(seed);
        let mut auditor = Auditor::new(seed, &market, &panel);
        let outcome = run_on(&panel, &market, &mut auditor).unwrap();
        prop_assert!(auditor.n_checks >= 3 * outcome.record.equity.len() as u64);
        let fees: f64 = outcome.record.fills.iter().map(|fill| fill.fees).sum();
        prop_assert!((fees - outcome.record.fees).abs() <= 1e-9 * fees.max(1.0));
    }

    /// With margin and settlement: the equity is the cash whenever a date has ended, and what is opened is carried.
    #[test]
    fn futures_balance_under_margin(market in future_markets(), seed in any::<u64>()) {
        let panel = shares(seed);
        let outcome = run_on(&panel, &market, &mut Auditor::new(seed, &market, &panel)).unwrap();
        let timeline = akq_core::data::Timeline::new(&panel, &[0, 1, 2], akq_core::data::Window::default());
        for step in 0..timeline.n_steps() {
            let ends = step + 1 == timeline.n_steps() || timeline.date(step + 1) != timeline.date(step);
            if market.daily_settlement && ends {
                let (cash, equity) = (outcome.record.cash[step], outcome.record.equity[step]);
                prop_assert!((cash - equity).abs() <= 1e-9 * equity.abs().max(1e6), "{} and {}", cash, equity);
            }
        }
        let gross: f64 = outcome.record.trips.iter().map(|trip| trip.net).sum();
        prop_assert!(gross.is_finite());
    }

    /// Settlement moves cash earlier or later, never the equity.
    #[test]
    fn settlement_does_not_change_equity(mut market in future_markets(), seed in any::<u64>()) {
        let panel = shares(seed);
        let mut equity = |settles| {
            market.daily_settlement = settles;
            run_on(&panel, &market, &mut Auditor::new(seed, &market, &panel)).unwrap().record.equity
        };
        let (with, without) = (equity(true), equity(false));
        for (a, b) in with.iter().zip(&without) {
            prop_assert!((a - b).abs() <= 1e-7 * a.abs().max(1e6), "{} and {}", a, b);
        }
    }
}
