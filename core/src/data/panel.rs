//! The panel: each asset's own contiguous columns with offsets, over Arrow buffers that are never copied.

use super::Series;
use crate::clock::{BarTimes, DAY_NS};
use crate::error::DataError;
use crate::model::{BarValues, Side, Tick, check_quote};
use crate::units::TsNs;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, TimeUnit};

/// Layout facts that travel beside the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanelMeta {
    /// In panel order: the order of every per-asset result and of every tie.
    pub symbols: Vec<String>,
    /// `symbols.len() + 1` row offsets.
    pub offsets: Vec<usize>,
}

/// Bars of many assets. A panel that exists has been checked: prices are finite, above zero and inside their bar, time
/// increases within an asset.
#[derive(Debug, Clone)]
pub struct Panel {
    symbols: Vec<String>,
    offsets: Vec<usize>,
    ts: ScalarBuffer<i64>,
    date: ScalarBuffer<i32>,
    open: ScalarBuffer<f64>,
    high: ScalarBuffer<f64>,
    low: ScalarBuffer<f64>,
    close: ScalarBuffer<f64>,
    volume: Option<ScalarBuffer<f64>>,
    extra_names: Vec<String>,
    extra: Vec<ScalarBuffer<f64>>,
    is_ticks: bool,
    bar_times: BarTimes,
}

const RESERVED: [&str; 9] = ["ts", "date", "open", "high", "low", "close", "volume", "price", "size"];

impl Panel {
    /// Borrows the columns of `batch`: bars, or ticks where there is a `price` and no `open`. A tick is a bar whose
    /// four prices are one and whose volume is its `size`; `bid` and `ask` are further columns of it.
    pub fn new(batch: &RecordBatch, meta: PanelMeta) -> Result<Self, DataError> {
        let PanelMeta { symbols, offsets } = meta;
        if offsets.len() != symbols.len() + 1 || offsets.first() != Some(&0) {
            return Err(DataError::BadOffsets { reason: "expected one more offset than symbols, from 0" });
        }
        if offsets.last() != Some(&batch.num_rows()) {
            return Err(DataError::BadOffsets { reason: "the last offset is not the number of rows" });
        }
        if offsets.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(DataError::BadOffsets { reason: "every asset needs at least one row" });
        }
        if batch.num_rows() == 0 {
            return Err(DataError::Empty);
        }
        let ts = timestamp_column(batch)?;
        let date = date_column(batch)?;
        let is_ticks = batch.column_by_name("price").is_some() && batch.column_by_name("open").is_none();
        let volume_name = if is_ticks { "size" } else { "volume" };
        let volume = match batch.column_by_name(volume_name) {
            Some(_) => Some(float_column(batch, volume_name)?),
            None => None,
        };
        let price = |name: &str| float_column(batch, if is_ticks { "price" } else { name });
        let mut extra_names = Vec::new();
        let mut extra = Vec::new();
        for field in batch.schema_ref().fields() {
            if !RESERVED.contains(&field.name().as_str()) && field.data_type() == &DataType::Float64 {
                extra_names.push(field.name().clone());
                extra.push(float_column(batch, field.name())?);
            }
        }
        let mut panel = Self {
            open: price("open")?,
            high: price("high")?,
            low: price("low")?,
            close: price("close")?,
            symbols,
            offsets,
            ts,
            date,
            volume,
            extra_names,
            extra,
            is_ticks,
            bar_times: BarTimes::default(),
        };
        panel.check()?;
        if panel.is_daily() {
            panel.bar_times.length_ns = Some(DAY_NS);
        }
        Ok(panel)
    }

    /// Says how the times of intraday bars are to be read; refuses bars that are closer than their length. Daily bars,
    /// which all have midnight UTC of their date for a time, are known as such and last for it.
    pub fn with_bar_times(mut self, times: BarTimes) -> Result<Self, DataError> {
        if self.is_daily() {
            return Ok(self);
        }
        let length = times.length_ns.unwrap_or(0);
        for asset in 0..self.n_assets() {
            let ts = self.asset(asset).ts;
            if let Some(row) = (1..ts.len()).find(|&row| ts[row] - ts[row - 1] < length) {
                let symbol = self.symbols[asset].clone();
                let (gap_s, length_s) = ((ts[row] - ts[row - 1]) as f64 / 1e9, length as f64 / 1e9);
                return Err(DataError::Overlap { symbol, row, gap_s, length_s });
            }
        }
        self.bar_times = times;
        Ok(self)
    }

    #[inline]
    pub fn bar_times(&self) -> BarTimes {
        self.bar_times
    }

    /// Whether every bar has midnight UTC of its date for a time, as daily bars have.
    fn is_daily(&self) -> bool {
        self.ts.iter().zip(&*self.date).all(|(&ts, &date)| ts == i64::from(date) * DAY_NS)
    }

    fn check(&self) -> Result<(), DataError> {
        for asset in 0..self.n_assets() {
            let view = self.asset(asset);
            let symbol = self.symbols[asset].as_str();
            for row in 0..view.len() {
                let volume = view.volume.map_or(f64::NAN, |volume| volume[row]);
                let [open, high, low, close] =
                    [view.open[row], view.high[row], view.low[row], view.close[row]];
                BarValues { open, high, low, close, volume }.check(symbol, row)?;
                if let (Some(bid), Some(ask)) = (view.bid, view.ask) {
                    check_quote(symbol, row, bid[row], ask[row])?;
                }
                // Ticks of one time stand in the order in which they came.
                let repeats = row > 0 && view.ts[row] == view.ts[row - 1] && !self.is_ticks;
                if repeats
                    || row > 0 && (view.ts[row] < view.ts[row - 1] || view.date[row] < view.date[row - 1])
                {
                    return Err(DataError::TimeOrder { symbol: symbol.to_owned(), row });
                }
            }
        }
        Ok(())
    }

    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    pub fn n_assets(&self) -> usize {
        self.symbols.len()
    }

    pub fn n_rows(&self) -> usize {
        self.ts.len()
    }

    /// First row and end row of an asset.
    pub fn rows(&self, asset: usize) -> (usize, usize) {
        (self.offsets[asset], self.offsets[asset + 1])
    }

    /// Names of the columns beyond the five of a bar.
    pub fn extra_names(&self) -> &[String] {
        &self.extra_names
    }

    /// Whether a row is a tick.
    pub fn is_ticks(&self) -> bool {
        self.is_ticks
    }

    pub fn has_volume(&self) -> bool {
        self.volume.is_some()
    }

    pub fn asset_named(&self, symbol: &str) -> Result<usize, DataError> {
        self.symbols
            .iter()
            .position(|s| s == symbol)
            .ok_or_else(|| DataError::UnknownSymbol { symbol: symbol.to_owned() })
    }

    /// Open, high, low and close of a row of the whole table.
    pub fn ohlc(&self, row: usize) -> [f64; 4] {
        [self.open[row], self.high[row], self.low[row], self.close[row]]
    }

    /// Volume of a row of the whole table; NaN where there is none.
    pub fn volume(&self, row: usize) -> f64 {
        self.volume.as_ref().map_or(f64::NAN, |v| v[row])
    }

    /// Time and trading date of a row of the whole table.
    pub fn time(&self, row: usize) -> (i64, i32) {
        (self.ts[row], self.date[row])
    }

    /// The columns of one asset.
    pub fn asset(&self, asset: usize) -> AssetView<'_> {
        let (first, end) = self.rows(asset);
        let extra = Extra::Panel { panel: self, first };
        let n_rows = end - first;
        let quote = |name: &str| if self.is_ticks { extra.column(name, n_rows) } else { None };
        AssetView {
            bid: quote("bid"),
            ask: quote("ask"),
            extra,
            ts: &self.ts[first..end],
            date: &self.date[first..end],
            open: &self.open[first..end],
            high: &self.high[first..end],
            low: &self.low[first..end],
            close: &self.close[first..end],
            volume: self.volume.as_ref().map(|v| &v[first..end]),
        }
    }
}

/// One asset's columns, all of the same length.
#[derive(Debug, Clone, Copy)]
pub struct AssetView<'a> {
    extra: Extra<'a>,
    pub ts: &'a [i64],
    pub date: &'a [i32],
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
    /// NaN where the asset has no volume.
    pub volume: Option<&'a [f64]>,
    /// Quotes of ticks, NaN where there is none.
    pub bid: Option<&'a [f64]>,
    pub ask: Option<&'a [f64]>,
}

/// Where the columns beyond those of a bar come from.
#[derive(Debug, Clone, Copy)]
enum Extra<'a> {
    Panel { panel: &'a Panel, first: usize },
    Series(&'a Series),
}

impl<'a> Extra<'a> {
    fn column(self, name: &str, n_rows: usize) -> Option<&'a [f64]> {
        match self {
            Self::Panel { panel, first } => {
                let ix = panel.extra_names.iter().position(|n| n == name)?;
                Some(&panel.extra[ix][first..first + n_rows])
            }
            Self::Series(series) => series.extra(name),
        }
    }
}

impl<'a> AssetView<'a> {
    /// The columns of a series that grows, as they are now.
    pub(super) fn of_series(series: &'a Series) -> Self {
        let quote = |name: &str| if series.is_ticks { series.extra(name) } else { None };
        Self {
            bid: quote("bid"),
            ask: quote("ask"),
            extra: Extra::Series(series),
            ts: &series.ts,
            date: &series.date,
            open: &series.open,
            high: &series.high,
            low: &series.low,
            close: &series.close,
            volume: series.has_volume.then_some(series.volume.as_slice()),
        }
    }

    /// Whether a bar is the last one of its trading date: told by the bar that follows, or by the feed.
    pub fn ends_date(&self, row: usize) -> bool {
        match self.extra {
            Extra::Panel { .. } => self.date.get(row + 1) != Some(&self.date[row]),
            Extra::Series(series) => series.ends_date[row],
        }
    }

    /// Whether a row is a tick.
    pub fn is_ticks(&self) -> bool {
        match self.extra {
            Extra::Panel { panel, .. } => panel.is_ticks,
            Extra::Series(series) => series.is_ticks,
        }
    }

    /// A row as a tick.
    pub fn tick(&self, row: usize) -> Tick {
        let known = |column: Option<&[f64]>| column.map(|c| c[row]).filter(|v| !v.is_nan());
        Tick {
            ts: TsNs(self.ts[row]),
            price: self.close[row],
            size: self.volume.map_or(f64::NAN, |size| size[row]),
            bid: known(self.bid),
            ask: known(self.ask),
        }
    }

    /// What a taker of a side meets on a row: the ask of a buy, the bid of a sell; none where nothing is quoted.
    #[inline]
    pub fn quote(&self, side: Side, row: usize) -> Option<f64> {
        let column = if side == Side::Buy { self.ask } else { self.bid };
        column.map(|c| c[row]).filter(|v| !v.is_nan())
    }

    pub fn len(&self) -> usize {
        self.ts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// How the times of its bars are to be read; a series that grows does not say.
    pub fn bar_times(&self) -> BarTimes {
        match self.extra {
            Extra::Panel { panel, .. } => panel.bar_times,
            Extra::Series(_) => BarTimes::default(),
        }
    }

    /// Names of the columns beyond the five of a bar.
    pub fn extra_names(&self) -> &'a [String] {
        match self.extra {
            Extra::Panel { panel, .. } => &panel.extra_names,
            Extra::Series(series) => series.extra_names(),
        }
    }

    /// A column beyond the five of a bar, by its place among them.
    pub fn extra(&self, ix: usize) -> Option<&'a [f64]> {
        self.extra.column(self.extra_names().get(ix)?, self.ts.len())
    }

    /// Any column by its name.
    pub fn named(&self, name: &str) -> Option<&'a [f64]> {
        match name {
            "open" => Some(self.open),
            "high" => Some(self.high),
            "low" => Some(self.low),
            "close" => Some(self.close),
            "volume" => self.volume,
            "price" if self.is_ticks() => Some(self.close),
            "size" if self.is_ticks() => self.volume,
            other => self.extra.column(other, self.ts.len()),
        }
    }
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b dyn Array, DataError> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| DataError::MissingColumn { column: name.to_owned() })?
        .as_ref();
    if array.null_count() > 0 {
        let row = (0..array.len()).find(|&row| array.is_null(row)).unwrap_or(0);
        return Err(DataError::Nulls { column: name.to_owned(), n: array.null_count(), row });
    }
    Ok(array)
}

fn wrong_type(name: &str, array: &dyn Array, expected: &'static str) -> DataError {
    DataError::WrongType { column: name.to_owned(), found: array.data_type().to_string(), expected }
}

fn float_column(batch: &RecordBatch, name: &str) -> Result<ScalarBuffer<f64>, DataError> {
    let array = column(batch, name)?;
    let typed = array.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong_type(name, array, "float64"))?;
    Ok(typed.values().clone())
}

fn date_column(batch: &RecordBatch) -> Result<ScalarBuffer<i32>, DataError> {
    let array = column(batch, "date")?;
    let typed = array.as_primitive_opt::<Date32Type>().ok_or_else(|| wrong_type("date", array, "date32"))?;
    Ok(typed.values().clone())
}

fn timestamp_column(batch: &RecordBatch) -> Result<ScalarBuffer<i64>, DataError> {
    let array = column(batch, "ts")?;
    let is_utc = matches!(array.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) if zone.as_ref() == "UTC");
    match array.as_primitive_opt::<TimestampNanosecondType>() {
        Some(typed) if is_utc => Ok(typed.values().clone()),
        _ => Err(wrong_type("ts", array, "timestamp[ns, UTC]")),
    }
}
