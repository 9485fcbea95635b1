//! Times as servers and certificates write them, as seconds since 1970, and back for people.

use nixctl_proto::date::{civil, seconds};

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

#[cfg(test)]
mod tests {
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
}
