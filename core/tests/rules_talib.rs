//! Indicators against values of TA-Lib 0.8.1 (unstable period 0) on a made-up series.

use akq_core::rules::{BatchGraph, BoundSlot, Evaluator, Program, SeriesSource, SlotDef, SlotKind};

const N_ROWS: u32 = 60;

/// Rule, first bar with a value, the value there, the value on the last bar.
const EXPECTED: &[(&str, usize, f64, f64)] = &[
    ("sma(close, 5)", 4, 108.9, 124.35),
    ("ema(close, 5)", 4, 108.9, 126.15513101438519),
    ("wma(close, 5)", 4, 110.56666666666666, 126.01666666666667),
    ("dema(close, 4)", 6, 110.21400000000001, 129.43019592048046),
    ("tema(close, 4)", 9, 114.45493759999995, 130.77147756514324),
    ("trix(close, 4)", 10, 0.2837557341685004, 0.6578838644038187),
    ("rsi(close, 6)", 6, 61.45038167938931, 59.31835130010994),
    ("stddev(close, 5)", 4, 5.942642509860407, 5.942642509860412),
    ("bbands_upper(close, 7, k=2.5)", 6, 124.8979197551811, 139.34544611981667),
    ("bbands_middle(close, 7)", 6, 108.39285714285714, 124.35714285714286),
    ("bbands_lower(close, 7, 1.5)", 6, 98.48981957546275, 115.36416089953858),
    ("tr()", 1, 14.0, 15.5),
    ("atr(6)", 6, 12.916666666666666, 12.346916458656212),
    ("natr(6)", 6, 11.231884057971014, 9.265978580605037),
    ("roc(close, 3)", 3, 17.25000000000001, 14.87068965517242),
    ("rocp(close, 3)", 3, 0.1725, 0.14870689655172414),
    ("mom(close, 3)", 3, 17.25, 17.25),
    ("highest(close, 6)", 5, 117.25, 133.25),
    ("lowest(close, 6)", 5, 99.25, 116.0),
    ("sum(close, 6)", 5, 643.75, 752.25),
    ("cci(6)", 5, -91.38211382113805, 101.03092783505144),
    ("willr(6)", 5, -95.50561797752809, -14.130434782608695),
    ("adx(6)", 11, 22.197647008144656, 9.842430573538094),
    ("plus_di(6)", 6, 56.43869377695626, 49.458059899901386),
    ("minus_di(6)", 6, 27.418361059765868, 36.423858882850865),
    ("aroon_up(6)", 6, 50.0, 100.0),
    ("aroon_down(6)", 6, 83.33333333333334, 50.0),
    ("mfi(6)", 6, 48.30231595001282, 50.78948767477717),
    ("obv()", 0, 1000.0, -18740.0),
    ("stoch_k(5, 3, 4)", 9, 67.34576285138084, 66.65737643998516),
    ("stoch_d(5, 3, 4)", 9, 55.752432829778016, 52.44173775255851),
    ("macd(close, 4, 9, 5)", 12, 0.0720888888888851, 2.4196896369253693),
    ("macd_signal(close, 4, 9, 5)", 12, 0.48641777777777406, 1.205968248587926),
    ("macd_hist(close, 4, 9, 5)", 12, -0.41432888888888897, 1.2137213883374434),
    ("stoch_k()", 8, 71.19397456476109, 66.65737643998516),
    ("macd(close)", 33, 1.2846262913107154, 2.3046067053308974),
];

struct Bars(Vec<(&'static str, Vec<f64>)>);

impl Bars {
    /// Whole-number patterns of different lengths over a slow rise.
    fn made_up() -> Self {
        let cycle = |i: u32, by: u32, length: u32| f64::from(i * by % length);
        let close = |i: u32| 100.0 + cycle(i, 37, 23) - cycle(i, 11, 7) * 0.5 + f64::from(i) * 0.25;
        let column = |f: &dyn Fn(u32) -> f64| (0..N_ROWS).map(f).collect();
        Self(vec![
            ("open", column(&close)),
            ("high", column(&|i| close(i) + 1.0 + cycle(i, 5, 4) * 0.75)),
            ("low", column(&|i| close(i) - 1.0 - cycle(i, 3, 5) * 0.5)),
            ("close", column(&close)),
            ("volume", column(&|i| 1000.0 + cycle(i, 71, 97) * 10.0)),
        ])
    }
}

impl SeriesSource for Bars {
    fn len(&self) -> usize {
        N_ROWS as usize
    }

    fn column(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, c)| c.as_slice())
    }
}

#[test]
fn warm_up_and_values_are_those_of_talib() {
    let bars = Bars::made_up();
    for &(text, first, value_first, value_last) in EXPECTED {
        let slot = SlotDef { name: "value", kind: SlotKind::Num, text };
        let graph = BatchGraph::bind(&Program::compile(&[slot], &[], &[]).expect(text), &[&[]]);
        let BoundSlot::Series(node) = graph.trial(0).expect(text)[0] else {
            panic!("{text}: a series is expected")
        };
        let (mut evaluator, mut out) = (Evaluator::new(), Vec::new());
        evaluator.begin(&graph, bars.len());
        evaluator.nums(&graph, &bars, node, &mut out).expect(text);
        assert_eq!(out.iter().position(|v| !v.is_nan()), Some(first), "{text}: {out:?}");
        for (got, expected) in [(out[first], value_first), (out[out.len() - 1], value_last)] {
            assert!(
                (got - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
                "{text}: {got}, TA-Lib {expected}"
            );
        }
    }
}
