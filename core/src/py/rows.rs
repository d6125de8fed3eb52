//! Where the bars of a Python strategy are: in a panel, or in the series of a session, which grow.

use crate::data::{AssetView, Panel, Series};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Debug, Clone)]
pub enum Rows {
    Panel(Arc<Panel>),
    Live(Arc<LiveRows>),
}

/// What has come in so far, by instrument.
#[derive(Debug)]
pub struct LiveRows {
    symbols: Vec<String>,
    series: RwLock<Vec<Series>>,
}

impl LiveRows {
    pub fn new(symbols: Vec<String>, extra: &Arc<[String]>, has_volume: bool, is_ticks: bool) -> Self {
        let series = symbols.iter().map(|_| Series::new(extra, has_volume, is_ticks)).collect();
        Self { symbols, series: RwLock::new(series) }
    }
}

impl Rows {
    pub fn symbols(&self) -> &[String] {
        match self {
            Self::Panel(panel) => panel.symbols(),
            Self::Live(live) => &live.symbols,
        }
    }

    /// Looks at the columns of one asset as they are now.
    pub fn with<R>(&self, asset: usize, look: impl FnOnce(&AssetView<'_>) -> R) -> R {
        match self {
            Self::Panel(panel) => look(&panel.asset(asset)),
            Self::Live(live) => {
                let series = live.series.read().unwrap_or_else(PoisonError::into_inner);
                look(&series[asset].view())
            }
        }
    }

    /// Takes over a bar that has come in; a panel has it already.
    pub fn see(&self, asset: usize, view: &AssetView<'_>, row: u32) {
        if let Self::Live(live) = self {
            let mut series = live.series.write().unwrap_or_else(PoisonError::into_inner);
            series[asset].copy_row(view, row as usize);
        }
    }

    /// Open, high, low and close of a row of an asset.
    pub fn ohlc(&self, asset: usize, row: usize) -> [f64; 4] {
        match self {
            Self::Panel(panel) => panel.ohlc(panel.rows(asset).0 + row),
            Self::Live(_) => self.with(asset, |v| [v.open[row], v.high[row], v.low[row], v.close[row]]),
        }
    }

    /// Volume of a row of an asset; NaN where there is none.
    pub fn volume(&self, asset: usize, row: usize) -> f64 {
        match self {
            Self::Panel(panel) => panel.volume(panel.rows(asset).0 + row),
            Self::Live(_) => self.with(asset, |view| view.volume.map_or(f64::NAN, |volume| volume[row])),
        }
    }

    /// Time and trading date of a row of an asset.
    pub fn time(&self, asset: usize, row: usize) -> (i64, i32) {
        match self {
            Self::Panel(panel) => panel.time(panel.rows(asset).0 + row),
            Self::Live(_) => self.with(asset, |view| (view.ts[row], view.date[row])),
        }
    }
}
