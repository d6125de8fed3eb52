//! Properties of the rule language over random rules and random columns.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use akq_core::rules::{
    ArgKind, BatchGraph, BoundSlot, Evaluator, FunctionDef, Program, SeriesSource, SlotDef, SlotKind,
    reference,
};
use proptest::prelude::*;

const PARAMS: [&str; 2] = ["n", "p"];
const EXTRA: [&str; 1] = ["gap"];

#[derive(Debug, Clone)]
struct Columns(Vec<(&'static str, Vec<f64>)>);

impl SeriesSource for Columns {
    fn len(&self) -> usize {
        self.0[0].1.len()
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, c)| c.as_slice())
    }
}

/// Low, offsets of open and close, volume, extra column.
type RawRow = (i32, i32, i32, Option<i32>, Option<i32>);

/// Small whole prices, so that ties are common and sums exact, with gaps in the volume and the extra column.
fn columns() -> impl Strategy<Value = Columns> {
    let row = (
        1..30i32,
        0..4i32,
        0..4i32,
        prop::option::weighted(0.9, 0..9i32),
        prop::option::weighted(0.8, -3..9i32),
    );
    prop::collection::vec(row, 1..70).prop_map(|rows| {
        let number = |v: Option<i32>| v.map_or(f64::NAN, f64::from);
        let column = |f: &dyn Fn(&RawRow) -> f64| rows.iter().map(f).collect();
        Columns(vec![
            ("open", column(&|r| f64::from(r.0 + r.1))),
            ("high", column(&|r| f64::from(r.0 + r.1.max(r.2)))),
            ("low", column(&|r| f64::from(r.0))),
            ("close", column(&|r| f64::from(r.0 + r.2))),
            ("volume", column(&|r| number(r.3))),
            ("gap", column(&|r| number(r.4))),
        ])
    })
}

/// A rule that can be written as text and worked out by hand, bar by bar.
#[derive(Debug, Clone)]
enum Tree {
    Series(&'static str),
    Param(usize),
    Number(i32),
    Negate(Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Call(&'static str, Box<Tree>, Box<Tree>),
    Shift(Box<Tree>, u32),
    Window(&'static str, &'static str, u32),
    IfElse(Box<Test>, Box<Tree>, Box<Tree>),
    Since(Box<Test>),
}

#[derive(Debug, Clone)]
enum Test {
    Constant(bool),
    Chain(Box<Tree>, Vec<(&'static str, Tree)>),
    Not(Box<Test>),
    Logic(&'static str, Box<Test>, Box<Test>),
    Cross(&'static str, &'static str, Box<Tree>),
}

type Row<'a> = &'a [f64];

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Series(name) => (*name).to_string(),
            Self::Param(ix) => PARAMS[*ix].to_string(),
            Self::Number(value) => value.to_string(),
            Self::Negate(a) => format!("-({})", a.text()),
            Self::Binary(op, a, b) => format!("({}) {op} ({})", a.text(), b.text()),
            Self::Call(name, a, b) => format!("{name}({}, {})", a.text(), b.text()),
            Self::Shift(a, n) => format!("shift({} + close * 0, {n})", a.text()),
            Self::Window(name, x, n) => format!("{name}({x}, {n})"),
            Self::IfElse(c, a, b) => format!("if_else({}, {}, {})", c.text(), a.text(), b.text()),
            Self::Since(c) => format!("bars_since({})", c.text()),
        }
    }

    fn at(&self, t: usize, data: &Columns, row: Row<'_>) -> Option<f64> {
        let series = |name: &str, t: usize| {
            if name == "bar_index" {
                return Some(t as f64);
            }
            data.column(name).and_then(|c| c.get(t)).copied().filter(|v| v.is_finite())
        };
        let value = match self {
            Self::Series(name) => series(name, t)?,
            Self::Param(ix) => row[*ix],
            Self::Number(value) => f64::from(*value),
            Self::Negate(a) => -a.at(t, data, row)?,
            Self::Binary(op, a, b) => {
                let (a, b) = (a.at(t, data, row)?, b.at(t, data, row)?);
                match *op {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "/" => a / b,
                    _ => {
                        if b == 0.0 {
                            return None;
                        }
                        // Exact where the signs agree: only the remainder of the other sign is rounded.
                        let r = a % b;
                        if r * b < 0.0 { r + b } else { r }
                    }
                }
            }
            Self::Call(name, a, b) => {
                let (a, b) = (a.at(t, data, row)?, b.at(t, data, row)?);
                if *name == "min" { a.min(b) } else { a.max(b) }
            }
            Self::Shift(a, n) => {
                let then = t.checked_sub(*n as usize)?;
                a.at(then, data, row)? + series("close", then)? * 0.0
            }
            Self::Window(name, x, n) => {
                let first = (t + 1).checked_sub(*n as usize)?;
                let window: Option<Vec<f64>> = (first..=t).map(|i| series(x, i)).collect();
                let window = window?.into_iter();
                match *name {
                    "highest" => window.fold(f64::NEG_INFINITY, f64::max),
                    "lowest" => window.fold(f64::INFINITY, f64::min),
                    _ => window.sum(),
                }
            }
            Self::IfElse(c, a, b) => {
                if c.at(t, data, row)? {
                    a.at(t, data, row)?
                } else {
                    b.at(t, data, row)?
                }
            }
            Self::Since(c) => {
                let last = (0..=t).rev().find(|&i| c.at(i, data, row) == Some(true))?;
                (t - last) as f64
            }
        };
        Some(value).filter(|v| v.is_finite())
    }
}

impl Test {
    fn text(&self) -> String {
        match self {
            Self::Constant(value) => value.to_string(),
            Self::Chain(first, rest) => {
                let rest: String = rest.iter().map(|(op, x)| format!(" {op} ({})", x.text())).collect();
                format!("({}){rest}", first.text())
            }
            Self::Not(a) => format!("not ({})", a.text()),
            Self::Logic(op, a, b) => format!("({}) {op} ({})", a.text(), b.text()),
            Self::Cross(name, a, b) => format!("{name}({a}, {})", b.text()),
        }
    }

    fn at(&self, t: usize, data: &Columns, row: Row<'_>) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Chain(first, rest) => {
                let mut left = first.at(t, data, row);
                let mut all = Some(true);
                for (op, right) in rest {
                    let right = right.at(t, data, row);
                    all = kleene_and(all, left.zip(right).map(|(a, b)| compare(op, a, b)));
                    left = right;
                }
                all
            }
            Self::Not(a) => a.at(t, data, row).map(|v| !v),
            Self::Logic(op, a, b) => {
                let (a, b) = (a.at(t, data, row), b.at(t, data, row));
                if *op == "and" {
                    kleene_and(a, b)
                } else {
                    kleene_and(a.map(|v| !v), b.map(|v| !v)).map(|v| !v)
                }
            }
            Self::Cross(name, a, b) => {
                let (a, above) = (Tree::Series(a), *name == "cross_above");
                let both = |t: usize| a.at(t, data, row).zip(b.at(t, data, row));
                let before =
                    t.checked_sub(1).and_then(both).map(|(a, b)| if above { a <= b } else { a >= b });
                kleene_and(before, both(t).map(|(a, b)| if above { a > b } else { a < b }))
            }
        }
    }
}

fn compare(op: &str, a: f64, b: f64) -> bool {
    match op {
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        "==" => a == b,
        _ => a != b,
    }
}

fn kleene_and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn series_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["open", "high", "low", "close", "volume", "gap", "bar_index"])
}

fn tree(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = prop_oneof![
        4 => series_name().prop_map(Tree::Series),
        1 => (0..2usize).prop_map(Tree::Param),
        2 => (0..12i32).prop_map(Tree::Number),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || tree(depth - 1).prop_map(Box::new);
    let window = prop::sample::select(vec!["highest", "lowest", "sum"]);
    prop_oneof![
        3 => leaf,
        1 => inner().prop_map(Tree::Negate),
        4 => (prop::sample::select(vec!["+", "-", "*", "/", "%"]), inner(), inner()).prop_map(|(o, a, b)| Tree::Binary(o, a, b)),
        1 => (prop::sample::select(vec!["min", "max"]), inner(), inner()).prop_map(|(o, a, b)| Tree::Call(o, a, b)),
        1 => (inner(), 0..5u32).prop_map(|(a, n)| Tree::Shift(a, n)),
        2 => (window, series_name(), 1..9u32).prop_map(|(f, x, n)| Tree::Window(f, x, n)),
        1 => (test(depth - 1).prop_map(Box::new), inner(), inner()).prop_map(|(c, a, b)| Tree::IfElse(c, a, b)),
        1 => test(depth - 1).prop_map(|c| Tree::Since(Box::new(c))),
    ]
    .boxed()
}

fn test(depth: u32) -> BoxedStrategy<Test> {
    let ops = || prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let crossing = (
        prop::sample::select(vec!["cross_above", "cross_below"]),
        series_name(),
        tree(depth.min(1)).prop_map(Box::new),
    );
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Test::Constant),
        6 => (tree(depth.min(1)).prop_map(Box::new), prop::collection::vec((ops(), tree(depth.min(1))), 1..3))
            .prop_map(|(a, rest)| Test::Chain(a, rest)),
        2 => crossing.prop_map(|(f, a, b)| Test::Cross(f, a, b)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || test(depth - 1).prop_map(Box::new);
    prop_oneof![
        2 => leaf,
        1 => inner().prop_map(Test::Not),
        3 => (prop::sample::select(vec!["and", "or"]), inner(), inner()).prop_map(|(o, a, b)| Test::Logic(o, a, b)),
    ]
    .boxed()
}

fn program(condition: &str, number: &str) -> Program {
    let slots = [
        SlotDef { name: "enter", kind: SlotKind::Bool, text: condition },
        SlotDef { name: "level", kind: SlotKind::Num, text: number },
    ];
    Program::compile(&slots, &PARAMS, &EXTRA).unwrap_or_else(|error| panic!("{error}"))
}

/// Both slots of a trial, as bits.
fn columns_of(
    graph: &BatchGraph,
    evaluator: &mut Evaluator<'_>,
    data: &Columns,
    trial: usize,
) -> Result<(Vec<u8>, Vec<u64>), String> {
    let slots = graph.trial(trial).map_err(ToString::to_string)?;
    let (mut bools, mut nums) = (Vec::new(), Vec::new());
    let &[BoundSlot::Series(enter), level] = slots else {
        return Err("a condition must be a series".to_string());
    };
    evaluator.bools(graph, data, enter, &mut bools).map_err(|e| e.to_string())?;
    match level {
        BoundSlot::Series(node) => evaluator.nums(graph, data, node, &mut nums).map_err(|e| e.to_string())?,
        BoundSlot::Scalar(value) => nums.resize(data.len(), value),
    }
    // One NaN, and one zero: the sign of a zero is not part of a value.
    Ok((
        bools,
        nums.iter().map(|v| if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() }).collect(),
    ))
}

fn begun(graph: &BatchGraph, data: &Columns, max_bytes: usize) -> Evaluator<'static> {
    let mut evaluator = Evaluator::with_memory_limit(max_bytes);
    evaluator.begin(graph, data.len());
    evaluator
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Columns equal the rules worked out bar by bar.
    #[test]
    fn columns_equal_the_rules_by_hand(t in test(3), x in tree(3), data in columns(), n in 1..6i32, p in -3..4i32) {
        let row = [f64::from(n), f64::from(p)];
        let graph = BatchGraph::bind(&program(&t.text(), &x.text()), &[&row]);
        let mut evaluator = begun(&graph, &data, usize::MAX);
        let (bools, nums) = columns_of(&graph, &mut evaluator, &data, 0).map_err(TestCaseError::fail)?;
        for i in 0..data.len() {
            prop_assert_eq!(bools[i] == 1, t.at(i, &data, &row) == Some(true), "bar {} of {}", i, t.text());
            let by_hand = x.at(i, &data, &row).unwrap_or(f64::NAN);
            let got = f64::from_bits(nums[i]);
            prop_assert!(got == by_hand || (got.is_nan() && by_hand.is_nan()), "bar {}: {} or {} of {}", i, got, by_hand, x.text());
        }
    }

    /// The canonical text means the same and is its own canonical text.
    #[test]
    fn canonical_text_is_a_fixed_point(t in test(3), x in tree(3), data in columns()) {
        let first = program(&t.text(), &x.text());
        let canonical = first.canonical();
        let texts: Vec<&str> = canonical.lines().filter_map(|line| line.split_once(" = ").map(|(_, text)| text)).collect();
        let second = program(texts[0], texts[1]);
        prop_assert_eq!(second.canonical(), canonical.clone());
        let rows: [&[f64]; 1] = [&[3.0, -1.0]];
        let (a, b) = (BatchGraph::bind(&first, &rows), BatchGraph::bind(&second, &rows));
        let of = |graph: &BatchGraph| columns_of(graph, &mut begun(graph, &data, usize::MAX), &data, 0);
        prop_assert_eq!(of(&a), of(&b));
    }

    /// A batch gives each trial what it would get alone, in any order, however often, and whatever memory there is.
    #[test]
    fn a_batch_equals_its_trials(
        t in test(2), x in tree(2), data in columns(), again in columns(), max_bytes in 0..3000usize,
        rows in prop::collection::vec((1..5i32, -2..3i32), 1..7), order in prop::collection::vec(0..7usize, 1..20),
    ) {
        let condition = format!("({}) or sma(close, n) > shift(ema(close, n + 1), 1)", t.text());
        let number = format!("({}) + bbands_upper(high, n, p) - macd_hist(close, n, 4, 2)", x.text());
        let program = program(&condition, &number);
        let rows: Vec<[f64; 2]> = rows.iter().map(|&(n, p)| [f64::from(n), f64::from(p)]).collect();
        let batch = BatchGraph::bind(&program, &rows.iter().map(<[f64; 2]>::as_slice).collect::<Vec<_>>());
        let mut shared = begun(&batch, &data, usize::MAX);
        let mut tight = begun(&batch, &data, max_bytes);
        for data in [&data, &again] {
            shared.begin(&batch, data.len());
            tight.begin(&batch, data.len());
            for trial in order.iter().map(|o| o % rows.len()) {
                let alone = BatchGraph::bind(&program, &[&rows[trial]]);
                let expected = columns_of(&alone, &mut begun(&alone, data, usize::MAX), data, 0);
                prop_assert_eq!(&columns_of(&batch, &mut shared, data, trial), &expected);
                prop_assert_eq!(&columns_of(&batch, &mut tight, data, trial), &expected);
            }
        }
    }

    /// No function looks ahead: what comes later changes nothing before it.
    #[test]
    fn no_function_looks_ahead(data in columns(), later in columns(), n in 1..9u32, cut in 0..70usize) {
        let cut = cut.min(data.len());
        let mut changed = data.clone();
        for ((_, column), (_, other)) in changed.0.iter_mut().zip(&later.0) {
            column.truncate(cut);
            column.extend(other);
        }
        for def in reference().iter().filter(|def| def.name != "rank") {
            let program = program("true", &call(def, n));
            let graph = BatchGraph::bind(&program, &[&[0.0, 0.0]]);
            let of = |data: &Columns| columns_of(&graph, &mut begun(&graph, data, usize::MAX), data, 0).map(|c| c.1[..cut].to_vec());
            prop_assert_eq!(of(&data), of(&changed), "{}", call(def, n));
        }
    }

    /// No text makes the compiler panic.
    #[test]
    fn any_text_is_read_or_refused(text in prop::collection::vec(prop::sample::select(vec![
        "close", "n", "gap", "rank", "sma", "macd", "if_else", "(", ")", ",", "=", "k", "<", "==", "+", "-", "/", "%", "and", "not", "true", "2", "0", ".5",
    ]), 0..30)) {
        let text = text.join(" ");
        for kind in [SlotKind::Bool, SlotKind::Num, SlotKind::Scalar] {
            if let Ok(program) = Program::compile(&[SlotDef { name: "x", kind, text: &text }], &PARAMS, &EXTRA) {
                let graph = BatchGraph::bind(&program, &[&[1.0, 2.0], &[0.0, -1.0]]);
                prop_assert!(graph.trial(0).is_ok() || graph.trial(0).is_err());
            }
        }
    }
}

/// A call with plain arguments, as a number.
fn call(def: &FunctionDef, n: u32) -> String {
    let args: Vec<String> = def
        .args
        .iter()
        .enumerate()
        .map(|(i, arg)| match arg.kind {
            ArgKind::Series => "gap".to_string(),
            ArgKind::Number => {
                if i == 0 {
                    "close".to_string()
                } else {
                    "open".to_string()
                }
            }
            ArgKind::Condition => "close > open".to_string(),
            ArgKind::Period | ArgKind::Lag => (n + i as u32).to_string(),
            ArgKind::Constant => "1.5".to_string(),
        })
        .collect();
    let call = format!("{}({})", def.name, args.join(", "));
    if def.name.starts_with("cross") { format!("if_else({call}, 1, 0)") } else { call }
}

#[test]
fn every_function_can_be_called_and_becomes_defined() {
    let rows = 200;
    let wave = |k: usize, by: f64| (0..rows).map(|i| by + (((i * k) % 17) as f64)).collect::<Vec<_>>();
    let data = Columns(vec![
        ("open", wave(5, 21.0)),
        ("high", wave(5, 25.0)),
        ("low", wave(5, 20.0)),
        ("close", wave(5, 22.0)),
        ("volume", wave(3, 1.0)),
        ("gap", wave(7, 3.0)),
    ]);
    let defs = reference();
    assert!(defs.len() > 50);
    for def in defs.iter().filter(|def| def.name != "rank") {
        let program = program("true", &call(def, 3));
        let graph = BatchGraph::bind(&program, &[&[0.0, 0.0]]);
        let (_, nums) = columns_of(&graph, &mut begun(&graph, &data, usize::MAX), &data, 0).expect(def.name);
        assert!(nums[100..].iter().all(|&v| !f64::from_bits(v).is_nan()), "{}", call(def, 3));
    }
}
