//! Rules that compare assets: evaluated over a whole universe at once.

use super::SeriesSource;
use super::eval::Evaluator;
use super::graph::{BatchGraph, NodeIx, Op};
use crate::error::RuleError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Evaluates nodes over all assets of a universe; what several nodes share is computed once.
pub struct PanelEvaluator<'a> {
    graph: &'a BatchGraph,
    assets: Vec<Asset<'a>>,
    n_steps: usize,
    cancel: Option<&'a AtomicBool>,
}

struct Asset<'a> {
    source: &'a dyn SeriesSource,
    /// For each row, the position of its time in the merged timeline.
    steps: &'a [u32],
    evaluator: Evaluator<'a>,
}

/// A column of numbers per asset, in panel order.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelColumns {
    pub nums: Vec<Vec<f64>>,
}

impl std::fmt::Debug for PanelEvaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PanelEvaluator({} assets, {} steps)", self.assets.len(), self.n_steps)
    }
}

impl<'a> PanelEvaluator<'a> {
    /// `steps[i]` gives for each row of asset `i` the position of its time in the merged timeline of `n_steps`.
    pub fn new(
        graph: &'a BatchGraph,
        sources: &[&'a dyn SeriesSource],
        steps: &[&'a [u32]],
        n_steps: usize,
    ) -> Result<Self, RuleError> {
        if sources.len() != steps.len() {
            return Err(fault(format!("{} assets with {} timelines", sources.len(), steps.len())));
        }
        let mut assets = Vec::with_capacity(sources.len());
        for (i, (&source, &steps)) in sources.iter().zip(steps).enumerate() {
            let is_increasing = steps.windows(2).all(|pair| pair[0] < pair[1]);
            let is_inside = steps.last().is_none_or(|&last| (last as usize) < n_steps);
            if steps.len() != source.len() || !is_increasing || !is_inside {
                let (rows, n) = (source.len(), steps.len());
                return Err(fault(format!(
                    "asset {i}: {n} steps below {n_steps}, increasing, expected for {rows} rows"
                )));
            }
            let mut evaluator = Evaluator::new();
            evaluator.begin(graph, source.len());
            assets.push(Asset { source, steps, evaluator });
        }
        Ok(Self { graph, assets, n_steps, cancel: None })
    }

    /// Gives up with `RuleError::Cancelled` once the flag is set; it may not be used after that.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &'a AtomicBool) -> Self {
        self.cancel = Some(cancel);
        for asset in &mut self.assets {
            asset.evaluator = std::mem::take(&mut asset.evaluator).cancelled_by(cancel);
        }
        self
    }

    /// Evaluates a single node, a condition as 1 where it holds and 0 where not.
    pub fn eval(
        graph: &BatchGraph,
        node: NodeIx,
        sources: &[&dyn SeriesSource],
        steps: &[&[u32]],
        n_steps: usize,
    ) -> Result<PanelColumns, RuleError> {
        let mut panel = PanelEvaluator::new(graph, sources, steps, n_steps)?;
        if graph.nodes.get(node.ix()).is_none_or(|known| !known.op.is_condition()) {
            return panel.nums(node);
        }
        let held = panel.bools(node)?;
        let nums = held.into_iter().map(|column| column.into_iter().map(f64::from).collect()).collect();
        Ok(PanelColumns { nums })
    }

    /// A number of every asset, NaN where it is undefined.
    pub fn nums(&mut self, node: NodeIx) -> Result<PanelColumns, RuleError> {
        self.prepare(node)?;
        let graph = self.graph;
        let mut nums = Vec::with_capacity(self.assets.len());
        for asset in &mut self.assets {
            let mut column = Vec::new();
            asset.evaluator.nums(graph, asset.source, node, &mut column)?;
            nums.push(column);
        }
        Ok(PanelColumns { nums })
    }

    /// A condition of every asset: 1 where it holds, 0 where it does not or is undefined.
    pub fn bools(&mut self, node: NodeIx) -> Result<Vec<Vec<u8>>, RuleError> {
        self.prepare(node)?;
        let graph = self.graph;
        let mut bools = Vec::with_capacity(self.assets.len());
        for asset in &mut self.assets {
            let mut column = Vec::new();
            asset.evaluator.bools(graph, asset.source, node, &mut column)?;
            bools.push(column);
        }
        Ok(bools)
    }

    /// Computes the ranks in a node and below, the innermost first: operands stand before what is made of them.
    fn prepare(&mut self, node: NodeIx) -> Result<(), RuleError> {
        let Some(first) = self.assets.first() else { return Ok(()) };
        let mut open = vec![node];
        let mut seen = vec![node];
        let mut ranks = Vec::new();
        while let Some(ix) = open.pop() {
            let is_ranked = self.graph.ranked.get(ix.ix()).copied().unwrap_or(false);
            if !is_ranked || first.evaluator.holds(ix) {
                continue;
            }
            let known = self.graph.node(ix);
            if known.op == Op::Rank {
                ranks.push(ix);
            }
            for &operand in known.args() {
                if !seen.contains(&operand) {
                    seen.push(operand);
                    open.push(operand);
                }
            }
        }
        ranks.sort_unstable();
        for ix in ranks {
            self.rank(ix)?;
        }
        Ok(())
    }

    /// Ranks the values of all assets at each step, ascending from 1, ties in the order of assets.
    fn rank(&mut self, ix: NodeIx) -> Result<(), RuleError> {
        let graph = self.graph;
        let mut columns: Vec<Vec<f64>> = Vec::with_capacity(self.assets.len());
        for asset in &mut self.assets {
            let mut column = Vec::new();
            let operand = graph.node(ix).args().first().copied().unwrap_or(ix);
            asset.evaluator.nums(graph, asset.source, operand, &mut column)?;
            columns.push(column);
        }
        let mut rows = vec![0; self.assets.len()];
        let mut present: Vec<(f64, usize, usize)> = Vec::with_capacity(self.assets.len());
        for step in 0..self.n_steps {
            if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(RuleError::Cancelled);
            }
            present.clear();
            for (a, (asset, row)) in self.assets.iter().zip(&mut rows).enumerate() {
                if asset.steps.get(*row).is_some_and(|&at| at as usize == step) {
                    let value = columns[a][*row];
                    if !value.is_nan() {
                        // Zero of either sign is the same value.
                        present.push((value + 0.0, a, *row));
                    }
                    *row += 1;
                }
            }
            present.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
            for (place, &(_, a, row)) in present.iter().enumerate() {
                columns[a][row] = (place + 1) as f64;
            }
        }
        for (asset, column) in self.assets.iter_mut().zip(columns) {
            asset.evaluator.supply(graph, ix, column);
        }
        Ok(())
    }
}

fn fault(message: String) -> RuleError {
    RuleError::Type { slot: "panel".to_string(), message }
}
