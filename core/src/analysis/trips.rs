//! Statistics of closed round trips, net of fees.

use super::numeric::is_flat;
use crate::model::RoundTrip;

/// Money in account currency; every field but `n` is NaN where it is undefined.
///
/// A trip with a net of exactly zero is neither a win nor a loss. One trip whose net is not finite makes all of
/// them undefined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TripStats {
    pub n: usize,
    pub win_rate: f64,
    pub profit_factor: f64,
    pub expectancy: f64,
    pub payoff: f64,
    pub sqn: f64,
    pub kelly: f64,
    pub avg_win: f64,
    pub avg_loss: f64,
    pub max_win: f64,
    pub max_loss: f64,
    pub avg_holding_bars: f64,
    pub avg_mae: f64,
    pub avg_mfe: f64,
    pub max_win_streak: f64,
    pub max_loss_streak: f64,
}

impl TripStats {
    const fn undefined(n: usize) -> Self {
        Self {
            n,
            win_rate: f64::NAN,
            profit_factor: f64::NAN,
            expectancy: f64::NAN,
            payoff: f64::NAN,
            sqn: f64::NAN,
            kelly: f64::NAN,
            avg_win: f64::NAN,
            avg_loss: f64::NAN,
            max_win: f64::NAN,
            max_loss: f64::NAN,
            avg_holding_bars: f64::NAN,
            avg_mae: f64::NAN,
            avg_mfe: f64::NAN,
            max_win_streak: f64::NAN,
            max_loss_streak: f64::NAN,
        }
    }
}

/// Sums of one pass over the trips, in the order they closed.
#[derive(Debug, Default)]
struct Tally {
    net: f64,
    largest: f64,
    n_wins: u64,
    wins: f64,
    max_win: f64,
    n_losses: u64,
    losses: f64,
    max_loss: f64,
    bars: i64,
    mae: f64,
    mfe: f64,
    win_run: u64,
    loss_run: u64,
    longest_win_run: u64,
    longest_loss_run: u64,
}

impl Tally {
    #[inline]
    fn add(&mut self, trip: &RoundTrip) {
        let net = trip.net;
        self.net += net;
        self.largest = self.largest.max(net.abs());
        self.bars += i64::from(trip.exit_row) - i64::from(trip.entry_row);
        self.mae += trip.mae;
        self.mfe += trip.mfe;
        if net > 0.0 {
            self.n_wins += 1;
            self.wins += net;
            self.max_win = self.max_win.max(net);
            self.win_run += 1;
            self.loss_run = 0;
            self.longest_win_run = self.longest_win_run.max(self.win_run);
        } else if net < 0.0 {
            self.n_losses += 1;
            self.losses += net;
            self.max_loss = self.max_loss.min(net);
            self.loss_run += 1;
            self.win_run = 0;
            self.longest_loss_run = self.longest_loss_run.max(self.loss_run);
        } else {
            self.win_run = 0;
            self.loss_run = 0;
        }
    }
}

/// `trips` stand in the order they closed.
pub fn trip_stats(trips: &[RoundTrip]) -> TripStats {
    let mut stats = TripStats::undefined(trips.len());
    if trips.is_empty() {
        return stats;
    }
    let mut tally = Tally::default();
    for trip in trips {
        tally.add(trip);
    }
    if !tally.net.is_finite() {
        return stats;
    }
    let n = trips.len() as f64;
    let mean = tally.net / n;
    stats.expectancy = mean;
    stats.win_rate = tally.n_wins as f64 / n;
    stats.avg_holding_bars = tally.bars as f64 / n;
    stats.avg_mae = tally.mae / n;
    stats.avg_mfe = tally.mfe / n;
    stats.max_win_streak = tally.longest_win_run as f64;
    stats.max_loss_streak = tally.longest_loss_run as f64;
    if tally.n_wins > 0 {
        stats.avg_win = tally.wins / tally.n_wins as f64;
        stats.max_win = tally.max_win;
    }
    if tally.n_losses > 0 {
        stats.avg_loss = tally.losses / tally.n_losses as f64;
        stats.max_loss = tally.max_loss;
        stats.profit_factor = tally.wins / -tally.losses;
    }
    stats.payoff = stats.avg_win / -stats.avg_loss;
    stats.kelly = stats.win_rate - (1.0 - stats.win_rate) / stats.payoff;
    if trips.len() >= 2 {
        let squares: f64 = trips.iter().map(|trip| (trip.net - mean) * (trip.net - mean)).sum();
        let std = (squares / (n - 1.0)).sqrt();
        if !is_flat(std, tally.largest, 0.0) {
            stats.sqn = mean / std * n.sqrt();
        }
    }
    stats
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Side;
    use crate::units::{InstrumentIx, TsNs};

    /// A long trip of one unit over `bars` bars with this result.
    pub fn trip(gross: f64, fees: f64, bars: u32) -> RoundTrip {
        RoundTrip {
            instrument: InstrumentIx(0),
            side: Side::Buy,
            qty: 1.0,
            entry_ts: TsNs(0),
            exit_ts: TsNs(i64::from(bars)),
            entry_row: 5,
            exit_row: 5 + bars,
            entry_price: 100.0,
            exit_price: 100.0 + gross,
            gross,
            fees,
            net: gross - fees,
            notional: 100.0,
            mae: 0.01,
            mfe: 0.03,
        }
    }

    #[test]
    fn five_trips() {
        // nets 10, 20, -5, 0, -15
        let trips = [
            trip(10.0, 0.0, 1),
            trip(21.0, 1.0, 2),
            trip(-5.0, 0.0, 3),
            trip(1.0, 1.0, 4),
            trip(-14.0, 1.0, 5),
        ];
        let stats = trip_stats(&trips);
        assert_eq!(stats.n, 5);
        assert_eq!(stats.win_rate, 0.4);
        assert_eq!(stats.profit_factor, 1.5);
        assert_eq!(stats.expectancy, 2.0);
        assert_eq!((stats.avg_win, stats.avg_loss, stats.payoff), (15.0, -10.0, 1.5));
        assert_eq!((stats.max_win, stats.max_loss), (20.0, -15.0));
        assert!((stats.kelly - (0.4 - 0.6 / 1.5)).abs() < 1e-16);
        assert_eq!(stats.avg_holding_bars, 3.0);
        // deviations 8, 18, -7, -2, -17: 64 + 324 + 49 + 4 + 289 = 730; std = sqrt(730/4)
        assert!((stats.sqn - 2.0 / (182.5_f64).sqrt() * 5.0_f64.sqrt()).abs() < 1e-15);
        // The trip of zero ends the run of one loss.
        assert_eq!((stats.max_win_streak, stats.max_loss_streak), (2.0, 1.0));
        assert!((stats.avg_mae - 0.01).abs() < 1e-16 && (stats.avg_mfe - 0.03).abs() < 1e-16);
    }

    /// Pitfall 22: a trip that gains 1 and pays 10 in fees is a loss of 9.
    #[test]
    fn a_gain_smaller_than_its_fees_is_a_loss() {
        let stats = trip_stats(&[trip(1.0, 10.0, 1), trip(10.0, 1.0, 1)]);
        assert_eq!(stats.win_rate, 0.5);
        assert_eq!((stats.max_loss, stats.max_win, stats.profit_factor), (-9.0, 9.0, 1.0));
    }

    #[test]
    fn no_loss_no_win_no_trip() {
        let stats = trip_stats(&[trip(1.0, 0.0, 1), trip(2.0, 0.0, 1)]);
        assert!(stats.profit_factor.is_nan() && stats.payoff.is_nan() && stats.kelly.is_nan());
        assert!(stats.max_loss.is_nan() && stats.avg_loss.is_nan());
        assert_eq!((stats.win_rate, stats.max_loss_streak), (1.0, 0.0));
        let stats = trip_stats(&[trip(-1.0, 0.0, 1)]);
        assert_eq!((stats.win_rate, stats.profit_factor), (0.0, 0.0));
        assert!(stats.payoff.is_nan() && stats.max_win.is_nan() && stats.sqn.is_nan());
        let stats = trip_stats(&[]);
        assert_eq!(stats.n, 0);
        assert!(stats.win_rate.is_nan() && stats.max_win_streak.is_nan() && stats.expectancy.is_nan());
    }

    #[test]
    fn equal_trips_have_no_quality_number() {
        assert!(trip_stats(&[trip(0.1, 0.0, 1); 7]).sqn.is_nan());
    }

    #[test]
    fn a_trip_that_is_no_number_spoils_all() {
        let stats = trip_stats(&[trip(1.0, 0.0, 1), trip(f64::NAN, 0.0, 1)]);
        assert_eq!(stats.n, 2);
        assert!(stats.win_rate.is_nan() && stats.profit_factor.is_nan());
    }
}
