//! How librdkafka is set up, and what it says of itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, error, info, warn};

use super::error::{KafkaSourceError, is_denied, way_out};

/// How long a broker may take to answer at the start.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// After how much of that it is looked whether waiting on is of any use.
const TRY_FOR: Duration = Duration::from_secs(1);

/// Which topics are read, and how.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// The id of the source, for messages.
    pub source_id: String,
    /// Brokers to begin with, `host:port` separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Names of topics; `^` begins a pattern.
    pub topics: Vec<String>,
    /// Properties of librdkafka beyond these; they come last.
    pub properties: Vec<(String, String)>,
    /// What may wait for all partitions together, bytes, once in librdkafka and once in the inboxes.
    pub queue_bytes: usize,
}

/// Properties that Lapwing relies on; they cannot be set otherwise.
const FIXED: [(&str, &str); 7] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "false"),
    // Where reading begins is decided by the checkpoint; a position that the broker does not have is
    // told, never skipped.
    ("auto.offset.reset", "error"),
];

/// Properties that may be set otherwise.
const DEFAULTS: [(&str, &str); 4] = [
    ("allow.auto.create.topics", "false"),
    // A full queue is looked at again soon instead of after a second.
    ("fetch.queue.backoff.ms", "20"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("client.id", "lapwing"),
];

impl KafkaSettings {
    /// The name of a property that may not be set, if one is.
    pub fn fixed_property(&self) -> Option<&str> {
        let is_fixed = |name: &str| FIXED.iter().any(|(fixed, _)| *fixed == name);
        self.properties.iter().map(|(name, _)| name.as_str()).find(|name| is_fixed(name))
    }

    /// A consumer with these settings.
    pub(super) fn consumer<C: ConsumerContext>(
        &self,
        context: C,
    ) -> Result<BaseConsumer<C>, KafkaSourceError> {
        self.consumer_with(context, &[])
    }

    /// A consumer with these settings, and with properties in place of those that are fixed.
    pub(super) fn consumer_with<C: ConsumerContext>(
        &self,
        context: C,
        instead: &[(&str, &str)],
    ) -> Result<BaseConsumer<C>, KafkaSourceError> {
        let mut config = ClientConfig::new();
        let queue_kbytes = (self.queue_bytes >> 10).max(1024).to_string();
        for (name, value) in DEFAULTS {
            config.set(name, value);
        }
        config.set("queued.max.messages.kbytes", queue_kbytes);
        config.set("bootstrap.servers", &self.brokers).set("group.id", &self.group);
        for (name, value) in self
            .properties
            .iter()
            .map(|(n, v)| (&**n, &**v))
            .chain(FIXED)
            .chain(instead.iter().copied())
        {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config.create_with_context(context).map_err(|error| KafkaSourceError::Settings {
            source_id: self.source_id.clone(),
            // The value is left out: it may be a password under a name that was mistyped.
            reason: match error {
                KafkaError::ClientConfig(_, _, name, _) => format!("{name} is not taken"),
                other => other.to_string(),
            },
        })
    }

    /// Checks that the brokers answer and that each topic that is named is there.
    pub(super) fn check<C: ConsumerContext + HasTalk>(
        &self,
        consumer: &BaseConsumer<C>,
    ) -> Result<(), KafkaSourceError> {
        for topic in self.topics.iter().filter(|topic| !topic.starts_with('^')) {
            let metadata = self.metadata(consumer, topic)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            self.check_topic(topic, found)?;
        }
        Ok(())
    }

    /// What the brokers say of a topic. Between tries errors are looked at, which are told nowhere else.
    pub(super) fn metadata<C: ConsumerContext + HasTalk>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
    ) -> Result<Metadata, KafkaSourceError> {
        let began = Instant::now();
        loop {
            let error = match consumer.fetch_metadata(Some(topic), TRY_FOR) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            while let Some(told) = consumer.poll(Duration::ZERO) {
                debug!(error = ?told.err(), "kafka: before the start");
            }
            let talk = consumer.context().talk();
            if began.elapsed() > ANSWER_WITHIN || talk.is_hopeless() {
                return Err(self.unreachable(&error, talk));
            }
        }
    }

    fn check_topic(
        &self,
        topic: &str,
        found: Option<&MetadataTopic>,
    ) -> Result<(), KafkaSourceError> {
        let (source_id, brokers) = (self.source_id.clone(), self.brokers.clone());
        let topic = topic.to_owned();
        match found.and_then(MetadataTopic::error) {
            None if found.is_some() => Ok(()),
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                let reason = "topic authorization failed".to_owned();
                Err(KafkaSourceError::NotAllowed { source_id, brokers, topic, reason })
            }
            _ => Err(KafkaSourceError::NoTopic { source_id, brokers, topic }),
        }
    }

    pub(super) fn unreachable(&self, error: &KafkaError, talk: &Talk) -> KafkaSourceError {
        let (source_id, brokers) = (self.source_id.clone(), self.brokers.clone());
        if is_denied(error) {
            let (topic, reason) = (self.topics.join(", "), error.to_string());
            return KafkaSourceError::NotAllowed { source_id, brokers, topic, reason };
        }
        let last = talk.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let (reason, way_out) = match &*last {
            Some((error, text)) => (text.clone(), way_out(Some(error))),
            None => (error.to_string(), way_out(None)),
        };
        KafkaSourceError::Unreachable { source_id, brokers, reason, way_out }
    }
}

/// What librdkafka says, on its way into the program's log.
#[derive(Debug, Default)]
pub(super) struct Talk {
    source_id: String,
    last_error: Mutex<Option<(KafkaError, String)>>,
    /// What was said last: librdkafka may repeat itself some dozen times a second.
    last_said: Mutex<String>,
}

/// A context that has one.
pub(super) trait HasTalk {
    fn talk(&self) -> &Talk;
}

impl Talk {
    pub(super) fn new(source_id: &str) -> Self {
        Self { source_id: source_id.to_owned(), ..Self::default() }
    }

    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Emerg, Error, Info, Notice, Warning};
        let source = &self.source_id;
        match level {
            Emerg | Alert | Critical | Error | Warning => warn!(source, facility, "kafka: {text}"),
            Notice | Info => info!(source, facility, "kafka: {text}"),
            RDKafkaLogLevel::Debug => debug!(source, facility, "kafka: {text}"),
        }
    }

    pub(super) fn error(&self, error: KafkaError, reason: &str) {
        let source = &self.source_id;
        let text = format!("{}: {reason}", describe(&error));
        let mut said = self.last_said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == text {
            return;
        }
        said.clone_from(&text);
        let is_all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        match error.rdkafka_error_code() {
            // One broker of several, or all for a moment: librdkafka connects again by itself.
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                warn!(source, "kafka: {text}");
            }
            _ => error!(source, way_out = way_out(Some(&error)), "kafka: {text}"),
        }
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down says less than why the last of them is.
        if !is_all_down || last.is_none() {
            *last = Some((error, text));
        }
    }

    /// Whether the last error is one that does not pass by itself.
    fn is_hopeless(&self) -> bool {
        let last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let code = last.as_ref().and_then(|(error, _)| error.rdkafka_error_code());
        code == Some(RDKafkaErrorCode::Authentication)
    }
}

/// What an error says, without the name of the kind of call.
pub(super) fn describe(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

/// The context of a consumer without a group.
pub(super) struct Alone {
    pub(super) talk: Talk,
}

impl HasTalk for Alone {
    fn talk(&self) -> &Talk {
        &self.talk
    }
}

impl ClientContext for Alone {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.talk.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.talk.error(error, reason);
    }
}

impl ConsumerContext for Alone {}
