//! Shared test tools: bit comparison, random columns with gaps, and the proofs that both forms agree.

use super::*;
use proptest::prelude::*;

pub(crate) fn period(n: u32) -> Period {
    Period::new(n).expect("a test period is in range")
}

/// Compares to the bit; any NaN equals any NaN.
pub(crate) fn check_column(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(
            g.to_bits() == e.to_bits() || (g.is_nan() && e.is_nan()),
            "row {i}: got {g}, expected {e} in {got:?}"
        );
    }
}

/// Prices with ties, gaps, infinities, flat stretches and now and then an absurd value; or a long stretch without gaps.
pub(crate) fn column() -> impl Strategy<Value = Vec<f64>> {
    let price = || {
        prop_oneof![
            12 => (1..40i32).prop_map(|v| f64::from(v) * 0.25),
            6 => -100.0..100.0f64,
            2 => Just(10.1),
        ]
    };
    let rare = prop_oneof![
        Just(f64::NAN),
        prop::sample::select(vec![f64::INFINITY, 0.0, -0.0, 1e300, -1.7e308, 1e-310]),
    ];
    let with_gaps = prop::collection::vec(prop_oneof![20 => price(), 2 => rare], 0..120);
    prop_oneof![3 => with_gaps, 1 => prop::collection::vec(price(), 100..400)]
}

type Column = Box<dyn Fn(&[&[f64]], &mut [f64])>;
type Step = Box<dyn FnMut(&[f64]) -> f64>;

/// Every numeric indicator: its name, its column form and a fresh step form, over open, high, low, close, volume.
fn both_forms(n: Period, m: Period) -> Vec<(&'static str, Column, Step)> {
    let mut forms: Vec<(&'static str, Column, Step)> = Vec::new();
    macro_rules! one {
        ($name:literal, $column:path, $step:ident) => {{
            let mut step = $step::new(n);
            forms.push((
                $name,
                Box::new(move |x, out| $column(x[3], n, out)),
                Box::new(move |x| step.update(x[3])),
            ));
        }};
    }
    macro_rules! bars {
        ($name:literal, $column:path, $step:ident) => {{
            let mut step = $step::new(n);
            forms.push((
                $name,
                Box::new(move |x, out| $column(Hlc { high: x[1], low: x[2], close: x[3] }, n, out)),
                Box::new(move |x| step.update(x[1], x[2], x[3])),
            ));
        }};
    }
    one!("sma", sma::sma, Sma);
    one!("sum", sum::sum, Sum);
    one!("stddev", stddev::stddev, Stddev);
    one!("wma", wma::wma, Wma);
    one!("hma", hma::hma, Hma);
    one!("ema", ema::ema, Ema);
    one!("dema", dema::dema, Dema);
    one!("tema", tema::tema, Tema);
    one!("trix", trix::trix, Trix);
    one!("rsi", rsi::rsi, Rsi);
    one!("mom", mom::mom, Mom);
    one!("roc", roc::roc, Roc);
    one!("rocp", roc::rocp, Rocp);
    bars!("atr", atr::atr, Atr);
    bars!("natr", atr::natr, Natr);
    bars!("adx", adx::adx, Adx);
    bars!("plus_di", adx::plus_di, PlusDi);
    bars!("minus_di", adx::minus_di, MinusDi);
    bars!("cci", cci::cci, Cci);
    bars!("willr", willr::willr, Willr);

    let (mut high, mut low) = (Highest::new(n), Lowest::new(n));
    let work = || std::cell::RefCell::new(Vec::new());
    let w = work();
    forms.push((
        "highest",
        Box::new(move |x, o| extremes::highest(x[3], n, &mut w.borrow_mut(), o)),
        Box::new(move |x| high.update(x[3])),
    ));
    let w = work();
    forms.push((
        "lowest",
        Box::new(move |x, o| extremes::lowest(x[3], n, &mut w.borrow_mut(), o)),
        Box::new(move |x| low.update(x[3])),
    ));
    let (mut z, w) = (Zscore::new(n), std::cell::RefCell::new(Vec::new()));
    forms.push((
        "zscore",
        Box::new(move |x, o| zscore::zscore(x[3], n, &mut w.borrow_mut(), o)),
        Box::new(move |x| z.update(x[3])),
    ));
    for (name, k) in [("upper", 2.5), ("lower", -2.5)] {
        let (mut b, w) = (BollingerBands::new(n, 2.5), std::cell::RefCell::new(Vec::new()));
        forms.push((
            name,
            Box::new(move |x, o| bbands::bbands(x[3], n, k, &mut w.borrow_mut(), o)),
            Box::new(move |x| if k > 0.0 { b.update(x[3]).upper } else { b.update(x[3]).lower }),
        ));
    }
    let mut s = Shift::new(n.get() as u32);
    forms.push((
        "shift",
        Box::new(move |x, o| shift::shift(x[3], n.get() as u32, o)),
        Box::new(move |x| s.update(x[3])),
    ));
    let mut t = TrueRange::new();
    forms.push((
        "tr",
        Box::new(|x, o| tr::tr(Hlc { high: x[1], low: x[2], close: x[3] }, o)),
        Box::new(move |x| t.update(x[1], x[2], x[3])),
    ));
    let (mut up, mut down) = (Aroon::new(n), Aroon::new(n));
    forms.push((
        "aroon_up",
        Box::new(move |x, o| aroon::aroon_up(x[1], n, o)),
        Box::new(move |x| up.update_up(x[1])),
    ));
    forms.push((
        "aroon_down",
        Box::new(move |x, o| aroon::aroon_down(x[2], n, o)),
        Box::new(move |x| down.update_down(x[2])),
    ));
    let mut v = Obv::new();
    forms.push(("obv", Box::new(|x, o| obv::obv(x[3], x[4], o)), Box::new(move |x| v.update(x[3], x[4]))));
    let mut f = Mfi::new(n);
    forms.push((
        "mfi",
        Box::new(move |x, o| mfi::mfi(Hlc { high: x[1], low: x[2], close: x[3] }, x[4], n, o)),
        Box::new(move |x| f.update(x[1], x[2], x[3], x[4])),
    ));
    let p = MacdPeriods { fast: n, slow: m, signal: period(3) };
    let mut a = Macd::new(p);
    forms.push((
        "macd",
        Box::new(move |x, o| macd::macd(x[3], p, o)),
        Box::new(move |x| a.update(x[3]).line),
    ));
    let mut a = Macd::new(p);
    forms.push((
        "macd_hist",
        Box::new(move |x, o| macd::macd_hist(x[3], p, o)),
        Box::new(move |x| a.update(x[3]).histogram),
    ));
    let q = StochPeriods { fast_k: n, slow_k: m, slow_d: period(2) };
    let mut a = Stoch::new(q);
    forms.push((
        "stoch_k",
        Box::new(move |x, o| stoch::stoch_k(Hlc { high: x[1], low: x[2], close: x[3] }, q, o)),
        Box::new(move |x| a.update(x[1], x[2], x[3]).k),
    ));
    let mut a = Stoch::new(q);
    forms.push((
        "stoch_d",
        Box::new(move |x, o| stoch::stoch_d(Hlc { high: x[1], low: x[2], close: x[3] }, q, o)),
        Box::new(move |x| a.update(x[1], x[2], x[3]).d),
    ));
    forms
}

proptest! {
    /// Both forms give the same bits, gaps and overflows included, and no output is infinite.
    #[test]
    fn step_equals_column(x in column(), n in 1..25u32, m in 1..9u32) {
        let rows = x.len();
        let mixed: Vec<Vec<f64>> = (0..5).map(|k| (0..rows).map(|i| x[(i + k * 7) % rows.max(1)]).collect()).collect();
        let columns: Vec<&[f64]> = mixed.iter().map(Vec::as_slice).collect();
        for (name, column, mut step) in both_forms(period(n), period(m)) {
            let mut out = vec![0.5; rows];
            column(&columns, &mut out);
            for (i, &got) in out.iter().enumerate() {
                let row: Vec<f64> = columns.iter().map(|c| c[i]).collect();
                let stepped = step(&row);
                prop_assert!(
                    got.to_bits() == stepped.to_bits() || (got.is_nan() && stepped.is_nan()),
                    "{} row {}: column {} step {}", name, i, got, stepped
                );
                prop_assert!(!got.is_infinite(), "{} row {}", name, i);
            }
        }
    }

    /// The first outputs do not change when later values do.
    #[test]
    fn the_future_does_not_matter(x in column(), cut in 0..400usize, n in 1..25u32, m in 1..9u32) {
        let rows = x.len();
        let cut = cut.min(rows);
        let mut changed = x.clone();
        for value in &mut changed[cut..] { *value = 77.0 - *value; }
        for (name, column, _) in both_forms(period(n), period(m)) {
            let (mut a, mut b) = (vec![0.5; rows], vec![0.5; rows]);
            column(&[&x, &x, &x, &x, &x], &mut a);
            column(&[&changed, &changed, &changed, &changed, &changed], &mut b);
            for i in 0..cut {
                prop_assert!(a[i].to_bits() == b[i].to_bits() || (a[i].is_nan() && b[i].is_nan()), "{} row {}", name, i);
            }
        }
    }

    /// Windows against their definitions, computed afresh for each row.
    #[test]
    fn windows_equal_their_definitions(x in prop::collection::vec(-1e4..1e4f64, 1..100), n in 1..20u32) {
        let p = period(n);
        let n = n as usize;
        let rows = x.len();
        let (mut mean, mut deviation, mut weighted) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]);
        sma::sma(&x, p, &mut mean);
        stddev::stddev(&x, p, &mut deviation);
        wma::wma(&x, p, &mut weighted);
        for i in n - 1..rows.max(n - 1) {
            let window = &x[i + 1 - n..=i];
            let m = window.iter().sum::<f64>() / n as f64;
            let d = (window.iter().map(|v| (v - m).powi(2)).sum::<f64>() / n as f64).sqrt();
            let w = window.iter().enumerate().map(|(k, v)| (k + 1) as f64 * v).sum::<f64>() / (n * (n + 1) / 2) as f64;
            prop_assert!((mean[i] - m).abs() <= 1e-11 * 1e4);
            prop_assert!((deviation[i] - d).abs() <= 1e-9 * d.max(1e-3));
            prop_assert!((weighted[i] - w).abs() <= 1e-11 * 1e4);
        }
    }
}
