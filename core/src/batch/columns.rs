//! The columns of trials, evaluated over instruments.

use crate::data::{Panel, RowSteps, Timeline, Window};
use crate::error::EngineError;
use crate::rules::{BatchGraph, BoundSlot, Evaluator, PanelEvaluator, SeriesSource};
use crate::trader::{Column, CompiledRules, RuleColumns};
use crate::units::InstrumentIx;
use std::sync::atomic::AtomicBool;

/// The columns of one trial over one instrument.
#[derive(Debug, Default)]
pub(super) struct InstrumentColumns {
    bools: [Option<Vec<u8>>; 4],
    nums: [Option<Vec<f64>>; 3],
    spare_bools: Vec<Vec<u8>>,
    spare_nums: Vec<Vec<f64>>,
}

impl InstrumentColumns {
    /// The same buffers without columns: another strategy has other ones.
    pub fn emptied(mut self) -> Self {
        self.spare_bools.extend(self.bools.iter_mut().filter_map(Option::take));
        self.spare_nums.extend(self.nums.iter_mut().filter_map(Option::take));
        self
    }

    pub fn n_bytes(&self) -> usize {
        let bools = self.bools.iter().flatten().chain(&self.spare_bools);
        let nums = self.nums.iter().flatten().chain(&self.spare_nums);
        bools.map(Vec::capacity).sum::<usize>() + nums.map(Vec::capacity).sum::<usize>() * size_of::<f64>()
    }

    /// Evaluates one trial.
    pub fn fill(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        evaluator: &mut Evaluator<'_>,
        source: &dyn SeriesSource,
    ) -> Result<(), EngineError> {
        for (slot, column) in rules.columns() {
            match place(column) {
                Place::Bool(ix) => {
                    let spare = &mut self.spare_bools;
                    let out = self.bools[ix].get_or_insert_with(|| spare.pop().unwrap_or_default());
                    match bound[slot] {
                        BoundSlot::Series(node) => evaluator.bools(graph, source, node, out)?,
                        BoundSlot::Scalar(value) => refill(out, source.len(), u8::from(value == 1.0)),
                    }
                }
                Place::Num(ix) => {
                    let spare = &mut self.spare_nums;
                    let out = self.nums[ix].get_or_insert_with(|| spare.pop().unwrap_or_default());
                    match bound[slot] {
                        BoundSlot::Series(node) => evaluator.nums(graph, source, node, out)?,
                        BoundSlot::Scalar(value) => refill(out, source.len(), value),
                    }
                }
            }
        }
        Ok(())
    }

    pub fn borrow(&self) -> RuleColumns<'_> {
        RuleColumns {
            enter: self.bools[0].as_deref(),
            exit: self.bools[1].as_deref(),
            enter_short: self.bools[2].as_deref(),
            exit_short: self.bools[3].as_deref(),
            long_price: self.nums[0].as_deref(),
            short_price: self.nums[1].as_deref(),
            weights: self.nums[2].as_deref(),
        }
    }
}

/// Bytes that the columns of one trial take for each row.
pub(super) fn bytes_per_row(rules: &CompiledRules) -> usize {
    let bytes = |(_, column)| match place(column) {
        Place::Bool(_) => size_of::<u8>(),
        Place::Num(_) => size_of::<f64>(),
    };
    rules.columns().map(bytes).sum()
}

/// The columns of one trial, by instrument.
#[derive(Debug, Default)]
pub(crate) struct ColumnBuffers {
    instruments: Vec<InstrumentColumns>,
}

impl ColumnBuffers {
    /// Evaluates one trial over one instrument.
    pub(super) fn fill_one(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        evaluator: &mut Evaluator<'_>,
        source: &dyn SeriesSource,
    ) -> Result<(), EngineError> {
        self.instruments.resize_with(1, InstrumentColumns::default);
        self.instruments.iter_mut().try_for_each(|one| one.fill(rules, graph, bound, evaluator, source))
    }

    /// Evaluates one trial over every instrument of a universe, across it where the rules rank.
    pub fn fill_all(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        panel: &Panel,
        universe: &[usize],
        cancel: &AtomicBool,
    ) -> Result<(), EngineError> {
        self.instruments.resize_with(universe.len(), InstrumentColumns::default);
        if rules.program().is_cross_sectional() {
            let timeline = Timeline::build(panel, universe, Window::default(), cancel)?;
            let steps = RowSteps::of(&timeline, universe.len());
            return self.fill_across(rules, graph, bound, panel, universe, &steps, cancel);
        }
        let mut evaluator = Evaluator::new().cancelled_by(cancel);
        for (columns, &asset) in self.instruments.iter_mut().zip(universe) {
            let source = rules.source(panel.asset(asset));
            evaluator.begin(graph, source.len());
            columns.fill(rules, graph, bound, &mut evaluator, &source)?;
        }
        Ok(())
    }

    /// As `fill_all` for rules that rank; `rows` are the steps of all rows of the universe, whatever the window.
    #[expect(clippy::too_many_arguments, reason = "one call a trial; what it reads is the batch's")]
    pub(super) fn fill_across(
        &mut self,
        rules: &CompiledRules,
        graph: &BatchGraph,
        bound: &[BoundSlot],
        panel: &Panel,
        universe: &[usize],
        rows: &RowSteps,
        cancel: &AtomicBool,
    ) -> Result<(), EngineError> {
        self.instruments.resize_with(universe.len(), InstrumentColumns::default);
        let views: Vec<_> = universe.iter().map(|&asset| rules.source(panel.asset(asset))).collect();
        let sources: Vec<&dyn SeriesSource> = views.iter().map(|view| view as &dyn SeriesSource).collect();
        let steps: Vec<&[u32]> =
            (0..universe.len()).map(|ix| rows.of_instrument(InstrumentIx(ix as u32)).1).collect();
        let mut evaluator =
            PanelEvaluator::new(graph, &sources, &steps, rows.n_steps())?.cancelled_by(cancel);
        for (slot, column) in rules.columns() {
            let node = bound[slot];
            self.place_across(column, node, &mut evaluator, &sources)?;
        }
        Ok(())
    }

    fn place_across(
        &mut self,
        column: Column,
        node: BoundSlot,
        evaluator: &mut PanelEvaluator<'_>,
        sources: &[&dyn SeriesSource],
    ) -> Result<(), EngineError> {
        match (place(column), node) {
            (Place::Bool(ix), BoundSlot::Series(node)) => {
                for (instrument, values) in self.instruments.iter_mut().zip(evaluator.bools(node)?) {
                    instrument.bools[ix] = Some(values);
                }
            }
            (Place::Num(ix), BoundSlot::Series(node)) => {
                for (instrument, values) in self.instruments.iter_mut().zip(evaluator.nums(node)?.nums) {
                    instrument.nums[ix] = Some(values);
                }
            }
            (Place::Bool(ix), BoundSlot::Scalar(value)) => {
                for (instrument, source) in self.instruments.iter_mut().zip(sources) {
                    instrument.bools[ix] = Some(vec![u8::from(value == 1.0); source.len()]);
                }
            }
            (Place::Num(ix), BoundSlot::Scalar(value)) => {
                for (instrument, source) in self.instruments.iter_mut().zip(sources) {
                    instrument.nums[ix] = Some(vec![value; source.len()]);
                }
            }
        }
        Ok(())
    }

    pub fn borrow(&self) -> Vec<RuleColumns<'_>> {
        self.instruments.iter().map(InstrumentColumns::borrow).collect()
    }
}

enum Place {
    Bool(usize),
    Num(usize),
}

fn place(column: Column) -> Place {
    match column {
        Column::Enter => Place::Bool(0),
        Column::Exit => Place::Bool(1),
        Column::EnterShort => Place::Bool(2),
        Column::ExitShort => Place::Bool(3),
        Column::LongPrice => Place::Num(0),
        Column::ShortPrice => Place::Num(1),
        Column::Weights => Place::Num(2),
    }
}

fn refill<T: Copy>(out: &mut Vec<T>, len: usize, value: T) {
    out.clear();
    out.resize(len, value);
}
