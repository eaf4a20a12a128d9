//! The summary of a replay, for a person: what was read, what was raised, what could not be seen,
//! and what to ask next.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use lapwing_detector::rule::RuleSet;
use lapwing_event::Level;
use lapwing_ingest::SourceStats;
use lapwing_sink::ArchiveReport;

use crate::coverage::{Coverage, coverage};
use crate::report::Report;

/// What there is to tell.
pub(crate) struct Summary<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) report: &'a Report,
    pub(crate) source: &'a SourceStats,
    pub(crate) archive: Option<(&'a Path, ArchiveReport)>,
    pub(crate) formats: &'a [&'static str],
    pub(crate) elapsed: Duration,
}

/// Writes the summary.
pub(crate) fn print_summary(summary: &Summary<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    print_input(summary, out)?;
    print_alerts(summary.report, out)?;
    let coverage = coverage(summary.rules, &summary.report.stats, summary.formats);
    print_coverage(&coverage, out)?;
    if summary.formats == ["archive"] {
        writeln!(
            out,
            "           which rules are blind is told when the logs themselves are read"
        )?;
    }
    if let Some((path, report)) = &summary.archive {
        print_archive(path, report, out)?;
    }
    Ok(())
}

fn print_input(summary: &Summary<'_>, out: &mut impl Write) -> io::Result<()> {
    let Summary { report, source, elapsed, .. } = summary;
    let seconds = elapsed.as_secs_f64().max(1e-6);
    writeln!(
        out,
        "read       {}, {} in {:.2} s ({} records/s, {}/s)",
        counted(source.records, "record"),
        bytes(source.bytes_read),
        seconds,
        number((source.records as f64 / seconds) as u64),
        bytes((source.bytes_read as f64 / seconds) as u64),
    )?;
    let read = match source.partitions {
        0 => format!("{} of {}", counted(source.files, "file"), counted(source.logs, "log")),
        partitions => counted(partitions, "partition"),
    };
    writeln!(
        out,
        "           {read}; formats: {}",
        if summary.formats.is_empty() { "none".to_owned() } else { summary.formats.join(", ") }
    )?;
    for refused in &source.refused {
        writeln!(out, "refused    {refused}")?;
    }
    write!(out, "events     {}", number(report.events))?;
    for (count, what) in [
        (report.corrected, "with a time far ahead of their neighbours (time_corrected)"),
        (report.clamped, "ahead of log time (time_clamped)"),
        (report.late, "too late for a window (late)"),
        (source.outside, "outside --since and --until left out"),
    ] {
        if count > 0 {
            write!(out, ", {} {what}", number(count))?;
        }
    }
    writeln!(out)?;
    if source.blank_lines > 0 {
        writeln!(out, "blank      {}", counted(source.blank_lines, "line"))?;
    }
    if report.rejected.is_empty() {
        return writeln!(out, "rejected   0");
    }
    writeln!(out, "rejected   {}", number(report.rejected_records()))?;
    for (reason, (count, first)) in &report.rejected {
        writeln!(
            out,
            "           {:<14}{:>9}  first: {}",
            reason.name(),
            number(*count),
            plain(first)
        )?;
    }
    Ok(())
}

fn print_alerts(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let levels = report.alerts_by_level();
    let total: u64 = levels.values().sum();
    let by_level: Vec<String> =
        levels.iter().rev().map(|(level, count)| format!("{count} {level}")).collect();
    match total {
        0 => writeln!(out, "alerts     0")?,
        _ => writeln!(out, "alerts     {}: {}", number(total), by_level.join(", "))?,
    }
    for (rule, alerts) in &report.rules {
        let levels: Vec<String> =
            alerts.by_level.iter().rev().map(|(l, n): (&Level, &u64)| format!("{n} {l}")).collect();
        writeln!(out, "           {:<26}{}", rule, levels.join(", "))?;
        for (count, key) in &alerts.top {
            let key = if key.is_empty() { "(all events)" } else { key };
            writeln!(out, "           {:>8} × {}", number(*count), plain(key))?;
        }
        if alerts.incomplete > 0 {
            writeln!(out, "           {} of them INCOMPLETE", alerts.incomplete)?;
        }
    }
    Ok(())
}

fn print_coverage(coverage: &Coverage, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "coverage   rule                       matched   with key")?;
    for rule in &coverage.rules {
        write!(
            out,
            "           {:<26}{:>8} {:>10}",
            rule.rule,
            number(rule.matched),
            number(rule.keyed)
        )?;
        match (&rule.blind, &rule.unset_key) {
            (Some(reason), _) => writeln!(out, "  BLIND: {reason}")?,
            (None, Some(fields)) => writeln!(out, "  one group: {fields} is never set")?,
            (None, None) => writeln!(out)?,
        }
    }
    for (format, spot) in &coverage.blind_spots {
        writeln!(out, "never seen {}", spot.what)?;
        writeln!(out, "           in {format}: {}", spot.add)?;
    }
    Ok(())
}

fn print_archive(path: &Path, report: &ArchiveReport, out: &mut impl Write) -> io::Result<()> {
    if report.files_written == 0 && report.ranges_unchanged > 0 {
        writeln!(
            out,
            "archive    unchanged: {} holds these {} records already",
            path.display(),
            number(report.records_unchanged)
        )?;
    } else {
        writeln!(
            out,
            "archive    {}: {} files, {} written",
            path.display(),
            report.files_written,
            bytes(report.bytes_written)
        )?;
        if report.records_unchanged > 0 {
            let held = number(report.records_unchanged);
            writeln!(out, "           {held} records were there already")?;
        }
    }
    let folder = path.display();
    writeln!(
        out,
        "query      duckdb -c \"SELECT kind, action, outcome, count(*) AS events FROM '{folder}/events/**/*.parquet' GROUP BY ALL ORDER BY events DESC\""
    )
}

/// A text from a log, without control characters.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(160).collect()
}

/// 1234567 as 1,234,567.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn counted(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(n))
}

fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
    }
}
