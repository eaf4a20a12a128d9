//! What can go wrong between a consumer and its brokers, and the way out.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why a topic cannot be read. Nothing is lost: what was not committed is read again.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSourceError {
    /// A property that librdkafka does not take.
    #[error(
        "kafka source {source_id}: {reason}; correct brokers and properties, which are those of \
         librdkafka"
    )]
    Settings {
        /// The source.
        source_id: String,
        /// What librdkafka said.
        reason: String,
    },
    /// No broker answers.
    #[error("kafka source {source_id}: no answer from {brokers}: {reason}; {way_out}")]
    Unreachable {
        /// The source.
        source_id: String,
        /// The brokers asked.
        brokers: String,
        /// What librdkafka said last.
        reason: String,
        /// What to look at.
        way_out: &'static str,
    },
    /// A topic that is not there.
    #[error(
        "kafka source {source_id}: {brokers} has no topic {topic}; create it, correct topics, or use a \
         pattern (\"^name.*\") for topics that come later"
    )]
    NoTopic {
        /// The source.
        source_id: String,
        /// The brokers asked.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// A topic that may not be read.
    #[error(
        "kafka source {source_id}: {brokers} does not let this user read {topic}: {reason}; grant Read and \
         Describe on the topic, and Read on the consumer group"
    )]
    NotAllowed {
        /// The source.
        source_id: String,
        /// The brokers asked.
        brokers: String,
        /// The topic or the group.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// A name that cannot become part of a path.
    #[error(
        "kafka source {source_id}: the name of topic {topic} is too long for the archive's files (140 \
         bytes at most)"
    )]
    TopicName {
        /// The source.
        source_id: String,
        /// The topic.
        topic: String,
    },
    /// The topic ends before what was read of it.
    #[error(
        "kafka source {source_id}: {topic} partition {partition} ends at offset {end}, but was read to \
         {read} before: the topic was recreated or lost its end; to read what is there now, give the \
         source another id"
    )]
    Truncated {
        /// The source.
        source_id: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it ends.
        end: i64,
        /// The offset after the last record read.
        read: i64,
    },
    /// librdkafka gave up.
    #[error("kafka source {source_id}: {reason}; start again: nothing committed is lost")]
    Fatal {
        /// The source.
        source_id: String,
        /// What it said.
        reason: String,
    },
    /// A range that cannot be replayed.
    #[error("{address}: {what}")]
    Address {
        /// What was asked for.
        address: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Whether an error says that something is not allowed.
pub(super) fn is_denied(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
    };
    let codes = [ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// What to look at when no broker answers.
pub(super) fn way_out(error: Option<&KafkaError>) -> &'static str {
    match error.and_then(KafkaError::rdkafka_error_code) {
        Some(RDKafkaErrorCode::Authentication) => {
            "check sasl.mechanism, sasl.username and sasl.password"
        }
        Some(RDKafkaErrorCode::SSL) => "check ssl.ca.location and security.protocol",
        Some(RDKafkaErrorCode::Resolve) => "check the names of the brokers",
        _ => "check brokers, security.protocol and the network between",
    }
}
