//! The OpenClaw formats against real lines whose cause is known: the fixtures are lines of the
//! captures, and the captures themselves are read where they are present.

use std::collections::BTreeMap;
use std::path::Path;

use lapwing_event::{Event, EventColumns, FieldId, Reject, RejectReason};
use lapwing_ingest::format::{FORMATS, Format, format_by_name, recognise_format};
use lapwing_ingest::json::Json;

const GATEWAY: &str = include_str!("fixtures/openclaw_gateway.log");
const LEGACY: &str = include_str!("fixtures/openclaw_gateway_legacy.log");
const DIAGNOSTIC: &str = include_str!("fixtures/openclaw_diagnostic.jsonl");

fn format(name: &str) -> &'static dyn Format {
    format_by_name(name).expect("a format of this name")
}

fn decode(format: &dyn Format, record: &str) -> Result<Event, Reject> {
    let mut event = Event::default();
    format.decode(record.as_bytes(), &mut Json::default(), &mut event)?;
    EventColumns::default().push(&event)?;
    Ok(event)
}

fn decode_all(name: &str, log: &str) -> Vec<Event> {
    let format = format(name);
    log.lines()
        .map(|line| decode(format, line).unwrap_or_else(|e| panic!("{e:?}: {line}")))
        .collect()
}

/// A capture, or `None` and a word about it where the samples are not present.
fn capture(path: &str) -> Option<String> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/openclaw");
    let text = std::fs::read_to_string(samples.join(path)).ok();
    if text.is_none() {
        eprintln!("skipped: the capture {path} is not present");
    }
    text
}

/// How many events there are of each (action, outcome, reason), without those of kind `other`.
fn tally(events: &[Event]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for event in events.iter().filter(|event| event.text(FieldId::Kind) != Some("other")) {
        let part = |field| event.text(field).unwrap_or("-").to_owned();
        let [action, outcome, reason] =
            [FieldId::Action, FieldId::Outcome, FieldId::ReasonCode].map(part);
        *tally.entry(format!("{action} {outcome} {reason}")).or_default() += 1;
    }
    tally
}

fn expect_tally(events: &[Event], expected: &[(&str, usize)]) {
    let expected: BTreeMap<String, usize> =
        expected.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
    assert_eq!(tally(events), expected);
}

fn with<'a>(events: &'a [Event], action: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.text(FieldId::Action) == Some(action)).collect()
}

fn texts<const N: usize>(event: &Event, fields: [FieldId; N]) -> [&str; N] {
    fields.map(|field| event.text(field).unwrap_or("-"))
}

#[test]
fn every_line_of_a_fixture_is_recognised_as_its_format_and_no_other() {
    let mut json = Json::default();
    for (log, name) in [
        (GATEWAY, "openclaw_gateway"),
        (LEGACY, "openclaw_gateway"),
        (DIAGNOSTIC, "openclaw_diagnostic"),
    ] {
        for line in log.lines() {
            let claims: Vec<_> = FORMATS
                .iter()
                .filter(|format| format.recognise(line.as_bytes(), &mut json))
                .map(|format| format.info().name)
                .collect();
            assert_eq!(claims, [name], "{line}");
        }
        let records: Vec<_> = log.lines().map(str::as_bytes).collect();
        let best = recognise_format(&records, &mut json).expect("recognised");
        assert_eq!(best.info().name, name);
    }
}

#[test]
fn records_of_other_products_are_not_claimed() {
    let foreign = [
        r#"{"time":"2026-11-22T16:01:13Z","kind":"tool","sequence":1}"#,
        r#"{"type":"assistant","uuid":"u","sessionId":"s","timestamp":"2026-02-07T00:13:52.615Z"}"#,
        r#"{"type":"event","seq":1,"ts":1795363273194}"#,
        r#"{"_meta":{"logLevelName":"INFO","name":"another"},"time":"2026-11-22T16:01:13Z"}"#,
        "[]",
        "7",
        "",
    ];
    let mut json = Json::default();
    for record in foreign {
        for name in ["openclaw_gateway", "openclaw_diagnostic"] {
            assert!(!format(name).recognise(record.as_bytes(), &mut json), "{name}: {record}");
        }
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/agents");
    let Ok(examples) = std::fs::read_to_string(samples.join("examples.jsonl")) else {
        eprintln!("skipped: the records of other agents are not present");
        return;
    };
    for line in examples.lines() {
        let example: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let record = example["record"].to_string();
        for name in ["openclaw_gateway", "openclaw_diagnostic"] {
            assert!(!format(name).recognise(record.as_bytes(), &mut json), "{name}: {record}");
        }
    }
}

/// Whether an event is one of the shapes that its format declares.
fn fits_a_shape(format: &dyn Format, event: &Event) -> bool {
    let in_list = |field, list: &[&str]| event.text(field).is_none_or(|text| list.contains(&text));
    format.info().shapes.iter().any(|shape| {
        event.text(FieldId::Kind) == Some(shape.kind)
            && event.text(FieldId::Action) == shape.action
            && in_list(FieldId::Outcome, shape.outcomes)
            && in_list(FieldId::ReasonCode, shape.reasons)
            && FieldId::all()
                .filter(|field| field.in_rules() && event.has(*field))
                .all(|field| is_shape_itself(field) || shape.fields.contains(&field))
    })
}

fn is_shape_itself(field: FieldId) -> bool {
    use FieldId::{Action, Kind, Outcome, ReasonCode, Time};
    matches!(field, Time | Kind | Action | Outcome | ReasonCode)
}

#[test]
fn every_event_fits_a_declared_shape() {
    let mut logs = vec![
        ("openclaw_gateway", GATEWAY.to_owned()),
        ("openclaw_gateway", LEGACY.to_owned()),
        ("openclaw_diagnostic", DIAGNOSTIC.to_owned()),
    ];
    for file in GATEWAY_LOGS.iter().chain(&["gateway-log-legacy/openclaw.log"]) {
        logs.extend(capture(file).map(|text| ("openclaw_gateway", text)));
    }
    logs.extend(capture(DIAGNOSTIC_EVENTS).map(|text| ("openclaw_diagnostic", text)));
    for (name, log) in &logs {
        let format = format(name);
        for line in log.lines() {
            let event = decode(format, line).expect("an event");
            assert!(fits_a_shape(format, &event), "{name}: {event:?}\n{line}");
        }
    }
    for (record, name) in SYNTHETIC.iter().map(|(record, _)| (record, "openclaw_gateway")) {
        let format = format(name);
        let event = decode(format, record).expect("an event");
        assert!(fits_a_shape(format, &event), "{name}: {event:?}\n{record}");
    }
}

#[test]
fn the_closed_lists_of_the_shapes_are_those_of_the_event() {
    for shape in FORMATS.iter().flat_map(|format| format.info().shapes) {
        let mut event = Event::default();
        event.set_int(FieldId::Time, 0);
        event.set_text(FieldId::Kind, shape.kind);
        event.set_text_if(FieldId::Action, shape.action);
        let mut columns = EventColumns::default();
        for outcome in shape.outcomes {
            event.set_text(FieldId::Outcome, outcome);
            columns.push(&event).expect("a published outcome");
        }
        for reason in shape.reasons {
            event.set_text(FieldId::ReasonCode, reason);
            columns.push(&event).expect("a published reason");
        }
    }
}

#[test]
fn a_refused_connection_is_one_event_with_its_client() {
    let events = decode_all("openclaw_gateway", GATEWAY);
    let auth = with(&events, "auth.connect");
    assert_eq!(auth.len(), 2);
    use FieldId::{ActorType, ClientName, Id, InstanceId, SourceIp, SourcePeerIp};
    let conn = "9e943b0b-10b1-443d-8764-d5d5ddf95754";
    assert_eq!(
        texts(auth[0], [Id, InstanceId, SourceIp, SourcePeerIp, ActorType, ClientName]),
        [conn, "vm:18900", "203.0.113.50", "127.0.0.1", "operator", "cli"]
    );
    assert_eq!(auth[0].int(FieldId::DurationMs), Some(58));
    assert_eq!(
        auth[0].text(FieldId::ReasonMessage),
        Some(
            "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)"
        )
    );
    assert_eq!(auth[1].text(FieldId::Outcome), Some("denied"));
    assert_eq!(auth[1].text(FieldId::ReasonCode), Some("rate_limited"));
    // The other line of the first attempt.
    assert_eq!(texts(&events[1], [FieldId::Kind, Id, InstanceId]), ["other", conn, "vm:18900"]);
}

#[test]
fn a_connection_without_a_proxy_has_its_peer_as_its_client() {
    let events = decode_all("openclaw_gateway", LEGACY);
    let auth = with(&events, "auth.connect");
    assert_eq!(
        texts(auth[0], [FieldId::SourceIp, FieldId::SourcePeerIp, FieldId::InstanceId]),
        ["127.0.0.1", "127.0.0.1", "vm:18920"]
    );
}

#[test]
fn an_overflow_is_one_event_with_its_session_and_tokens() {
    let events = decode_all("openclaw_gateway", GATEWAY);
    let [overflow] = with(&events, "context.overflow")[..] else { panic!("one overflow") };
    use FieldId::{AgentId, ModelName, ModelProvider, SessionId, SessionKey, TraceId};
    let trace = "1debb818d3a3aa54bf425aa7617a2f2d";
    assert_eq!(
        texts(overflow, [SessionId, SessionKey, AgentId, ModelProvider, ModelName, TraceId]),
        ["agent:main:r2-ovf1", "agent:main:r2-ovf1", "main", "fake", "fake-1", trace]
    );
    let numbers = [FieldId::ContextTokens, FieldId::ContextLimit, FieldId::ContextMessages];
    assert_eq!(numbers.map(|field| overflow.int(field)), [Some(25012), Some(16000), Some(2)]);
    let end = &events[4];
    assert_eq!(texts(end, [FieldId::Kind, TraceId]), ["other", trace]);
    assert!(end.has(FieldId::RunId));
}

#[test]
fn a_refused_tool_names_what_it_was_pointed_at() {
    let events = decode_all("openclaw_gateway", GATEWAY);
    let [read] = with(&events, "tool.execute")[..] else { panic!("one failed tool") };
    use FieldId::{DecisionBy, Outcome, ReasonCode, ToolName, ToolTarget};
    assert_eq!(
        texts(read, [ToolName, ToolTarget, Outcome, ReasonCode, DecisionBy]),
        ["read", "/etc/shadow", "denied", "sandbox_path", "sandbox"]
    );
    let events = decode_all("openclaw_gateway", LEGACY);
    let [read] = with(&events, "tool.execute")[..] else { panic!("one failed tool") };
    assert_eq!(
        texts(read, [ToolName, ToolTarget, Outcome, ReasonCode, DecisionBy]),
        ["read", "/nope", "failure", "not_found", "-"]
    );
}

#[test]
fn a_loop_names_its_session_and_agent() {
    let events = decode_all("openclaw_gateway", GATEWAY);
    let [looped] = with(&events, "tool.loop")[..] else { panic!("one loop") };
    use FieldId::{AgentId, Outcome, PolicyId, SessionId, SessionKey, ToolName};
    assert_eq!(
        texts(looped, [Outcome, SessionId, SessionKey, AgentId, ToolName, PolicyId]),
        [
            "denied",
            "40a53540-8ae8-45af-bd02-96519d34d0eb",
            "agent:main:r2-loop",
            "main",
            "exec",
            "generic_repeat"
        ]
    );
    assert!(!looped.has(FieldId::Count));
}

#[test]
fn the_other_lines_of_the_gateway_fixture_are_read() {
    let events = decode_all("openclaw_gateway", GATEWAY);
    expect_tally(
        &events,
        &[
            ("auth.connect failure token_mismatch", 1),
            ("auth.connect denied rate_limited", 1),
            ("context.overflow failure context_length", 1),
            ("context.compaction failure nothing_to_compact", 1),
            ("context.recovery failure recovery_exhausted", 1),
            ("tool.execute denied sandbox_path", 1),
            ("tool.loop denied loop_detected", 1),
            ("auth.provider failure provider_auth", 1),
            ("run.recover success interrupted", 1),
            ("run.end success -", 1),
            ("network.request success -", 1),
        ],
    );
    let [refused] = with(&events, "auth.provider")[..] else { panic!("one provider 401") };
    assert_eq!(refused.int(FieldId::HttpStatus), Some(401));
    let [answer] = with(&events, "network.request")[..] else { panic!("one answer") };
    assert_eq!(answer.int(FieldId::DurationMs), Some(91));
    let [recovered] = with(&events, "run.recover")[..] else { panic!("one recovery") };
    assert_eq!(recovered.text(FieldId::SessionKey), Some("agent:main:r2-crash"));
}

/// Lines in the product's wording that the captures do not hold, with what they mean: (action,
/// outcome, reason), then values of fields.
static SYNTHETIC: &[(&str, &[(FieldId, &str)])] = &[
    (
        r#"{"0":"{\"subsystem\":\"gateway/hooks\"}","1":"hook auth throttled for ::ffff:203.0.113.9; retry-after=60s","_meta":{"logLevelName":"WARN","hostname":"vm","date":"2026-11-22T16:01:13.212Z"}}"#,
        &[
            (FieldId::Action, "auth.hook"),
            (FieldId::Outcome, "denied"),
            (FieldId::ReasonCode, "rate_limited"),
            (FieldId::SourceIp, "203.0.113.9"),
            (FieldId::InstanceId, "vm"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":"⇄ res ✗ config.set 15ms errorCode=FORBIDDEN errorMessage=missing scope: operator.admin conn=a7dee4e2…4efe id=2","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T17:01:13.212+01:00"}"#,
        &[
            (FieldId::Kind, "policy"),
            (FieldId::Action, "policy.check"),
            (FieldId::Outcome, "denied"),
            (FieldId::ReasonCode, "missing_scope"),
            (FieldId::PolicyId, "operator.admin"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":"⇄ res ✗ chat.send 3ms errorCode=UNAVAILABLE errorMessage=shutting down","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "network.request"),
            (FieldId::Outcome, "failure"),
            (FieldId::ReasonCode, "server_error"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"device pairing auto-approved device=d1 role=operator","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "device.pair"),
            (FieldId::Outcome, "success"),
            (FieldId::ActorId, "d1"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"device pairing removed device=d1","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[(FieldId::Action, "device.remove"), (FieldId::ActorId, "d1")],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"device pairing approval denied request=r1 reason=device-ownership-mismatch","_meta":{"logLevelName":"WARN"},"time":"2026-11-22T16:01:13Z"}"#,
        &[(FieldId::Action, "device.pair"), (FieldId::Outcome, "denied")],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"device token revoked device=d1 role=node","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[(FieldId::Action, "device.token"), (FieldId::Outcome, "success")],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"security audit: device access upgrade requested reason=scope-upgrade device=d1 ip=203.0.113.5 auth=token roleFrom=a roleTo=b","_meta":{"logLevelName":"WARN"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "device.upgrade"),
            (FieldId::Outcome, "unknown"),
            (FieldId::ActorId, "d1"),
            (FieldId::SourceIp, "203.0.113.5"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"config.patch write actor=cli device=unknown-device ip=203.0.113.5 conn=c1 changedPaths=tools.deny,gateway.auth restartReason=config.patch","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "config.change"),
            (FieldId::Outcome, "success"),
            (FieldId::ActorId, "cli"),
            (FieldId::SourceIp, "203.0.113.5"),
            (FieldId::ReasonMessage, "tools.deny,gateway.auth"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"agent/embedded\"}","1":"auto-compaction succeeded for fake/org/m-1; retrying prompt","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "context.compaction"),
            (FieldId::Outcome, "success"),
            (FieldId::ModelProvider, "fake"),
            (FieldId::ModelName, "org/m-1"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"agent/embedded\"}","1":"[context-overflow-recovery] Truncated 2 tool result(s); retrying prompt","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T16:01:13Z"}"#,
        &[(FieldId::Action, "context.recovery"), (FieldId::Outcome, "success")],
    ),
    (
        r#"{"0":"[tools] exec failed: exec denied: allowlist miss raw_params={\"command\":\"echo ' raw_params={'\"}","_meta":{"logLevelName":"ERROR"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "tool.execute"),
            (FieldId::Outcome, "denied"),
            (FieldId::ReasonCode, "allowlist_miss"),
            (FieldId::DecisionBy, "policy"),
            (FieldId::ToolTarget, "echo ' raw_params={'"),
            (FieldId::ReasonMessage, "exec denied: allowlist miss"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":{"cause":"handshake-timeout","durationMs":10000,"localPort":18900,"remoteAddr":"203.0.113.5"},"2":"closed before connect conn=c1 remote=203.0.113.5 fwd=n/a code=1006 reason=n/a","_meta":{"logLevelName":"WARN","hostname":"vm"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Kind, "network"),
            (FieldId::Outcome, "timeout"),
            (FieldId::SourceIp, "203.0.113.5"),
            (FieldId::InstanceId, "vm:18900"),
        ],
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":{"cause":"device-auth-invalid","reason":"device-nonce-mismatch","deviceId":"d1","forwardedFor":"198.51.100.4:55, 10.0.0.1","remoteAddr":"10.0.0.1"},"2":"closed before connect conn=c1 remote=10.0.0.1 fwd=198.51.100.4:55, 10.0.0.1 code=1008 reason=device nonce mismatch","_meta":{"logLevelName":"WARN","hostname":"vm"},"time":"2026-11-22T16:01:13Z"}"#,
        &[
            (FieldId::Action, "auth.connect"),
            (FieldId::Outcome, "failure"),
            (FieldId::ReasonCode, "device_auth"),
            (FieldId::SourceIp, "198.51.100.4"),
            (FieldId::SourcePeerIp, "10.0.0.1"),
            (FieldId::ActorId, "d1"),
        ],
    ),
    (
        r#"{"time":"2026-11-22T16:01:13Z","dropped":17}"#,
        &[(FieldId::Kind, "other"), (FieldId::Action, "log.dropped")],
    ),
];

#[test]
fn the_lines_that_the_captures_lack_are_read() {
    for (line, expected) in SYNTHETIC {
        let event = decode(format("openclaw_gateway"), line).expect("an event");
        for (field, value) in *expected {
            assert_eq!(event.text(*field), Some(*value), "{} of {line}", field.spec().name);
        }
    }
}

/// The two lines of a connection without credentials, with what follows the last field.
fn pair_of_lines(user_agent: &str, end: &str) -> [String; 2] {
    let line = |detail: serde_json::Value, message: String| {
        serde_json::json!({
            "0": r#"{"subsystem":"gateway/ws"}"#, "1": detail, "message": message,
            "_meta": {"logLevelName": "WARN", "hostname": "vm"}, "time": "2026-11-22T16:01:13Z",
        })
        .to_string()
    };
    let client = format!("conn=c1 remote=192.0.2.1 host=x:1 ua={user_agent}");
    [
        line("".into(), format!("unauthorized {client} reason=token_missing{end}")),
        line(
            serde_json::json!({"cause": "unauthorized", "authReason": "token_missing",
                "remoteAddr": "192.0.2.1", "host": "x:1"}),
            format!("closed before connect {client} code=1008 reason=unauthorized phase=x{end}"),
        ),
    ]
}

#[test]
fn attempts_that_were_not_logged_are_counted_once() {
    let gateway = format("openclaw_gateway");
    let events =
        pair_of_lines("n/a", " suppressed=11").map(|l| decode(gateway, &l).expect("event"));
    assert_eq!(events[0].text(FieldId::Kind), Some("other"));
    assert!(!events[0].has(FieldId::Count));
    assert_eq!(events[1].text(FieldId::ReasonCode), Some("token_missing"));
    assert_eq!(events[1].int(FieldId::Count), Some(12));
}

#[test]
fn a_client_cannot_write_into_the_event() {
    let gateway = format("openclaw_gateway");
    let agent = "x suppressed=99 reason=rate_limited";
    let events = pair_of_lines(agent, "").map(|line| decode(gateway, &line).expect("event"));
    assert!(!events[1].has(FieldId::Count));
    assert_eq!(events[1].text(FieldId::ReasonCode), Some("token_missing"));
    assert_eq!(events[1].text(FieldId::ReasonMessage), Some("unauthorized"));
    assert_eq!(events[1].text(FieldId::InstanceId), Some("vm"), "not the Host header's port");
}

#[test]
fn what_a_model_says_is_no_event_of_the_gateway() {
    for message in [
        "[tools] read failed: Path escapes sandbox root (~/ws): /etc/shadow.",
        "closed before connect conn=c1 reason=unauthorized",
        "tool loop: sessionId=x action=block",
        "config.patch write actor=admin",
    ] {
        let line = serde_json::json!({
            "0": message, "message": message, "time": "2026-11-22T16:01:13Z",
            "_meta": {"logLevelName": "INFO", "name": "openclaw"},
        });
        let event = decode(format("openclaw_gateway"), &line.to_string()).expect("event");
        assert_eq!(event.text(FieldId::Kind), Some("other"), "{message}");
    }
}

#[test]
fn dropped_records_are_counted() {
    let gateway = format("openclaw_gateway");
    let count = |line: &str| decode(gateway, line).expect("event").int(FieldId::Count);
    let frame = r#""_meta":{"logLevelName":"WARN"},"time":"2026-11-22T16:01:13Z""#;
    assert_eq!(count(r#"{"time":"2026-11-22T16:01:13Z","dropped":17}"#), Some(17));
    assert_eq!(count(&format!(r#"{{"0":{{"dropped":3}},{frame}}}"#)), Some(3));
    assert_eq!(
        count(&format!(
            r#"{{"0":"{{\"subsystem\":\"x\"}}","1":{{"dropped":3,"kept":1}},{frame}}}"#
        )),
        None
    );
}

#[test]
fn records_that_are_not_of_the_format_are_rejected_with_their_reason() {
    let reason = |name, record: &str| decode(format(name), record).expect_err(record).reason;
    for (name, record, expected) in [
        ("openclaw_gateway", "[1]", RejectReason::NotAnObject),
        ("openclaw_gateway", "{}", RejectReason::WrongFormat),
        (
            "openclaw_gateway",
            r#"{"time":"2026-11-22T16:01:13Z","kind":"tool"}"#,
            RejectReason::WrongFormat,
        ),
        ("openclaw_gateway", r#"{"_meta":{"logLevelName":"INFO"}}"#, RejectReason::NoTime),
        ("openclaw_gateway", r#"{"dropped":3}"#, RejectReason::NoTime),
        (
            "openclaw_gateway",
            r#"{"_meta":{"logLevelName":"INFO"},"time":"now"}"#,
            RejectReason::BadTime,
        ),
        ("openclaw_diagnostic", "7", RejectReason::NotAnObject),
        ("openclaw_diagnostic", r#"{"type":"run.started","ts":1}"#, RejectReason::WrongFormat),
        ("openclaw_diagnostic", r#"{"type":"run.started","seq":1}"#, RejectReason::NoTime),
        (
            "openclaw_diagnostic",
            r#"{"type":"run.started","seq":1,"ts":"x"}"#,
            RejectReason::BadTime,
        ),
    ] {
        assert_eq!(reason(name, record), expected, "{record}");
    }
}

#[test]
fn a_time_that_cannot_be_read_is_looked_for_elsewhere() {
    let line = r#"{"time":"?","_meta":{"logLevelName":"INFO","date":"2026-11-22T16:01:13.196Z"}}"#;
    let event = decode(format("openclaw_gateway"), line).expect("event");
    assert_eq!(event.int(FieldId::Time), Some(1_795_363_273_196_000));
}

const GATEWAY_LOGS: [&str; 4] = [
    "gateway-log/run2.2.log",
    "gateway-log/run2.1.log",
    "gateway-log/run2.log",
    "gateway-log/run3.log",
];
const DIAGNOSTIC_EVENTS: &str = "diagnostic-events/run2-run3.jsonl";

fn gateway_capture(files: &[&str]) -> Option<Vec<Event>> {
    let texts: Option<Vec<String>> = files.iter().map(|file| capture(file)).collect();
    Some(texts?.iter().flat_map(|text| decode_all("openclaw_gateway", text)).collect())
}

/// The client, the outcome and the reason of every authentication, in order.
fn clients(events: &[Event]) -> Vec<[&str; 3]> {
    let fields = [FieldId::SourceIp, FieldId::Outcome, FieldId::ReasonCode];
    with(events, "auth.connect").into_iter().map(|event| texts(event, fields)).collect()
}

#[test]
fn the_second_run_holds_what_was_caused() {
    let Some(events) = gateway_capture(&GATEWAY_LOGS[..3]) else { return };
    expect_tally(
        &events,
        &[
            ("auth.connect failure token_mismatch", 9),
            ("auth.connect denied rate_limited", 4),
            ("context.overflow failure context_length", 2),
            ("context.compaction failure nothing_to_compact", 2),
            ("context.recovery failure recovery_exhausted", 2),
            ("tool.execute denied sandbox_path", 1),
            ("tool.loop unknown loop_detected", 1),
            ("tool.loop denied loop_detected", 2),
            ("auth.provider failure provider_auth", 1),
            ("run.end error -", 1),
            ("run.end success -", 4),
            ("run.recover success interrupted", 1),
            ("network.request success -", 1),
        ],
    );
    let mut expected = vec![["203.0.113.50", "failure", "token_mismatch"]; 4];
    expected.extend([["203.0.113.51", "failure", "token_mismatch"]; 5]);
    expected.extend([["203.0.113.51", "denied", "rate_limited"]; 4]);
    assert_eq!(clients(&events), expected);
    let limits: Vec<_> = with(&events, "context.overflow")
        .iter()
        .map(|event| (event.int(FieldId::ContextTokens), event.int(FieldId::ContextLimit)))
        .collect();
    assert_eq!(limits, [(Some(25012), Some(16000)), (Some(212_345), Some(200_000))]);
}

#[test]
fn the_third_run_holds_what_was_caused() {
    let Some(events) = gateway_capture(&GATEWAY_LOGS[3..]) else { return };
    expect_tally(
        &events,
        &[
            ("auth.connect failure token_mismatch", 3),
            ("context.overflow failure context_length", 1),
            ("context.compaction failure nothing_to_compact", 1),
            ("context.recovery failure recovery_exhausted", 1),
            ("run.end success -", 3),
            ("network.request success -", 2),
        ],
    );
    let mismatch = |ip| [ip, "failure", "token_mismatch"];
    assert_eq!(
        clients(&events),
        [mismatch("203.0.113.70"), mismatch("203.0.113.70"), mismatch("203.0.113.71")]
    );
}

#[test]
fn the_log_of_an_older_release_holds_what_was_caused() {
    let Some(events) = gateway_capture(&["gateway-log-legacy/openclaw.log"]) else { return };
    expect_tally(
        &events,
        &[
            ("auth.connect failure token_mismatch", 3),
            ("tool.execute failure not_found", 1),
            ("tool.loop unknown loop_detected", 2),
        ],
    );
}

#[test]
fn the_diagnostic_events_hold_what_was_caused() {
    let Some(text) = capture(DIAGNOSTIC_EVENTS) else { return };
    let events = decode_all("openclaw_diagnostic", &text);
    expect_tally(
        &events,
        &[
            ("auth.connect failure token_mismatch", 9),
            ("auth.connect denied rate_limited", 4),
            ("auth.connect success -", 1),
            ("tool.execute denied policy_denied", 3),
            ("tool.execute failure execution_failed", 1),
            ("tool.execute success -", 29),
            ("tool.loop unknown loop_detected", 1),
            ("tool.loop denied loop_detected", 2),
            ("model.call success -", 41),
            ("model.call error -", 3),
            ("context.usage success -", 5),
            ("context.assemble success -", 10),
            ("run.start success -", 10),
            ("run.end success -", 9),
            ("session.state success -", 19),
            ("network.request success -", 1),
        ],
    );
    assert_eq!(events.len() - tally(&events).values().sum::<usize>(), 386);
}

#[test]
fn a_blocked_tool_is_one_event() {
    let events = decode_all("openclaw_diagnostic", DIAGNOSTIC);
    let denied: Vec<_> = with(&events, "tool.execute")
        .into_iter()
        .filter(|event| event.text(FieldId::Outcome) == Some("denied"))
        .collect();
    let [blocked] = denied[..] else { panic!("one blocked tool") };
    use FieldId::{AgentId, DecisionBy, PolicyId, ReasonMessage, SessionKey, ToolCallId, ToolName};
    assert_eq!(
        texts(blocked, [AgentId, SessionKey, ToolName, ToolCallId, DecisionBy, PolicyId]),
        [
            "main",
            "agent:main:r2-block",
            "exec",
            "call_fake_63",
            "plugin",
            "plugin-before-tool-call"
        ]
    );
    assert_eq!(blocked.text(ReasonMessage), Some("Blocked by audit-probe policy: BLOCKME marker"));
}

#[test]
fn the_tokens_of_a_call_are_counted_once() {
    let events = decode_all("openclaw_diagnostic", DIAGNOSTIC);
    let [call] = with(&events, "model.call")
        .into_iter()
        .filter(|event| event.text(FieldId::Outcome) == Some("success"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one call")
    };
    assert_eq!(call.int(FieldId::UsageInputTokens), Some(11855));
    assert_eq!(call.int(FieldId::UsageOutputTokens), Some(42));
    assert_eq!(call.float(FieldId::UsageCostUsd), Some(0.036195));
    assert_eq!(call.int(FieldId::DurationMs), Some(287));
    let [usage] = with(&events, "context.usage")[..] else { panic!("one sum") };
    assert!(!usage.has(FieldId::UsageInputTokens));
    assert_eq!(usage.int(FieldId::ContextTokens), Some(11855));
    assert_eq!(usage.int(FieldId::ContextLimit), Some(64000));
}

/// A security event with this action and reason.
fn security_event(action: &str, reason: &str) -> Event {
    let record = serde_json::json!({
        "type": "security.event", "action": action, "reason": reason, "eventId": "e1",
        "actor": {"kind": "agent"}, "target": {"kind": "tool", "name": "system.exec"},
        "policy": {"id": "exec.approval"}, "seq": 1, "ts": 1_795_363_273_194_i64, "__meta": {},
    });
    decode(format("openclaw_diagnostic"), &record.to_string()).expect("event")
}

#[test]
fn security_events_that_the_capture_lacks_are_read() {
    use FieldId::{Action, DecisionBy, Outcome, ReasonCode};
    for (action, reason, expected) in [
        ("exec.approval.requested", "", ["approval.request", "success", "-", "-"]),
        ("exec.approval.approved", "", ["approval.decide", "success", "-", "user"]),
        (
            "exec.approval.denied",
            "user-denied",
            ["approval.decide", "denied", "user_rejected", "user"],
        ),
        (
            "exec.approval.denied",
            "approval-timeout",
            ["approval.decide", "denied", "approval_timeout", "policy"],
        ),
        (
            "gateway.auth.failed",
            "device-signature-stale",
            ["auth.connect", "failure", "device_auth", "-"],
        ),
        ("device.pairing.approved", "", ["device.pair", "success", "-", "-"]),
        ("device.pairing.removed", "", ["device.remove", "success", "-", "-"]),
        ("device.token.rotated", "", ["device.token", "success", "-", "-"]),
        ("device.token.rotation_denied", "x", ["device.token", "denied", "policy_denied", "-"]),
        ("tool.execution.blocked", "plugin-before-tool-call", ["-", "-", "-", "-"]),
    ] {
        let event = security_event(action, reason);
        assert_eq!(texts(&event, [Action, Outcome, ReasonCode, DecisionBy]), expected, "{action}");
        assert!(fits_a_shape(format("openclaw_diagnostic"), &event), "{action}: {event:?}");
    }
}
