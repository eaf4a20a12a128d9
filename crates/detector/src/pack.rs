//! The built-in rules, embedded as the YAML files they are.

use crate::rule::RuleSource;

macro_rules! pack {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../rules/", $name)))),+]
    };
}

/// The files of the built-in rules: name and text.
pub static PACK: &[(&str, &str)] = pack![
    "agent_silent.yml",
    "auth_failures.yml",
    "auth_failures_classic.yml",
    "auth_failures_local.yml",
    "auth_lockout.yml",
    "auth_spray.yml",
    "context_overflow.yml",
    "context_pressure.yml",
    "context_unrecovered.yml",
    "sensitive_target_denied.yml",
    "tool_denied.yml",
    "tool_loop.yml",
];

/// The built-in rules as sources for [`load_rules`](crate::rule::load_rules).
pub fn builtin_sources() -> Vec<RuleSource> {
    let source = |(name, text): &(&str, &str)| RuleSource {
        name: format!("builtin/{name}"),
        text: (*text).to_owned(),
        is_builtin: true,
    };
    PACK.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::load_rules;

    #[test]
    fn the_pack_loads_and_every_rule_can_be_acted_on() {
        let set = load_rules(&builtin_sources()).expect("the pack is valid");
        assert_eq!(set.rules.len(), 14);
        for rule in &set.rules {
            assert!(!rule.tests.is_empty(), "{} has no test", rule.name);
            assert!(!rule.description.is_empty(), "{} has no description", rule.name);
            assert_ne!(rule.message, Default::default(), "{} has no message", rule.name);
            assert_ne!(rule.next_step, Default::default(), "{} has no next step", rule.name);
        }
        let off: Vec<_> = set.rules.iter().filter(|r| !r.enabled).map(|r| &*r.name).collect();
        assert_eq!(off, ["agent_silent", "auth_failures_classic"]);
    }
}
