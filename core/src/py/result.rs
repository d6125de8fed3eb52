//! `RunResult`: the tables of one parameter set.

use super::arrow::ArrowTable;
use crate::analysis::METRICS;
use crate::batch::{AccountResult, RunOutcome, TrialOutcome};
use crate::model::{Fill, OrderTag};
use crate::plan::Output;
use crate::units::{InstrumentIx, StrategyIx};
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
    /// Of the panel.
    symbols: Vec<String>,
    outputs: Vec<Output>,
    tags: Vec<String>,
    /// Names of the strategies that share an account; none where one strategy has it for itself.
    strategies: Vec<String>,
}

impl PyRunResult {
    pub fn new(
        run: RunOutcome,
        symbols: Vec<String>,
        outputs: Vec<Output>,
        tags: Vec<String>,
        strategies: Vec<String>,
    ) -> Self {
        Self { outcome: run.outcome, accounts: run.accounts, symbols, outputs, tags, strategies }
    }

    fn strategy(&self, owner: StrategyIx) -> &str {
        self.strategies.get(owner.ix()).map_or("", String::as_str)
    }

    /// Adds the strategy of every row where several share an account.
    fn with_strategy<'a>(
        &'a self,
        mut columns: Vec<(&'static str, ArrayRef)>,
        owners: impl Iterator<Item = StrategyIx> + 'a,
    ) -> PyResult<ArrowTable> {
        if !self.strategies.is_empty() {
            columns.push(("strategy", words(owners.map(|owner| self.strategy(owner)))));
        }
        table(columns)
    }

    fn symbol(&self, account: &AccountResult, instrument: InstrumentIx) -> &str {
        &self.symbols[account.universe[instrument.ix()]]
    }

    /// Name of an account: its symbol, or nothing when it is shared.
    fn account_name(&self, account: &AccountResult) -> &str {
        match account.universe.as_slice() {
            [asset] => &self.symbols[*asset],
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

impl PyRunResult {
    /// The shares of the strategies of one account.
    fn shares<'a>(&'a self, account: &'a AccountResult) -> Vec<Share<'a>> {
        let symbol = self.account_name(account);
        let share = |strategy: &'a String| Share {
            symbol,
            strategy,
            n_orders: 0,
            n_fills: 0,
            n_trades: 0,
            fees: 0.0,
            slippage_cost: 0.0,
            closed_net: 0.0,
            net_profit: 0.0,
        };
        let mut shares: Vec<Share<'a>> = self.strategies.iter().map(share).collect();
        for order in &account.orders {
            shares[order.owner.ix()].n_orders += 1;
        }
        for fill in &account.record.fills {
            let share = &mut shares[owner_of(account, fill).ix()];
            share.n_fills += 1;
            share.fees += fill.fees;
            share.slippage_cost += fill.slippage_cost;
        }
        for (trip, owner) in account.record.trips.iter().zip(&account.record.trip_owners) {
            shares[owner.ix()].n_trades += 1;
            shares[owner.ix()].closed_net += trip.net;
        }
        for (share, profit) in shares.iter_mut().zip(&account.record.net_profits) {
            share.net_profit = *profit;
        }
        shares
    }
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
        columns.push(("financing", floats(self.accounts.iter().map(|a| a.record.financing))));
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
        let columns = vec![
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
        ];
        self.with_strategy(columns, each().map(|(_, o)| o.owner))
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
        let columns = vec![
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
        ];
        self.with_strategy(columns, each().map(|(a, f)| owner_of(a, f)))
    }

    fn trades(&self) -> PyResult<ArrowTable> {
        let each = || self.each(|a| &a.record.trips, |a, trip| (a, trip));
        let side = |name: &str| if name == "buy" { "long" } else { "short" };
        let columns = vec![
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
        ];
        self.with_strategy(columns, self.each(|a| &a.record.trip_owners, |_, owner| *owner))
    }

    fn strategies(&self) -> PyResult<Option<ArrowTable>> {
        if self.strategies.is_empty() {
            return Ok(None);
        }
        let shares: Vec<Share<'_>> = self.accounts.iter().flat_map(|a| self.shares(a)).collect();
        let sums = |value: fn(&Share<'_>) -> f64| floats(shares.iter().map(value));
        let counts = |value: fn(&Share<'_>) -> i64| ints(shares.iter().map(value));
        table(vec![
            ("symbol", words(shares.iter().map(|share| share.symbol))),
            ("strategy", words(shares.iter().map(|share| share.strategy))),
            ("n_orders", counts(|share| share.n_orders)),
            ("n_fills", counts(|share| share.n_fills)),
            ("n_trades", counts(|share| share.n_trades)),
            ("fees", sums(|share| share.fees)),
            ("slippage_cost", sums(|share| share.slippage_cost)),
            ("closed_net", sums(|share| share.closed_net)),
            ("net_profit", sums(|share| share.net_profit)),
        ])
        .map(Some)
    }
}

/// What one strategy did in an account that it shares.
#[derive(Debug)]
struct Share<'a> {
    symbol: &'a str,
    strategy: &'a str,
    n_orders: i64,
    n_fills: i64,
    n_trades: i64,
    fees: f64,
    slippage_cost: f64,
    closed_net: f64,
    net_profit: f64,
}

fn owner_of(account: &AccountResult, fill: &Fill) -> StrategyIx {
    let order = (fill.order.0 as usize).checked_sub(1).and_then(|at| account.orders.get(at));
    order.map(|order| order.owner).unwrap_or_default()
}
