//! Elements a second of what a backtest is made of: indicators, the rule of a pair, a row of metrics, one account.
#![allow(clippy::unwrap_used, reason = "a bench stops where it fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use akq_core::analysis::{Counts, MetricSettings, N_METRICS, RunSummary, Scratch, summarize};
use akq_core::batch::run_rules;
use akq_core::data::{Framed, Panel};
use akq_core::engine::Keep;
use akq_core::indicators::{
    Period, ema::ema, extremes::highest, rsi::rsi, sma::sma, sma::sma_columns, stddev::stddev,
};
use akq_core::plan::Plan;
use akq_core::rules::{BatchGraph, BoundSlot, Evaluator, Program, SlotDef, SlotKind};
use common::{Random, Series, panel_of};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::atomic::AtomicBool;

/// Five years of daily bars.
const N_ROWS: usize = 1_260;

fn walk(seed: u64) -> Vec<f64> {
    let mut random = Random(seed);
    let mut price = 100.0;
    let mut next = || {
        price *= 1.0 + 0.02 * (random.unit() - 0.5);
        price
    };
    (0..N_ROWS).map(|_| next()).collect()
}

fn panel() -> Panel {
    let close = walk(3);
    let bar = |ix: usize| {
        let (open, close) = (close[ix.saturating_sub(1)], close[ix]);
        [open, open.max(close) * 1.001, open.min(close) * 0.999, close]
    };
    panel_of(&[Series::dense("600000.SH", &(0..N_ROWS).map(bar).collect::<Vec<_>>())], 1)
}

fn indicators(criterion: &mut Criterion) {
    let (x, mut out) = (walk(1), vec![0.0; N_ROWS]);
    let n = Period::new(30).unwrap();
    let mut group = criterion.benchmark_group("indicator");
    group.throughput(Throughput::Elements(N_ROWS as u64));
    group.bench_function("sma", |bench| bench.iter(|| sma(black_box(&x), n, &mut out)));
    group.bench_function("ema", |bench| bench.iter(|| ema(black_box(&x), n, &mut out)));
    group.bench_function("rsi", |bench| bench.iter(|| rsi(black_box(&x), n, &mut out)));
    group.bench_function("stddev", |bench| bench.iter(|| stddev(black_box(&x), n, &mut out)));
    let mut work = Vec::new();
    group.bench_function("highest", |bench| bench.iter(|| highest(black_box(&x), n, &mut work, &mut out)));
    let windows = [5, 20, 60, 120].map(|n| Period::new(n).unwrap());
    let mut outs = vec![vec![0.0; N_ROWS]; windows.len()];
    group.throughput(Throughput::Elements((N_ROWS * windows.len()) as u64));
    group.bench_function("sma_4", |bench| bench.iter(|| sma_columns(black_box(&x), &windows, &mut outs)));
    assert!(out.iter().chain(outs.iter().flatten()).skip(30).any(|value| value.is_finite()));
    group.finish();
}

fn rule_of_a_pair(criterion: &mut Criterion) {
    let panel = panel();
    let text = "cross_above(sma(close, fast), sma(close, slow))";
    let slot = SlotDef { name: "enter", kind: SlotKind::Bool, text };
    let program = Program::compile(&[slot], &["fast", "slow"], &[]).unwrap();
    let graph = BatchGraph::bind(&program, &[&[10.0, 30.0]]);
    let &[BoundSlot::Series(node)] = graph.trial(0).unwrap() else { return };
    let source = Framed::new(panel.asset(0), &[], None);
    let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
    let mut group = criterion.benchmark_group("rule");
    group.throughput(Throughput::Elements(N_ROWS as u64));
    group.bench_function("pair", |bench| {
        bench.iter(|| {
            evaluator.begin(&graph, N_ROWS);
            evaluator.bools(&graph, &source, node, &mut out).unwrap();
        });
    });
    assert!(out.contains(&1));
    group.finish();
}

fn metrics(criterion: &mut Criterion) {
    // An account that is in the market half of the time.
    let mut equity = walk(2);
    for (ix, block) in equity.chunks_mut(20).enumerate() {
        if ix % 2 == 1 {
            block.fill(100.0 + ix as f64);
        }
    }
    let dates: Vec<i32> = (0..N_ROWS as i32).collect();
    let settings = MetricSettings::default();
    let run = RunSummary {
        initial_cash: 100.0,
        equity: &equity,
        dates: &dates,
        trips: &[],
        counts: Counts { n_steps: N_ROWS as u64, ..Counts::default() },
        settings: &settings,
        benchmark: None,
    };
    let (mut scratch, mut row) = (Scratch::default(), [0.0; N_METRICS]);
    let mut group = criterion.benchmark_group("metrics");
    group.throughput(Throughput::Elements(N_ROWS as u64));
    group.bench_function("row", |bench| bench.iter(|| summarize(black_box(&run), &mut scratch, &mut row)));
    assert!(row[0].is_finite());
    group.finish();
}

fn one_account(criterion: &mut Criterion) {
    let panel = panel();
    let cancel = AtomicBool::new(false);
    let mut group = criterion.benchmark_group("account");
    group.throughput(Throughput::Elements(N_ROWS as u64));
    for (name, market) in [
        ("plain", r#"{"commission": {"rate": 0.0003}}"#),
        ("cn_stock", r#"{"profile": "cn_stock"}"#),
        ("us_stock", r#"{"profile": "us_stock"}"#),
    ] {
        let plan = Plan::from_json(&format!(
            r#"{{"strategy": {{"rules": {{
                "enter": "cross_above(sma(close, fast), sma(close, slow))",
                "exit": "cross_below(sma(close, fast), sma(close, slow))",
                "size": {{"kind": "qty", "value": "100"}}}}}},
            "params": ["fast", "slow"], "market": {market}, "outputs": [["n_trades", null]]}}"#
        ))
        .unwrap();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let run = run_rules(&plan, &panel, &[10.0, 30.0], &[0], Keep::Metrics, &cancel).unwrap();
                assert!(run.outcome.values[0] > 0.0);
                run
            });
        });
    }
    group.finish();
}

criterion_group!(benches, indicators, rule_of_a_pair, metrics, one_account);
criterion_main!(benches);
