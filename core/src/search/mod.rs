//! Proposing points: a tree-structured Parzen estimator that suggests a group of points from one fit.
//!
//! The numbers are the same on every machine: random numbers are counted, and logarithms, exponentials and error
//! functions are made of basic operations that no compiler joins.

mod axis;
mod cells;
mod exp;
mod normal;
mod parzen;
mod random;
mod tpe;

pub use axis::Axis;
pub use parzen::Parzen;
pub use random::Random;
pub use tpe::{Seen, Settings, suggest};
