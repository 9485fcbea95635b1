//! Small pieces of text: safe words, sizes, times, cut lines.

use nixctl_proto::date::civil;

/// The text without control characters, so that nothing from a log, a file name or a daemon can
/// move the cursor or change the terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            // Besides the control characters: those that turn the direction of writing around.
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// The lines of a text, each of them safe.
pub fn clean_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(clean)
}

/// The text for a terminal that knows only ASCII.
pub fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '…' => '.',
            '–' | '—' => '-',
            c if c.is_ascii() => c,
            _ => '?',
        })
        .collect()
}

/// The text in at most `width` characters, with a mark where it is cut.
pub fn cut(text: &str, width: usize, mark: &str) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(mark.chars().count());
    text.chars()
        .take(kept)
        .chain(mark.chars())
        .take(width)
        .collect()
}

/// A number of bytes in the unit that reads best: `512 B`, `1.5 KiB`, `312 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// A difference in bytes: `+1.5 KiB`, `-312 MiB`, `0 B`.
pub fn signed(difference: i64) -> String {
    let size = bytes(difference.unsigned_abs());
    match difference {
        0 => size,
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

/// A number with its thousands apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 step`, `2 steps`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// A moment in UTC: `2025-11-21 11:06:12Z`; a dash for none.
pub fn moment(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "-".to_owned();
    }
    let seconds = milliseconds / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// How long something took: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 1 min`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long ago a moment was: `just now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`. One in the
/// future, of a clock that was set back, is a moment; a dash stands for none.
pub fn ago(now: u64, milliseconds: u64) -> String {
    if milliseconds == 0 || milliseconds > now {
        return moment(milliseconds);
    }
    let seconds = (now - milliseconds) / 1000;
    match seconds {
        0..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_drive_the_terminal() {
        assert_eq!(
            clean("a\x1b[31mb\nc\u{202e}d\u{9b}"),
            "a\u{fffd}[31mb c\u{fffd}d\u{fffd}"
        );
        assert_eq!(
            clean_lines("a\nb\x07").collect::<Vec<_>>(),
            ["a", "b\u{fffd}"]
        );
        assert_eq!(ascii("größe … –"), "gr??e . -");
    }

    #[test]
    fn lines_are_cut_with_a_mark() {
        assert_eq!(cut("abcdef", 6, "…"), "abcdef");
        assert_eq!(cut("abcdefg", 6, "…"), "abcde…");
        assert_eq!(cut("abcdefg", 6, "..."), "abc...");
        assert_eq!(cut("abcdefg", 2, "..."), "..");
        assert_eq!(cut("ääää", 3, "…"), "ää…");
    }

    #[test]
    fn sizes_read_well() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (327_155_712, "312 MiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (difference, expected) in [
            (0, "0 B"),
            (1536, "+1.5 KiB"),
            (-5, "-5 B"),
            (i64::MIN, "-8192 PiB"),
        ] {
            assert_eq!(signed(difference), expected);
        }
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123_456), "123,456");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            (counted(1, "step"), counted(0, "step")),
            ("1 step".into(), "0 steps".into())
        );
    }

    #[test]
    fn times_read_well() {
        for (milliseconds, expected) in [
            (0, "-"),
            (1, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_763_723_172_999, "2025-11-21 11:06:12Z"),
            (1_767_225_599_000, "2025-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(milliseconds), expected);
        }
        for (milliseconds, expected) in [
            (0, "0.0 s"),
            (9_940, "9.9 s"),
            (12_000, "12 s"),
            (185_000, "3 min 5 s"),
            (7_265_000, "2 h 1 min"),
        ] {
            assert_eq!(duration(milliseconds), expected);
        }
        let now = 1_763_723_172_999;
        for (before, expected) in [
            (0, "just now"),
            (12_345, "12 s ago"),
            (300_000, "5 min ago"),
            (47 * 3_600_000, "47 h ago"),
            (5 * 86_400_000, "5 d ago"),
        ] {
            assert_eq!(ago(now, now - before), expected);
        }
        assert_eq!(ago(now, 0), "-");
        assert_eq!(ago(0, 1), "1970-01-01 00:00:00Z");
    }
}
