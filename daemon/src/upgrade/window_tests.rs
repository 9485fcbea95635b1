use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

fn windows(texts: &[&str]) -> Windows {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    Windows::parse(&texts, &zone("Europe/Berlin").unwrap(), &zone).unwrap()
}

/// A moment, written with its offset from UTC, which tells the two of a doubled hour apart.
fn at(text: &str) -> u64 {
    let moment: Timestamp = text.parse().unwrap();
    u64::try_from(moment.as_millisecond()).unwrap()
}

#[track_caller]
fn opens(all: &[&str], now: &str, expected: &str) {
    let next = windows(all).next_open(at(now)).map(moment);
    assert_eq!(next, Some(moment(at(expected))), "{all:?} from {now}");
}

#[track_caller]
fn closes(all: &[&str], now: &str, expected: &str) {
    let next = windows(all).closes_at(at(now)).map(moment);
    assert_eq!(next, Some(moment(at(expected))), "{all:?} from {now}");
}

#[test]
fn no_windows_are_always_open() {
    let none = Windows::default();
    assert!(none.is_open(0) && none.is_open(u64::MAX));
    assert_eq!(none.next_open(77), Some(77));
    assert_eq!(none.closes_at(77), None);
}

#[test]
fn a_window_has_its_first_second_and_not_its_end() {
    // 2026-11-21 is a Saturday; Berlin is at +01.
    for (window, now, open) in [
        ("sat 22:00-04:00", "2026-11-21T21:59:59.999+01", false),
        ("sat 22:00-04:00", "2026-11-21T22:00+01", true),
        ("sat 22:00-04:00", "2026-11-22T03:59:59.999+01", true),
        ("sat 22:00-04:00", "2026-11-22T04:00+01", false),
        ("sat 22:00-04:00", "2026-11-20T23:00+01", false),
        // Over the week's end.
        ("sun 22:00-04:00", "2026-11-23T03:59+01", true),
        ("sun 22:00-04:00", "2026-11-23T04:00+01", false),
        ("sun 12:00+48h", "2026-11-24T11:59+01", true),
        ("sun 12:00+48h", "2026-11-24T12:00+01", false),
        // By another clock than the machine's.
        ("sat 22:00-23:00 Asia/Tokyo", "2026-11-21T14:30+01", true),
        ("sat 22:00-23:00 Asia/Tokyo", "2026-11-21T22:30+01", false),
        (
            "mon 00:00-01:00 Pacific/Kiritimati",
            "2026-11-22T11:30+01",
            true,
        ),
        // Before 1970 and after all years there is an answer too.
        ("thu 01:00-02:00", "1970-01-01T01:30+01", true),
        ("daily 00:00-24:00", "9999-12-30T00:00+00", true),
    ] {
        assert_eq!(windows(&[window]).is_open(at(now)), open, "{window} {now}");
    }
    assert!(windows(&["daily 00:00-24:00"]).is_open(u64::MAX));
}

#[test]
fn the_next_opening_is_found() {
    let week = ["sat 22:00-04:00"];
    opens(&week, "2026-11-21T20:00+01", "2026-11-21T22:00+01");
    opens(
        &week,
        "2026-11-21T23:00:00.5+01",
        "2026-11-21T23:00:00.5+01",
    );
    opens(&week, "2026-11-22T04:00+01", "2026-11-28T22:00+01");
    opens(
        &["sat 22:00-04:00", "wed 10:00+1h UTC"],
        "2026-11-22T04:00+01",
        "2026-11-25T10:00+00",
    );
    closes(&week, "2026-11-21T23:00+01", "2026-11-22T04:00+01");
    // Windows that touch are one.
    closes(
        &["sat 22:00-04:00", "sun 04:00-06:00", "sun 05:30-05:45"],
        "2026-11-21T23:00+01",
        "2026-11-22T06:00+01",
    );
    closes(
        &["sat 00:00+167h"],
        "2026-11-21T23:00+01",
        "2026-11-27T23:00+01",
    );
    for always in [
        vec!["daily 00:00-24:00"],
        vec!["tue 05:00+168h"],
        vec!["daily 00:00-12:00", "daily 11:00-01:00"],
    ] {
        assert_eq!(windows(&always).closes_at(at("2026-11-21T23:00+01")), None);
    }
    assert_eq!(windows(&week).closes_at(at("2026-11-21T20:00+01")), None);
}

/// On 2026-03-29 clocks in Berlin go from 02:00 +01 to 03:00 +02.
#[test]
fn the_hour_that_is_skipped_opens_nothing() {
    let before = "2026-03-29T01:00+01";
    // Within it: not today.
    opens(&["sun 02:15-02:45"], before, "2026-04-05T02:15+02");
    opens(&["daily 02:00-03:00"], before, "2026-03-30T02:00+02");
    // Begins in it: what is left of it, from the moment when the clock shows such a time.
    opens(&["sun 02:30-04:00"], before, "2026-03-29T03:00+02");
    closes(
        &["sun 02:30-04:00"],
        "2026-03-29T03:00+02",
        "2026-03-29T04:00+02",
    );
    // Ends in it: the clock shows no time within any more.
    closes(&["sun 01:00-02:30"], before, "2026-03-29T03:00+02");
    // Over it: shorter by an hour, with the same times.
    closes(&["sun 01:00+3h"], before, "2026-03-29T04:00+02");
    closes(
        &["sat 22:00-04:00"],
        "2026-03-28T22:00+01",
        "2026-03-29T04:00+02",
    );
}

/// On 2026-10-25 clocks in Berlin go from 03:00 +02 to 02:00 +01.
#[test]
fn the_hour_that_comes_twice_opens_twice() {
    let inside = ["sun 02:15-02:45"];
    opens(&inside, "2026-10-25T01:00+02", "2026-10-25T02:15+02");
    closes(&inside, "2026-10-25T02:15+02", "2026-10-25T02:45+02");
    opens(&inside, "2026-10-25T02:45+02", "2026-10-25T02:15+01");
    closes(&inside, "2026-10-25T02:15+01", "2026-10-25T02:45+01");
    opens(&inside, "2026-10-25T02:45+01", "2026-11-01T02:15+01");
    // Ends in it: interrupted where the clock shows a later time.
    let ends = ["sun 01:30-02:30"];
    closes(&ends, "2026-10-25T01:30+02", "2026-10-25T02:30+02");
    opens(&ends, "2026-10-25T02:30+02", "2026-10-25T02:00+01");
    closes(&ends, "2026-10-25T02:00+01", "2026-10-25T02:30+01");
    // Over it: longer by an hour, with the same times.
    closes(
        &["sat 22:00-04:00"],
        "2026-10-24T22:00+02",
        "2026-10-25T04:00+01",
    );
}

#[test]
fn a_day_that_a_country_skipped_has_no_window() {
    // Samoa went from Thursday, 2011-12-29 to Saturday, 2011-12-31.
    let week = ["fri 10:00-12:00 Pacific/Apia"];
    opens(&week, "2011-12-29T00:00-10", "2012-01-06T10:00+14");
    opens(
        &["fri 22:00-04:00 Pacific/Apia"],
        "2011-12-29T00:00-10",
        "2011-12-31T00:00+14",
    );
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("sat 22:00", "neither FROM-TO nor"),
        (
            "sat 22:00-04:00 Europe/Berln",
            "there is no time zone `Europe/Berln`",
        ),
    ] {
        let texts = ["daily 03:00+90m".to_owned(), text.to_owned()];
        let error = Windows::parse(&texts, &TimeZone::UTC, &zone).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(part), "{error}");
        assert!(
            error.starts_with(&format!("cannot use the window `{text}`: ")),
            "{error}"
        );
    }
}

const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    // Half an hour of summer time; midnight as the hour of the change; both sides of the date line.
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Apia",
    "Africa/Casablanca",
    "UTC",
];

prop_compose! {
    fn any_window()(
        days in 1u8..128, start in 0u32..DAY_MINUTES, length in 1u32..=WEEK_MINUTES,
        is_short in any::<bool>(), place in 0..ZONES.len(),
    ) -> Window {
        Window {
            days: std::array::from_fn(|day| days & (1 << day) != 0),
            start,
            length: if is_short { 1 + length % 120 } else { length },
            zone: zone(ZONES[place]).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn what_opens_is_open_and_was_not_before(
        all in proptest::collection::vec(any_window(), 1..4),
        day in 0u64..366 * 70, second in 0u64..86_400, is_near in any::<bool>(),
    ) {
        let mut now = (day * 86_400 + second) * 1000;
        // Half of them in the hours before a clock changes, where it is not trivial.
        let change = all[0].zone.following(moment(now)).next();
        if let (true, Some(change)) = (is_near, change) {
            let change = u64::try_from(change.timestamp().as_millisecond()).unwrap();
            now = change.saturating_sub(second % (5 * 3600) * 1000);
        }
        let windows = Windows { all };
        let open = windows.next_open(now).unwrap();
        prop_assert!(open >= now && windows.is_open(open));
        prop_assert!(open == now || !windows.is_open(open - 1));
        prop_assert!(open - now <= 15 * 86_400_000);
        if let Some(close) = windows.closes_at(open) {
            prop_assert!(close > open && !windows.is_open(close) && windows.is_open(close - 1));
        }
        // Nothing in between was missed.
        for minute in 0..400u64 {
            let before = now + minute * 60_000;
            prop_assert!(before >= open || !windows.is_open(before));
        }
    }
}
