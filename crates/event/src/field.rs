//! The table of fields: the single source of truth for the Arrow schema, the archive's
//! columns, `schemas/event.schema.json`, the field check of rules and the field reference.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};

use crate::vocabulary::{ACTIONS, KINDS, OUTCOMES, REASON_CODES, Term};

/// How the values of a field look, in memory and in Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Microseconds since 1970-01-01T00:00:00Z; in JSON an RFC 3339 text or epoch milliseconds.
    Time,
    /// Text with few distinct values in a batch: dictionary-coded in memory and in Parquet.
    Term,
    /// Text with many distinct values: stored as it is.
    Text,
    /// A whole number, 0 ..= 2^63 − 1.
    Count,
    /// A floating-point number.
    Float,
    /// Yes or no.
    Flag,
}

impl FieldType {
    /// The Arrow type of the column.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Term => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Text => DataType::Utf8,
            Self::Count => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Flag => DataType::Boolean,
        }
    }

    /// The word for it in the field reference.
    pub fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Term | Self::Text => "text",
            Self::Count => "integer",
            Self::Float => "number",
            Self::Flag => "flag",
        }
    }
}

/// How a column is encoded in Parquet, before zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A dictionary page and run-length coded indices.
    Dictionary,
    /// Differences of neighbours, bit-packed.
    Delta,
    /// All lengths, then all bytes.
    DeltaLength,
    /// As it is.
    Plain,
}

/// Who fills a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The record itself: part of the native format and known to rules.
    Record,
    /// Computed from other fields of the record; known to rules.
    Derived,
    /// What normalisation keeps aside: unknown keys, the original record.
    Kept,
    /// The position of the record and what was found out about it on the way.
    Log,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct FieldSpec {
    /// The dotted name used in the native format and in rules.
    pub name: &'static str,
    /// The name of the column in batches and in Parquet.
    pub column: &'static str,
    /// The type of its values.
    pub field_type: FieldType,
    /// Its encoding in Parquet.
    pub encoding: Encoding,
    /// Who fills it.
    pub origin: Origin,
    /// What it means, with its unit.
    pub meaning: &'static str,
    /// The closed list its values come from, if there is one.
    pub terms: Option<&'static [Term]>,
    /// The OpenTelemetry attribute (GenAI semantic conventions where there is one), or "".
    pub otel: &'static str,
    /// The Elastic Common Schema field, or "".
    pub ecs: &'static str,
    /// The OCSF attribute path, or "".
    pub ocsf: &'static str,
}

macro_rules! fields {
    ($($id:ident $name:literal $column:literal $ty:ident $enc:ident $origin:ident
       [$otel:literal, $ecs:literal, $ocsf:literal] $($terms:ident)? $meaning:literal;)+) => {
        /// A field by its place in the table; `FieldId as usize` is the column's index.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FieldId {
            $(#[doc = concat!("`", $name, "`: ", $meaning)] $id,)+
        }

        /// The table of fields, in the order of the columns.
        pub static FIELDS: &[FieldSpec] = &[$(FieldSpec {
            name: $name, column: $column, field_type: FieldType::$ty, encoding: Encoding::$enc,
            origin: Origin::$origin, meaning: $meaning, terms: fields!(@terms $($terms)?),
            otel: $otel, ecs: $ecs, ocsf: $ocsf,
        }),+];

        static IDS: &[FieldId] = &[$(FieldId::$id),+];
    };
    (@terms) => { None };
    (@terms $terms:ident) => { Some($terms) };
}

fields! {
    Time "time" "time" Time Delta Record ["time_unix_nano", "@timestamp", "time"] "when it happened, as the record says; required";
    Id "id" "id" Text DeltaLength Record ["event.id", "event.id", "metadata.uid"] "the product's id of the event; equal (product, id) counts once per window";
    Product "product" "product" Term Dictionary Record ["service.name", "observer.product", "metadata.product.name"] "the product that wrote the record, for instance openclaw";
    ProductVersion "product_version" "product_version" Term Dictionary Record ["service.version", "observer.version", "metadata.product.version"] "its version";
    InstanceId "instance.id" "instance_id" Term Dictionary Record ["service.instance.id", "observer.name", "device.uid"] "which installation of the product: host or host:port";
    Tenant "tenant" "tenant" Term Dictionary Record ["", "organization.id", "metadata.tenant_uid"] "the customer or team it belongs to";
    Kind "kind" "kind" Term Dictionary Record ["event.name", "event.category", "category_name"] KINDS "which part of an agent's life; required";
    Action "action" "action" Term Dictionary Record ["event.name", "event.action", "activity_name"] ACTIONS "what was done";
    Outcome "outcome" "outcome" Term Dictionary Record ["error.type", "event.outcome", "status"] OUTCOMES "how it ended";
    Count "count" "count" Count Dictionary Record ["", "", "count"] "how many occurrences the record stands for, 1 if absent";
    AgentId "agent.id" "agent_id" Term Dictionary Record ["gen_ai.agent.id", "agent.id", "actor.app_uid"] "the agent";
    AgentParentId "agent.parent_id" "agent_parent_id" Term Dictionary Record ["", "", ""] "the agent that started this one";
    SessionId "session.id" "session_id" Term Dictionary Record ["gen_ai.conversation.id", "session.id", "actor.session.uid"] "the session; where a record has only the session's key, the key";
    SessionKey "session.key" "session_key" Term Dictionary Record ["", "", "actor.session.uid_alt"] "the stable name of the session";
    SessionMode "session.mode" "session_mode" Term Dictionary Record ["", "", ""] "for instance plan, interactive, headless";
    RunId "run.id" "run_id" Term Dictionary Record ["", "process.entity_id", "actor.process.uid"] "one run of an agent";
    ActorId "actor.id" "actor_id" Term Dictionary Record ["user.id", "user.id", "actor.user.uid"] "who acted: user, device or service";
    ActorType "actor.type" "actor_type" Term Dictionary Record ["", "user.roles", "actor.user.type"] "for instance user, agent, device, operator";
    SourceIp "source.ip" "source_ip" Term Dictionary Record ["client.address", "source.ip", "src_endpoint.ip"] "the client's address as reported; a forwarded-for header can forge it";
    SourcePeerIp "source.peer_ip" "source_peer_ip" Term Dictionary Record ["network.peer.address", "source.nat.ip", "proxy_endpoint.ip"] "the address that connected";
    ClientName "client.name" "client_name" Term Dictionary Record ["user_agent.name", "user_agent.name", "http_request.user_agent"] "the client program";
    ClientVersion "client.version" "client_version" Term Dictionary Record ["user_agent.version", "user_agent.version", ""] "its version";
    ToolName "tool.name" "tool_name" Term Dictionary Record ["gen_ai.tool.name", "process.name", "api.operation"] "the tool";
    ToolServer "tool.server" "tool_server" Term Dictionary Record ["mcp.server.name", "service.target.name", "api.service.name"] "the server that offers the tool (MCP)";
    ToolTarget "tool.target" "tool_target" Term Dictionary Record ["", "file.path", "file.path"] "what the tool was pointed at: path, URL, command";
    ToolCallId "tool.call_id" "tool_call_id" Text DeltaLength Record ["gen_ai.tool.call.id", "", "api.request.uid"] "one call of a tool";
    ToolArgumentsHash "tool.arguments_hash" "tool_arguments_hash" Text DeltaLength Record ["", "", ""] "digest of the arguments";
    DecisionBy "decision.by" "decision_by" Term Dictionary Record ["", "", "authorizations.decision"] "who decided: policy, user, sandbox, hook, plugin";
    ModelName "model.name" "model_name" Term Dictionary Record ["gen_ai.request.model", "", "ai_model.name"] "the model";
    ModelProvider "model.provider" "model_provider" Term Dictionary Record ["gen_ai.provider.name", "", "ai_model.ai_provider"] "who serves it";
    UsageInputTokens "usage.input_tokens" "usage_input_tokens" Count Delta Record ["gen_ai.usage.input_tokens", "", ""] "tokens sent, without those read from or written to a cache";
    UsageOutputTokens "usage.output_tokens" "usage_output_tokens" Count Delta Record ["gen_ai.usage.output_tokens", "", ""] "tokens received";
    UsageCacheReadTokens "usage.cache_read_tokens" "usage_cache_read_tokens" Count Delta Record ["gen_ai.usage.cache_read.input_tokens", "", ""] "tokens read from a cache";
    UsageCacheWriteTokens "usage.cache_write_tokens" "usage_cache_write_tokens" Count Delta Record ["gen_ai.usage.cache_creation.input_tokens", "", ""] "tokens written to a cache";
    UsageCostUsd "usage.cost_usd" "usage_cost_usd" Float Plain Record ["", "", ""] "cost in US dollars";
    ContextTokens "context.tokens" "context_tokens" Count Delta Record ["", "", ""] "tokens in the context";
    ContextLimit "context.limit" "context_limit" Count Dictionary Record ["", "", ""] "tokens the model takes";
    ContextMessages "context.messages" "context_messages" Count Dictionary Record ["", "", ""] "messages in the context";
    ContextTokensBefore "context.tokens_before" "context_tokens_before" Count Delta Record ["", "", ""] "tokens before a compaction";
    ContextTokensAfter "context.tokens_after" "context_tokens_after" Count Delta Record ["", "", ""] "tokens after a compaction";
    ContextUtilization "context.utilization" "context_utilization" Float Plain Derived ["", "", ""] "context.tokens / context.limit; 1 is full";
    ReasonCode "reason.code" "reason_code" Term Dictionary Record ["error.type", "event.reason", "status_code"] REASON_CODES "why it ended that way";
    ReasonMessage "reason.message" "reason_message" Text DeltaLength Record ["exception.message", "error.message", "status_detail"] "the same in the product's words; untrusted text";
    PolicyId "policy.id" "policy_id" Term Dictionary Record ["", "rule.id", "policy.uid"] "the policy that decided";
    HttpStatus "http.status" "http_status" Count Dictionary Record ["http.response.status_code", "http.response.status_code", "http_response.code"] "HTTP status code";
    TraceId "trace.id" "trace_id" Text DeltaLength Record ["trace_id", "trace.id", "metadata.correlation_uid"] "W3C trace id";
    DurationMs "duration_ms" "duration_ms" Count Delta Record ["", "event.duration", "duration"] "how long it took, milliseconds (ECS: nanoseconds)";
    Sequence "sequence" "sequence" Count Delta Record ["", "event.sequence", "metadata.sequence"] "the product's own numbering";
    Extra "extra" "extra" Text DeltaLength Kept ["", "labels", "unmapped"] "keys of a native record that this table does not know, as a JSON object";
    Raw "raw" "raw" Text DeltaLength Kept ["log.record.original", "event.original", "raw_data"] "the record as it was read, where normalisation could not express all of it";
    LogPartition "log.partition" "log_partition" Term Dictionary Log ["", "", ""] "the partition the record came from";
    LogOffset "log.offset" "log_offset" Count Delta Log ["", "log.offset", ""] "its offset there, from 0";
    LogTime "log.time" "log_time" Time Delta Log ["observed_time_unix_nano", "event.ingested", "metadata.logged_time"] "log time: never goes back within a partition";
    LogFile "log.file" "log_file" Term Dictionary Log ["log.file.path", "log.file.path", "metadata.log_name"] "the file it came from";
    LogLine "log.line" "log_line" Count Delta Log ["", "log.file.line", ""] "its line there, from 1";
    TimeCorrected "time_corrected" "time_corrected" Flag Plain Log ["", "", ""] "its time was more than 24 h ahead of its neighbours and did not move log time";
    TimeClamped "time_clamped" "time_clamped" Flag Plain Log ["", "", ""] "its time was more than max_future_skew ahead of log time; windows use log time";
    Late "late" "late" Flag Plain Log ["", "", ""] "it came after the allowed lateness of at least one rule that selects it, and is in none of that rule's windows";
}

impl FieldId {
    /// The row of the table.
    pub fn spec(self) -> &'static FieldSpec {
        &FIELDS[self as usize]
    }

    /// The column's index in a batch.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Every field, in the order of the columns.
    pub fn all() -> impl Iterator<Item = Self> {
        IDS.iter().copied()
    }

    /// The field whose column has this index.
    pub(crate) fn by_index(index: usize) -> Self {
        IDS[index]
    }

    /// The field with this dotted name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|f| f.spec().name == name)
    }

    /// Whether rules may use it: fields of the record and derived ones, since only these
    /// are the same wherever the record is read.
    pub fn in_rules(self) -> bool {
        matches!(self.spec().origin, Origin::Record | Origin::Derived)
    }
}

/// The number of fields that an [`Event`](crate::Event) can hold: all before the log's own.
pub const EVENT_FIELDS: usize = FieldId::LogPartition as usize;

/// An event remembers in one word which of its fields are set.
const _: () = assert!(EVENT_FIELDS <= u64::BITS as usize);

/// The Arrow schema of a batch and of the archive's event files.
pub fn event_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let fields: Vec<ArrowField> = FIELDS
            .iter()
            .map(|f| ArrowField::new(f.column, f.field_type.arrow(), is_nullable(f)))
            .collect();
        Arc::new(Schema::new(fields))
    });
    SCHEMA.clone()
}

fn is_nullable(field: &FieldSpec) -> bool {
    !matches!(
        field.name,
        "time"
            | "kind"
            | "log.partition"
            | "log.offset"
            | "log.time"
            | "time_corrected"
            | "time_clamped"
            | "late"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_columns_are_unique_and_agree() {
        for (i, a) in FIELDS.iter().enumerate() {
            assert_eq!(a.column, a.name.replace('.', "_"));
            assert!(FIELDS[i + 1..].iter().all(|b| a.name != b.name && a.column != b.column));
        }
    }

    #[test]
    fn only_dictionary_columns_have_closed_lists() {
        for f in FIELDS.iter().filter(|f| f.terms.is_some()) {
            assert_eq!(f.field_type, FieldType::Term, "{}", f.name);
        }
    }
}
