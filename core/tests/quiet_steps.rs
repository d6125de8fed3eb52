//! Skipping the steps and bars at which nothing happens changes nothing: a strategy that names its next decision gives
//! the bits of the same strategy looked at on every bar.
#![allow(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use akq_core::context::Context;
use akq_core::data::{BarAt, Panel, RowSteps, Timeline, Window};
use akq_core::engine::{Engine, Keep, Record, RunSpec};
use akq_core::market::Market;
use akq_core::model::Order;
use akq_core::portfolio::Portfolio;
use akq_core::risk::RiskSpec;
use akq_core::rules::BatchGraph;
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::trader::{CompiledRules, RuleColumns, RuleSpec, RuleTrader, SignalSteps};
use akq_core::units::{InstrumentIx, TradingDate};
use common::{Random, Series, panel_with, random_series};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// A strategy that is looked at on every bar, whatever it says about its next decision.
struct EveryBar<S>(S);

impl<S: Strategy> Strategy for EveryBar<S> {
    const WANTS_REPORTS: bool = S::WANTS_REPORTS;

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.0.on_bar(ctx, bar)
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.0.on_bars(ctx, bars)
    }
}

/// A strategy that counts at how many bars it is looked at.
struct Counting<S> {
    strategy: S,
    n_looks: u64,
}

impl<S: Strategy> Strategy for Counting<S> {
    const WANTS_REPORTS: bool = S::WANTS_REPORTS;
    const WANTS_CLOCK: bool = S::WANTS_CLOCK;
    const WANTS_STEPS: bool = S::WANTS_STEPS;

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.n_looks += 1;
        self.strategy.on_bar(ctx, bar)
    }

    fn wants_bars(&self, step: u32) -> bool {
        self.strategy.wants_bars(step)
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.strategy.on_bars(ctx, bars)
    }

    fn bars_to_see<'b>(&'b self, step: u32, bars: &'b [BarAt]) -> &'b [BarAt] {
        self.strategy.bars_to_see(step, bars)
    }

    fn next_look(&mut self, portfolio: &Portfolio, step: u32, rows: Range<u32>) -> u32 {
        self.strategy.next_look(portfolio, step, rows)
    }
}

/// Columns of one asset, as rare as signals are.
struct Columns {
    bools: [Vec<u8>; 4],
    prices: [Vec<f64>; 2],
    weights: Vec<f64>,
}

impl Columns {
    fn random(random: &mut Random, close: &[f64]) -> Self {
        let every = 1 + random.below(30);
        let n = close.len();
        let mut bools = || (0..n).map(|_| u8::from(random.below(every) == 0)).collect();
        let bools = [bools(), bools(), bools(), bools()];
        let mut near = || {
            let price =
                |c: &f64| if random.below(9) == 0 { f64::NAN } else { c * (0.95 + 0.1 * random.unit()) };
            close.iter().map(price).collect()
        };
        let prices = [near(), near()];
        let weights = (0..n).map(|_| [f64::NAN, 0.0, 0.4, 1.0, -0.5][random.below(5) as usize]).collect();
        Self { bools, prices, weights }
    }

    fn borrow(&self, spec: &RuleSpec) -> RuleColumns<'_> {
        let [enter, exit, enter_short, exit_short] = &self.bools;
        RuleColumns {
            enter: spec.enter.as_ref().map(|_| enter.as_slice()),
            exit: spec.exit.as_ref().map(|_| exit.as_slice()),
            enter_short: spec.enter_short.as_ref().map(|_| enter_short.as_slice()),
            exit_short: spec.exit_short.as_ref().map(|_| exit_short.as_slice()),
            long_price: spec.entry.as_ref().map(|_| self.prices[0].as_slice()),
            short_price: spec.entry_short.as_ref().map(|_| self.prices[1].as_slice()),
            weights: spec.weights.as_ref().map(|_| self.weights.as_slice()),
        }
    }
}

/// One of some texts.
fn one_of<'a>(random: &mut Random, texts: &[&'a str]) -> &'a str {
    texts[random.below(texts.len() as u64) as usize]
}

/// A random rule strategy; the conditions come as columns, so their texts only say that they are there.
fn random_rules(random: &mut Random) -> RuleSpec {
    if random.below(8) == 0 {
        let rebalance =
            one_of(random, &[r#"{"every": "1"}"#, r#"{"every": "7", "offset": "3", "top": "1"}"#]);
        let text = format!(r#"{{"weights": "1", "rebalance": {rebalance}}}"#);
        return serde_json::from_str(&text).unwrap();
    }
    let sides = one_of(
        random,
        &[
            r#""enter": "1 > 0", "exit": "1 > 0""#,
            r#""enter": "1 > 0""#,
            r#""enter_short": "1 > 0", "exit_short": "1 > 0""#,
            r#""enter": "1 > 0", "exit": "1 > 0", "enter_short": "1 > 0", "exit_short": "1 > 0""#,
            r#""enter": "1 > 0", "enter_short": "1 > 0", "on_opposite": "reverse""#,
            r#""enter": "1 > 0", "enter_short": "1 > 0", "exit": "1 > 0", "on_opposite": "reverse""#,
            r#""enter": "1 > 0", "enter_short": "1 > 0", "on_opposite": "close""#,
        ],
    );
    let mut slots = vec![sides.to_owned()];
    let mut maybe = |random: &mut Random, one_in: u64, texts: &[&str]| {
        if random.below(one_in) == 0 {
            slots.push(one_of(random, texts).to_owned());
        }
    };
    maybe(
        random,
        2,
        &[
            r#""size": {"kind": "qty", "value": "25"}"#,
            r#""size": {"kind": "value", "value": "40000"}"#,
            r#""size": {"kind": "value", "value": "0.5"}"#,
            r#""size": {"kind": "value", "value": "40000", "at": "fill"}"#,
            r#""size": {"kind": "pct_equity", "value": "0.7"}"#,
            r#""size": {"kind": "pct_equity", "value": "0.7", "at": "fill"}"#,
        ],
    );
    maybe(random, 3, &[r#""max_bars": "4""#, r#""max_bars": "1""#]);
    if sides.contains("enter\"") {
        maybe(random, 4, &[r#""entry": {"limit": "1"}, "valid_bars": "3""#, r#""entry": {"stop": "1"}"#]);
    }
    maybe(
        random,
        4,
        &[
            r#""stop_loss": {"kind": "pct", "value": "0.04"}"#,
            r#""stop_loss": {"kind": "abs", "value": "1.5", "from": "signal"}"#,
        ],
    );
    maybe(
        random,
        4,
        &[
            r#""take_profit": {"kind": "pct", "value": "0.05"}"#,
            r#""take_profit": {"kind": "abs", "value": "2", "from": "signal"}"#,
        ],
    );
    maybe(
        random,
        4,
        &[
            r#""trailing": {"kind": "pct", "value": "0.06"}"#,
            r#""trailing": {"kind": "abs", "value": "2", "on": "close"}"#,
        ],
    );
    serde_json::from_str(&format!("{{{}}}", slots.join(", "))).unwrap()
}

fn random_market(random: &mut Random) -> Market {
    let fill = one_of(random, &["next_open", "close"]);
    let lot = one_of(random, &["1", "0", "100"]);
    let power = one_of(
        random,
        &[
            r#""buying_power": "unlimited""#,
            r#""buying_power": "cash""#,
            r#""buying_power": "cash", "on_insufficient_cash": "reduce""#,
        ],
    );
    let costs = one_of(
        random,
        &[
            r#""slippage_bps": 0"#,
            r#""slippage_bps": 5, "commission": {"rate": 0.001}"#,
            r#""commission": {"rate": 0.0003, "per_share": 0.01, "minimum": 5}, "sell_tax": 0.001"#,
            r#""execution": {"slippage": {"ticks": 2}, "tick": 0.01, "cap_to_bar": true}"#,
            r#""execution": {"slippage": {"volume_impact": {"coefficient": 0.1}}, "max_participation": 0.1}"#,
            r#""execution": {"halt_on_zero_volume": true, "intrabar": "ohlc"}"#,
        ],
    );
    let shorts = random.below(3) != 0;
    let multiplier = one_of(random, &["1", "10"]);
    let profile = random_profile(random);
    let text = format!(
        r#"{{"fill": "{fill}", "lot": {lot}, {power}, {costs}, "shorts": {shorts}, "multiplier": {multiplier},
             "cash": 100000{profile}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// What a market profile adds; dates of the data count from 1970-01-01.
fn random_profile(random: &mut Random) -> String {
    let mut items = String::new();
    let mut maybe = |random: &mut Random, one_in: u64, texts: &[&str]| {
        if random.below(one_in) == 0 {
            items.push_str(", ");
            items.push_str(one_of(random, texts));
        }
    };
    if random.below(2) == 0 {
        return items;
    }
    maybe(random, 2, &[r#""sell_after_days": 1"#, r#""sell_after_days": 2"#]);
    maybe(
        random,
        2,
        &[r#""fee_rounding": "cent""#, r#""tick": 0.01"#, r#""lot_binds": true, "min_qty": 100"#],
    );
    maybe(
        random,
        2,
        &[
            r#""price_limit": [{"from": "1970-01-10", "rate": 0.1}], "refuse_beyond_limits": true"#,
            r#""price_limit": [{"from": "1970-01-01", "rate": 0.02, "free_days": 5}], "listed": {"S0": "1970-01-03"}"#,
        ],
    );
    maybe(
        random,
        2,
        &[
            r#""stamp_duty": [{"from": "1970-01-01", "rate": 0.001}, {"from": "1970-02-10", "rate": 0.0005}]"#,
            r#""transfer_fee": [{"from": "1970-01-20", "rate": 0.0001}], "duty_on_buys": true"#,
        ],
    );
    maybe(
        random,
        3,
        &[
            r#""corporate_actions": [{"symbol": "S0", "ex_date": "1970-01-20", "bonus": 1.0}]"#,
            r#""corporate_actions": [{"symbol": "S0", "ex_date": "1970-01-15", "cash": 0.5},
                {"symbol": "S0", "ex_date": "1970-02-01", "cash": 0.1, "bonus": 0.3},
                {"symbol": "S0", "ex_date": "1970-02-01", "rights": 0.2, "rights_price": 3.0}],
               "dividend_tax": [{"months": 1, "rate": 0.2}]"#,
        ],
    );
    // What keeps every step in the general loop.
    maybe(
        random,
        6,
        &[
            r#""daily_settlement": true"#,
            r#""borrow_rate": 0.05"#,
            r#""interest_rate": 0.04"#,
            r#""margin": 0.2"#,
        ],
    );
    items
}

fn random_panel(random: &mut Random, n_assets: u64) -> Panel {
    let n_steps = 1 + random.below(220) as i64;
    let series: Vec<_> =
        (0..n_assets).map(|ix| random_series(&format!("S{ix}"), n_steps, random.next())).collect();
    let n_rows: usize = series.iter().map(|s| s.bars.len()).sum();
    let volume = (0..n_rows).map(|_| [0.0, 500.0, 20_000.0, f64::NAN][random.below(4) as usize]).collect();
    panel_with(&series, 1 + random.below(4) as i64, (random.below(2) == 0).then_some(volume))
}

fn run<S: Strategy>(spec: &RunSpec<'_>, strategy: &mut S) -> (Record, Vec<Order>) {
    let mut engine = Engine::default();
    engine.run(spec, strategy).unwrap();
    let orders = engine.orders().to_vec();
    (engine.take_record(), orders)
}

/// A text in which equal means equal bits.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn skipped_steps_change_no_bit() {
    let (mut n_fills, mut n_trips, mut n_rejects) = (0, 0, 0);
    let (mut n_looks, mut n_bars) = ([0; 2], [0; 2]);
    for case in 0..4_000 {
        let mut random = Random(case);
        let n_assets = if random.below(4) == 0 { 1 + random.below(4) } else { 1 };
        let panel = random_panel(&mut random, n_assets);
        let universe: Vec<usize> = (0..panel.n_assets()).collect();
        let window = Window {
            start: (random.below(3) == 0).then(|| TradingDate(random.below(30) as i32)),
            end: (random.below(3) == 0).then(|| TradingDate(random.below(60) as i32)),
        };
        let timeline = Timeline::new(&panel, &universe, window);
        let rules = random_rules(&mut random);
        let compiled = CompiledRules::compile_given(&rules, &[]).unwrap();
        let graph = BatchGraph::bind(compiled.program(), &[&[]]);
        let numbers = compiled.numbers(graph.trial(0).unwrap()).unwrap();
        let columns: Vec<Columns> =
            universe.iter().map(|&a| Columns::random(&mut random, panel.asset(a).close)).collect();
        let columns: Vec<RuleColumns<'_>> = columns.iter().map(|c| c.borrow(&rules)).collect();
        let mut signals = SignalSteps::default();
        signals.rebuild(&RowSteps::of(&timeline, universe.len()), &columns);
        let market = random_market(&mut random);
        let risk = match random.below(6) {
            0 => RiskSpec { max_drawdown: Some(0.05), ..RiskSpec::default() },
            1 => RiskSpec { max_position_qty: Some(100.0), ..RiskSpec::default() },
            _ => RiskSpec::default(),
        };
        let cancel = AtomicBool::new(false);
        for keep in [Keep::Metrics, Keep::Everything] {
            let spec = RunSpec {
                panel: &panel,
                universe: &universe,
                timeline: &timeline,
                market: &market,
                risk: &risk,
                keep,
                cancel: &cancel,
            };
            let trader = || RuleTrader::new(&compiled, numbers, &columns);
            let mut counting = Counting { strategy: trader().seeing(&signals), n_looks: 0 };
            let (skipped, skipped_orders) = run(&spec, &mut counting);
            if keep == Keep::Metrics && universe.len() == 1 {
                let is_dated =
                    usize::from(market.sell_after_days > 0 || !market.corporate_actions.is_empty());
                n_looks[is_dated] += counting.n_looks;
                n_bars[is_dated] += timeline.n_bars() as u64;
            }
            let (looked, looked_orders) = run(&spec, &mut EveryBar(trader()));
            let what = format!("case {case}, {keep:?}: {rules:?} {market:?} {risk:?}");
            assert_eq!(bits(&skipped.equity), bits(&looked.equity), "{what}");
            assert_eq!(bits(&skipped.cash), bits(&looked.cash), "{what}");
            assert_eq!(bits(&skipped.exposure), bits(&looked.exposure), "{what}");
            assert_eq!(format!("{skipped:?}"), format!("{looked:?}"), "{what}");
            if keep == Keep::Everything {
                assert_eq!(format!("{skipped_orders:?}"), format!("{looked_orders:?}"), "{what}");
            }
            n_fills += looked.n_fills;
            n_trips += looked.trips.len();
            n_rejects += looked.n_rejects;
        }
    }
    assert!(n_fills > 50_000 && n_trips > 20_000 && n_rejects > 1_000, "{n_fills} {n_trips} {n_rejects}");
    for (looks, bars) in n_looks.into_iter().zip(n_bars) {
        assert!(bars > 10_000 && looks * 2 < bars, "looked at {looks} of {bars} bars");
    }
}

#[test]
fn times_that_instruments_share_are_merged_like_any_others() {
    let bar = [10.0, 11.0, 9.0, 10.0];
    let series: Vec<Series> = ["A", "B", "C"].iter().map(|name| Series::dense(name, &[bar; 9])).collect();
    let panel = panel_with(&series, 2, None);
    for (start, end) in
        [(None, None), (Some(1), None), (Some(1), Some(3)), (Some(3), Some(1)), (None, Some(-1))]
    {
        let window = Window { start: start.map(TradingDate), end: end.map(TradingDate) };
        let timeline = Timeline::new(&panel, &[0, 2], window);
        let inside = |step: &i64| {
            let date = (step / 2) as i32;
            start.is_none_or(|start| date >= start) && end.is_none_or(|end| date <= end)
        };
        let steps: Vec<i64> = (0..9).filter(inside).collect();
        assert_eq!(timeline.n_steps(), steps.len());
        assert_eq!(timeline.n_bars(), 2 * steps.len());
        let rows = RowSteps::of(&timeline, 2);
        for (ix, step) in steps.iter().enumerate() {
            let row = *step as u32;
            let bars = [0, 1].map(|instrument| BarAt { instrument: InstrumentIx(instrument), row });
            assert_eq!(timeline.bars(ix), bars);
            assert_eq!(timeline.date(ix), TradingDate((step / 2) as i32));
            assert_eq!(rows.of_instrument(InstrumentIx(1)).1[ix], ix as u32);
        }
        assert_eq!(rows.of_instrument(InstrumentIx(1)).0, steps.first().map_or(0, |step| *step as u32));
    }
}
