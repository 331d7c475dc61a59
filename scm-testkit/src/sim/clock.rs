use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The simulator's clock: the system's time plus what a test added. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_millis: Arc<AtomicI64>,
}

impl Clock {
    /// Moves the clock forward, for example past the expiry of a token.
    pub fn advance(&self, by: Duration) {
        self.offset_millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.now().as_second()
    }

    /// Today's date in UTC as `YYYY-MM-DD`, plus or minus some days.
    #[must_use]
    pub fn date_in_days(&self, days: i64) -> String {
        let seconds = self.now().as_second().saturating_add(days.saturating_mul(86_400));
        Timestamp::from_second(seconds).map(date_of).unwrap_or(Date::MAX).to_string()
    }

    pub(crate) fn now(&self) -> Timestamp {
        let millis =
            Timestamp::now().as_millisecond().saturating_add(self.offset_millis.load(Ordering::SeqCst));
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn today(&self) -> Date {
        date_of(self.now())
    }
}

fn date_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_move_together() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = other.unix_seconds();
        clock.advance(Duration::from_secs(3_600));
        assert!(other.unix_seconds() >= before + 3_600);
        assert_eq!(clock.date_in_days(0), clock.today().to_string());
    }
}
