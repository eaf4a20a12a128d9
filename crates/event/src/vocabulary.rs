//! The closed lists of the event format: kind, outcome, action and reason code.
//!
//! A value outside its list makes a record rejected, so that a rule that names a
//! value can trust that nothing is spelled differently.

/// One value of a closed list with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The value as it stands in an event.
    pub value: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! terms {
    ($(#[$doc:meta])* $name:ident { $($value:literal: $meaning:literal,)+ }) => {
        $(#[$doc])*
        pub static $name: &[Term] = &[$(Term { value: $value, meaning: $meaning }),+];
    };
}

terms! {
    /// `kind`: which part of an agent's life the event belongs to.
    KINDS {
        "auth": "somebody tried to prove who they are",
        "tool": "an agent called, or tried to call, a tool",
        "model": "a call of a language model",
        "context": "the context window: use, overflow, compaction, recovery",
        "session": "a session started, changed state or ended",
        "run": "one run of an agent started or ended",
        "approval": "a person or a policy was asked, or decided",
        "device": "a device was paired, changed or removed",
        "config": "the configuration changed",
        "network": "a request was received or sent",
        "message": "a message was received or sent",
        "policy": "a permission or a policy was checked",
        "other": "a record with no meaning of its own here, kept for reference",
    }
}

terms! {
    /// `outcome`: how it ended.
    OUTCOMES {
        "success": "it did what was asked",
        "denied": "a policy, a person or a sandbox said no",
        "failure": "tried, did not succeed: wrong credentials, execution failed",
        "error": "the system broke",
        "timeout": "no answer in time",
        "unknown": "the record does not say",
    }
}

terms! {
    /// `action`: what was done.
    ACTIONS {
        "auth.connect": "a client connected to a gateway with credentials",
        "auth.hook": "an inbound hook presented its credentials",
        "auth.provider": "credentials were presented to a model provider",
        "tool.execute": "a tool was executed, or refused to execute",
        "tool.loop": "the same tool call was seen over and over",
        "model.call": "a model was called",
        "context.assemble": "the context of a call was put together",
        "context.usage": "how full the context is",
        "context.overflow": "the context no longer fits the model",
        "context.compaction": "the context was summarised to make room",
        "context.recovery": "recovery from an overflow ended",
        "session.start": "a session started",
        "session.state": "a session changed its state",
        "session.end": "a session ended",
        "run.start": "a run started",
        "run.recover": "a run interrupted by a crash was taken up again",
        "run.end": "a run ended",
        "approval.request": "an approval was asked for",
        "approval.decide": "an approval was given or refused",
        "device.pair": "a device was paired",
        "device.upgrade": "a device asked for more access",
        "device.token": "a device token was issued, rotated or revoked",
        "device.remove": "a device was removed",
        "config.change": "configuration was written",
        "network.request": "a request was answered",
        "message.receive": "a message came in",
        "message.send": "a message went out",
        "policy.check": "a permission was checked",
        "log.dropped": "the product itself dropped log records",
    }
}

terms! {
    /// `reason.code`: why it ended that way.
    REASON_CODES {
        "token_mismatch": "wrong token",
        "token_missing": "no token",
        "password_mismatch": "wrong password",
        "password_missing": "no password",
        "device_auth": "the device's identity, signature or token was refused",
        "credentials_expired": "expired credentials",
        "rate_limited": "locked out after too many attempts",
        "provider_auth": "a model provider refused the credentials",
        "provider_billing": "a model provider refused for billing reasons",
        "missing_scope": "authenticated, but without the permission needed",
        "user_rejected": "a person said no",
        "user_abort": "a person stopped it",
        "plan_mode": "refused because the agent was only to plan",
        "approval_timeout": "nobody decided in time",
        "approval_unavailable": "nobody could be asked",
        "sandbox_path": "a path outside the sandbox",
        "sandbox_network": "an address outside the sandbox",
        "allowlist_miss": "not on the allow-list",
        "denylist_hit": "on the deny-list",
        "policy_denied": "a policy or a plug-in said no",
        "not_offered": "a tool that the agent was not given",
        "loop_detected": "the same call was repeated too often",
        "not_found": "the thing asked for does not exist",
        "invalid_arguments": "the arguments do not fit",
        "execution_failed": "it was tried and failed",
        "context_length": "more tokens than the model takes",
        "nothing_to_compact": "there was nothing left to summarise",
        "recovery_exhausted": "every way of recovery was tried",
        "timeout": "it took too long",
        "server_error": "the other side broke",
        "interrupted": "the process ended in the middle",
        "other": "a reason outside this list; reason.message says which",
    }
}

/// The nearest value of a closed list to what was written, for an error message.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(written, k), k))
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}
