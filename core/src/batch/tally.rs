//! The accounts of one trial become one row of values.

use super::TrialOutcome;
use crate::analysis::{N_METRICS, aggregate};
use crate::plan::Plan;

/// What is known of a trial while its accounts come in, in panel order.
#[derive(Debug)]
pub(super) struct Tally {
    hasher: blake3::Hasher,
    /// Outputs of account after account.
    values: Vec<f64>,
    error: Option<String>,
}

impl Tally {
    pub fn new(plan: &Plan, n_accounts: usize) -> Self {
        let values = Vec::with_capacity(n_accounts * plan.outputs().len());
        Self { hasher: blake3::Hasher::new(), values, error: None }
    }

    /// Takes the metrics of the next account.
    pub fn add(&mut self, plan: &Plan, metrics: &[f64]) {
        let mut bytes = [[0; size_of::<f64>()]; N_METRICS];
        for (bytes, value) in bytes.iter_mut().zip(metrics) {
            // Every NaN is the same NaN.
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            *bytes = bits.to_le_bytes();
        }
        self.hasher.update(bytes.as_flattened());
        self.values.extend(plan.outputs().iter().map(|output| metrics[output.metric_ix]));
    }

    /// Notes why the trial has no values; the first reason counts.
    pub fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }

    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Outputs of account after account; NaN where the trial failed.
    pub fn by_account(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().map(|value| if self.has_failed() { f64::NAN } else { *value })
    }

    pub fn finish(self, plan: &Plan, n_bars: u64) -> TrialOutcome {
        let n_outputs = plan.outputs().len();
        if let Some(error) = self.error {
            return TrialOutcome {
                error: Some(error),
                hash: String::new(),
                n_bars: 0,
                n_defined: 0,
                values: vec![f64::NAN; n_outputs],
            };
        }
        let hash = self.hasher.finalize().to_hex()[..32].to_owned();
        let n_defined = self.values.iter().step_by(n_outputs).filter(|value| value.is_finite()).count();
        let mut column = Vec::with_capacity(self.values.len() / n_outputs);
        let mut one = |(ix, output): (usize, &crate::plan::Output)| {
            column.clear();
            column.extend(self.values.iter().skip(ix).step_by(n_outputs));
            match output.aggregate {
                Some(kind) => aggregate(&mut column, kind, plan.spec().min_defined).0,
                None => column.first().copied().unwrap_or(f64::NAN),
            }
        };
        let values = plan.outputs().iter().enumerate().map(&mut one).collect();
        TrialOutcome { error: None, hash, n_bars, n_defined, values }
    }
}
