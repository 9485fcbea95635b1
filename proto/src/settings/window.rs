//! How a maintenance window is written: `DAYS FROM-TO [ZONE]` or `DAYS FROM+LENGTH [ZONE]`.
//!
//! `sat 22:00-04:00`, `mon-fri 01:30-03:00 Europe/Berlin`, `daily 03:00+90m`. Only the spelling is
//! known here, so that a wrong one is refused with its file and line; whether a time zone exists
//! and what the clock shows is known to the daemon.

use std::str::FromStr;

/// Minutes of a day.
pub const DAY_MINUTES: u32 = 24 * 60;
/// Longest window, in minutes: then it is open always.
pub const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;
/// Windows that may be set.
pub const MAX_WINDOWS: usize = 64;
/// Characters of a wrong window that are shown.
const SHOWN_CHARS: usize = 80;
const MAX_ZONE_BYTES: usize = 64;
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// A window that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the window `{text}`: {why}")]
pub struct WindowError {
    /// The window as it was written, or its beginning.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl WindowError {
    /// Says what is wrong with a window.
    pub fn new(text: &str, why: impl Into<String>) -> WindowError {
        let shown = text.chars().take(SHOWN_CHARS);
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        WindowError {
            text: shown.map(clean).collect(),
            why: why.into(),
        }
    }
}

/// A maintenance window, by the clock of a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Minute of the day at which it begins.
    pub start: u32,
    /// Minutes for which it lasts, at most [`WEEK_MINUTES`].
    pub length: u32,
    /// Name of its time zone; empty: that of the settings.
    pub zone: String,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Window, WindowError> {
        read(text).map_err(|why| WindowError::new(text, why))
    }
}

fn read(text: &str) -> Result<Window, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (days, times, zone) = match words[..] {
        [] => return Err("it is empty".to_owned()),
        [first, ..] if first.starts_with(|c: char| c.is_ascii_digit()) => {
            let why = "it does not begin with days: write `daily`, or days such as `mon-fri`";
            return Err(why.to_owned());
        }
        [_] => return Err("it has no times, such as 22:00-04:00 or 03:00+90m".to_owned()),
        [days, times] => (days, times, ""),
        [days, times, zone] => (days, times, zone),
        [_, _, _, next, ..] => return Err(format!("`{next}` is one word too many")),
    };
    let (start, length) = span_of(times)?;
    Ok(Window {
        days: days_of(days)?,
        start,
        length,
        zone: zone_of(zone)?,
    })
}

/// `daily`, or days and ranges of days between commas; a range may go over the week's end.
fn days_of(text: &str) -> Result<[bool; 7], String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (day_of(first)?, day_of(last)?);
        days[day] = true;
        while day != last {
            day = (day + 1) % days.len();
            days[day] = true;
        }
    }
    Ok(days)
}

fn day_of(text: &str) -> Result<usize, String> {
    let word = text.to_ascii_lowercase();
    let is_meant = |day: &&str| word == **day || word == day[..3];
    let found = DAYS.iter().position(is_meant);
    found.ok_or_else(|| {
        format!("`{text}` is no day: days are mon, tue, wed, thu, fri, sat, sun, or daily")
    })
}

/// First minute of the day and length in minutes of `FROM-TO` or `FROM+LENGTH`.
fn span_of(text: &str) -> Result<(u32, u32), String> {
    if let Some((from, length)) = text.split_once('+') {
        return Ok((beginning(from)?, length_of(length)?));
    }
    let Some((from, to)) = text.split_once('-') else {
        return Err(format!("`{text}` is neither FROM-TO nor FROM+LENGTH"));
    };
    let (from, to) = (beginning(from)?, time_of(to)?);
    match to {
        to if to > from => Ok((from, to - from)),
        to if to < from => Ok((from, to + DAY_MINUTES - from)),
        _ => Err("it ends when it begins: for a whole day write 00:00-24:00".to_owned()),
    }
}

fn beginning(text: &str) -> Result<u32, String> {
    match time_of(text)? {
        DAY_MINUTES => Err("24:00 is an end only: write 00:00 and the next day".to_owned()),
        minute => Ok(minute),
    }
}

/// Minute of the day of `HH:MM`, up to 24:00.
fn time_of(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no time of day, such as 03:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let is_number = |part: &str, long: &[usize]| {
        long.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    if !is_number(hour, &[1, 2]) || !is_number(minute, &[2]) {
        return Err(wrong());
    }
    let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
    match (number(hour)?, number(minute)?) {
        (24, 0) => Ok(DAY_MINUTES),
        (hour @ 0..24, minute @ 0..60) => Ok(hour * 60 + minute),
        _ => Err(wrong()),
    }
}

/// Minutes of `90m`, `2h` or `1h30m`.
fn length_of(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no length, such as 90m, 2h or 1h30m");
    let number = |part: &str| -> Result<u32, String> {
        let digits = (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let parsed = part.parse().ok().filter(|_| digits);
        parsed.ok_or_else(wrong)
    };
    let (hours, rest) = match text.split_once('h') {
        Some((hours, rest)) => (number(hours)?, rest),
        None => (0, text),
    };
    let minutes = match rest.strip_suffix('m') {
        Some(minutes) => number(minutes)?,
        None if rest.is_empty() && !text.is_empty() => 0,
        None => return Err(wrong()),
    };
    match hours * 60 + minutes {
        0 => Err("it lasts for no time".to_owned()),
        length @ 1..=WEEK_MINUTES => Ok(length),
        _ => Err("it is longer than a week".to_owned()),
    }
}

/// The name of a time zone; empty for none.
pub(super) fn zone_of(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+-".contains(&b);
        !part.is_empty() && part.bytes().all(allowed)
    };
    if !text.is_empty() && (text.len() > MAX_ZONE_BYTES || !text.split('/').all(is_part)) {
        return Err(format!(
            "`{text}` is no name of a time zone, such as Europe/Berlin"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn days(text: &str) -> [bool; 7] {
        let marks: Vec<bool> = text.chars().map(|c| c != '.').collect();
        marks.try_into().unwrap()
    }

    #[test]
    fn windows_are_read() {
        for (text, on, start, length, zone) in [
            ("sat 22:00-04:00", ".....x.", 22 * 60, 6 * 60, ""),
            (
                "mon-fri 01:30-03:00 Europe/Berlin",
                "xxxxx..",
                90,
                90,
                "Europe/Berlin",
            ),
            ("daily 03:00+90m", "xxxxxxx", 180, 90, ""),
            ("Daily 3:00+1h30m UTC", "xxxxxxx", 180, 90, "UTC"),
            ("fri-mon 23:59-0:00", "x...xxx", DAY_MINUTES - 1, 1, ""),
            ("sun,Wed,sat-sun 00:00-24:00", "..x..xx", 0, DAY_MINUTES, ""),
            (
                "  saturday   00:00+48h  Etc/GMT+5 ",
                ".....x.",
                0,
                2 * DAY_MINUTES,
                "Etc/GMT+5",
            ),
            ("mon 00:00+168h", "x......", 0, WEEK_MINUTES, ""),
        ] {
            let expected = Window {
                days: days(on),
                start,
                length,
                zone: zone.to_owned(),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "it is empty"),
            ("22:00-04:00", "does not begin with days"),
            ("sat", "no times"),
            ("sat 22:00", "neither FROM-TO nor FROM+LENGTH"),
            ("sat 22-04", "`22` is no time of day"),
            ("sat 22:0-04:00", "`22:0` is no time of day"),
            ("sat 25:00-04:00", "`25:00` is no time of day"),
            ("sat 22:60-04:00", "`22:60` is no time of day"),
            ("sat 24:00-04:00", "24:00 is an end only"),
            ("sat 22:00-24:01", "`24:01` is no time of day"),
            ("sat 22:00-22:00", "ends when it begins"),
            ("sat +2:00-04:00", "`` is no time of day"),
            ("caturday 22:00-04:00", "`caturday` is no day"),
            ("mon-fri, 22:00-04:00", "`` is no day"),
            ("mon - fri 22:00-04:00", "one word too many"),
            (
                "sat 22:00-04:00 Europe Berlin",
                "`Berlin` is one word too many",
            ),
            ("sat 22:00+", "`` is no length"),
            ("sat 22:00+90", "`90` is no length"),
            ("sat 22:00+1.5h", "is no length"),
            ("sat 22:00+h", "is no length"),
            ("sat 22:00+0h0m", "no time"),
            ("sat 22:00+169h", "longer than a week"),
            ("sat 22:00+99999h", "longer than a week"),
            ("sat 22:00-04:00 ../../etc/shadow", "no name of a time zone"),
            ("sat 22:00-04:00 /etc/localtime", "no name of a time zone"),
        ] {
            let error = text.parse::<Window>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
            let beginning = format!("cannot use the window `{text}`: ");
            assert!(error.starts_with(&beginning), "{error}");
        }
        let long = "x".repeat(10_000).parse::<Window>().unwrap_err();
        assert!(long.to_string().len() < 200);
        let odd = "\u{1b}[31m".parse::<Window>().unwrap_err();
        assert!(!odd.to_string().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn no_text_is_too_much_for_it(text in "\\PC*") {
            if let Ok(window) = text.parse::<Window>() {
                prop_assert!(window.days.contains(&true));
                prop_assert!(window.start < DAY_MINUTES);
                prop_assert!((1..=WEEK_MINUTES).contains(&window.length));
            }
        }

        #[test]
        fn times_are_those_that_were_written(
            from in 0..DAY_MINUTES, length in 1..=WEEK_MINUTES,
        ) {
            let text = format!("sat {:02}:{:02}+{length}m", from / 60, from % 60);
            let window: Window = text.parse().unwrap();
            prop_assert_eq!((window.start, window.length), (from, length));
        }
    }
}
