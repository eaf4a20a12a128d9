//! What a user writes to name a topic and parts of it: `kafka://host:port/topic` and ranges of offsets.
//! Whether brokers know of them is not looked at here.

use std::fmt;
use std::str::FromStr;

use super::super::discover::path_name;

/// How the address of a topic begins.
const SCHEME: &str = "kafka://";

/// A topic of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAddress {
    /// Brokers to begin with, `host:port` separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
}

impl TopicAddress {
    /// Whether a text is meant as the address of a topic.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The id of the source, if the user gives none.
    pub fn source_id(&self) -> String {
        path_name(&self.topic)
    }
}

impl fmt::Display for TopicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.brokers, self.topic)
    }
}

impl FromStr for TopicAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{text:?}: {what}; write kafka://host:port/topic, several brokers with commas")
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("no address of a topic"))?;
        let (brokers, topic) = rest.split_once('/').ok_or_else(|| wrong("names no topic"))?;
        if brokers.split(',').any(str::is_empty) {
            return Err(wrong("names no broker"));
        }
        if brokers.contains('@') {
            return Err(wrong("user and password belong into --kafka-property"));
        }
        if !is_topic_name(topic) {
            return Err(wrong("a topic's name has letters, digits, . _ and -, at most 249"));
        }
        Ok(Self { brokers: brokers.to_owned(), topic: topic.to_owned() })
    }
}

/// As brokers have it (`Topic.validate` of Apache Kafka).
fn is_topic_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=249).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

/// A part of a partition, in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    /// Which partition; the only one of the topic if not given.
    pub partition: Option<i32>,
    /// The first offset; where the partition begins if not given.
    pub start: Option<i64>,
    /// The offset after the last one; where the partition ends if not given.
    pub end: Option<i64>,
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(partition) = self.partition {
            write!(f, "{partition}:")?;
        }
        let text = |offset: Option<i64>| offset.map_or(String::new(), |offset| offset.to_string());
        write!(f, "{}..{}", text(self.start), text(self.end))
    }
}

impl FromStr for OffsetRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write 100..200 or, with the partition in front, 3:100..200".to_owned();
        let (partition, range) = match text.split_once(':') {
            Some((partition, range)) => {
                let number: i32 = partition.parse().map_err(|_| wrong())?;
                (Some(number), range)
            }
            None => (None, text),
        };
        let (start, end) = range.split_once("..").ok_or_else(wrong)?;
        let offset = |text: &str| match text {
            "" => Ok(None),
            _ => text.parse::<i64>().ok().filter(|o| *o >= 0).map(Some).ok_or_else(wrong),
        };
        let (start, end) = (offset(start)?, offset(end)?);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Err(format!("the end {end} is not read and has to be after {start}"));
        }
        match partition.is_some_and(|number| number < 0) {
            true => Err(wrong()),
            false => Ok(Self { partition, start, end }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_brokers_and_a_topic() {
        let read = |text: &str| text.parse::<TopicAddress>();
        let address = read("kafka://a:9092,b:9093/agents.audit-1").expect("an address");
        assert_eq!((&*address.brokers, &*address.topic), ("a:9092,b:9093", "agents.audit-1"));
        assert_eq!(address.to_string(), "kafka://a:9092,b:9093/agents.audit-1");
        assert_eq!(address.source_id(), "agents.audit-1");
        for (text, part) in [
            ("kafka://a:9092", "no topic"),
            ("kafka:///t", "no broker"),
            ("kafka://a,/t", "no broker"),
            ("kafka://u:p@a/t", "--kafka-property"),
            ("kafka://a/", "a topic's name"),
            ("kafka://a/t/u", "a topic's name"),
            ("kafka://a/..", "a topic's name"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_range_may_be_open_at_both_ends() {
        let read = |text: &str| text.parse::<OffsetRange>();
        let range = |partition, start, end| Ok(OffsetRange { partition, start, end });
        assert_eq!(read("100..200"), range(None, Some(100), Some(200)));
        assert_eq!(read("3:100.."), range(Some(3), Some(100), None));
        assert_eq!(read("0:..5"), range(Some(0), None, Some(5)));
        assert_eq!(read("3:.."), range(Some(3), None, None));
        for wrong in ["", "3", "5..5", "6..5", "-1..5", "x:1..2", "-1:1..2", "1..2..3", "1...2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("3:100..").expect("a range").to_string(), "3:100..");
    }
}
