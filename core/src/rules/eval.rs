//! Nodes of a graph to columns of one asset.
//!
//! A column that several trials read is kept until its last reader has had it; one with a single reader lives in a
//! buffer that is used again at once. Buffers outlive the asset, so that nothing is allocated once all have grown.

use super::SeriesSource;
use super::graph::{BatchGraph, MacdOut, Node, NodeIx, Op, RangeFn, StochOut, WindowFn};
use super::kernels::{self, Nums, Truths};
use super::relation::{self, Relation};
use crate::error::RuleError;
use crate::indicators::{
    Hlc, Period, Truth, adx, aroon, atr, bbands, cci, dema, ema, extremes, hma, macd, mfi, mom, obv, roc,
    rsi, shift, sma, stddev, stoch, sum, tema, tr, trix, willr, wma, zscore,
};

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Evaluates nodes over the columns of one asset at a time.
///
/// Between two calls of [`Evaluator::begin`] graph and source must stay the same.
#[derive(Debug)]
pub struct Evaluator<'c> {
    /// Looked at before every node; a node is one pass over the rows.
    cancel: Option<&'c AtomicBool>,
    n_rows: usize,
    memo: Vec<Memo>,
    /// Nodes whose memo may hold a column, the longest held first.
    held: VecDeque<NodeIx>,
    held_bytes: usize,
    max_held_bytes: usize,
    pools: Pools,
    /// For each frequency of the graph.
    coarse: Vec<Coarse<'c>>,
}

/// Buffers that wait for the next column; whatever is in them is overwritten.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    nums: Vec<Vec<f64>>,
    truths: Vec<Vec<Truth>>,
    relations: Vec<Vec<Relation>>,
    positions: Vec<u32>,
}

impl Pools {
    pub fn n_bytes(&self) -> usize {
        let nums: usize = self.nums.iter().map(|buffer| buffer.capacity() * size_of::<f64>()).sum();
        let truths: usize = self.truths.iter().map(Vec::capacity).sum();
        let relations: usize = self.relations.iter().map(Vec::capacity).sum();
        nums + truths + relations + self.positions.capacity() * size_of::<u32>()
    }
}

/// Evaluates what stands in `on`, over the coarse bars of the same asset.
#[derive(Debug)]
struct Coarse<'c> {
    evaluator: Evaluator<'c>,
    /// For the asset at hand.
    has_begun: bool,
}

#[derive(Debug, Default)]
struct Memo {
    column: Option<Column>,
    /// Readers still expected.
    readers_left: u32,
    /// Readers at work.
    pins: u32,
}

#[derive(Debug)]
enum Column {
    Nums(Vec<f64>),
    Truths(Vec<Truth>),
    Relations(Vec<Relation>),
}

/// Where the value of a node is.
enum Value {
    Nothing,
    Number(f64),
    Truth(Truth),
    Source(u32),
    Memo(NodeIx),
    Own(Column),
}

impl Default for Evaluator<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'c> Evaluator<'c> {
    pub fn new() -> Self {
        Self::with_memory_limit(usize::MAX)
    }

    /// Keeps about so many bytes of shared columns of an asset: for a new one the oldest that is not being read makes
    /// room, and is computed again when it is needed again.
    pub fn with_memory_limit(max_held_bytes: usize) -> Self {
        Self {
            cancel: None,
            n_rows: 0,
            memo: Vec::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            max_held_bytes,
            pools: Pools::default(),
            coarse: Vec::new(),
        }
    }

    /// Gives up with `RuleError::Cancelled` once the flag is set; it may not be used after that.
    #[must_use]
    pub fn cancelled_by(self, cancel: &'c AtomicBool) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// Begins with buffers that have grown before.
    #[must_use]
    pub(crate) fn with_pools(self, pools: Pools) -> Self {
        Self { pools, ..self }
    }

    /// The buffers, for another evaluator.
    pub(crate) fn into_pools(mut self) -> Pools {
        while let Some(ix) = self.held.pop_front() {
            self.forget(ix);
        }
        self.pools
    }

    /// Turns to another asset: forgets all values and keeps the memory.
    pub fn begin(&mut self, graph: &BatchGraph, n_rows: usize) {
        while let Some(ix) = self.held.pop_front() {
            self.forget(ix);
        }
        self.held_bytes = 0;
        self.n_rows = n_rows;
        self.memo.resize_with(graph.n_nodes(), Memo::default);
        let (limit, cancel) = (self.max_held_bytes, self.cancel);
        let fresh = || Coarse {
            evaluator: Evaluator { cancel, ..Evaluator::with_memory_limit(limit) },
            has_begun: false,
        };
        self.coarse.resize_with(graph.frequencies.len(), fresh);
        for coarse in &mut self.coarse {
            coarse.has_begun = false;
        }
    }

    /// Writes a condition: 1 where it holds, 0 where it does not or is undefined.
    pub fn bools(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        node: NodeIx,
        out: &mut Vec<u8>,
    ) -> Result<(), RuleError> {
        let value = self.root(graph, source, node, true)?;
        let n_rows = self.n_rows;
        match self.truths_of(&value)? {
            Truths::Same(truth) => {
                out.clear();
                out.resize(n_rows, u8::from(truth.holds()));
            }
            Truths::Column(truths) => {
                out.resize(n_rows, 0);
                kernels::held(truths, out);
            }
        }
        self.release(value);
        Ok(())
    }

    /// Writes a number: NaN where it is undefined.
    pub fn nums(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        node: NodeIx,
        out: &mut Vec<f64>,
    ) -> Result<(), RuleError> {
        // The caller's buffer joins the pool, so that the last operation writes into it or into one just as good.
        self.pools.nums.push(std::mem::take(out));
        let value = self.root(graph, source, node, false)?;
        if let Value::Own(Column::Nums(column)) = value {
            *out = column;
            return Ok(());
        }
        *out = self.nums_buffer();
        match self.nums_of(graph, source, &value)? {
            Nums::Same(number) => out.fill(number),
            Nums::Column(column) => out.copy_from_slice(column),
        }
        self.release(value);
        Ok(())
    }

    /// Whether the column of a node is at hand.
    pub(super) fn holds(&self, node: NodeIx) -> bool {
        self.memo.get(node.ix()).is_some_and(|memo| memo.column.is_some())
    }

    /// Supplies the column of a node that is not computed from this asset alone.
    pub(super) fn supply(&mut self, graph: &BatchGraph, node: NodeIx, column: Vec<f64>) {
        self.store(graph, node, Column::Nums(column));
    }

    fn root(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        node: NodeIx,
        wants_condition: bool,
    ) -> Result<Value, RuleError> {
        if source.len() != self.n_rows || self.memo.len() != graph.n_nodes() {
            return Err(fault(format!("{} rows begun, {} given", self.n_rows, source.len())));
        }
        let known = graph.nodes.get(node.ix()).ok_or_else(|| fault(format!("no node {}", node.ix())))?;
        if known.op == Op::Relation || known.op.is_condition() != wants_condition {
            let [is, wanted] =
                if wants_condition { ["number", "condition"] } else { ["condition", "number"] };
            return Err(fault(format!("node {} is a {is}, a {wanted} was asked for", node.ix())));
        }
        self.value(graph, source, node)
    }

    /// Recurses no deeper than the parser allows a tree to be, a few levels more for indicators made of others.
    fn value(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        ix: NodeIx,
    ) -> Result<Value, RuleError> {
        let node = graph.node(ix);
        match node.op {
            Op::Const(bits) => return Ok(Value::Number(f64::from_bits(bits))),
            Op::Truth(truth) => return Ok(Value::Truth(truth)),
            Op::Series(series) => return self.series(graph, source, series),
            _ => {}
        }
        let memo = &mut self.memo[ix.ix()];
        if memo.column.is_some() {
            memo.pins += 1;
            return Ok(Value::Memo(ix));
        }
        if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(RuleError::Cancelled);
        }
        if let Op::OnNums(space) | Op::OnTruths(space) = node.op {
            let column = self.on_coarse(graph, source, node, usize::from(space) - 1)?;
            return Ok(self.finished(graph, ix, column));
        }
        let mut args = [Value::Nothing, Value::Nothing, Value::Nothing, Value::Nothing];
        for (arg, &operand) in args.iter_mut().zip(node.args()) {
            let value = self.value(graph, source, operand)?;
            *arg = if node.op.reads_columns() { self.written_out(value) } else { value };
        }
        let column = match node.op {
            Op::Window(WindowFn::Sma, n) => self.averages(graph, source, ix, n, &args)?,
            _ => self.apply(graph, source, node, &args)?,
        };
        for arg in args {
            self.release(arg);
        }
        Ok(self.finished(graph, ix, column))
    }

    /// A moving average, and with it those of the same column that are wanted next: together they take little longer.
    fn averages(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        ix: NodeIx,
        n: Period,
        args: &[Value; 4],
    ) -> Result<Column, RuleError> {
        let x = &args[0];
        let mut windows = [n; sma::TOGETHER];
        let mut others = [ix; sma::TOGETHER];
        let mut n_together = 1;
        for other in graph.later_averages(ix).take(sma::TOGETHER - 1).filter(|other| !self.holds(*other)) {
            if let Op::Window(_, n) = graph.node(other).op {
                (windows[n_together], others[n_together]) = (n, other);
                n_together += 1;
            }
        }
        if n_together == 1 {
            return self.apply(graph, source, graph.node(ix), args);
        }
        let mut outs: Vec<Vec<f64>> = (0..n_together).map(|_| self.nums_buffer()).collect();
        let Nums::Column(column) = self.nums_of(graph, source, x)? else {
            return Err(fault("a moving average reads a column".to_string()));
        };
        sma::sma_columns(column, &windows[..n_together], &mut outs);
        let mut outs = outs.into_iter();
        let own = outs.next().unwrap_or_default();
        for (&other, out) in others[1..n_together].iter().zip(outs) {
            if let Value::Memo(read) = x {
                let readers_left = &mut self.memo[read.ix()].readers_left;
                *readers_left = readers_left.saturating_sub(1);
            }
            self.store(graph, other, Column::Nums(out));
        }
        Ok(Column::Nums(own))
    }

    /// A column just made: kept where there are more readers than the one at hand.
    fn finished(&mut self, graph: &BatchGraph, ix: NodeIx, column: Column) -> Value {
        if graph.uses[ix.ix()] > 1 {
            self.store(graph, ix, column);
            self.memo[ix.ix()].pins = 1;
            return Value::Memo(ix);
        }
        Value::Own(column)
    }

    /// The values of coarse bars, at each bar that of the last one complete; undefined before the first.
    fn on_coarse(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        node: &Node,
        at: usize,
    ) -> Result<Column, RuleError> {
        let frame = graph.frequencies.get(at).and_then(|frequency| source.frame(*frequency));
        let (Some(frame), Some(coarse), [inner]) = (frame, self.coarse.get_mut(at), node.args()) else {
            return Err(fault("the source has no coarse bars".to_string()));
        };
        let mut coarse = std::mem::replace(coarse, Coarse { evaluator: Self::new(), has_begun: false });
        if !coarse.has_begun {
            coarse.evaluator.begin(graph, frame.len());
            coarse.has_begun = true;
        }
        let evaluator = &mut coarse.evaluator;
        let value = evaluator.root(graph, frame, *inner, node.op.is_condition())?;
        let last = |row: usize| frame.n_complete_at(row as u32).checked_sub(1);
        let column = if node.op.is_condition() {
            let mut out = self.truths_buffer();
            let truths = evaluator.truths_of(&value)?;
            for (row, o) in out.iter_mut().enumerate() {
                *o = last(row).map_or(Truth::UNDEFINED, |at| match truths {
                    Truths::Same(truth) => truth,
                    Truths::Column(column) => column[at],
                });
            }
            Column::Truths(out)
        } else {
            let mut out = self.nums_buffer();
            let nums = evaluator.nums_of(graph, frame, &value)?;
            for (row, o) in out.iter_mut().enumerate() {
                *o = last(row).map_or(f64::NAN, |at| match nums {
                    Nums::Same(number) => number,
                    Nums::Column(column) => column[at],
                });
            }
            Column::Nums(out)
        };
        evaluator.release(value);
        self.coarse[at] = coarse;
        Ok(column)
    }

    /// A column of the source. Infinities in an extra column count as undefined like any other.
    fn series(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        series: u32,
    ) -> Result<Value, RuleError> {
        let column = source_column(graph, source, series, self.n_rows)?;
        let is_standard = graph.series.get(series as usize).is_some_and(|s| s.is_standard);
        if is_standard || !column.iter().any(|v| v.is_infinite()) {
            return Ok(Value::Source(series));
        }
        let mut clean = self.nums_buffer();
        for (o, &v) in clean.iter_mut().zip(column) {
            *o = if v.is_finite() { v } else { f64::NAN };
        }
        Ok(Value::Own(Column::Nums(clean)))
    }

    fn apply(
        &mut self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        node: &Node,
        args: &[Value; 4],
    ) -> Result<Column, RuleError> {
        if node.op.is_condition() {
            let mut out = self.truths_buffer();
            self.condition(node.op, args, &mut out)?;
            return Ok(Column::Truths(out));
        }
        if node.op == Op::Relation {
            let mut out = self.pools.relations.pop().unwrap_or_default();
            out.resize(self.n_rows, Relation::UNDEFINED);
            let [a, b, ..] = args;
            relation::relate(self.nums_of(graph, source, a)?, self.nums_of(graph, source, b)?, &mut out);
            return Ok(Column::Relations(out));
        }
        let mut out = self.nums_buffer();
        let mut positions = std::mem::take(&mut self.pools.positions);
        let done = self.number(graph, source, node.op, args, &mut positions, &mut out);
        self.pools.positions = positions;
        done.map(|()| Column::Nums(out))
    }

    fn condition(&self, op: Op, [a, b, ..]: &[Value; 4], out: &mut [Truth]) -> Result<(), RuleError> {
        match op {
            Op::And => kernels::and(self.truths_of(a)?, self.truths_of(b)?, out),
            Op::Or => kernels::or(self.truths_of(a)?, self.truths_of(b)?, out),
            Op::Not => kernels::not(self.truths_of(a)?, out),
            Op::Test(relations) => relation::test(self.relations_of(a)?, relations, out),
            Op::Cross(before, now) => relation::cross(self.relations_of(a)?, before, now, out),
            _ => return Err(fault(format!("{op:?} is no condition"))),
        }
        Ok(())
    }

    fn number(
        &self,
        graph: &BatchGraph,
        source: &dyn SeriesSource,
        op: Op,
        args: &[Value; 4],
        positions: &mut Vec<u32>,
        out: &mut [f64],
    ) -> Result<(), RuleError> {
        let [a, b, c, d] = args;
        let nums = |value| self.nums_of(graph, source, value);
        let column = |value| match self.nums_of(graph, source, value)? {
            Nums::Column(column) => Ok(column),
            Nums::Same(number) => Err(fault(format!("constant {number} where {op:?} reads a column"))),
        };
        let bars = || Ok::<_, RuleError>(Hlc { high: column(a)?, low: column(b)?, close: column(c)? });
        match op {
            Op::BarIndex => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = i as f64;
                }
            }
            Op::Unary(op) => kernels::unary(op, nums(a)?, out),
            Op::Binary(op) => kernels::binary(op, nums(a)?, nums(b)?, out),
            Op::IfElse => kernels::if_else(self.truths_of(a)?, nums(b)?, nums(c)?, out),
            Op::BarsSince => kernels::bars_since(self.truths_of(a)?, out),
            Op::Window(function, n) => {
                let x = column(a)?;
                match function {
                    WindowFn::AroonDown => aroon::aroon_down(x, n, out),
                    WindowFn::AroonUp => aroon::aroon_up(x, n, out),
                    WindowFn::Dema => dema::dema(x, n, out),
                    WindowFn::Ema => ema::ema(x, n, out),
                    WindowFn::Highest => extremes::highest(x, n, positions, out),
                    WindowFn::Hma => hma::hma(x, n, out),
                    WindowFn::Lowest => extremes::lowest(x, n, positions, out),
                    WindowFn::Mom => mom::mom(x, n, out),
                    WindowFn::Roc => roc::roc(x, n, out),
                    WindowFn::Rocp => roc::rocp(x, n, out),
                    WindowFn::Rsi => rsi::rsi(x, n, out),
                    WindowFn::Sma => sma::sma(x, n, out),
                    WindowFn::Stddev => stddev::stddev(x, n, out),
                    WindowFn::Sum => sum::sum(x, n, out),
                    WindowFn::Tema => tema::tema(x, n, out),
                    WindowFn::Trix => trix::trix(x, n, out),
                    WindowFn::Wma => wma::wma(x, n, out),
                }
            }
            Op::Shift(n) => shift::shift(column(a)?, n, out),
            Op::Macd(MacdOut::Line, periods) => macd::macd(column(a)?, periods, out),
            Op::Macd(MacdOut::Signal, periods) => macd::macd_signal(column(a)?, periods, out),
            Op::Band(k) => bbands::band(column(a)?, column(b)?, f64::from_bits(k), out),
            Op::Score => zscore::score_column(column(a)?, column(b)?, column(c)?, out),
            Op::Percent => atr::percent_of_close(column(a)?, column(b)?, out),
            Op::Range(function, n) => {
                let bars = bars()?;
                match function {
                    RangeFn::Adx => adx::adx(bars, n, out),
                    RangeFn::Atr => atr::atr(bars, n, out),
                    RangeFn::Cci => cci::cci(bars, n, out),
                    RangeFn::MinusDi => adx::minus_di(bars, n, out),
                    RangeFn::PlusDi => adx::plus_di(bars, n, out),
                    RangeFn::Willr => willr::willr(bars, n, out),
                }
            }
            Op::TrueRange => tr::tr(bars()?, out),
            Op::Stoch(StochOut::K, periods) => stoch::stoch_k(bars()?, periods, out),
            Op::Stoch(StochOut::D, periods) => stoch::stoch_d(bars()?, periods, out),
            Op::Obv => obv::obv(column(a)?, column(b)?, out),
            Op::Mfi(n) => mfi::mfi(bars()?, column(d)?, n, out),
            Op::Rank => {
                let message =
                    "compares assets, so it needs all of them at once, not one at a time".to_string();
                return Err(RuleError::Type { slot: "rank".to_string(), message });
            }
            _ => return Err(fault(format!("{op:?} is no number"))),
        }
        Ok(())
    }

    fn nums_of<'a>(
        &'a self,
        graph: &BatchGraph,
        source: &'a dyn SeriesSource,
        value: &'a Value,
    ) -> Result<Nums<'a>, RuleError> {
        match value {
            Value::Number(number) => Ok(Nums::Same(*number)),
            Value::Own(Column::Nums(column)) => Ok(Nums::Column(column)),
            Value::Source(series) => Ok(Nums::Column(source_column(graph, source, *series, self.n_rows)?)),
            Value::Memo(ix) => match &self.memo[ix.ix()].column {
                Some(Column::Nums(column)) => Ok(Nums::Column(column)),
                _ => Err(fault(format!("node {} holds no numbers", ix.ix()))),
            },
            _ => Err(fault("a number is missing".to_string())),
        }
    }

    fn truths_of<'a>(&'a self, value: &'a Value) -> Result<Truths<'a>, RuleError> {
        match value {
            Value::Truth(truth) => Ok(Truths::Same(*truth)),
            Value::Own(Column::Truths(column)) => Ok(Truths::Column(column)),
            Value::Memo(ix) => match &self.memo[ix.ix()].column {
                Some(Column::Truths(column)) => Ok(Truths::Column(column)),
                _ => Err(fault(format!("node {} holds no condition", ix.ix()))),
            },
            _ => Err(fault("a condition is missing".to_string())),
        }
    }

    fn relations_of<'a>(&'a self, value: &'a Value) -> Result<&'a [Relation], RuleError> {
        match value {
            Value::Own(Column::Relations(column)) => Ok(column),
            Value::Memo(ix) => match &self.memo[ix.ix()].column {
                Some(Column::Relations(column)) => Ok(column),
                _ => Err(fault(format!("node {} holds no relations", ix.ix()))),
            },
            _ => Err(fault("a relation is missing".to_string())),
        }
    }

    /// A constant number as a column; anything else as it is.
    fn written_out(&mut self, value: Value) -> Value {
        let Value::Number(number) = value else { return value };
        let mut column = self.nums_buffer();
        column.fill(number);
        Value::Own(Column::Nums(column))
    }

    /// A reader has had a value; the last one lets its buffer go.
    fn release(&mut self, value: Value) {
        match value {
            Value::Own(column) => self.recycle(Some(column)),
            Value::Memo(ix) => {
                let memo = &mut self.memo[ix.ix()];
                memo.pins = memo.pins.saturating_sub(1);
                memo.readers_left = memo.readers_left.saturating_sub(1);
                if memo.pins == 0 && memo.readers_left == 0 {
                    self.forget(ix);
                }
            }
            Value::Nothing | Value::Number(_) | Value::Truth(_) | Value::Source(_) => {}
        }
    }

    fn store(&mut self, graph: &BatchGraph, ix: NodeIx, column: Column) {
        let n_bytes = self.n_rows * column.bytes_per_row();
        for _ in 0..self.held.len() {
            if self.held_bytes.saturating_add(n_bytes) <= self.max_held_bytes {
                break;
            }
            let Some(oldest) = self.held.pop_front() else { break };
            if self.memo.get(oldest.ix()).is_some_and(|memo| memo.pins > 0) {
                self.held.push_back(oldest);
            } else {
                self.forget(oldest);
            }
        }
        self.held_bytes += n_bytes;
        self.held.push_back(ix);
        let readers_left = graph.uses.get(ix.ix()).copied().unwrap_or(0);
        if let Some(memo) = self.memo.get_mut(ix.ix()) {
            *memo = Memo { column: Some(column), readers_left, pins: 0 };
        }
    }

    /// Lets the column of a node go, if there is one.
    fn forget(&mut self, ix: NodeIx) {
        let Some(memo) = self.memo.get_mut(ix.ix()) else { return };
        let column = std::mem::take(memo).column;
        let n_bytes = column.as_ref().map_or(0, |column| self.n_rows * column.bytes_per_row());
        self.held_bytes = self.held_bytes.saturating_sub(n_bytes);
        self.recycle(column);
    }

    fn recycle(&mut self, column: Option<Column>) {
        match column {
            Some(Column::Nums(buffer)) => self.pools.nums.push(buffer),
            Some(Column::Truths(buffer)) => self.pools.truths.push(buffer),
            Some(Column::Relations(buffer)) => self.pools.relations.push(buffer),
            None => {}
        }
    }

    /// A buffer of the right length with anything in it.
    fn nums_buffer(&mut self) -> Vec<f64> {
        let mut buffer = self.pools.nums.pop().unwrap_or_default();
        buffer.resize(self.n_rows, f64::NAN);
        buffer
    }

    fn truths_buffer(&mut self) -> Vec<Truth> {
        let mut buffer = self.pools.truths.pop().unwrap_or_default();
        buffer.resize(self.n_rows, Truth::UNDEFINED);
        buffer
    }
}

impl Column {
    fn bytes_per_row(&self) -> usize {
        match self {
            Self::Nums(_) => size_of::<f64>(),
            Self::Truths(_) => size_of::<Truth>(),
            Self::Relations(_) => size_of::<Relation>(),
        }
    }
}

fn source_column<'a>(
    graph: &BatchGraph,
    source: &'a dyn SeriesSource,
    series: u32,
    n_rows: usize,
) -> Result<&'a [f64], RuleError> {
    let name = graph.series.get(series as usize).map_or("", |s| s.name.as_str());
    let Some(column) = source.column(name) else {
        let hint = ", which a rule reads".to_string();
        return Err(RuleError::UnknownName {
            slot: "data".to_string(),
            what: "column",
            name: name.to_string(),
            hint,
        });
    };
    if column.len() == n_rows {
        Ok(column)
    } else {
        Err(fault(format!("column {name:?} has {} rows, expected {n_rows}", column.len())))
    }
}

/// Misuse by the caller or a fault of the crate.
fn fault(message: String) -> RuleError {
    RuleError::Type { slot: "evaluation".to_string(), message }
}
