//! `RunResult`: the tables of one parameter set.

use super::arrow::ArrowTable;
use crate::analysis::METRICS;
use crate::batch::{AccountResult, RunOutcome, TrialOutcome};
use crate::data::Panel;
use crate::model::OrderTag;
use crate::plan::Output;
use crate::units::InstrumentIx;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, Date32Array, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use pyo3::prelude::*;
use std::sync::Arc;

#[pyclass(frozen, name = "RunResult", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyRunResult {
    outcome: TrialOutcome,
    accounts: Vec<AccountResult>,
    panel: Arc<Panel>,
    outputs: Vec<Output>,
    tags: Vec<String>,
}

impl PyRunResult {
    pub fn new(run: RunOutcome, panel: Arc<Panel>, outputs: Vec<Output>, tags: Vec<String>) -> Self {
        Self { outcome: run.outcome, accounts: run.accounts, panel, outputs, tags }
    }

    fn symbol(&self, account: &AccountResult, instrument: InstrumentIx) -> &str {
        &self.panel.symbols()[account.universe[instrument.ix()]]
    }

    /// Name of an account: its symbol, or nothing when it is shared.
    fn account_name(&self, account: &AccountResult) -> &str {
        match account.universe.as_slice() {
            [asset] => &self.panel.symbols()[*asset],
            _ => "",
        }
    }

    fn tag(&self, tag: OrderTag) -> &str {
        match tag {
            OrderTag::Custom(ix) => self.tags.get(ix as usize).map_or("", String::as_str),
            named => named.name(),
        }
    }

    /// One value an item of every account, with the account.
    fn each<'a, T: 'a, R>(
        &'a self,
        items: impl Fn(&'a AccountResult) -> &'a [T] + 'a,
        map: impl Fn(&'a AccountResult, &'a T) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a {
        let map = Arc::new(map);
        self.accounts.iter().flat_map(move |account| {
            let map = Arc::clone(&map);
            items(account).iter().map(move |item| map(account, item))
        })
    }
}

fn words<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

fn floats(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn ints(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn table(columns: Vec<(&str, ArrayRef)>) -> PyResult<ArrowTable> {
    ArrowTable::new(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name.to_owned(), array, name == "price")),
    ))
}

#[pymethods]
impl PyRunResult {
    #[getter]
    fn values(&self) -> Vec<f64> {
        self.outcome.values.clone()
    }

    #[getter]
    fn n_defined(&self) -> usize {
        self.outcome.n_defined
    }

    #[getter]
    fn n_bars(&self) -> u64 {
        self.outcome.n_bars
    }

    #[getter]
    fn hash(&self) -> String {
        self.outcome.hash.clone()
    }

    fn __repr__(&self) -> String {
        let first = self.outputs.first().map(Output::name).unwrap_or_default();
        let value = self.outcome.values.first().copied().unwrap_or(f64::NAN);
        format!("RunResult({} accounts, {first}={value})", self.accounts.len())
    }

    fn metrics(&self) -> PyResult<ArrowTable> {
        let names: StringArray = self.accounts.iter().map(|a| Some(self.account_name(a))).collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![("symbol", Arc::new(names))];
        for (ix, metric) in METRICS.iter().enumerate() {
            columns.push((metric.name, floats(self.accounts.iter().map(|a| a.metrics[ix]))));
        }
        table(columns)
    }

    fn equity(&self) -> PyResult<ArrowTable> {
        let steps = || self.each(|a| a.timeline.timestamps(), |a, ts| (a, *ts));
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("symbol", words(steps().map(|(a, _)| self.account_name(a)))),
            ("ts", times(steps().map(|(_, ts)| ts))),
            (
                "date",
                Arc::new(Date32Array::from_iter_values(self.each(|a| a.timeline.dates(), |_, date| *date))),
            ),
            ("equity", floats(self.each(|a| &a.record.equity, |_, v| *v))),
        ];
        // A run without details keeps nothing of the others.
        if self.accounts.iter().all(|a| a.record.cash.len() == a.record.equity.len()) {
            columns.extend([
                ("cash", floats(self.each(|a| &a.record.cash, |_, v| *v))),
                ("exposure", floats(self.each(|a| &a.record.exposure, |_, v| *v))),
                ("long", floats(self.each(|a| &a.record.holdings.long, |_, v| *v))),
                ("short", floats(self.each(|a| &a.record.holdings.short, |_, v| *v))),
                ("traded", floats(self.each(|a| &a.record.holdings.traded, |_, v| *v))),
            ]);
        }
        table(columns)
    }

    fn positions(&self) -> PyResult<ArrowTable> {
        let each = || self.each(|a| &a.record.holdings.positions, |a, held| (a, held, held.step as usize));
        table(vec![
            ("ts", times(each().map(|(a, _, step)| a.timeline.timestamps()[step]))),
            (
                "date",
                Arc::new(Date32Array::from_iter_values(each().map(|(a, _, step)| a.timeline.dates()[step]))),
            ),
            ("symbol", words(each().map(|(a, held, _)| self.symbol(a, held.instrument)))),
            ("qty", floats(each().map(|(_, held, _)| held.qty))),
            ("price", floats(each().map(|(_, held, _)| held.price))),
            ("value", floats(each().map(|(_, held, _)| held.value))),
            ("equity", floats(each().map(|(a, _, step)| a.record.equity[step]))),
        ])
    }

    fn orders(&self) -> PyResult<ArrowTable> {
        let each = || self.each(|a| &a.orders, |a, order| (a, order));
        let prices: Float64Array = each().map(|(_, o)| o.request.kind.price()).collect();
        table(vec![
            ("symbol", words(each().map(|(a, o)| self.symbol(a, o.request.instrument)))),
            ("id", ints(each().map(|(_, o)| o.id.0 as i64))),
            ("submitted", times(each().map(|(_, o)| o.submitted.0))),
            ("side", words(each().map(|(_, o)| o.request.side.name()))),
            ("kind", words(each().map(|(_, o)| o.kind_name()))),
            ("price", Arc::new(prices)),
            ("qty", floats(each().map(|(_, o)| o.qty))),
            ("tag", words(each().map(|(_, o)| self.tag(o.request.tag)))),
            ("status", words(each().map(|(_, o)| o.status.name()))),
            ("reason", words(each().map(|(_, o)| o.status.reason()))),
        ])
    }

    fn rejects(&self) -> PyResult<ArrowTable> {
        let each = || self.accounts.iter().flat_map(|a| a.record.rejects.iter().map(move |r| (a, r)));
        table(vec![
            ("symbol", words(each().map(|(a, _)| self.account_name(a)))),
            ("reason", words(each().map(|(_, (reason, _))| reason.name()))),
            ("n", ints(each().map(|(_, (_, n))| *n as i64))),
        ])
    }

    fn fills(&self) -> PyResult<ArrowTable> {
        let each = || self.each(|a| &a.record.fills, |a, fill| (a, fill));
        table(vec![
            ("symbol", words(each().map(|(a, f)| self.symbol(a, f.instrument)))),
            ("order", ints(each().map(|(_, f)| f.order.0 as i64))),
            ("ts", times(each().map(|(_, f)| f.ts.0))),
            ("row", ints(each().map(|(_, f)| i64::from(f.row)))),
            ("side", words(each().map(|(_, f)| f.side.name()))),
            ("qty", floats(each().map(|(_, f)| f.qty))),
            ("price", floats(each().map(|(_, f)| f.price))),
            ("fees", floats(each().map(|(_, f)| f.fees))),
            ("slippage_cost", floats(each().map(|(_, f)| f.slippage_cost))),
            ("tag", words(each().map(|(_, f)| self.tag(f.tag)))),
        ])
    }

    fn trades(&self) -> PyResult<ArrowTable> {
        let each = || self.each(|a| &a.record.trips, |a, trip| (a, trip));
        let side = |name: &str| if name == "buy" { "long" } else { "short" };
        table(vec![
            ("symbol", words(each().map(|(a, t)| self.symbol(a, t.instrument)))),
            ("side", words(each().map(|(_, t)| side(t.side.name())))),
            ("qty", floats(each().map(|(_, t)| t.qty))),
            ("entry_ts", times(each().map(|(_, t)| t.entry_ts.0))),
            ("exit_ts", times(each().map(|(_, t)| t.exit_ts.0))),
            ("entry_row", ints(each().map(|(_, t)| i64::from(t.entry_row)))),
            ("exit_row", ints(each().map(|(_, t)| i64::from(t.exit_row)))),
            ("entry_price", floats(each().map(|(_, t)| t.entry_price))),
            ("exit_price", floats(each().map(|(_, t)| t.exit_price))),
            ("gross", floats(each().map(|(_, t)| t.gross))),
            ("fees", floats(each().map(|(_, t)| t.fees))),
            ("net", floats(each().map(|(_, t)| t.net))),
            ("mae", floats(each().map(|(_, t)| t.mae))),
            ("mfe", floats(each().map(|(_, t)| t.mfe))),
        ])
    }
}
