//! The merged time index against sorting every bar.

mod common;

use akq_core::data::{BarAt, Panel, Timeline, Window};
use akq_core::error::EngineError;
use akq_core::units::{InstrumentIx, TradingDate};
use common::{panel_of, random_series};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

fn sorted(panel: &Panel, universe: &[usize], window: Window) -> BTreeMap<i64, (i32, Vec<BarAt>)> {
    let mut steps: BTreeMap<i64, (i32, Vec<BarAt>)> = BTreeMap::new();
    for (local, &asset) in universe.iter().enumerate() {
        let view = panel.asset(asset);
        for row in window.rows(view.date) {
            let (_, bars) = steps.entry(view.ts[row]).or_insert((view.date[row], Vec::new()));
            bars.push(BarAt { instrument: InstrumentIx(local as u32), row: row as u32 });
        }
    }
    steps
}

proptest! {
    #[test]
    fn every_bar_stands_at_its_time_in_panel_order(
        n_assets in 1..9_usize,
        n_steps in 1..40_i64,
        seed in any::<u64>(),
        bounds in (proptest::option::of(0..12_i32), proptest::option::of(0..12_i32)),
    ) {
        let names: Vec<String> = (0..n_assets).map(|ix| format!("S{ix}")).collect();
        let series: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(ix, name)| random_series(name, n_steps, seed.wrapping_add(ix as u64)))
            .collect();
        let panel = panel_of(&series, 3);
        let universe: Vec<usize> = (0..n_assets).filter(|ix| n_assets == 1 || (seed >> ix) & 3 != 0).collect();
        let window = Window { start: bounds.0.map(TradingDate), end: bounds.1.map(TradingDate) };
        let found = Timeline::build(&panel, &universe, window, &AtomicBool::new(false)).unwrap();
        let expected = sorted(&panel, &universe, window);
        prop_assert_eq!(found.timestamps(), expected.keys().copied().collect::<Vec<_>>());
        for (step, (date, bars)) in expected.values().enumerate() {
            prop_assert_eq!(found.date(step), TradingDate(*date));
            prop_assert_eq!(found.bars(step), bars.as_slice());
        }
    }
}

#[test]
fn a_flag_ends_the_merging() {
    let series = ["A", "B", "C"].map(|name| random_series(name, 30, name.len() as u64));
    let panel = panel_of(&series, 3);
    let told = Timeline::build(&panel, &[0, 1, 2], Window::default(), &AtomicBool::new(true));
    assert!(matches!(told, Err(EngineError::Cancelled)));
}
