//! Bars a second of rules: one long asset, many parameter pairs, many assets. Each run checks its result.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench stops where it fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use akq_core::batch::run_batch;
use akq_core::data::Panel;
use akq_core::plan::Plan;
use common::{Random, Series, panel_of};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::atomic::AtomicBool;

const CROSS: &str = r#"{"strategy": {"rules": {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
    "size": {"kind": "qty", "value": "100"}}},
    "params": ["fast", "slow"], "outputs": [["sharpe", "median"], ["n_trades", "sum"]],
    "market": {"commission": {"rate": 0.0003}}}"#;

fn walk(symbol: &str, n: i64, seed: u64) -> Series {
    let mut random = Random(seed);
    let mut price = 100.0;
    let bars = (0..n)
        .map(|step| {
            let open = price * (1.0 + 0.001 * (random.unit() - 0.5));
            let close = open * (1.0 + 0.02 * (random.unit() - 0.5));
            price = close.clamp(10.0, 1_000.0);
            (step, [open, open.max(close) * 1.001, open.min(close) * 0.999, close])
        })
        .collect();
    Series { symbol: symbol.to_owned(), bars }
}

fn panel(n_assets: u64, n_rows: i64, steps_a_day: i64) -> Panel {
    let series: Vec<Series> = (0..n_assets).map(|ix| walk(&format!("S{ix}"), n_rows, ix)).collect();
    panel_of(&series, steps_a_day)
}

fn pairs(n: u32) -> Vec<[f64; 2]> {
    (0..n).map(|ix| [f64::from(2 + ix % 48), f64::from(51 + ix / 48 * 3)]).collect()
}

fn rules(criterion: &mut Criterion) {
    let plan = Plan::from_json(CROSS).unwrap();
    let mut group = criterion.benchmark_group("rules");
    group.sample_size(10);
    for (name, n_assets, n_rows, steps_a_day, n_pairs) in [
        ("one_long_asset", 1, 200_000, 390, 1),
        ("many_pairs", 1, 2_520, 1, 500),
        ("many_assets", 50, 1_260, 1, 50),
    ] {
        let panel = panel(n_assets, n_rows, steps_a_day);
        let rows = if n_pairs == 1 { vec![[10.0, 30.0]] } else { pairs(n_pairs) };
        let rows: Vec<&[f64]> = rows.iter().map(<[f64; 2]>::as_slice).collect();
        group.throughput(Throughput::Elements(panel.n_rows() as u64 * rows.len() as u64));
        for n_threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            group.bench_with_input(BenchmarkId::new(name, n_threads), &rows, |bench, rows| {
                bench.iter(|| {
                    let outcomes =
                        pool.install(|| run_batch(&plan, &panel, rows, &AtomicBool::new(false))).unwrap();
                    assert!(outcomes.iter().all(|o| o.error.is_none() && o.values[1] > 0.0));
                    black_box(outcomes)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);
