//! Coarse bars of an instrument, made of its own bars (SEMANTICS section 10).
//!
//! Bars are taken one after another and never looked at before their turn, so that cutting the series changes nothing
//! before the cut.

use super::{AssetView, Frequency};
use crate::clock::{BarTimes, DAY_NS, Hours, Place, Stamp, month, month_start, week, week_start};
use crate::units::{TradingDate, TsNs};

/// Extra columns that are summed; `vwap` is weighted by volume, others keep their last defined value.
pub const SUMMED: [&str; 3] = ["amount", "trades", "turnover"];

const VWAP: &str = "vwap";

/// A coarse bar that is not complete when the data end.
pub const NEVER: u32 = u32::MAX;

/// Bars of a coarser frequency, in time order; the last one may never be complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CoarseBars {
    /// Start of the bar, or its end where that is what times say.
    pub ts: Vec<i64>,
    /// Trading date of its last bar.
    pub date: Vec<i32>,
    pub open: Vec<f64>,
    pub high: Vec<f64>,
    pub low: Vec<f64>,
    pub close: Vec<f64>,
    /// Absent where the instrument has none.
    pub volume: Option<Vec<f64>>,
    /// In the order of the panel.
    pub extra: Vec<Vec<f64>>,
    /// Row of the instrument's series at which the bar is known to be complete; `NEVER` for one that is not. Ascending.
    pub complete_at: Vec<u32>,
}

impl CoarseBars {
    /// Makes the coarse bars of one instrument.
    pub fn new(view: &AssetView<'_>, frequency: Frequency, place: Option<&Place>) -> Self {
        let times = view.bar_times();
        let mut periods = Periods { frequency, place, times, date: None, hours: Vec::new() };
        let mut bars = Self {
            volume: view.volume.map(|_| Vec::new()),
            extra: vec![Vec::new(); view.extra_names().len()],
            ..Self::default()
        };
        let mut current: Option<Period> = None;
        let mut is_over = false;
        for row in 0..view.len() {
            let (ts, date) = (TsNs(view.ts[row]), TradingDate(view.date[row]));
            let inside = times.inside(ts);
            let period = periods.of(row, ts, date);
            let is_same = current.is_some_and(|current| current.key == period.key);
            let is_late = is_same && (is_over || period.end.is_some_and(|end| inside >= end));
            if current.is_some() && !is_over && (!is_same || is_late) {
                bars.complete_at.push(row as u32);
                is_over = true;
            }
            if is_late {
                continue; // after the close of a trading date that is complete
            }
            if is_same {
                bars.extend(view, row);
                if period.last_row.is_some() && times.stamp == Stamp::Close {
                    bars.ts[bars.close.len() - 1] = ts.0;
                }
            } else {
                bars.begin(view, row, period.ts);
            }
            current = Some(period);
            is_over = period.is_over_with(row, times.known_at(ts));
            if is_over {
                bars.complete_at.push(row as u32);
            }
        }
        if current.is_some() && !is_over {
            bars.complete_at.push(NEVER);
        }
        bars.weigh(view);
        bars
    }

    pub fn len(&self) -> usize {
        self.ts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// How many bars are complete at each of `n_rows` rows of the instrument's series.
    pub fn n_complete(&self, n_rows: usize) -> Vec<u32> {
        let mut counts = Vec::with_capacity(n_rows);
        let mut n = 0;
        for row in 0..n_rows as u32 {
            while self.complete_at.get(n).is_some_and(|&at| at <= row) {
                n += 1;
            }
            counts.push(n as u32);
        }
        counts
    }

    fn begin(&mut self, view: &AssetView<'_>, row: usize, ts: i64) {
        self.ts.push(ts);
        self.date.push(view.date[row]);
        self.open.push(view.open[row]);
        self.high.push(view.high[row]);
        self.low.push(view.low[row]);
        self.close.push(view.close[row]);
        if let (Some(out), Some(volume)) = (&mut self.volume, view.volume) {
            out.push(volume[row]);
        }
        for (ix, name) in view.extra_names().iter().enumerate() {
            let value = view.extra(ix).map_or(f64::NAN, |column| column[row]);
            self.extra[ix].push(if name == VWAP { weighted(view, ix, row) } else { value });
        }
    }

    fn extend(&mut self, view: &AssetView<'_>, row: usize) {
        let last = self.ts.len() - 1;
        self.date[last] = view.date[row];
        self.high[last] = self.high[last].max(view.high[row]);
        self.low[last] = self.low[last].min(view.low[row]);
        self.close[last] = view.close[row];
        if let (Some(out), Some(volume)) = (&mut self.volume, view.volume) {
            out[last] += volume[row];
        }
        for (ix, name) in view.extra_names().iter().enumerate() {
            let value = view.extra(ix).map_or(f64::NAN, |column| column[row]);
            let out = &mut self.extra[ix][last];
            match name.as_str() {
                VWAP => *out += weighted(view, ix, row),
                name if SUMMED.contains(&name) => *out += value,
                _ if value.is_nan() => {}
                _ => *out = value,
            }
        }
    }

    /// Turns sums of price times volume into prices.
    fn weigh(&mut self, view: &AssetView<'_>) {
        let Some(ix) = view.extra_names().iter().position(|name| name == VWAP) else { return };
        for (at, out) in self.extra[ix].iter_mut().enumerate() {
            let volume = self.volume.as_ref().map_or(f64::NAN, |volume| volume[at]);
            *out = if volume > 0.0 { *out / volume } else { f64::NAN };
        }
    }
}

/// Price times volume, nothing for a bar without trades whose price is undefined.
fn weighted(view: &AssetView<'_>, ix: usize, row: usize) -> f64 {
    match view.volume.map(|volume| volume[row]) {
        Some(0.0) => 0.0,
        Some(volume) => view.extra(ix).map_or(f64::NAN, |column| column[row]) * volume,
        None => f64::NAN,
    }
}

/// The period that a bar belongs to.
#[derive(Debug, Clone, Copy)]
struct Period {
    key: (i32, usize, i64),
    /// When it is over, where that is known before the next one begins.
    end: Option<TsNs>,
    /// Row that completes it, for periods that count bars.
    last_row: Option<usize>,
    ts: i64,
}

impl Period {
    fn is_over_with(&self, row: usize, known_at: TsNs) -> bool {
        self.last_row.map_or_else(|| self.end.is_some_and(|end| known_at >= end), |last| row >= last)
    }
}

/// Finds periods; keeps the sessions of the date at hand.
struct Periods<'a> {
    frequency: Frequency,
    place: Option<&'a Place>,
    times: BarTimes,
    date: Option<TradingDate>,
    hours: Vec<Hours>,
}

impl Periods<'_> {
    fn of(&mut self, row: usize, ts: TsNs, date: TradingDate) -> Period {
        let inside = self.times.inside(ts);
        match self.frequency {
            Frequency::Bars(n) => {
                let n = n as usize;
                let number = row / n;
                let last_row = Some((number + 1) * n - 1);
                Period { key: (0, 0, number as i64), end: None, last_row, ts: ts.0 }
            }
            Frequency::Minutes(n) => self.of_clock(i64::from(n) * DAY_NS / 1440, inside, date),
            Frequency::Day => {
                let end = match self.place {
                    Some(Place::Sessions(_)) if !self.is_daily() => {
                        self.turn_to(date, inside);
                        self.hours.last().map(|hours| hours.close)
                    }
                    _ => self.midnight(TradingDate(date.0 + 1)),
                };
                self.dated(date.0, date, end)
            }
            Frequency::Week => {
                let end = self.midnight(week_start(week(date) + 1));
                self.dated(week(date), week_start(week(date)), end)
            }
            Frequency::Month => {
                let end = self.midnight(month_start(month(date) + 1));
                self.dated(month(date), month_start(month(date)), end)
            }
        }
    }

    fn dated(&self, key: i32, first: TradingDate, end: Option<TsNs>) -> Period {
        Period { key: (key, 0, 0), end, last_row: None, ts: i64::from(first.0) * DAY_NS }
    }

    /// A period of the clock, counted from the open of the session, at most to its close.
    fn of_clock(&mut self, length: i64, inside: TsNs, date: TradingDate) -> Period {
        self.turn_to(date, inside);
        let at = self.hours.iter().rposition(|hours| hours.open <= inside).unwrap_or(0);
        let (open, close) = self.hours.get(at).map_or((0, i64::MAX), |hours| (hours.open.0, hours.close.0));
        let number = (inside.0 - open).div_euclid(length);
        let (start, end) = (open + number * length, open + (number + 1) * length);
        // Bars after the close are on their own.
        let is_after = inside.0 >= close;
        let end = if is_after { end } else { end.min(close) };
        let ts = if self.times.stamp == Stamp::Open { start } else { end };
        let key = (date.0, 2 * at + usize::from(is_after), number);
        Period { key, end: Some(TsNs(end)), last_row: None, ts }
    }

    fn turn_to(&mut self, date: TradingDate, first: TsNs) {
        if self.date != Some(date) {
            self.date = Some(date);
            self.hours = match self.place {
                Some(Place::Sessions(schedule)) => schedule.hours(date, first),
                Some(Place::Zone(zone)) => {
                    let open = zone.instant(date, 0);
                    vec![Hours { open, close: zone.instant(TradingDate(date.0 + 1), 0) }]
                }
                None => Vec::new(),
            };
        }
    }

    fn is_daily(&self) -> bool {
        self.times.length_ns == Some(DAY_NS)
    }

    /// The first instant of a date on the clock of the market; daily bars last from midnight to midnight UTC.
    fn midnight(&self, date: TradingDate) -> Option<TsNs> {
        match self.place {
            _ if self.is_daily() => Some(TsNs(i64::from(date.0) * DAY_NS)),
            Some(place) => Some(place.zone().instant(date, 0)),
            None => None,
        }
    }
}
