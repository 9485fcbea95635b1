//! Times as servers and certificates write them, as seconds since 1970, and back for people.

/// Seconds since 1970 of a `Date` header such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn parse_http(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let clock: Vec<u64> = time
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else {
        return None;
    };
    seconds(
        year.parse().ok()?,
        month,
        day.parse().ok()?,
        hour,
        minute,
        second,
    )
}

/// Seconds since 1970 of a certificate's time: `YYMMDDhhmmssZ`, or `YYYYMMDDhhmmssZ`.
pub fn parse_asn1(text: &str) -> Option<u64> {
    let digits = text
        .strip_suffix('Z')
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let full = match digits.len() {
        12 if digits < "50" => format!("20{digits}"),
        12 => format!("19{digits}"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| full.get(from..to)?.parse::<u64>().ok();
    seconds(
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?,
    )
}

/// The day for people: `2025-11-21`.
pub fn day(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The minute for people: `2025-11-21 14:03 UTC`.
pub fn minute(seconds: u64) -> String {
    let minutes = seconds / 60 % (24 * 60);
    format!(
        "{} {:02}:{:02} UTC",
        day(seconds),
        minutes / 60,
        minutes % 60
    )
}

fn seconds(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<u64> {
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

/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;

fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + DAYS_TO_1970;
    let (era, of_era) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(
            parse_http("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(parse_http("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_asn1("941106084937Z"), Some(784_111_777));
        assert_eq!(parse_asn1("19941106084937Z"), Some(784_111_777));
        assert_eq!(
            parse_asn1("20240229000000Z").map(day).as_deref(),
            Some("2024-02-29")
        );
        assert_eq!(minute(784_111_777), "1994-11-06 08:49 UTC");
        for text in [
            "",
            "Sun, 06 Nov 1994",
            "x, 1 Foo 1994 00:00:00 GMT",
            "x, 1 Jan 1994 0:0 GMT",
        ] {
            assert_eq!(parse_http(text), None, "{text}");
        }
        for text in ["", "Z", "99Z", "9411060849é7Z", "999999999999Z"] {
            assert_eq!(parse_asn1(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_and_civil_dates_are_inverse(number in 0u64..2_900_000) {
            let (year, month, date) = civil(number);
            prop_assert_eq!(days(year, month, date), number);
        }
    }
}
