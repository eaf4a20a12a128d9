//! The words of the simulated fleet: tools, targets, models, reasons. None of the targets is one
//! that a rule for sensitive targets names.

/// What a tool is pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Path,
    Command,
    Url,
    None,
}

/// One tool, with the MCP server that offers it.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) server: Option<&'static str>,
    pub(crate) target: TargetKind,
}

const fn own(name: &'static str, target: TargetKind) -> Tool {
    Tool { name, server: None, target }
}

const fn mcp(server: &'static str, name: &'static str) -> Tool {
    Tool { name, server: Some(server), target: TargetKind::None }
}

/// Forty tools, the most used first.
pub(crate) static TOOLS: [Tool; 40] = [
    own("exec", TargetKind::Command),
    own("read", TargetKind::Path),
    own("edit", TargetKind::Path),
    own("grep", TargetKind::Path),
    own("write", TargetKind::Path),
    own("glob", TargetKind::Path),
    own("web_fetch", TargetKind::Url),
    own("browser", TargetKind::Url),
    mcp("github", "get_issue"),
    own("apply_patch", TargetKind::Path),
    own("process", TargetKind::Command),
    mcp("github", "search_code"),
    own("web_search", TargetKind::None),
    own("memory_search", TargetKind::None),
    mcp("postgres", "query"),
    own("todo_write", TargetKind::None),
    mcp("filesystem", "read_file"),
    mcp("slack", "post_message"),
    own("memory_get", TargetKind::None),
    mcp("jira", "get_ticket"),
    mcp("github", "create_pull_request"),
    own("sessions_list", TargetKind::None),
    own("sessions_send", TargetKind::None),
    own("sessions_spawn", TargetKind::None),
    mcp("grafana", "query_range"),
    mcp("sentry", "list_issues"),
    mcp("kubernetes", "get_pods"),
    mcp("kubernetes", "get_logs"),
    own("message", TargetKind::None),
    own("image", TargetKind::Url),
    mcp("filesystem", "list_directory"),
    mcp("notion", "search_pages"),
    mcp("slack", "list_channels"),
    mcp("postgres", "list_tables"),
    mcp("jira", "search"),
    mcp("github", "list_commits"),
    own("cron", TargetKind::None),
    mcp("objects", "get_object"),
    mcp("objects", "list_objects"),
    mcp("billing", "list_invoices"),
];

/// A model with its context window and made-up prices in millionths of a dollar per 1,000 tokens.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) limit_tokens: u64,
    pub(crate) input_price: u64,
    pub(crate) output_price: u64,
}

pub(crate) static MODELS: [Model; 4] = [
    Model {
        name: "claude-sonnet-4-5",
        provider: "anthropic",
        limit_tokens: 200_000,
        input_price: 3_000,
        output_price: 15_000,
    },
    Model {
        name: "gpt-5-codex",
        provider: "openai",
        limit_tokens: 400_000,
        input_price: 1_250,
        output_price: 10_000,
    },
    Model {
        name: "gemini-2.5-pro",
        provider: "gcp.gemini",
        limit_tokens: 1_048_576,
        input_price: 1_250,
        output_price: 10_000,
    },
    Model {
        name: "qwen3-coder-30b",
        provider: "vllm",
        limit_tokens: 131_072,
        input_price: 0,
        output_price: 0,
    },
];

/// Products with their versions.
pub(crate) static PRODUCTS: [(&str, &str); 3] =
    [("openclaw", "2026.11.3"), ("claude-code", "2.0.47"), ("codex", "0.63.0")];

/// Why a tool was refused, and who refused.
pub(crate) static DENIALS: [(&str, &str); 5] = [
    ("policy_denied", "policy"),
    ("allowlist_miss", "policy"),
    ("sandbox_path", "sandbox"),
    ("sandbox_network", "sandbox"),
    ("not_offered", "policy"),
];

/// Why credentials were refused.
pub(crate) static AUTH_REASONS: [&str; 4] =
    ["token_mismatch", "token_missing", "password_mismatch", "device_auth"];

/// Client programs.
pub(crate) static CLIENTS: [(&str, &str); 4] =
    [("cli", "2026.11.3"), ("control-ui", "2026.11.3"), ("ios", "3.4.1"), ("vscode", "1.9.0")];

/// Targets by kind: 3,000 paths, 300 commands, 400 URLs.
pub(crate) struct Targets {
    paths: Vec<String>,
    commands: Vec<String>,
    urls: Vec<String>,
}

impl Targets {
    pub(crate) fn new() -> Self {
        let folders = ["src", "src/api", "src/store", "tests", "docs", "web/pages", "ops", "proto"];
        let stems = ["account", "billing", "cache", "config", "index", "job", "login", "metrics"];
        let suffixes = ["rs", "ts", "py", "md", "yaml"];
        let verbs =
            ["cargo test -p", "npm run build --", "git log -5 --", "rg -n \"TODO\"", "ls -l"];
        let paths = (0..3000).map(|n| {
            let (folder, stem) = (folders[n % 8], stems[n / 8 % 8]);
            format!("/srv/work/app-{:02}/{folder}/{stem}.{}", n / 64 % 47, suffixes[n / 8 % 5])
        });
        let commands = (0..300).map(|n| format!("{} {}-{}", verbs[n % 5], stems[n % 8], n / 8));
        let urls = (0..400).map(|n| format!("https://docs.example.com/{}/{n}", stems[n % 8]));
        Self { paths: paths.collect(), commands: commands.collect(), urls: urls.collect() }
    }

    /// The n-th target of a kind, n modulo their number.
    pub(crate) fn get(&self, kind: TargetKind, n: u64) -> Option<&str> {
        let of = match kind {
            TargetKind::Path => &self.paths,
            TargetKind::Command => &self.commands,
            TargetKind::Url => &self.urls,
            TargetKind::None => return None,
        };
        Some(&of[(n % of.len() as u64) as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn targets_are_many_and_none_is_sensitive() {
        let targets = Targets::new();
        let all: Vec<&String> =
            targets.paths.iter().chain(&targets.commands).chain(&targets.urls).collect();
        assert!(all.iter().collect::<BTreeSet<_>>().len() > 3000);
        for sensitive in ["/etc/shadow", "/.ssh/", "/.aws/", "169.254."] {
            assert!(all.iter().all(|t| !t.contains(sensitive)));
        }
    }

    #[test]
    fn tool_names_are_unique() {
        let names: BTreeSet<&str> = TOOLS.iter().map(|t| t.name).collect();
        assert_eq!(names.len(), TOOLS.len());
    }
}
