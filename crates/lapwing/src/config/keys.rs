//! The table of configuration keys: what is checked, what the schema says, what the docs list.

use lapwing_detector::yaml::{Data, Node, YamlError};

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Keys of their own; the table lists them with a dot.
    Group,
    /// A list of mappings; the table lists their keys with `[].`.
    Groups,
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A whole number from 1.
    Count,
    /// A whole number and s, m, h or d.
    Timespan,
    /// true or false.
    Bool,
    /// A mapping of names to texts.
    Pairs,
}

/// One key.
#[derive(Debug)]
pub struct KeySpec {
    /// Its dotted path.
    pub path: &'static str,
    /// The type of its value.
    pub key_type: KeyType,
    /// Whether it must be there.
    pub required: bool,
    /// What holds if it is not there.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn key(
    path: &'static str,
    key_type: KeyType,
    default: &'static str,
    meaning: &'static str,
) -> KeySpec {
    KeySpec { path, key_type, required: false, default, meaning }
}

const fn required(path: &'static str, key_type: KeyType, meaning: &'static str) -> KeySpec {
    KeySpec { path, key_type, required: true, default: "", meaning }
}

/// Every key of the configuration.
pub static CONFIG_KEYS: &[KeySpec] = &[
    required("sources", KeyType::Groups, "what is read"),
    required(
        "sources[].id",
        KeyType::Text,
        "the source's id: letters, digits, . _ -; part of alert ids and archive paths",
    ),
    required(
        "sources[].type",
        KeyType::Word(&["file", "kafka"]),
        "file: followed as it grows, through rotation; kafka: topics, as a member of a consumer group",
    ),
    key(
        "sources[].include",
        KeyType::Texts,
        "",
        "file: files, folders and patterns (*, **, ?, []); required",
    ),
    key(
        "sources[].brokers",
        KeyType::Text,
        "",
        "kafka: brokers to begin with, `host:port` separated by commas; required",
    ),
    key("sources[].group", KeyType::Text, "lapwing", "kafka: the consumer group"),
    key("sources[].topics", KeyType::Groups, "", "kafka: what is read; required"),
    required(
        "sources[].topics[].name",
        KeyType::Text,
        "the topic; `^` begins a pattern, which topics that come later match too",
    ),
    key(
        "sources[].topics[].partitioned_by",
        KeyType::Texts,
        "unknown",
        "fields whose values decide the partition of a record: a rule has to group by all of them",
    ),
    key(
        "sources[].partial",
        KeyType::Word(&["refuse", "accept"]),
        "refuse",
        "kafka: whether rules may run whose groups are spread over partitions; their alerts then say that they are incomplete",
    ),
    key(
        "sources[].properties",
        KeyType::Pairs,
        "none",
        "kafka: properties of librdkafka, such as security.protocol; a value may be ${env:NAME} or ${file:PATH}",
    ),
    key(
        "sources[].format",
        KeyType::Text,
        "recognised",
        "the format of all its logs; `lapwing schema formats` lists them",
    ),
    key(
        "sources[].start",
        KeyType::Word(&["beginning", "end"]),
        "beginning",
        "where logs, or partitions, that are there at the first start are read from",
    ),
    required(
        "state",
        KeyType::Text,
        "the folder, or s3://bucket/prefix, of the checkpoints: cursors, detector states, what is archived",
    ),
    key(
        "stop_timeout",
        KeyType::Timespan,
        "30s",
        "how long a stop may take to commit what was read",
    ),
    key("archive", KeyType::Group, "none", "the Parquet archive"),
    key("archive.path", KeyType::Text, "no archive", "its folder, or s3://bucket/prefix"),
    key(
        "archive.spool",
        KeyType::Text,
        "the folder for temporary files",
        "where files are written before they are uploaded to S3",
    ),
    key(
        "archive.raw",
        KeyType::Word(&["none", "unmapped", "all"]),
        "unmapped",
        "which original records are kept beside their events",
    ),
    key(
        "archive.epoch",
        KeyType::Timespan,
        "5m",
        "how long after its first record an epoch ends: its files are closed and the state is saved",
    ),
    key(
        "archive.epoch_bytes",
        KeyType::Count,
        "134217728",
        "the bytes of its files at which an epoch ends",
    ),
    key("archive.epoch_records", KeyType::Count, "1000000", "the records at which an epoch ends"),
    key(
        "archive.memory_bytes",
        KeyType::Count,
        "33554432",
        "what the encoders of all partitions may hold together; beyond, row groups become smaller",
    ),
    key(
        "retention",
        KeyType::Group,
        "",
        "how long days of the archive are kept, by log time; `lapwing retain` removes what is older",
    ),
    key("retention.events", KeyType::Timespan, "for ever", "events"),
    key(
        "retention.rejected",
        KeyType::Timespan,
        "for ever",
        "rejected records; a replay of the archive then lacks their log times, which only move its clock",
    ),
    key("retention.alerts", KeyType::Timespan, "for ever", "alert messages"),
    key("alerts", KeyType::Group, "", "where alerts go"),
    key("alerts.file", KeyType::Text, "none", "a file to which they are appended as JSON Lines"),
    key(
        "alerts.stdout",
        KeyType::Word(&["json", "text", "none"]),
        "json",
        "how they are written to standard output",
    ),
    key("rules", KeyType::Group, "", "which rules run"),
    key("rules.builtin", KeyType::Bool, "true", "whether the built-in rules run"),
    key(
        "rules.paths",
        KeyType::Texts,
        "none",
        "files of rules, and folders of .yml and .yaml files",
    ),
    key("rules.disable", KeyType::Texts, "none", "names of rules to switch off"),
    key(
        "rules.enable",
        KeyType::Texts,
        "none",
        "names of rules to switch on that are off by themselves",
    ),
    key("detector", KeyType::Group, "", "what may be remembered, per partition and rule"),
    key("detector.max_keys", KeyType::Count, "100000", "group keys"),
    key(
        "detector.max_entries_per_key",
        KeyType::Count,
        "1000000",
        "events in the windows of one key",
    ),
    key(
        "detector.max_values_per_key",
        KeyType::Count,
        "100000",
        "distinct values in the windows of one key",
    ),
    key("detector.max_open_alerts", KeyType::Count, "10000", "open alerts"),
    key("ingest", KeyType::Group, "", "limits on records"),
    key(
        "ingest.max_record_bytes",
        KeyType::Count,
        "1048576",
        "the longest record; longer ones are rejected",
    ),
    key(
        "ingest.max_future_skew",
        KeyType::Timespan,
        "1m",
        "how far a time may be ahead of log time without being flagged",
    ),
    key(
        "ingest.queue_bytes",
        KeyType::Count,
        "33554432",
        "what may wait of each Kafka source, once as it was fetched and once in front of the detectors",
    ),
    key(
        "http",
        KeyType::Group,
        "",
        "an endpoint for health checks and Prometheus: /healthz, /readyz, /metrics",
    ),
    key(
        "http.listen",
        KeyType::Text,
        "no endpoint",
        "its address, for instance 127.0.0.1:9598; a loopback address, since it asks for no password",
    ),
    key("log", KeyType::Group, "", "the program's own log, on standard error"),
    key("log.format", KeyType::Word(&["text", "json"]), "text", "how it is written"),
    key("log.level", KeyType::Text, "info", "error, warn, info, debug or trace, also per module"),
];

/// The value at a dotted path of mappings.
pub(super) fn find<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    let found = path.split('.').try_fold(root, |node, key| node.get(key))?;
    (!matches!(found.data, Data::Null)).then_some(found)
}

/// The keys directly below a path, with the last part of their names.
pub(crate) fn below(prefix: &str) -> impl Iterator<Item = (&'static str, &'static KeySpec)> {
    CONFIG_KEYS.iter().filter_map(move |spec| {
        let name = spec.path.strip_prefix(prefix)?;
        (!name.is_empty() && !name.contains(['.', '['])).then_some((name, spec))
    })
}

/// Checks names, types and what is required.
pub(super) fn check(root: &Node) -> Result<(), YamlError> {
    check_group(root, "")
}

fn check_group(node: &Node, prefix: &str) -> Result<(), YamlError> {
    let names: Vec<&str> = below(prefix).map(|(name, _)| name).collect();
    node.only(&names)?;
    for (name, spec) in below(prefix) {
        match node.get(name) {
            Some(value) if !matches!(value.data, Data::Null) => check_value(value, spec)?,
            _ if spec.required => return Err(node.error(format!("{name} is missing"))),
            _ => {}
        }
    }
    Ok(())
}

fn check_value(node: &Node, spec: &KeySpec) -> Result<(), YamlError> {
    match spec.key_type {
        KeyType::Group => check_group(node, &format!("{}.", spec.path)),
        KeyType::Groups => {
            node.list()?.iter().try_for_each(|n| check_group(n, &format!("{}[].", spec.path)))
        }
        KeyType::Text => node.text().map(drop),
        KeyType::Word(words) => node.word(words).map(drop),
        KeyType::Texts => node.list()?.iter().try_for_each(|n| n.text().map(drop)),
        KeyType::Count => node.int().map(drop),
        KeyType::Timespan => node.timespan().map(drop),
        KeyType::Bool => node.bool().map(drop),
        KeyType::Pairs => node.map().map(drop),
    }
}
