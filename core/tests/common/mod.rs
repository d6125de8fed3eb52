//! Small panels and scripted strategies for the engine's tests.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use akq_core::context::Context;
use akq_core::data::{BarAt, Panel, PanelMeta, Timeline, Window};
use akq_core::engine::{Engine, Keep, Record, RunSpec, Session, SessionEnd, SessionSpec};
use akq_core::error::EngineError;
use akq_core::event::ExecutionReport;
use akq_core::market::Market;
use akq_core::model::{BarValues, Fill, Order, Step, StepBar};
use akq_core::risk::RiskSpec;
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::InstrumentIx;
use arrow_array::{ArrayRef, Date32Array, Float64Array, RecordBatch, TimestampNanosecondArray};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Open, high, low, close.
pub type Ohlc = [f64; 4];

/// One asset's bars with their step numbers.
#[derive(Debug, Clone)]
pub struct Series {
    pub symbol: String,
    pub bars: Vec<(i64, Ohlc)>,
}

impl Series {
    /// Bars on consecutive steps.
    pub fn dense(symbol: &str, bars: &[Ohlc]) -> Self {
        Self {
            symbol: symbol.to_owned(),
            bars: bars.iter().enumerate().map(|(t, b)| (t as i64, *b)).collect(),
        }
    }
}

const DAY_NS: i64 = 86_400_000_000_000;

/// A panel of these series; `steps_a_day` bars share a trading date.
pub fn panel_of(series: &[Series], steps_a_day: i64) -> Panel {
    panel_with(series, steps_a_day, None)
}

/// As `panel_of`, with a volume for every bar.
pub fn panel_with(series: &[Series], steps_a_day: i64, volume: Option<Vec<f64>>) -> Panel {
    let columns: Vec<(&str, Vec<f64>)> = volume.into_iter().map(|volume| ("volume", volume)).collect();
    panel_columns(series, steps_a_day, &columns)
}

/// As `panel_of`, with further columns.
pub fn panel_columns(series: &[Series], steps_a_day: i64, extra: &[(&str, Vec<f64>)]) -> Panel {
    let mut offsets = vec![0];
    let (mut ts, mut date) = (Vec::new(), Vec::new());
    let mut columns: [Vec<f64>; 4] = Default::default();
    for one in series {
        for (step, bar) in &one.bars {
            ts.push(step * DAY_NS / steps_a_day);
            date.push(step.div_euclid(steps_a_day) as i32);
            for (column, value) in columns.iter_mut().zip(bar) {
                column.push(*value);
            }
        }
        offsets.push(ts.len());
    }
    let mut arrays: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampNanosecondArray::from(ts).with_timezone("UTC"))),
        ("date", Arc::new(Date32Array::from(date))),
    ];
    for (name, column) in ["open", "high", "low", "close"].into_iter().zip(columns) {
        arrays.push((name, Arc::new(Float64Array::from(column))));
    }
    for (name, column) in extra {
        arrays.push((name, Arc::new(Float64Array::from(column.clone()))));
    }
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let symbols = series.iter().map(|s| s.symbol.clone()).collect();
    Panel::new(&batch, PanelMeta { symbols, offsets }).unwrap()
}

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub record: Record,
    pub orders: Vec<Order>,
}

/// Runs a strategy over all assets with one account.
pub fn run_on<S: Strategy>(panel: &Panel, market: &Market, strategy: &mut S) -> Result<Outcome, EngineError> {
    run_within(panel, market, &RiskSpec::default(), strategy)
}

/// As `run_on`, with limits.
pub fn run_within<S: Strategy>(
    panel: &Panel,
    market: &Market,
    risk: &RiskSpec,
    strategy: &mut S,
) -> Result<Outcome, EngineError> {
    let universe: Vec<usize> = (0..panel.n_assets()).collect();
    let timeline = Timeline::new(panel, &universe, Window::default());
    let cancel = AtomicBool::new(false);
    let spec = RunSpec {
        panel,
        universe: &universe,
        timeline: &timeline,
        market,
        risk,
        keep: Keep::Everything,
        cancel: &cancel,
    };
    let mut engine = Engine::default();
    engine.run(&spec, strategy)?;
    let orders = engine.orders().to_vec();
    Ok(Outcome { record: engine.take_record(), orders })
}

/// The bars of a panel as a live feed would hand them in.
pub fn steps_of(panel: &Panel) -> Vec<Step> {
    let universe: Vec<usize> = (0..panel.n_assets()).collect();
    let timeline = Timeline::new(panel, &universe, Window::default());
    let n_steps = timeline.n_steps();
    let bar = |at: &BarAt| {
        let view = panel.asset(at.instrument.ix());
        let row = at.row as usize;
        let [open, high, low, close] = [view.open[row], view.high[row], view.low[row], view.close[row]];
        let volume = view.volume.map_or(f64::NAN, |volume| volume[row]);
        let extra = panel.extra_names().iter().map(|name| view.named(name).unwrap()[row]).collect();
        let values = BarValues { open, high, low, close, volume };
        StepBar { instrument: at.instrument, values, extra, ends_date: view.ends_date(row) }
    };
    let step = |ix: usize| Step {
        ts: timeline.ts(ix),
        date: timeline.date(ix),
        bars: timeline.bars(ix).iter().map(bar).collect(),
        ends_date: ix + 1 == n_steps || timeline.date(ix + 1) != timeline.date(ix),
        ends_run: ix + 1 == n_steps,
    };
    (0..n_steps).map(step).collect()
}

/// What a session over the instruments of a panel is about.
pub fn session_spec(panel: &Panel, market: &Market) -> SessionSpec {
    let symbols: Vec<&str> = panel.symbols().iter().map(String::as_str).collect();
    SessionSpec {
        has_volume: panel.has_volume(),
        is_ticks: panel.is_ticks(),
        extra: panel.extra_names().to_vec(),
        ..SessionSpec::new(&symbols, market.clone())
    }
}

/// A paper session over the bars of a panel, handed in from another thread.
pub fn run_session<S: Strategy>(panel: &Panel, market: &Market, strategy: S) -> SessionEnd<S> {
    let (session, inlet) = Session::paper(session_spec(panel, market), strategy).unwrap();
    let steps = steps_of(panel);
    let feed = std::thread::spawn(move || steps.into_iter().try_for_each(|step| inlet.step(step)));
    let end = session.run(&AtomicBool::new(false));
    let fed = feed.join().unwrap();
    assert!(end.outcome.is_err() || fed.is_ok(), "{fed:?}");
    end
}

/// Writes down every callback of another strategy with what it could see.
#[derive(Debug)]
pub struct Heard<S> {
    pub strategy: S,
    pub log: Vec<String>,
}

impl<S> Heard<S> {
    pub fn new(strategy: S) -> Self {
        Self { strategy, log: Vec::new() }
    }

    fn note(&mut self, ctx: &Context<'_>, what: &str) {
        let held: Vec<f64> = ctx.views.iter().enumerate().map(|(ix, _)| held(ctx, ix)).collect();
        self.log.push(format!("{what} {:?} {} {held:?}", ctx.clock, ctx.equity));
    }
}

fn held(ctx: &Context<'_>, ix: usize) -> f64 {
    ctx.position(InstrumentIx(ix as u32))
}

impl<S: Strategy> Strategy for Heard<S> {
    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.note(ctx, "start");
        self.strategy.on_start(ctx)
    }

    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        self.note(ctx, &format!("step {bars:?}"));
        self.strategy.on_step(ctx, bars);
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.note(ctx, &format!("bar {bar:?}"));
        self.strategy.on_bar(ctx, bar)
    }

    fn on_tick(&mut self, ctx: &mut Context<'_>, tick: BarAt) -> Result<(), StrategyFailure> {
        self.note(ctx, &format!("tick {:?}", ctx.tick(tick)));
        self.strategy.on_tick(ctx, tick)
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.note(ctx, &format!("bars {bars:?}"));
        self.strategy.on_bars(ctx, bars)
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        self.note(ctx, &format!("order {report:?}"));
        self.strategy.on_order(ctx, report)
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        self.note(ctx, &format!("trade {fill:?}"));
        self.strategy.on_trade(ctx, fill)
    }

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.note(ctx, "stop");
        self.strategy.on_stop(ctx)
    }
}

/// Calls a closure at every bar.
pub struct Script<F>(pub F);

impl<F: FnMut(&mut Context<'_>, BarAt)> Strategy for Script<F> {
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        (self.0)(ctx, bar);
        Ok(())
    }
}

/// Runs a closure over one asset whose bars have these volumes.
pub fn script_volume(
    bars: &[(Ohlc, f64)],
    steps_a_day: i64,
    market: &Market,
    on_bar: impl FnMut(&mut Context<'_>, BarAt),
) -> Outcome {
    let prices: Vec<Ohlc> = bars.iter().map(|(bar, _)| *bar).collect();
    let volume = bars.iter().map(|(_, volume)| *volume).collect();
    let panel = panel_with(&[Series::dense("A", &prices)], steps_a_day, Some(volume));
    run_on(&panel, market, &mut Script(on_bar)).unwrap()
}

/// Runs a closure over one asset.
pub fn script(bars: &[Ohlc], market: &Market, on_bar: impl FnMut(&mut Context<'_>, BarAt)) -> Outcome {
    let panel = panel_of(&[Series::dense("A", bars)], 1);
    run_on(&panel, market, &mut Script(on_bar)).unwrap()
}

/// Deterministic numbers for tests (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A random walk with gaps, ranges and missing bars.
pub fn random_series(symbol: &str, n_steps: i64, seed: u64) -> Series {
    let mut random = Random(seed);
    let mut price = 20.0 + 80.0 * random.unit();
    let mut bars = Vec::new();
    for step in 0..n_steps {
        let mut jump = |scale: f64| 1.0 + scale * (random.unit() - 0.5);
        let open = price * jump(0.06);
        let close = open * jump(0.08);
        let high = open.max(close) * (1.0 + 0.02 * random.unit());
        let low = open.min(close) * (1.0 - 0.02 * random.unit());
        price = close.clamp(1.0, 1_000.0);
        if random.below(8) != 0 || bars.is_empty() {
            bars.push((step, [open, high, low, close]));
        }
    }
    Series { symbol: symbol.to_owned(), bars }
}
