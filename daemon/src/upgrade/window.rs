//! Maintenance windows: whether one is open, when the next opens, and until when.
//!
//! One rule holds for all of them: a window is open whenever the clock of its time zone shows a
//! time within it. So nothing ever happens at a time of day that nobody named. In the hour that a
//! clock skips in spring it shows nothing, and a window within it does not open that week; the
//! hour that comes twice in autumn is within a window twice. No windows: always open. Pure; moments
//! are milliseconds since 1970.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use nixctl_proto::Code;
use nixctl_proto::settings::{DAY_MINUTES, WEEK_MINUTES, Window as Written};

const WEEK_SECONDS: i64 = WEEK_MINUTES as i64 * 60;
/// How far is looked ahead: a window that falls into a skipped hour is open a week later, and some
/// countries have skipped a whole day.
const AHEAD_DAYS: i64 = 16;
/// A window may have begun as long ago as this.
const BACK_DAYS: i64 = 8;

/// Why the windows cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// One is not written as windows are.
    #[error(transparent)]
    Written(#[from] nixctl_proto::settings::WindowError),
    /// The settings name a time zone that there is none of.
    #[error("cannot use the windows: there is no time zone `{0}`")]
    NoSuchZone(String),
}

impl WindowError {
    /// Code for people and programs.
    pub fn code(&self) -> Code {
        Code::BadSettings
    }
}

/// Maintenance windows. The default is none: always open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    all: Vec<Window>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    days: [bool; 7],
    start: u32,
    length: u32,
    zone: TimeZone,
}

impl Windows {
    /// Reads windows; those that name no time zone are by the clock of `default`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn parse(
        texts: &[String],
        default: &TimeZone,
        named: &dyn Fn(&str) -> Option<TimeZone>,
    ) -> Result<Windows, WindowError> {
        let read = |text: &String| {
            let written: Written = text.parse()?;
            let zone = match written.zone.as_str() {
                "" => default.clone(),
                name => named(name).ok_or_else(|| {
                    let why = format!("there is no time zone `{name}`");
                    nixctl_proto::settings::WindowError::new(text, why)
                })?,
            };
            Ok(Window {
                days: written.days,
                start: written.start,
                length: written.length,
                zone,
            })
        };
        let all: Result<Vec<Window>, WindowError> = texts.iter().map(read).collect();
        Ok(Windows { all: all? })
    }

    /// Whether a window is open.
    pub fn is_open(&self, now: u64) -> bool {
        self.covers(moment(now))
    }

    /// When a window opens: now when one is open.
    pub fn next_open(&self, now: u64) -> Option<u64> {
        if self.is_open(now) {
            return Some(now);
        }
        let starts = |window: &Window| window.begins(moment(now), 0);
        self.first(now, starts, |open| open)
    }

    /// When no window is open any more; `None` when none is now, or when they never all close.
    pub fn closes_at(&self, now: u64) -> Option<u64> {
        if self.all.is_empty() || !self.is_open(now) {
            return None;
        }
        let ends = |window: &Window| window.begins(moment(now), window.length);
        self.first(now, ends, |open| !open)
    }

    /// The first of these moments, and of those at which a clock is put forward or back, that is
    /// after now and at which the windows are as wanted.
    fn first(
        &self,
        now: u64,
        edges: impl Fn(&Window) -> Vec<Timestamp>,
        wanted: impl Fn(bool) -> bool,
    ) -> Option<u64> {
        let now = moment(now);
        let mut candidates = BTreeSet::new();
        for window in &self.all {
            candidates.extend(edges(window));
            candidates.extend(window.jumps(now));
        }
        let found = candidates
            .into_iter()
            .find(|at| *at > now && wanted(self.covers(*at)))?;
        u64::try_from(found.as_millisecond()).ok()
    }

    fn covers(&self, at: Timestamp) -> bool {
        self.all.is_empty() || self.all.iter().any(|window| window.covers(at))
    }
}

impl Window {
    /// Whether the clock shows a time within it.
    fn covers(&self, at: Timestamp) -> bool {
        let clock = self.zone.to_datetime(at);
        let second = i64::from(clock.hour()) * 3600
            + i64::from(clock.minute()) * 60
            + i64::from(clock.second());
        let today = clock.weekday().to_monday_zero_offset();
        let now = i64::from(today) * i64::from(DAY_MINUTES) * 60 + second;
        let days = self.days.iter().zip(0i64..);
        days.filter(|(begins, _)| **begins).any(|(_, day)| {
            let start = (day * i64::from(DAY_MINUTES) + i64::from(self.start)) * 60;
            (now - start).rem_euclid(WEEK_SECONDS) < i64::from(self.length) * 60
        })
    }

    /// The moments around now at which the clock shows a beginning, or so many minutes after one.
    fn begins(&self, now: Timestamp, after: u32) -> Vec<Timestamp> {
        let today = self.zone.to_datetime(now).date();
        let shown = (-BACK_DAYS..AHEAD_DAYS).filter_map(|days| {
            let date = today.checked_add(Span::new().days(days)).ok()?;
            self.is_day(date)
                .then(|| clock_at(date, self.start + after))?
        });
        // The clock may show it never, once or twice.
        let moments = shown.flat_map(|clock| {
            let ambiguous = self.zone.to_ambiguous_timestamp(clock);
            [ambiguous.earlier(), ambiguous.later()]
        });
        moments.filter_map(Result::ok).collect()
    }

    fn is_day(&self, date: Date) -> bool {
        let day = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        self.days.get(day).copied().unwrap_or(false)
    }

    /// The moments at which the clock is put forward or back.
    fn jumps(&self, now: Timestamp) -> Vec<Timestamp> {
        let until = now.as_second().saturating_add(AHEAD_DAYS * 86_400);
        let next = self.zone.following(now).map(|jump| jump.timestamp());
        next.take_while(|at| at.as_second() < until).collect()
    }
}

fn clock_at(date: Date, minutes: u32) -> Option<DateTime> {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    midnight
        .checked_add(Span::new().minutes(i64::from(minutes)))
        .ok()
}

/// A clock that is set beyond all years is at the last one.
fn moment(millis: u64) -> Timestamp {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
