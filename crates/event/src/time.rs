//! Times as microseconds since 1970-01-01T00:00:00Z: read from text, written as text.

use jiff::Timestamp;

/// Microseconds in a second, a minute, an hour and a day.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub const DAY: i64 = 24 * HOUR;

/// The earliest time an event may have, 0001-01-01T00:00:00Z: the formats of the field print
/// no year below 1.
pub const MIN_TIME: i64 = -62_135_596_800 * SECOND;
/// The latest time an event may have, 9999-12-31T00:00:00Z.
pub const MAX_TIME: i64 = 253_402_214_400 * SECOND;

/// Reads an RFC 3339 time; `None` if it is none, or outside the years 1 to 9999.
///
/// The usual form, `2026-11-22T16:01:13.196Z`, is read without a general parser, since every
/// record carries it.
pub fn parse_time(text: &str) -> Option<i64> {
    parse_usual(text.as_bytes()).or_else(|| {
        let time: Timestamp = text.parse().ok()?;
        in_range(time.as_microsecond())
    })
}

/// Accepts a time within the years 1 to 9999.
pub fn in_range(us: i64) -> Option<i64> {
    (MIN_TIME..=MAX_TIME).contains(&us).then_some(us)
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+00:00)`, years from 1970; anything else is `None`.
fn parse_usual(b: &[u8]) -> Option<i64> {
    if b.len() < 20
        || b[4] != b'-'
        || b[7] != b'-'
        || b[10] != b'T'
        || b[13] != b':'
        || b[16] != b':'
    {
        return None;
    }
    let two = |i: usize| -> Option<i64> {
        let (hi, lo) = (b[i].wrapping_sub(b'0'), b[i + 1].wrapping_sub(b'0'));
        (hi < 10 && lo < 10).then(|| i64::from(hi * 10 + lo))
    };
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let mut rest = &b[19..];
    let mut fraction_us = 0;
    if let Some(digits) = rest.strip_prefix(b".") {
        let n = digits.iter().take_while(|d| d.is_ascii_digit()).count();
        if n == 0 || n > 9 {
            return None;
        }
        let mut scale = 100_000;
        for d in &digits[..n.min(6)] {
            fraction_us += i64::from(d - b'0') * scale;
            scale /= 10;
        }
        rest = &digits[n..];
    }
    if !matches!(rest, b"Z" | b"+00:00") {
        return None;
    }
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    in_range(seconds * SECOND + fraction_us)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Writes a time as RFC 3339 in UTC with the digits it needs: `2026-11-22T16:01:13.196Z`.
pub fn format_time(us: i64) -> String {
    match Timestamp::from_microsecond(us) {
        Ok(time) => {
            let subsec = us.rem_euclid(SECOND);
            match (subsec % 1000, subsec) {
                (0, _) => format!("{time:.3}"),
                _ => format!("{time:.6}"),
            }
        }
        Err(_) => format!("{us}us"),
    }
}

/// The UTC day of a time, `2026-11-22`: the value of `date=` in the archive.
pub fn format_date(us: i64) -> String {
    format_time(us).chars().take_while(|c| *c != 'T').collect()
}

/// Writes a duration for a person: `0.3 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn format_duration(us: i64) -> String {
    let us = us.max(0);
    if us < 10 * SECOND {
        return format!("{}.{} s", us / SECOND, us % SECOND / 100_000);
    }
    let (whole, part, names) = match us {
        _ if us < MINUTE => return format!("{} s", us / SECOND),
        _ if us < HOUR => (us / MINUTE, us % MINUTE / SECOND, ("min", "s")),
        _ if us < DAY => (us / HOUR, us % HOUR / MINUTE, ("h", "min")),
        _ => (us / DAY, us % DAY / HOUR, ("d", "h")),
    };
    match part {
        0 => format!("{whole} {}", names.0),
        _ => format!("{whole} {} {part} {}", names.0, names.1),
    }
}

/// Reads a timespan as in the Sigma specification: a whole number and `s`, `m`, `h` or `d`.
pub fn parse_timespan(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => SECOND,
        b'm' => MINUTE,
        b'h' => HOUR,
        b'd' => DAY,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let number: i64 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    number.checked_mul(unit)
}

/// Writes a timespan as rules have it, in the largest unit that fits it: `90s`, `5m`, `1d`.
pub fn format_timespan(us: i64) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")];
    let fits = units.into_iter().find(|(unit, _)| us > 0 && us % unit == 0);
    let (unit, name) = fits.unwrap_or((SECOND, "s"));
    format!("{}{name}", us / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_reader_agrees_with_the_general_one() {
        for text in [
            "2026-11-22T16:01:13.196Z",
            "2026-11-22T16:01:13.196+00:00",
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59.999999Z",
            "2024-12-31T00:00:00.1Z",
            "2100-03-01T00:00:00Z",
        ] {
            let general: Timestamp = text.parse().expect("valid");
            assert_eq!(parse_usual(text.as_bytes()), Some(general.as_microsecond()), "{text}");
        }
        for day in 0..40_000 {
            let text = format_time(day * DAY + 1000);
            assert_eq!(parse_usual(text.as_bytes()), Some(day * DAY + 1000), "{text}");
        }
    }

    #[test]
    fn times_with_offsets_are_converted_and_nonsense_is_refused() {
        assert_eq!(
            parse_time("2026-11-22T17:01:13.196+01:00"),
            parse_time("2026-11-22T16:01:13.196Z")
        );
        for text in [
            "",
            "2026-11-22",
            "2026-13-22T16:01:13Z",
            "2026-02-30T00:00:00Z",
            "now",
            "2026-11-22T16:01:13",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn times_print_with_the_digits_they_need() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_time(1_001_001), "1970-01-01T00:00:01.001001Z");
        assert_eq!(format_date(DAY), "1970-01-02");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(format_duration(310_000), "0.3 s");
        assert_eq!(format_duration(42 * SECOND), "42 s");
        assert_eq!(format_duration(250 * SECOND), "4 min 10 s");
        assert_eq!(format_duration(26 * HOUR), "1 d 2 h");
    }

    #[test]
    fn timespans_are_those_of_sigma() {
        assert_eq!(parse_timespan("5m"), Some(5 * MINUTE));
        assert_eq!(parse_timespan("1d"), Some(DAY));
        for text in ["0s", "90s", "5m", "90m", "1h", "36h", "31d"] {
            assert_eq!(parse_timespan(text).map(format_timespan).as_deref(), Some(text));
        }
        for text in ["", "5", "m", "-5m", "5 m", "5M", "1.5h", "99999999999999d"] {
            assert_eq!(parse_timespan(text), None, "{text}");
        }
    }
}
