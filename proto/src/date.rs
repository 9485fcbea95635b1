//! Dates of the proleptic Gregorian calendar and seconds since 1970, in UTC, and the one spelling
//! that documents of ours have for a moment: `2026-11-22T04:10:12Z` (RFC 3339).

use serde::{Deserialize, Serialize};

/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;
const SECONDS_OF_A_DAY: u64 = 86_400;
/// First second after the year 9999, which has no four digits.
const END: u64 = 253_402_300_800;

/// A moment, in seconds since 1970; the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment; what lies after the year 9999 becomes its last second.
    pub fn new(seconds: u64) -> Timestamp {
        Timestamp(seconds.min(END - 1))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text:.40}` is no time, written 2026-11-22T04:10:12Z");
        let right = text.len() == 20
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                10 => byte == b'T',
                13 | 16 => byte == b':',
                19 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let read = || {
            let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
            let at = seconds(
                year,
                month,
                day,
                part(11, 13)?,
                part(14, 16)?,
                part(17, 19)?,
            )?;
            // There is no 31 February, and a leap second has no number of its own.
            let is_real = part(17, 19)? < 60 && civil(at / SECONDS_OF_A_DAY) == (year, month, day);
            is_real.then_some(Timestamp(at))
        };
        right.then(read).flatten().ok_or_else(wrong)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil(self.0 / SECONDS_OF_A_DAY);
        let second = self.0 % SECONDS_OF_A_DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// Seconds since 1970 of a date and a time of day; `None` for what is none, but every month is
/// taken to have 31 days.
pub fn seconds(
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
) -> Option<u64> {
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    Some((days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second)
}

/// Year, month and day of a number of days since 1970.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + DAYS_TO_1970;
    let (era, of_era) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

// Years are counted from March, so that the leap day is the last of its year.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    before - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1994-11-06T08:49:37Z", 784_111_777),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("9999-12-31T23:59:59Z", END - 1),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
        assert_eq!(Timestamp::new(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_moment() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 04:10:12Z",
            "2026-11-22T04:10:12",
            "2026-11-22T04:10:12+00:00",
            "2026-11-22T04:10:12.5Z",
            "2026-02-30T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T04:10:60Z",
            "1969-12-31T23:59:59Z",
            "2026-11-22T04:10:+2Z",
            "２026-11-22T04:10Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_and_civil_dates_are_inverse(number in 0u64..2_900_000) {
            let (year, month, date) = civil(number);
            prop_assert_eq!(days(year, month, date), number);
        }

        #[test]
        fn moments_are_read_back(seconds in 0..END) {
            prop_assert_eq!(Timestamp(seconds).to_string().parse(), Ok(Timestamp(seconds)));
        }
    }
}
