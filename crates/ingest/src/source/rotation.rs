//! What the name of a file says about its place in a log: which log, which day, how many
//! rotations ago. Only names are looked at, never files.

use std::cmp::Reverse;

/// Endings of compressed files.
const COMPRESSED: &[&str] = &[".gz", ".zst"];

/// The longest rotation number, digits; longer numbers are part of a name (a time, an id).
const MAX_ROTATION_DIGITS: usize = 3;

/// The place of a file among the files of its log. The oldest file is the smallest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    /// The day in its name.
    day: Day,
    /// Rotations ago; 0 is the file being written.
    rotations: Reverse<u32>,
}

/// The day in a file's name, as `YYYYMMDD`. The file without one is the last: it is being written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Day {
    Named(String),
    None,
}

impl Age {
    /// Whether the name says that nothing is written to the file any more.
    pub(crate) fn is_rotated(&self) -> bool {
        self.rotations.0 > 0
    }
}

/// The log that a file belongs to, by the file's name: the name without compression, day and
/// rotation number, and the file's age in that log.
pub(crate) fn log_of(file_name: &str) -> (String, Age) {
    let name = COMPRESSED
        .iter()
        .find_map(|ending| file_name.strip_suffix(ending))
        .filter(|name| !name.is_empty())
        .unwrap_or(file_name);
    let (name, rotations) = without_rotation(name);
    let (name, day) = without_day(&name);
    let day = day.map_or(Day::None, Day::Named);
    (name, Age { day, rotations: Reverse(rotations) })
}

/// `name.log.2` and `name.2.log` are both `name.log`, two rotations ago.
fn without_rotation(name: &str) -> (String, u32) {
    let Some((rest, last)) = name.rsplit_once('.') else { return (name.to_owned(), 0) };
    if let Some(number) = rotation_number(last).filter(|_| !rest.is_empty()) {
        return (rest.to_owned(), number);
    }
    match rest.rsplit_once('.') {
        Some((stem, middle)) if !stem.is_empty() => match rotation_number(middle) {
            Some(number) => (format!("{stem}.{last}"), number),
            None => (name.to_owned(), 0),
        },
        _ => (name.to_owned(), 0),
    }
}

fn rotation_number(text: &str) -> Option<u32> {
    let is_number =
        (1..=MAX_ROTATION_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// `name-2026-11-22.log` is `name-*.log` of that day; `name.log-20261122`, as logrotate names it,
/// is `name.log` of that day.
fn without_day(name: &str) -> (String, Option<String>) {
    let Some((start, end)) = find_day(name.as_bytes()) else { return (name.to_owned(), None) };
    let day = name[start..end].replace(['-', '_'], "");
    let before = &name[..start];
    match before.strip_suffix(['-', '.', '_']) {
        Some(stem) if end == name.len() && stem.contains('.') => (stem.to_owned(), Some(day)),
        _ => (format!("{before}*{}", &name[end..]), Some(day)),
    }
}

/// The first `YYYY-MM-DD`, `YYYY_MM_DD` or `YYYYMMDD` that is not part of a longer number.
fn find_day(name: &[u8]) -> Option<(usize, usize)> {
    (0..name.len()).find_map(|start| {
        let is_inside = start > 0 && name[start - 1].is_ascii_digit();
        let len = day_len(&name[start..]).filter(|_| !is_inside)?;
        let is_longer = name.get(start + len).is_some_and(u8::is_ascii_digit);
        (!is_longer).then_some((start, start + len))
    })
}

fn day_len(text: &[u8]) -> Option<usize> {
    let digits = |range: std::ops::Range<usize>| -> Option<u32> {
        let part = std::str::from_utf8(text.get(range)?).ok()?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let year = digits(0..4)?;
    let (month, day, len) = match text.get(4)? {
        separator @ (b'-' | b'_') if text.get(7) == Some(separator) => {
            (digits(5..7)?, digits(8..10)?, 10)
        }
        _ => (digits(4..6)?, digits(6..8)?, 8),
    };
    let is_day =
        (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_day.then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_log_are_recognised_and_sorted_by_age() {
        let logs: &[(&str, &[&str])] = &[
            ("run2.log", &["run2.2.log", "run2.1.log", "run2.log"]),
            ("x.log", &["x.log.10.gz", "x.log.2.zst", "x.log.1", "x.log"]),
            (
                "openclaw-*.log",
                &[
                    "openclaw-2026-11-21.log.gz",
                    "openclaw-2026-11-22.2.log",
                    "openclaw-2026-11-22.1.log",
                    "openclaw-2026-11-22.log",
                    "openclaw-2026-11-23.log",
                ],
            ),
            ("x.log", &["x.log-20261121.gz", "x.log-20261122", "x.log.1", "x.log"]),
            ("audit_*.jsonl", &["audit_20261130.jsonl", "audit_20261201.jsonl"]),
            ("*.log", &["2026_11_30.log", "2026_12_01.log"]),
            ("app", &["app.1", "app"]),
        ];
        for (log, files) in logs {
            for pair in files.windows(2) {
                let ((old_log, old), (new_log, new)) = (log_of(pair[0]), log_of(pair[1]));
                assert_eq!((old_log.as_str(), new_log.as_str()), (*log, *log), "{pair:?}");
                assert!(old < new, "{pair:?}");
            }
        }
    }

    #[test]
    fn numbers_that_are_no_rotations_and_no_days_stay_in_the_name() {
        for name in [
            "x.1732291200.log",
            "x-20261322.log",
            "x-120261122.log",
            "v1.log",
            ".1",
            ".gz",
            "session-38ac0772-6286-47b2-9835-ac013b0bd864.jsonl",
            "",
        ] {
            assert_eq!(log_of(name).0, name);
        }
    }
}
