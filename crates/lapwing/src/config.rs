//! The configuration file of `run`: YAML, checked against one table of keys from which
//! `schemas/config.schema.json` is made too.

mod keys;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lapwing_detector::Limits;
use lapwing_detector::yaml::{Node, YamlError, read_documents};
use lapwing_event::FieldId;
use lapwing_event::archive::{Table, is_path_name};
use lapwing_event::time::{DAY, MINUTE, SECOND};
use lapwing_ingest::KeepRaw;
use lapwing_ingest::format::{FORMATS, Format, format_by_name};

pub(crate) use keys::below;
pub use keys::{CONFIG_KEYS, KeySpec, KeyType};

pub use crate::lane::EpochLimits;
use crate::rules::RuleSelection;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// What is read.
    pub sources: Vec<SourceConfig>,
    /// The archive's folder, or its URL, if there is one.
    pub archive: Option<String>,
    /// Where files are written before they are uploaded.
    pub spool: PathBuf,
    /// Which original records the archive keeps.
    pub keep_raw: KeepRaw,
    /// When the archive's files are closed and the state is saved.
    pub epoch: EpochLimits,
    /// What all encoders may hold together, bytes.
    pub encoder_bytes: usize,
    /// How long days of the archive are kept, microseconds, by table; what is not named, for ever.
    pub retention: BTreeMap<Table, i64>,
    /// A file to which alerts are appended as JSON Lines.
    pub alerts_file: Option<PathBuf>,
    /// How alerts are written to standard output.
    pub alerts_stdout: Option<AlertFormat>,
    /// The folder, or the URL, of the checkpoints.
    pub state: String,
    /// How long a stop may take.
    pub stop_timeout: Duration,
    /// The rules.
    pub rules: RuleSelection,
    /// What the detector may keep.
    pub limits: Limits,
    /// How far a time may be ahead of log time without being flagged, microseconds.
    pub max_future_skew: i64,
    /// The longest record, bytes.
    pub max_record_bytes: usize,
    /// What may wait of each Kafka source, bytes.
    pub queue_bytes: usize,
    /// The address of the endpoint for health checks and metrics.
    pub listen: Option<SocketAddr>,
    /// Whether the program's own log is JSON.
    pub json_log: bool,
    /// What the program's own log tells, in the syntax of `tracing`.
    pub log_level: String,
}

/// A configured source.
#[derive(Debug)]
pub struct SourceConfig {
    /// Its id.
    pub id: String,
    /// What it reads.
    pub input: Input,
    /// The format of all its logs; `None` to recognise each.
    pub format: Option<&'static dyn Format>,
    /// Whether what is there at the first start is read from its beginning.
    pub from_beginning: bool,
}

/// What a source reads.
#[derive(Debug)]
pub enum Input {
    /// Files, folders and patterns.
    Files(Vec<String>),
    /// Topics.
    Kafka(KafkaConfig),
}

/// Topics of a Kafka cluster.
#[derive(Debug)]
pub struct KafkaConfig {
    /// Brokers to begin with.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// The topics.
    pub topics: Vec<TopicConfig>,
    /// Whether rules may run whose groups are spread over partitions.
    pub accepts_partial: bool,
    /// Properties of librdkafka.
    pub properties: Vec<(String, String)>,
}

/// A topic, or a pattern of topics.
#[derive(Debug)]
pub struct TopicConfig {
    /// Its name, or a pattern that begins with `^`.
    pub name: String,
    /// The fields that decide the partition of a record; empty if nobody knows.
    pub partitioned_by: Vec<FieldId>,
}

/// How alerts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFormat {
    /// For a person.
    Text,
    /// JSON Lines.
    Json,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read; the first thing that is wrong in it, by file, line and key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot be read as text", path.display()))?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    /// Reads a text; `name` names it in errors.
    ///
    /// # Errors
    /// The first thing that is wrong, by line and key.
    pub fn parse(name: &str, text: &str) -> Result<Self, YamlError> {
        let mut documents = read_documents(name, text)?;
        let root = match documents.len() {
            1 => documents.remove(0),
            n => {
                return Err(YamlError {
                    file: name.into(),
                    line: 1,
                    key: String::new(),
                    message: format!("expected one YAML document, found {n}"),
                });
            }
        };
        keys::check(&root)?;
        build(&root)
    }
}

fn build(root: &Node) -> Result<Config, YamlError> {
    let at = |path: &str| keys::find(root, path);
    let path = |path: &str| -> Result<Option<PathBuf>, YamlError> {
        Ok(at(path).map(Node::text).transpose()?.map(PathBuf::from))
    };
    let span = |path: &str, default: i64| at(path).map_or(Ok(default), Node::timespan);
    let count = |path: &str, default: usize| at(path).map_or(Ok(default), positive);
    let defaults = Limits::default();
    Ok(Config {
        sources: read_sources(root.require("sources")?)?,
        archive: at("archive.path").map(Node::text).transpose()?.map(str::to_owned),
        spool: path("archive.spool")?.unwrap_or_else(|| std::env::temp_dir().join("lapwing-spool")),
        keep_raw: match at("archive.raw").map(Node::text).transpose()? {
            Some("none") => KeepRaw::None,
            Some("all") => KeepRaw::All,
            _ => KeepRaw::Unmapped,
        },
        epoch: EpochLimits {
            age: Duration::from_micros(span("archive.epoch", 5 * MINUTE)?.max(1) as u64),
            size_bytes: count("archive.epoch_bytes", 128 << 20)? as u64,
            records: count("archive.epoch_records", 1_000_000)? as u64,
        },
        encoder_bytes: count("archive.memory_bytes", 32 << 20)?,
        retention: read_retention(root)?,
        alerts_file: path("alerts.file")?,
        alerts_stdout: match at("alerts.stdout").map(Node::text).transpose()? {
            Some("text") => Some(AlertFormat::Text),
            Some("none") => None,
            _ => Some(AlertFormat::Json),
        },
        state: root.require("state")?.text()?.to_owned(),
        stop_timeout: Duration::from_micros(span("stop_timeout", 30 * SECOND)?.max(0) as u64),
        rules: RuleSelection {
            paths: texts(at("rules.paths"))?.into_iter().map(PathBuf::from).collect(),
            without_builtin: !at("rules.builtin").map_or(Ok(true), Node::bool)?,
            disable: texts(at("rules.disable"))?,
            enable: texts(at("rules.enable"))?,
        },
        limits: Limits {
            keys: count("detector.max_keys", defaults.keys)?,
            entries_per_key: count("detector.max_entries_per_key", defaults.entries_per_key)?,
            values_per_key: count("detector.max_values_per_key", defaults.values_per_key)?,
            open_alerts: count("detector.max_open_alerts", defaults.open_alerts)?,
        },
        max_future_skew: span("ingest.max_future_skew", MINUTE)?,
        max_record_bytes: count(
            "ingest.max_record_bytes",
            lapwing_ingest::decode::DEFAULT_MAX_RECORD_BYTES,
        )?,
        queue_bytes: count("ingest.queue_bytes", 32 << 20)?,
        listen: at("http.listen").map(read_address).transpose()?,
        json_log: at("log.format").map(Node::text).transpose()? == Some("json"),
        log_level: at("log.level").map_or(Ok("info"), Node::text)?.to_owned(),
    })
}

fn read_retention(root: &Node) -> Result<BTreeMap<Table, i64>, YamlError> {
    let mut retention = BTreeMap::new();
    for table in Table::ALL {
        if let Some(node) = keys::find(root, &format!("retention.{}", table.folder())) {
            let span = node.timespan()?;
            if span < DAY {
                return Err(node.error("days are removed as a whole; keep at least 1d"));
            }
            retention.insert(table, span);
        }
    }
    Ok(retention)
}

/// A loopback address: whoever reaches the endpoint may read it.
fn read_address(node: &Node) -> Result<SocketAddr, YamlError> {
    let text = node.text()?;
    let address: SocketAddr = text.parse().map_err(|_| {
        node.error(format!("{text:?} is no address and port; write for instance 127.0.0.1:9598"))
    })?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(node.error(format!(
            "{address} can be reached from other machines, and the endpoint asks for no password; \
             use 127.0.0.1 or [::1], and a proxy that checks who asks"
        ))),
    }
}

fn positive(node: &Node) -> Result<usize, YamlError> {
    usize::try_from(node.int()?)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| node.error("expected 1 or more"))
}

fn texts(node: Option<&Node>) -> Result<Vec<String>, YamlError> {
    let items = node.map(Node::list).transpose()?.unwrap_or_default();
    items.iter().map(|item| item.text().map(str::to_owned)).collect()
}

fn read_sources(node: &Node) -> Result<Vec<SourceConfig>, YamlError> {
    let mut sources: Vec<SourceConfig> = Vec::new();
    for item in node.list()? {
        let id = item.require("id")?;
        let text = id.text()?;
        if !is_path_name(text) {
            return Err(
                id.error("becomes part of a path: letters, digits, . _ - and at most 64 of them")
            );
        }
        if sources.iter().any(|s| s.id == text) {
            return Err(id.error(format!("the id {text} stands twice")));
        }
        let input = match item.require("type")?.text()? {
            "kafka" => Input::Kafka(read_kafka(item)?),
            _ => Input::Files(read_include(item)?),
        };
        let format = item.get("format").map(read_format).transpose()?;
        sources.push(SourceConfig {
            id: text.to_owned(),
            input,
            format,
            from_beginning: item.get("start").map(Node::text).transpose()? != Some("end"),
        });
    }
    match sources.is_empty() {
        true => Err(node.error("names no source")),
        false => Ok(sources),
    }
}

fn read_include(item: &Node) -> Result<Vec<String>, YamlError> {
    let include = texts(Some(item.require("include")?))?;
    match include.is_empty() {
        true => Err(item.require("include")?.error("names nothing to read")),
        false => Ok(include),
    }
}

fn read_kafka(item: &Node) -> Result<KafkaConfig, YamlError> {
    let text = |key: &str| item.get(key).map(Node::text).transpose();
    let mut topics = Vec::new();
    for topic in item.require("topics")?.list()? {
        let fields = topic.get("partitioned_by").map(Node::list).transpose()?.unwrap_or_default();
        let field = |node: &Node| {
            let name = node.text()?;
            FieldId::by_name(name)
                .ok_or_else(|| node.error(format!("{name} is no field of an event")))
        };
        topics.push(TopicConfig {
            name: topic.require("name")?.text()?.to_owned(),
            partitioned_by: fields.iter().map(field).collect::<Result<_, _>>()?,
        });
    }
    if topics.is_empty() {
        return Err(item.require("topics")?.error("names no topic"));
    }
    let mut properties = Vec::new();
    for (name, value) in item.get("properties").map(Node::map).transpose()?.unwrap_or_default() {
        properties.push((name.to_string(), expand_node(value)?));
    }
    Ok(KafkaConfig {
        brokers: item.require("brokers")?.text()?.to_owned(),
        group: text("group")?.unwrap_or("lapwing").to_owned(),
        topics,
        accepts_partial: text("partial")? == Some("accept"),
        properties,
    })
}

fn expand_node(node: &Node) -> Result<String, YamlError> {
    expand(&node.scalar_text()?).map_err(|what| node.error(what))
}

/// The text of a value; `${env:NAME}` and `${file:PATH}` stand for what is there, so that no secret
/// has to be written into the configuration.
pub(crate) fn expand(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(text.to_owned());
    };
    match inner.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))
        }
        Some(("file", path)) => std::fs::read_to_string(path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|error| format!("{path}: cannot be read: {error}")),
        _ => Err("write ${env:NAME} or ${file:PATH}".to_owned()),
    }
}

fn read_format(node: &Node) -> Result<&'static dyn Format, YamlError> {
    let names: Vec<&str> = FORMATS.iter().map(|f| f.info().name).collect();
    let name = node.word(&names)?;
    Ok(format_by_name(name).expect("one of the known names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "sources:\n  - {id: gw1, type: file, include: ['/x/*.log']}\nstate: /s\n";

    #[test]
    fn a_small_configuration_gets_the_defaults() {
        let config = Config::parse("c.yml", SMALL).expect("valid");
        assert_eq!(config.sources[0].id, "gw1");
        assert!(config.sources[0].from_beginning);
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.epoch.age, Duration::from_secs(300));
        assert_eq!(config.alerts_stdout, Some(AlertFormat::Json));
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_key() {
        for (text, expected) in [
            ("sorces: []\n", "c.yml:1: sorces: unknown key; did you mean sources?"),
            (
                "sources:\n  - {id: a, type: file, incude: [x]}\nstate: /s\n",
                "c.yml:2: sources[0].incude: unknown key; did you mean include?",
            ),
            (
                "sources:\n  - {id: a/b, type: file, include: [x]}\nstate: /s\n",
                "c.yml:2: sources[0].id: becomes part of a path",
            ),
            (
                "sources:\n  - {id: a, type: kafka, topics: [{name: x}]}\nstate: /s\n",
                "c.yml:2: sources[0]: brokers is missing",
            ),
            ("state: /s\n", "c.yml:1: sources is missing"),
            ("sources:\n  - {id: a, type: file, include: [x]}\n", "c.yml:1: state is missing"),
            (
                "sources:\n  - {id: a, type: file, include: [x], format: nativ}\nstate: /s\n",
                "c.yml:2: sources[0].format: \"nativ\" is not known here; did you mean native?",
            ),
            (
                &format!("{SMALL}detector: {{max_keys: 0}}\n"),
                "c.yml:4: detector.max_keys: expected 1 or more",
            ),
            (
                &format!("{SMALL}archive:\n  epoch: 5\n"),
                "c.yml:5: archive.epoch: expected a whole number and a unit",
            ),
            (
                &format!("{SMALL}http: {{listen: '0.0.0.0:9598'}}\n"),
                "c.yml:4: http.listen: 0.0.0.0:9598 can be reached from other machines",
            ),
            (
                &format!("{SMALL}http: {{listen: localhost}}\n"),
                "c.yml:4: http.listen: \"localhost\" is no address and port",
            ),
            ("", "c.yml:1: expected one YAML document"),
        ] {
            let error = Config::parse("c.yml", text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}\n  does not begin with\n{expected}");
        }
    }
}
