//! Points in time, and the clock that tests can replace.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A point in time, in UTC, to the millisecond or better. Text form is RFC 3339.
///
/// ```
/// use scm_core::Timestamp;
///
/// let at: Timestamp = "2026-01-02T03:04:05.678+02:00".parse()?;
/// assert_eq!(at.to_string(), "2026-01-02T01:04:05.678Z");
/// assert_eq!(at.as_millis(), 1_767_315_845_678);
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// From milliseconds since 1970, as Bitbucket Data Center sends them.
    ///
    /// # Errors
    /// `InvalidInput` when the year would leave the range -9999 to 9999.
    pub fn from_millis(millis: i64) -> Result<Self> {
        jiff::Timestamp::from_millisecond(millis)
            .map(Self)
            .map_err(|_| Error::invalid(format!("{millis} ms is not a point in time")))
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The time that is `duration` later, or the last representable one.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration).unwrap_or(jiff::Timestamp::MAX))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or_default()
    }

    /// The calendar day in UTC.
    pub fn date(self) -> Date {
        Date(self.0.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX))
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads ISO 8601 with any offset, also without its colon (`+1000`), and `2015-05-17 18:08:09 UTC`.
    fn from_str(text: &str) -> Result<Self> {
        let plain =
            text.strip_suffix(" UTC").map(|day_and_time| format!("{}Z", day_and_time.replace(' ', "T")));
        plain
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map(Self)
            .map_err(|_| Error::invalid(format!("'{text}' is not an ISO 8601 time with an offset")))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A calendar day without a time, `YYYY-MM-DD`: how servers give the expiry of tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(jiff::civil::Date);

impl Date {
    /// Whole days from `from` to this day; negative when this day is earlier.
    pub fn days_since(self, from: Self) -> i32 {
        self.0.since(from.0).map_or(0, |span| span.get_days())
    }

    /// The day that is `days` later, or the last representable one.
    #[must_use]
    pub fn saturating_add_days(self, days: i32) -> Self {
        use jiff::ToSpan as _;
        Self(self.0.saturating_add(days.days()))
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| Error::invalid(format!("'{text}' is not a day as YYYY-MM-DD")))
    }
}

impl TryFrom<String> for Date {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Time as the pipeline sees it; replaced in tests.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall clock, for expiry dates and `Retry-After` as a date.
    fn now(&self) -> Timestamp;

    /// Monotonic clock, for deadlines and pauses.
    fn monotonic(&self) -> Instant;

    /// Waits.
    async fn sleep(&self, duration: Duration);

    /// A random part of `limit`, for back-off with full jitter.
    fn jitter(&self, limit: Duration) -> Duration {
        limit.mul_f64(fastrand::f64())
    }
}

/// The real clock, on tokio's timer (so that tokio's paused time works too).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_time_formats_parse() {
        for (text, shown) in [
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.000-07:00", "2026-01-02T10:04:05Z"),
            ("2017-09-19T09:58:11+1000", "2017-09-18T23:58:11Z"),
            ("2015-05-17 18:08:09 UTC", "2015-05-17T18:08:09Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), shown, "{text}");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("2026-01-02".parse::<Timestamp>().is_err());
    }

    #[test]
    fn days_between_dates_count_whole_days() {
        let from: Date = "2026-12-30".parse().unwrap();
        assert_eq!("2027-01-01".parse::<Date>().unwrap().days_since(from), 2);
        assert_eq!("2026-12-29".parse::<Date>().unwrap().days_since(from), -1);
        assert_eq!(from.saturating_add_days(3).to_string(), "2027-01-02");
    }
}
