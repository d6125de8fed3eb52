//! The reference that benchmarks stand beside: the crossing strategy of `tests/bench/work.py` and nothing else,
//! written as plainly as the language allows. It uses nothing of the engine and no dependency, so that
//! `rustc -C opt-level=3` compiles it by itself.
//!
//! Two forms. `events` is what an event-driven engine cannot do without: a queue of events, a strategy and costs
//! behind dynamic calls, records of fills and equity, metrics from the records. `inlined` is one loop over the bars
//! that a person would write for this strategy alone, with the same metrics in passing.
//!
//! `plain_loop BARS PAIRS N_ASSETS N_ROWS CASH (events|inlined|shared) THREADS` reads both files as little-endian
//! float64 (bars by column, asset and row; windows by pair), runs once uncounted and once on the clock, and prints
//! JSON: seconds, and for each pair the final equity and the closed round trips, summed over assets. `shared` is the
//! inlined form with one cash for all assets.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it reads the clock and prints what it read"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const QTY: f64 = 100.0;
const COMMISSION: f64 = 0.0003;

/// Opens and closes of all assets, one asset after the other.
struct Bars {
    open: Vec<f64>,
    close: Vec<f64>,
    n_assets: usize,
    n_rows: usize,
}

impl Bars {
    fn asset(&self, asset: usize) -> (&[f64], &[f64]) {
        let rows = asset * self.n_rows..(asset + 1) * self.n_rows;
        (&self.open[rows.clone()], &self.close[rows])
    }
}

/// What an account came to.
#[derive(Clone, Copy, Default)]
struct Outcome {
    equity: f64,
    trades: usize,
    sharpe: f64,
    max_drawdown: f64,
}

/// Metrics of an equity curve, one value at a time.
struct Curve {
    equity: f64,
    peak: f64,
    max_drawdown: f64,
    n: f64,
    sum: f64,
    squares: f64,
}

impl Curve {
    fn new(cash: f64) -> Self {
        Self { equity: cash, peak: cash, max_drawdown: 0.0, n: 0.0, sum: 0.0, squares: 0.0 }
    }

    #[inline]
    fn mark(&mut self, equity: f64) {
        let gain = equity / self.equity - 1.0;
        self.n += 1.0;
        self.sum += gain;
        self.squares += gain * gain;
        self.equity = equity;
        self.peak = self.peak.max(equity);
        self.max_drawdown = self.max_drawdown.max(1.0 - equity / self.peak);
    }

    fn outcome(&self, trades: usize) -> Outcome {
        let mean = self.sum / self.n;
        let deviation = (self.squares / self.n - mean * mean).max(0.0).sqrt();
        Outcome {
            equity: self.equity,
            trades,
            sharpe: mean / deviation * 252.0_f64.sqrt(),
            max_drawdown: self.max_drawdown,
        }
    }
}

/// Two running sums over a column of closes; says when their averages cross.
struct Cross {
    fast: usize,
    slow: usize,
    fast_sum: f64,
    slow_sum: f64,
    /// -1, 0 or 1: the side of the faster average at the bar before; 0 before there was one.
    side: i8,
}

impl Cross {
    fn new(fast: usize, slow: usize) -> Self {
        Self { fast, slow, fast_sum: 0.0, slow_sum: 0.0, side: 0 }
    }

    /// 1 where the faster average comes above the slower one, -1 where it comes below, otherwise 0.
    #[inline]
    fn step(&mut self, closes: &[f64], row: usize) -> i8 {
        self.fast_sum += closes[row];
        self.slow_sum += closes[row];
        if row >= self.fast {
            self.fast_sum -= closes[row - self.fast];
        }
        if row >= self.slow {
            self.slow_sum -= closes[row - self.slow];
        }
        if row + 1 < self.slow {
            return 0;
        }
        let above = self.fast_sum * self.slow as f64 > self.slow_sum * self.fast as f64;
        let side = if above { 1 } else { -1 };
        let crossed = if self.side == -side { side } else { 0 };
        self.side = side;
        crossed
    }
}

fn inlined(opens: &[f64], closes: &[f64], fast: usize, slow: usize, cash: f64) -> Outcome {
    let mut cross = Cross::new(fast, slow);
    let mut curve = Curve::new(cash);
    let (mut cash, mut held, mut ordered, mut trades) = (cash, 0.0, 0.0, 0);
    for row in 0..closes.len() {
        if ordered != 0.0 {
            let value = ordered * opens[row];
            cash -= value + value.abs() * COMMISSION;
            held += ordered;
            trades += usize::from(ordered < 0.0);
            ordered = 0.0;
        }
        curve.mark(cash + held * closes[row]);
        match cross.step(closes, row) {
            1 if held == 0.0 => ordered = QTY,
            -1 if held > 0.0 => ordered = -held,
            _ => {}
        }
    }
    curve.outcome(trades)
}

/// All assets in one account, step by step.
fn shared(bars: &Bars, fast: usize, slow: usize, cash: f64) -> Outcome {
    struct Position {
        cross: Cross,
        held: f64,
        ordered: f64,
    }
    let mut positions: Vec<Position> = (0..bars.n_assets)
        .map(|_| Position { cross: Cross::new(fast, slow), held: 0.0, ordered: 0.0 })
        .collect();
    let mut curve = Curve::new(cash);
    let (mut cash, mut trades) = (cash, 0);
    for row in 0..bars.n_rows {
        let mut value = 0.0;
        for (asset, position) in positions.iter_mut().enumerate() {
            let (opens, closes) = bars.asset(asset);
            if position.ordered != 0.0 {
                let paid = position.ordered * opens[row];
                cash -= paid + paid.abs() * COMMISSION;
                position.held += position.ordered;
                trades += usize::from(position.ordered < 0.0);
                position.ordered = 0.0;
            }
            value += position.held * closes[row];
            match position.cross.step(closes, row) {
                1 if position.held == 0.0 => position.ordered = QTY,
                -1 if position.held > 0.0 => position.ordered = -position.held,
                _ => {}
            }
        }
        curve.mark(cash + value);
    }
    curve.outcome(trades)
}

#[derive(Clone, Copy)]
enum Event {
    Open { row: usize },
    Close { row: usize },
    Order { qty: f64 },
    Fill { qty: f64, price: f64 },
    Mark { row: usize },
}

#[derive(Clone, Copy)]
struct FillRecord {
    row: usize,
    qty: f64,
    price: f64,
    fee: f64,
}

trait Strategy {
    /// Quantity to trade, if any, after the last of these closes.
    fn on_close(&mut self, closes: &[f64], held: f64) -> Option<f64>;
}

trait Costs {
    fn fee(&self, qty: f64, price: f64) -> f64;
}

struct Crossing(Cross);

impl Strategy for Crossing {
    fn on_close(&mut self, closes: &[f64], held: f64) -> Option<f64> {
        match self.0.step(closes, closes.len() - 1) {
            1 if held == 0.0 => Some(QTY),
            -1 if held > 0.0 => Some(-held),
            _ => None,
        }
    }
}

struct Rate(f64);

impl Costs for Rate {
    fn fee(&self, qty: f64, price: f64) -> f64 {
        (qty * price).abs() * self.0
    }
}

/// One account that handles one event after another.
struct Machine<'a> {
    opens: &'a [f64],
    closes: &'a [f64],
    strategy: Box<dyn Strategy + 'a>,
    costs: Box<dyn Costs + 'a>,
    queue: VecDeque<Event>,
    pending: Vec<f64>,
    cash: f64,
    held: f64,
    row: usize,
    fills: Vec<FillRecord>,
    equity: Vec<f64>,
}

impl Machine<'_> {
    fn run(&mut self) {
        for row in 0..self.closes.len() {
            self.queue.push_back(Event::Open { row });
            self.queue.push_back(Event::Close { row });
            while let Some(event) = self.queue.pop_front() {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Open { row } => {
                self.row = row;
                while let Some(qty) = self.pending.pop() {
                    self.queue.push_front(Event::Fill { qty, price: self.opens[row] });
                }
            }
            Event::Close { row } => {
                if let Some(qty) = self.strategy.on_close(&self.closes[..=row], self.held) {
                    self.queue.push_back(Event::Order { qty });
                }
                self.queue.push_back(Event::Mark { row });
            }
            Event::Order { qty } => self.pending.push(qty),
            Event::Fill { qty, price } => {
                let fee = self.costs.fee(qty, price);
                self.cash -= qty * price + fee;
                self.held += qty;
                self.fills.push(FillRecord { row: self.row, qty, price, fee });
            }
            Event::Mark { row } => self.equity.push(self.cash + self.held * self.closes[row]),
        }
    }

    /// Metrics from the records; the cash of the fills is counted again, because that is what records are for.
    fn outcome(&self, cash: f64) -> Outcome {
        let mut curve = Curve::new(cash);
        for &equity in &self.equity {
            curve.mark(equity);
        }
        let paid: f64 = self.fills.iter().map(|fill| fill.qty * fill.price + fill.fee).sum();
        debug_assert!((cash - paid - self.cash).abs() < 1e-6 * cash);
        debug_assert!(self.fills.is_sorted_by_key(|fill| fill.row));
        curve.outcome(self.fills.iter().filter(|fill| fill.qty < 0.0).count())
    }
}

fn events(opens: &[f64], closes: &[f64], fast: usize, slow: usize, cash: f64) -> Outcome {
    let mut machine = Machine {
        opens,
        closes,
        strategy: Box::new(Crossing(Cross::new(fast, slow))),
        costs: Box::new(Rate(COMMISSION)),
        queue: VecDeque::new(),
        pending: Vec::new(),
        cash,
        held: 0.0,
        row: 0,
        fills: Vec::new(),
        equity: Vec::with_capacity(closes.len()),
    };
    machine.run();
    machine.outcome(cash)
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Events,
    Inlined,
    Shared,
}

/// All backtests: one asset after the other in each thread, each with all pairs, or pair by pair where there is only
/// one account a pair. Gives one outcome a pair and, unless the cash is shared, asset.
fn run(bars: &Bars, pairs: &[(usize, usize)], cash: f64, form: Form, n_threads: usize) -> Vec<Vec<Outcome>> {
    let by_pair = form == Form::Shared || bars.n_assets == 1;
    let n_jobs = if by_pair { pairs.len() } else { bars.n_assets };
    let next = AtomicUsize::new(0);
    let one = |asset: usize, (fast, slow): (usize, usize)| {
        let (opens, closes) = bars.asset(asset);
        match form {
            Form::Events => events(opens, closes, fast, slow, cash),
            Form::Inlined => inlined(opens, closes, fast, slow, cash),
            Form::Shared => shared(bars, fast, slow, cash),
        }
    };
    let work = || {
        let mut done = Vec::new();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= n_jobs {
                return done;
            }
            let outcomes: Vec<Outcome> = if by_pair {
                vec![one(0, pairs[job])]
            } else {
                pairs.iter().map(|&pair| one(job, pair)).collect()
            };
            done.push((job, outcomes));
        }
    };
    let mut done: Vec<(usize, Vec<Outcome>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        done
    });
    done.sort_unstable_by_key(|(job, _)| *job);
    if by_pair {
        return done.into_iter().map(|(_, outcomes)| outcomes).collect();
    }
    (0..pairs.len()).map(|pair| done.iter().map(|(_, outcomes)| outcomes[pair]).collect()).collect()
}

fn floats(path: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [bars, pairs, n_assets, n_rows, cash, form, n_threads] = &given[..] else {
        return Err("BARS PAIRS N_ASSETS N_ROWS CASH (events|inlined|shared) THREADS".into());
    };
    let (n_assets, n_rows): (usize, usize) = (n_assets.parse()?, n_rows.parse()?);
    let values = floats(bars)?;
    let n = n_assets * n_rows;
    if values.len() != 4 * n {
        return Err(format!("{} values, expected {}", values.len(), 4 * n).into());
    }
    let bars = Bars { open: values[..n].to_vec(), close: values[3 * n..].to_vec(), n_assets, n_rows };
    let pairs: Vec<(usize, usize)> =
        floats(pairs)?.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect();
    let form = match form.as_str() {
        "events" => Form::Events,
        "inlined" => Form::Inlined,
        "shared" => Form::Shared,
        other => return Err(format!("no form {other:?}").into()),
    };
    let (cash, n_threads) = (cash.parse()?, n_threads.parse()?);
    std::hint::black_box(run(&bars, &pairs, cash, form, n_threads));
    let started = Instant::now();
    let outcomes = run(&bars, &pairs, cash, form, n_threads);
    let seconds = started.elapsed().as_secs_f64();
    let accounts = || outcomes.iter().flatten();
    println!(
        r#"{{"seconds":{seconds},"equity":[{}],"trades":[{}],"sharpe":{},"max_drawdown":{}}}"#,
        list(outcomes.iter().map(|accounts| accounts.iter().map(|one| one.equity).sum::<f64>())),
        list(outcomes.iter().map(|accounts| accounts.iter().map(|one| one.trades).sum::<usize>())),
        accounts().map(|one| one.sharpe).sum::<f64>() / accounts().count() as f64,
        accounts().map(|one| one.max_drawdown).fold(0.0, f64::max),
    );
    Ok(())
}
