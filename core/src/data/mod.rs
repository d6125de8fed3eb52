//! Bars: the panel that every run borrows, and the merged time index of a universe.

mod aggregate;
mod frames;
mod frequency;
mod panel;
mod series;
mod timeline;

pub use aggregate::{CoarseBars, NEVER, SUMMED};
pub use frames::{CoarseBarAt, CoarseFrame, Framed};
pub use frequency::Frequency;
pub use panel::{AssetView, Panel, PanelMeta};
pub use series::Series;
pub use timeline::{BarAt, RowSteps, Timeline, Window};
