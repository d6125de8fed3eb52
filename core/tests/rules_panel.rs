//! Rules that rank assets against each other.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use akq_core::rules::{
    BatchGraph, BoundSlot, Evaluator, NodeIx, PanelEvaluator, Program, SeriesSource, SlotDef, SlotKind,
};
use proptest::prelude::*;

struct Asset {
    close: Vec<f64>,
    steps: Vec<u32>,
}

impl SeriesSource for Asset {
    fn len(&self) -> usize {
        self.close.len()
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        (name == "close").then_some(self.close.as_slice())
    }
}

fn bound(text: &str, kind: SlotKind) -> (BatchGraph, NodeIx) {
    let program = Program::compile(&[SlotDef { name: "weights", kind, text }], &[], &[]).expect(text);
    let graph = BatchGraph::bind(&program, &[&[]]);
    let BoundSlot::Series(node) = graph.trial(0).expect(text)[0] else { panic!("a series is expected") };
    (graph, node)
}

fn eval(text: &str, kind: SlotKind, assets: &[Asset], n_steps: usize) -> Vec<Vec<f64>> {
    let (graph, node) = bound(text, kind);
    let sources: Vec<&dyn SeriesSource> = assets.iter().map(|a| a as &dyn SeriesSource).collect();
    let steps: Vec<&[u32]> = assets.iter().map(|a| a.steps.as_slice()).collect();
    PanelEvaluator::eval(&graph, node, &sources, &steps, n_steps).expect(text).nums
}

fn bits(columns: &[Vec<f64>]) -> Vec<Vec<u64>> {
    columns.iter().map(|c| c.iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn ranks_ascend_and_ties_keep_the_panel_order() {
    let assets = [
        Asset { close: vec![3.0, 1.0, 5.0], steps: vec![0, 1, 2] },
        Asset { close: vec![2.0, 5.0], steps: vec![0, 2] },
        Asset { close: vec![3.0, 0.5, 4.0], steps: vec![0, 1, 2] },
    ];
    assert_eq!(
        eval("rank(close)", SlotKind::Num, &assets, 3),
        [vec![2.0, 2.0, 2.0], vec![1.0, 3.0], vec![3.0, 1.0, 1.0]]
    );
    assert_eq!(
        eval("rank(-close) <= 1", SlotKind::Bool, &assets, 3),
        [vec![1.0, 1.0, 1.0], vec![0.0, 0.0], vec![0.0, 0.0, 0.0]]
    );
}

#[test]
fn undefined_values_take_no_place() {
    let assets = [
        Asset { close: vec![3.0, 4.0], steps: vec![0, 1] },
        Asset { close: vec![9.0, 1.0], steps: vec![0, 1] },
    ];
    let ranks = eval("rank(if_else(close > 5, 1 / 0, close))", SlotKind::Num, &assets, 2);
    assert_eq!(ranks[0], [1.0, 2.0]);
    assert!(ranks[1][0].is_nan());
    assert_eq!(ranks[1][1], 1.0);
}

#[test]
fn ranks_nest() {
    let assets = [
        Asset { close: vec![1.0, 9.0], steps: vec![0, 1] },
        Asset { close: vec![2.0, 8.0], steps: vec![0, 1] },
        Asset { close: vec![3.0, 7.0], steps: vec![0, 1] },
    ];
    let text = "rank(-rank(close) * 2 + rank(close))";
    assert_eq!(eval(text, SlotKind::Num, &assets, 2), [vec![3.0, 1.0], vec![2.0, 2.0], vec![1.0, 3.0]]);
}

#[test]
fn one_asset_alone_has_no_rank() {
    let asset = Asset { close: vec![1.0, 2.0], steps: vec![0, 1] };
    let (graph, node) = bound("rank(close) + 1", SlotKind::Num);
    let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
    evaluator.begin(&graph, asset.len());
    let error = evaluator.nums(&graph, &asset, node, &mut out).expect_err("a rank needs the universe");
    assert!(error.to_string().contains("compares assets"), "{error}");
}

#[test]
fn timelines_are_checked() {
    let (graph, node) = bound("rank(close)", SlotKind::Num);
    let asset = Asset { close: vec![1.0, 2.0], steps: vec![] };
    for steps in [&[0u32][..], &[0, 1, 2], &[1, 1], &[1, 0], &[0, 9]] {
        assert!(PanelEvaluator::eval(&graph, node, &[&asset], &[steps], 3).is_err(), "{steps:?}");
    }
    assert!(PanelEvaluator::eval(&graph, node, &[&asset], &[], 3).is_err());
    assert!(PanelEvaluator::eval(&graph, node, &[&asset], &[&[0, 2]], 3).is_ok());
    assert!(PanelEvaluator::eval(&graph, node, &[], &[], 3).is_ok_and(|columns| columns.nums.is_empty()));
}

/// Each asset has a bar at some of the steps.
fn universe() -> impl Strategy<Value = Vec<Asset>> {
    let asset = prop::collection::vec(prop::option::weighted(0.8, 1..9i32), 30).prop_map(|bars| {
        let present =
            || bars.iter().enumerate().filter_map(|(step, close)| close.map(|c| (step as u32, f64::from(c))));
        Asset { close: present().map(|b| b.1).collect(), steps: present().map(|b| b.0).collect() }
    });
    prop::collection::vec(asset.prop_filter("at least one bar", |a| !a.close.is_empty()), 1..7)
}

impl std::fmt::Debug for Asset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.steps.iter().zip(&self.close).collect::<Vec<_>>())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The rank is one more than the number of assets with less, or with as much and an earlier place.
    #[test]
    fn rank_counts_the_smaller(assets in universe()) {
        let values = eval("mom(close, 2)", SlotKind::Num, &assets, 30);
        let ranks = eval("rank(mom(close, 2))", SlotKind::Num, &assets, 30);
        let at = |a: usize, step: u32| assets[a].steps.binary_search(&step).ok().map(|row| values[a][row]);
        for (a, asset) in assets.iter().enumerate() {
            for (row, &step) in asset.steps.iter().enumerate() {
                let own = values[a][row];
                let before = (0..assets.len()).filter(|&b| at(b, step).is_some_and(|v| v < own || (v == own && b < a))).count();
                if own.is_nan() {
                    prop_assert!(ranks[a][row].is_nan());
                } else {
                    prop_assert_eq!(ranks[a][row], (before + 1) as f64, "asset {} step {}", a, step);
                }
            }
        }
    }

    /// Nodes evaluated one after another share work and keep their values; without a rank the panel changes nothing.
    #[test]
    fn shared_and_separate_agree(assets in universe()) {
        let texts = ["rank(close) + rank(close)", "rank(close) * sma(close, 3)", "sma(close, 3) - close"];
        let slots = texts.map(|text| SlotDef { name: "weights", kind: SlotKind::Num, text });
        let program = Program::compile(&slots, &[], &[]).expect("compiles");
        let graph = BatchGraph::bind(&program, &[&[], &[]]);
        let sources: Vec<&dyn SeriesSource> = assets.iter().map(|a| a as &dyn SeriesSource).collect();
        let steps: Vec<&[u32]> = assets.iter().map(|a| a.steps.as_slice()).collect();
        let mut panel = PanelEvaluator::new(&graph, &sources, &steps, 30).expect("timelines fit");
        for trial in [0, 1, 0] {
            for (slot, text) in graph.trial(trial).expect("binds").iter().zip(texts) {
                let BoundSlot::Series(node) = *slot else { return Err(TestCaseError::fail("a series is expected")) };
                let shared = panel.nums(node).expect(text).nums;
                prop_assert_eq!(bits(&shared), bits(&eval(text, SlotKind::Num, &assets, 30)), "{}", text);
            }
        }
    }
}
