//! Bars: the panel that every run borrows, and the merged time index of a universe.

mod panel;
mod series;
mod timeline;

pub use panel::{AssetView, Panel, PanelMeta};
pub use series::Series;
pub use timeline::{BarAt, Timeline, Window};
