//! What diagnostic events can show and what they never do.

use lapwing_event::FieldId;

use crate::format::{BlindSpot, FormatInfo, Shape};

pub(super) static INFO: FormatInfo = FormatInfo {
    name: "openclaw_diagnostic",
    title: "OpenClaw's diagnostic events, written by a plug-in",
    shapes: SHAPES,
    blind_spots: BLIND_SPOTS,
    is_lossless: false,
};

/// A shape with the fields that an event of any type may have. Events of agents (`agent`) also have
/// their run and session; a `security.event` has none.
macro_rules! shape {
    (agent $kind:literal $action:expr, $outcomes:tt $reasons:tt [$($field:ident)*]) => {
        shape!($kind $action, $outcomes $reasons
            [RunId SessionId SessionKey AgentId $($field)*])
    };
    (
        $kind:literal $action:expr,
        [$($outcome:literal)*] [$($reason:literal)*] [$($field:ident)*]
    ) => {
        Shape {
            kind: $kind,
            action: $action,
            outcomes: &[$($outcome),*],
            reasons: &[$($reason),*],
            fields: &[
                FieldId::Product, FieldId::Id, FieldId::TraceId, FieldId::Sequence,
                FieldId::ReasonMessage, $(FieldId::$field),*
            ],
        }
    };
}

#[rustfmt::skip]
static SHAPES: &[Shape] = &[
    shape!("auth" Some("auth.connect"), ["success" "failure" "denied"]
        ["token_mismatch" "token_missing" "password_mismatch" "password_missing" "device_auth"
         "credentials_expired" "rate_limited" "other"]
        [ActorId ActorType PolicyId]),
    shape!(agent "tool" Some("tool.execute"), ["success" "denied" "failure" "timeout"]
        ["policy_denied" "user_rejected" "approval_timeout" "approval_unavailable"
         "allowlist_miss" "sandbox_path" "sandbox_network" "loop_detected" "user_abort" "timeout"
         "execution_failed"]
        [ToolName ToolCallId DecisionBy PolicyId DurationMs]),
    shape!(agent "tool" Some("tool.loop"), ["denied" "unknown"] ["loop_detected"]
        [ToolName ToolCallId DecisionBy PolicyId DurationMs]),
    shape!("approval" Some("approval.request"), ["success"] []
        [ActorId ActorType PolicyId ToolName]),
    shape!("approval" Some("approval.decide"), ["success" "denied"]
        ["user_rejected" "approval_timeout" "approval_unavailable" "allowlist_miss"
         "policy_denied" "sandbox_path" "sandbox_network" "loop_detected"]
        [ActorId ActorType PolicyId ToolName DecisionBy]),
    shape!("device" Some("device.pair"), ["success" "denied"] ["user_rejected" "policy_denied"]
        [ActorId ActorType PolicyId]),
    shape!("device" Some("device.remove"), ["success"] [] [ActorId ActorType PolicyId]),
    shape!("device" Some("device.token"), ["success" "denied"] ["policy_denied"]
        [ActorId ActorType PolicyId]),
    shape!(agent "model" Some("model.call"), ["success" "error" "timeout"] ["timeout"]
        [ModelName ModelProvider UsageInputTokens UsageOutputTokens UsageCacheReadTokens
         UsageCacheWriteTokens UsageCostUsd DurationMs]),
    shape!(agent "context" Some("context.usage"), ["success"] []
        [ModelName ModelProvider ContextTokens ContextLimit]),
    shape!(agent "context" Some("context.assemble"), ["success"] []
        [ModelName ModelProvider ContextMessages ContextLimit]),
    shape!(agent "run" Some("run.start"), ["success"] [] [ModelName ModelProvider]),
    shape!(agent "run" Some("run.end"),
        ["success" "denied" "failure" "error" "timeout" "unknown"] []
        [ModelName ModelProvider DurationMs]),
    shape!(agent "session" Some("session.state"), ["success"] [] []),
    shape!("network" Some("network.request"), ["success" "failure"] [] [DurationMs]),
    shape!(agent "other" None, [] [] []),
];

static BLIND_SPOTS: &[BlindSpot] = &[
    BlindSpot {
        what: "the address of a client that failed to log in",
        add: "the gateway's log (format openclaw_gateway)",
    },
    BlindSpot {
        what: "that a model call failed because the context was full, the compaction and the \
               recovery after it",
        add: "the gateway's log (format openclaw_gateway)",
    },
    BlindSpot {
        what: "why a tool failed and what it was pointed at: a path outside the sandbox or a \
               command that is not on the allow-list looks like any other failure",
        add: "the gateway's log (format openclaw_gateway)",
    },
    BlindSpot {
        what: "why a model provider refused a call",
        add: "the gateway's log (format openclaw_gateway)",
    },
    BlindSpot {
        what: "missing permissions, changes of the configuration, throttled hooks, recovery \
               after a crash",
        add: "the gateway's log (format openclaw_gateway)",
    },
    BlindSpot {
        what: "requests refused over HTTP (401 and 429 on /tools/invoke and /v1/*)",
        add: "the access log of the reverse proxy in front of the gateway",
    },
    BlindSpot {
        what: "calls of tools that the agent was not offered",
        add: "the transcripts of the sessions",
    },
    BlindSpot {
        what: "which gateway wrote an event: it names no host",
        add: "one source for each gateway",
    },
];
