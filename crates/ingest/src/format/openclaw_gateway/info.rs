//! What a gateway's log can show and what it never does.

use lapwing_event::FieldId;

use crate::format::{BlindSpot, FormatInfo, Shape};

pub(super) static INFO: FormatInfo = FormatInfo {
    name: "openclaw_gateway",
    title: "the log file of an OpenClaw gateway",
    shapes: SHAPES,
    blind_spots: BLIND_SPOTS,
    is_lossless: false,
};

/// A shape with the fields that every line may have.
macro_rules! shape {
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
                FieldId::Product, FieldId::InstanceId, FieldId::TraceId, FieldId::ReasonMessage,
                $(FieldId::$field),*
            ],
        }
    };
}

#[rustfmt::skip]
static SHAPES: &[Shape] = &[
    shape!("auth" Some("auth.connect"), ["failure" "denied"]
        ["token_mismatch" "token_missing" "password_mismatch" "password_missing" "device_auth"
         "credentials_expired" "rate_limited" "other"]
        [Id Count ActorId ActorType SourceIp SourcePeerIp ClientName ClientVersion DurationMs]),
    shape!("auth" Some("auth.hook"), ["denied"] ["rate_limited"] [SourceIp]),
    shape!("tool" Some("tool.execute"), ["denied" "failure"]
        ["sandbox_path" "sandbox_network" "allowlist_miss" "policy_denied" "user_rejected"
         "approval_timeout" "approval_unavailable" "loop_detected" "not_found" "execution_failed"]
        [ToolName ToolTarget DecisionBy]),
    shape!("tool" Some("tool.loop"), ["denied" "unknown"] ["loop_detected"]
        [ToolName SessionId SessionKey AgentId DecisionBy PolicyId]),
    shape!("context" Some("context.overflow"), ["failure"] ["context_length"]
        [SessionId SessionKey AgentId ModelName ModelProvider ContextTokens ContextLimit
         ContextMessages]),
    shape!("context" Some("context.compaction"), ["success" "failure"]
        ["nothing_to_compact" "other"] [ModelName ModelProvider]),
    shape!("context" Some("context.recovery"), ["success" "failure"] ["recovery_exhausted"]
        [ModelName ModelProvider]),
    shape!("model" Some("auth.provider"), ["failure"] ["provider_auth" "provider_billing"]
        [RunId SessionId SessionKey AgentId ModelName ModelProvider HttpStatus]),
    shape!("model" Some("model.call"), ["timeout"] ["timeout"]
        [RunId SessionId SessionKey AgentId ModelName ModelProvider HttpStatus]),
    shape!("run" Some("run.end"), ["success" "failure" "error"] ["other"]
        [RunId SessionId SessionKey AgentId ModelName ModelProvider HttpStatus]),
    shape!("run" Some("run.recover"), ["success"] ["interrupted"] [SessionId SessionKey AgentId]),
    shape!("device" Some("device.pair"), ["success" "denied"] ["policy_denied"] [ActorId]),
    shape!("device" Some("device.remove"), ["success" "denied"] ["policy_denied"] [ActorId]),
    shape!("device" Some("device.token"), ["success" "denied"] ["policy_denied"] [ActorId]),
    shape!("device" Some("device.upgrade"), ["unknown"] [] [ActorId SourceIp]),
    shape!("config" Some("config.change"), ["success"] [] [ActorId SourceIp]),
    shape!("policy" Some("policy.check"), ["denied"] ["missing_scope"] [PolicyId DurationMs]),
    shape!("network" Some("network.request"), ["success" "failure" "timeout"]
        ["timeout" "invalid_arguments" "server_error" "other"]
        [Id ActorId ActorType SourceIp SourcePeerIp ClientName ClientVersion DurationMs Count]),
    shape!("other" Some("log.dropped"), [] [] [Count RunId SessionId SessionKey AgentId]),
    shape!("other" None, [] [] [Id RunId SessionId SessionKey AgentId]),
];

static BLIND_SPOTS: &[BlindSpot] = &[
    BlindSpot {
        what: "requests refused over HTTP (401 and 429 on /tools/invoke and /v1/*): the gateway \
               writes no line for them",
        add: "the access log of the reverse proxy in front of the gateway",
    },
    BlindSpot {
        what: "tool calls blocked by a plug-in or a policy",
        add: "the gateway's diagnostic events (format openclaw_diagnostic)",
    },
    BlindSpot {
        what: "the session, the agent and the run of a failed tool call: the line has only the \
               trace",
        add: "the gateway's diagnostic events (format openclaw_diagnostic)",
    },
    BlindSpot {
        what: "tool calls that succeeded, model calls, tokens and cost, how full a context is",
        add: "the gateway's diagnostic events (format openclaw_diagnostic)",
    },
    BlindSpot {
        what: "approvals: who was asked, what was decided",
        add: "the gateway's diagnostic events (format openclaw_diagnostic)",
    },
    BlindSpot {
        what: "successful logins",
        add: "the gateway's diagnostic events (format openclaw_diagnostic)",
    },
    BlindSpot {
        what: "calls of tools that the agent was not offered",
        add: "the transcripts of the sessions",
    },
];
