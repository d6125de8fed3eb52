//! How orders meet the volume and the prices of a bar (SEMANTICS section 3).

use crate::error::EngineError;
use serde::{Deserialize, Serialize};

/// Settings of execution; the defaults fill every order whole, whatever the volume.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionSpec {
    /// Largest share of the volume of a bar that the account trades on it; none: no cap.
    pub max_participation: Option<f64>,
    /// A bar whose volume is zero trades nothing. Absent volume is not zero volume.
    pub halt_on_zero_volume: bool,
}

impl ExecutionSpec {
    pub fn check(&self) -> Result<(), EngineError> {
        if let Some(share) = self.max_participation
            && !(share.is_finite() && share > 0.0 && share <= 1.0)
        {
            return Err(EngineError::Spec(format!(
                "market.execution.max_participation must be above 0 and at most 1, got {share}"
            )));
        }
        Ok(())
    }
}
