//! The rule language from text to columns.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use akq_core::error::RuleError;
use akq_core::rules::{BatchGraph, BoundSlot, Evaluator, Program, SeriesSource, SlotDef, SlotKind};

/// Columns made in the test; high and low are the close one up and one down unless given.
struct Columns(Vec<(&'static str, Vec<f64>)>);

impl Columns {
    fn of_close(close: &[f64]) -> Self {
        let around = |d: f64| close.iter().map(|c| c + d).collect();
        Self(vec![
            ("open", close.to_vec()),
            ("high", around(1.0)),
            ("low", around(-1.0)),
            ("close", close.to_vec()),
            ("volume", vec![100.0; close.len()]),
        ])
    }

    fn with(mut self, name: &'static str, column: &[f64]) -> Self {
        self.0.push((name, column.to_vec()));
        self
    }
}

impl SeriesSource for Columns {
    fn len(&self) -> usize {
        self.0[0].1.len()
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, c)| c.as_slice())
    }
}

const NAN: f64 = f64::NAN;
const CLOSE: [f64; 8] = [10.0, 11.0, 12.0, 11.0, 10.0, 9.0, 10.0, 13.0];

fn slot(kind: SlotKind, text: &str) -> SlotDef<'_> {
    SlotDef { name: "enter", kind, text }
}

fn compile(kind: SlotKind, text: &str, params: &[&str]) -> Result<Program, RuleError> {
    Program::compile(&[slot(kind, text)], params, &["signal", "gap"])
}

fn columns() -> Columns {
    Columns::of_close(&CLOSE)
        .with("signal", &[1.0, f64::INFINITY, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
        .with("gap", &[NAN, NAN, 1.0, 2.0, NAN, 3.0, 4.0, 5.0])
}

/// The value of a number rule with the given parameter values, on every bar.
fn number(text: &str, params: &[(&str, f64)]) -> Vec<f64> {
    let names: Vec<&str> = params.iter().map(|p| p.0).collect();
    let row: Vec<f64> = params.iter().map(|p| p.1).collect();
    let program = compile(SlotKind::Num, text, &names).expect(text);
    let graph = BatchGraph::bind(&program, &[&row]);
    let source = columns();
    match graph.trial(0).expect(text)[0] {
        BoundSlot::Scalar(value) => vec![value; source.len()],
        BoundSlot::Series(node) => {
            let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
            evaluator.begin(&graph, source.len());
            evaluator.nums(&graph, &source, node, &mut out).expect(text);
            out
        }
    }
}

fn condition(text: &str) -> Vec<u8> {
    let program = compile(SlotKind::Bool, text, &[]).expect(text);
    let graph = BatchGraph::bind(&program, &[&[]]);
    let source = columns();
    let BoundSlot::Series(node) = graph.trial(0).expect(text)[0] else {
        panic!("{text}: a condition is a series")
    };
    let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
    evaluator.begin(&graph, source.len());
    evaluator.bools(&graph, &source, node, &mut out).expect(text);
    out
}

fn assert_same(got: &[f64], expected: &[f64], text: &str) {
    assert_eq!(got.len(), expected.len(), "{text}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(g == e || (g.is_nan() && e.is_nan()), "{text}: bar {i}: {got:?}, expected {expected:?}");
    }
}

fn message(text: &str) -> String {
    message_of(SlotKind::Bool, text, &["fast", "slow"])
}

fn message_of(kind: SlotKind, text: &str, params: &[&str]) -> String {
    match compile(kind, text, params) {
        Ok(program) => panic!("{text} was accepted: {}", program.canonical()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn arithmetic_has_the_usual_precedence() {
    assert_same(&number("2 + 3 * 4 - 6 / 3 % 2", &[]), &[14.0; 8], "precedence");
    assert_same(&number("-2 * 3 - -1", &[]), &[-5.0; 8], "unary minus");
    assert_same(&number("(2 + 3) * 4 - 10 - 5", &[]), &[5.0; 8], "from the left");
    assert_same(
        &number("close - open + bar_index", &[]),
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        "series",
    );
    assert_same(&number("min(close, 11, open - 1)", &[])[..3], &[9.0, 10.0, 11.0], "min of three");
    assert_same(&number("clip(close, 10.5, 12)", &[])[..4], &[10.5, 11.0, 12.0, 11.0], "clip");
    assert_same(
        &number("pow(2, 3) + abs(-1) + sign(-4) + floor(1.5) + ceil(1.5)", &[]),
        &[11.0; 8],
        "functions",
    );
}

#[test]
fn undefined_numbers_stay_undefined() {
    assert_same(&number("1 / (close - 10)", &[])[..3], &[NAN, 1.0, 0.5], "division by zero");
    assert_same(&number("1 / 0", &[]), &[NAN; 8], "constant division by zero");
    assert_same(&number("log(close - 11)", &[])[..3], &[NAN, NAN, 0.0], "logarithm");
    assert_same(&number("signal + 0", &[])[..3], &[1.0, NAN, 3.0], "an infinite input is undefined");
    assert_same(&number("if_else(gap > 1, 1, 0)", &[])[..6], &[NAN, NAN, 0.0, 1.0, NAN, 1.0], "choice");
    assert_same(
        &number("sma(gap, 2)", &[]),
        &[NAN, NAN, NAN, 1.5, NAN, NAN, 3.5, 4.5],
        "a gap in the window",
    );
    assert_same(&number("ema(gap, 2)", &[])[..7], &[NAN, NAN, NAN, 1.5, NAN, NAN, 3.5], "a restart");
}

#[test]
fn three_valued_logic() {
    assert_eq!(condition("gap > 1"), [0, 0, 0, 1, 0, 1, 1, 1]);
    assert_eq!(condition("not (gap > 1)"), [0, 0, 1, 0, 0, 0, 0, 0], "not undefined is not true");
    assert_eq!(condition("gap > 1 or true"), [1; 8]);
    assert_eq!(condition("not (gap > 1 and false)"), [1; 8], "undefined and false is false");
    assert_eq!(condition("gap > 1 or close > 10"), [0, 1, 1, 1, 0, 1, 1, 1]);
    assert_eq!(condition("gap != 99"), [0, 0, 1, 1, 0, 1, 1, 1], "even inequality is undefined");
    assert_eq!(condition("not (gap > 1 or gap <= 1)"), [0; 8]);
    assert_eq!(condition("1 / 0 > 1 or not (1 / 0 > 1)"), [0; 8], "constants too");
}

#[test]
fn comparisons_chain() {
    assert_eq!(condition("10 < close <= 12"), [0, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(condition("1 < 2 < 3 > 2 == 2 != 3"), [1; 8]);
    assert_eq!(condition("3 > close > 2 or 1 < 2"), [1; 8]);
}

#[test]
fn crossings() {
    assert_eq!(condition("cross_above(close, 11)"), [0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!(condition("cross_below(close, 10)"), [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(condition("cross_above(11, close)"), [0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(condition("cross_below(11, close)"), [0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!(condition("cross_above(close, shift(close, 1))"), [0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn functions_with_memory() {
    assert_same(&number("bars_since(close < 10)", &[]), &[NAN, NAN, NAN, NAN, NAN, 0.0, 1.0, 2.0], "since");
    assert_same(&number("bars_since(true) + 1", &[]), &[1.0; 8], "since always");
    assert_same(&number("shift(close, 0)", &[]), &CLOSE, "no shift");
    assert_same(&number("shift(close, 2)", &[])[..4], &[NAN, NAN, 10.0, 11.0], "shift");
    assert_same(&number("shift(close, 99)", &[]), &[NAN; 8], "longer than the data");
    assert_same(&number("highest(close, 3) - lowest(close, 3)", &[])[2..5], &[2.0, 1.0, 2.0], "extremes");
    assert_same(
        &number("sma(if_else(1 < 2, 5, close), 3)", &[])[1..4],
        &[NAN, 5.0, 5.0],
        "a folded constant",
    );
    assert_same(&number("zscore(close, 2)", &[])[..3], &[NAN, 1.0, 1.0], "zscore");
}

#[test]
fn arguments_by_name_and_default() {
    let middle = number("bbands_middle(close, 3)", &[]);
    let width = number("stddev(close, 3)", &[]);
    let upper: Vec<f64> = middle.iter().zip(&width).map(|(m, w)| m + 2.0 * w).collect();
    assert_same(&number("bbands_upper(period=n, x=close)", &[("n", 3.0)]), &upper, "by name");
    assert_same(&number("bbands_upper(close, 3, k=2)", &[]), &upper, "mixed");
    assert_same(
        &number("macd_hist(close, 2, 3, 2)", &[]),
        &number("macd(close, 2, 3, 2) - macd_signal(close, 3, 2, 2)", &[]),
        "macd",
    );
    assert_same(&number("natr(2)", &[]), &number("100 * (atr(2) / close)", &[]), "natr");
    assert_same(&number("sma(close, fast * 2 - 1)", &[("fast", 2.0)]), &middle, "computed period");
}

#[test]
fn messages_name_the_place_and_the_remedy() {
    for (text, parts) in [
        (
            "cross_above(sma(clos, fast), sma(close, slow))",
            &["enter", "\"clos\"", "column 17", "'close'"][..],
        ),
        ("close > slw", &["\"slw\"", "'slow'"]),
        ("close > zzzzzz", &["known: open", "fast"]),
        ("smaa(close, 3) > 1", &["function", "'sma'"]),
        ("sma > 3", &["sma(x, period)"]),
        ("close(3) > 3", &["shift(close, n)"]),
        ("fast(3) > 3", &["parameter"]),
        ("close", &["must be a condition, got a number"]),
        ("sma(close, fast)", &["must be a condition"]),
        ("close and close > 1", &["left side of 'and'", "column 1"]),
        ("(close > 1) + 1 > 2", &["left side of '+'", "got a condition"]),
        ("not close", &["operand of 'not'"]),
        ("sma(close, close) > 1", &["period of sma", "parameters and numbers only", "column 12"]),
        ("sma(fast, 3) > 1", &["x of sma", "must be a series"]),
        ("sma(close) > 1", &["sma takes 2 arguments", "got 1"]),
        ("sma(close, 3, 4) > 1", &["got 3"]),
        ("min(close) > 1", &["at least 2"]),
        ("bbands_upper(close) > 1", &["2 to 3 arguments"]),
        ("sma(close, perid=3) > 1", &["argument", "'period'"]),
        ("sma(close, 3, x=close) > 1", &["given twice"]),
        ("sma(close, 0) > 1", &["sma: period must be a whole number", "got 0"]),
        ("sma(close, 2.5) > 1", &["got 2.5"]),
        ("shift(close, -1) > 1", &["look ahead", "got -1"]),
        ("cross_above(fast, slow)", &["at least one side"]),
        ("close > 1 && open > 1", &["write 'and'", "column 11"]),
        ("close > ", &["column 9"]),
    ] {
        let message = message(text);
        for part in parts {
            assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
        }
    }
    assert!(message_of(SlotKind::Scalar, "close", &[]).contains("parameters and numbers only"));
    assert!(message_of(SlotKind::Num, "close > 1", &[]).contains("must be a number"));
    assert!(message_of(SlotKind::Scalar, "1 / 0", &[]).contains("undefined"));
}

#[test]
fn a_parameter_has_a_name_of_its_own() {
    for (name, part) in [
        ("close", "series"),
        ("bar_index", "series"),
        ("signal", "series"),
        ("sma", "function"),
        ("and", "word"),
        ("2x", "not a name"),
        ("", "not a name"),
        ("a b", "not a name"),
    ] {
        let message = message_of(SlotKind::Bool, "true", &[name]);
        assert!(message.contains(part), "{name}: {message}");
    }
    assert!(message_of(SlotKind::Bool, "true", &["n", "n"]).contains("declared twice"));
}

#[test]
fn a_bad_trial_fails_alone() {
    let slots = [
        slot(SlotKind::Bool, "close > sma(close, n)"),
        SlotDef { name: "size", kind: SlotKind::Scalar, text: "1 / (n - 3)" },
    ];
    let program = Program::compile(&slots, &["n", "idle"], &[]).expect("compiles");
    let rows: [&[f64]; 7] =
        [&[2.0, 0.0], &[0.0, 0.0], &[2.5, 0.0], &[3.0, 0.0], &[NAN, 0.0], &[5.0], &[5.0, NAN]];
    let graph = BatchGraph::bind(&program, &rows);
    assert_eq!(graph.n_trials(), 7);
    let text = |t: usize| graph.trial(t).map(<[BoundSlot]>::len).map_err(ToString::to_string);
    assert_eq!(text(0), Ok(2));
    assert!(
        text(1)
            .is_err_and(|m| m.contains("enter: sma: period must be a whole number") && m.contains("got 0"))
    );
    assert!(text(2).is_err_and(|m| m.contains("got 2.5")));
    assert!(text(3).is_err_and(|m| m.contains("size") && m.contains("undefined")));
    assert!(text(4).is_err_and(|m| m.contains("\"n\" must be finite")));
    assert!(text(5).is_err_and(|m| m.contains("expected 2 values, got 1")));
    assert_eq!(text(6), Ok(2), "a parameter that no rule uses may be anything");
    assert!(text(7).is_err_and(|m| m.contains("no such trial")));
    assert_eq!(program.unused_params(), ["idle"]);
}

#[test]
fn equal_expressions_of_all_trials_are_one_node() {
    let program =
        compile(SlotKind::Bool, "cross_above(sma(close, fast), sma(close, slow))", &["fast", "slow"])
            .expect("compiles");
    let pairs: Vec<[f64; 2]> =
        (1..=20).flat_map(|f| (1..=20).map(move |s| [f64::from(f), f64::from(s)])).collect();
    let rows: Vec<&[f64]> = pairs.iter().map(<[f64; 2]>::as_slice).collect();
    let graph = BatchGraph::bind(&program, &rows);
    // close, 20 constants, 20 averages, 210 relations (either order), 400 crossings
    assert_eq!(graph.n_nodes(), 1 + 20 + 20 + 210 + 400);
}

#[test]
fn constant_conditions_and_numbers_are_folded() {
    let text = "fast < slow and close > 0";
    let program = compile(SlotKind::Bool, text, &["fast", "slow"]).expect(text);
    let graph = BatchGraph::bind(&program, &[&[1.0, 2.0], &[2.0, 1.0]]);
    let source = columns();
    let mut evaluator = Evaluator::new();
    evaluator.begin(&graph, source.len());
    let mut out = Vec::new();
    for (trial, expected) in [(0, [1; 8]), (1, [0; 8])] {
        let BoundSlot::Series(node) = graph.trial(trial).expect(text)[0] else {
            panic!("a condition is a series")
        };
        evaluator.bools(&graph, &source, node, &mut out).expect(text);
        assert_eq!(out, expected);
    }
    let size = compile(SlotKind::Scalar, "if_else(fast > 3, fast, 3) * 2", &["fast"]).expect("compiles");
    assert_eq!(BatchGraph::bind(&size, &[&[5.0]]).trial(0), Ok(&[BoundSlot::Scalar(10.0)][..]));
}

#[test]
fn misuse_is_an_error() {
    let program = compile(SlotKind::Bool, "signal > volume", &[]).expect("compiles");
    assert_eq!(program.series(), ["signal", "volume"]);
    let graph = BatchGraph::bind(&program, &[&[]]);
    let BoundSlot::Series(node) = graph.trial(0).expect("binds")[0] else {
        panic!("a condition is a series")
    };
    let mut evaluator = Evaluator::new();
    let (mut bools, mut nums) = (Vec::new(), Vec::new());
    let source = columns();
    assert!(evaluator.bools(&graph, &source, node, &mut bools).is_err(), "not begun");
    evaluator.begin(&graph, source.len());
    assert!(evaluator.nums(&graph, &source, node, &mut nums).is_err(), "a condition is not a number");
    let without = Columns::of_close(&CLOSE);
    let error = evaluator.bools(&graph, &without, node, &mut bools).expect_err("a column is missing");
    assert!(error.to_string().contains("\"signal\""), "{error}");
    assert!(evaluator.bools(&graph, &source, node, &mut bools).is_ok());
}

#[test]
fn canonical_text_is_the_meaning() {
    let same = |a: &str, b: &str| {
        let params = ["fast"];
        let text = |t| compile(SlotKind::Bool, t, &params).expect(t).canonical();
        assert_eq!(text(a), text(b));
    };
    same("close>1 and  open<2", "((close) > 1.0)and((open<2))");
    same("macd(close) > 0", "macd(slow=26, x=close, fast=12) > 0");
    same("close + 1 * 2 > 3", "(close + (1 * 2)) > 3");
    let text = compile(SlotKind::Bool, "not 0 < close-1 <= fast or bars_since(open>1e21)==2", &["fast"])
        .expect("compiles");
    assert_eq!(
        text.canonical(),
        "enter = ((not (0.0 < (close - 1.0) <= fast)) or (bars_since((open > 1e21)) == 2.0))\n"
    );
    assert!(!text.is_cross_sectional());
    assert!(compile(SlotKind::Num, "rank(close)", &[]).expect("compiles").is_cross_sectional());
}

#[test]
fn a_rule_evaluated_again_and_again_keeps_its_value() {
    let texts = ["sma(close, 2) + sma(close, 2) * sma(close, 2)", "sma(close, 2) - close"];
    let slots = texts.map(|text| slot(SlotKind::Num, text));
    let graph = BatchGraph::bind(&Program::compile(&slots, &[], &[]).expect("compiles"), &[&[]]);
    let source = columns();
    let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
    evaluator.begin(&graph, source.len());
    // More readings than the graph counted, with readers of one average at work inside another.
    for ix in [0, 0, 0, 1, 0, 1, 1] {
        let BoundSlot::Series(node) = graph.trial(0).expect("binds")[ix] else {
            panic!("a series is expected")
        };
        evaluator.nums(&graph, &source, node, &mut out).expect("evaluates");
        assert_same(&out, &number(texts[ix], &[]), texts[ix]);
    }
}

#[test]
fn the_deepest_rule_passes_every_step() {
    for (open, close) in
        [("abs(", ")"), ("zscore(", ", 2)"), ("(1 + ", ")"), ("-", ""), ("max(close, 1, ", ", 2)")]
    {
        let text = format!("{}close{}", open.repeat(199), close.repeat(199));
        let program = compile(SlotKind::Num, &text, &[]).expect("as deep as allowed");
        let canonical = program.canonical();
        let again = canonical.trim_end().trim_start_matches("enter = ");
        assert_eq!(compile(SlotKind::Num, again, &[]).expect("its own notation").canonical(), canonical);
        let graph = BatchGraph::bind(&program, &[&[]]);
        let BoundSlot::Series(node) = graph.trial(0).expect("binds")[0] else {
            panic!("a series is expected")
        };
        let source = columns();
        let mut out = Vec::new();
        for max_bytes in [0, usize::MAX] {
            let mut evaluator = Evaluator::with_memory_limit(max_bytes);
            evaluator.begin(&graph, source.len());
            evaluator.nums(&graph, &source, node, &mut out).expect("evaluates");
        }
    }
}
