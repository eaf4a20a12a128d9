//! `lapwing rules`: list, show, check, test.

mod fires;

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, Subcommand};
use lapwing_detector::pack::PACK;

use self::fires::fires;
use super::{Outcome, RuleArgs};
use crate::rules::run_tests;

#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// List the rules
    List(RuleArgs),
    /// Print a rule's YAML
    Show(ShowArgs),
    /// Load rules and say what is wrong
    Check(RuleArgs),
    /// Run the tests that rules carry
    Test(RuleArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The rule's name
    name: String,
    #[command(flatten)]
    rules: RuleArgs,
}

/// Runs a command on rules.
pub(super) fn rules(command: &RulesCommand) -> anyhow::Result<Outcome> {
    let mut out = io::stdout().lock();
    match command {
        RulesCommand::List(args) => {
            let set = args.selection().load_all()?;
            writeln!(out, "{:<26}{:<10}{:<5}FIRES", "NAME", "LEVEL", "ON")?;
            for rule in &set.rules {
                let on = if rule.enabled { "yes" } else { "no" };
                let fires = fires(rule, &set);
                writeln!(out, "{:<26}{:<10}{on:<5}{fires}", rule.name, rule.level)?;
            }
        }
        RulesCommand::Show(args) => {
            let set = args.rules.selection().load_all()?;
            let rule = set.by_name(&args.name).with_context(|| {
                format!("there is no rule {}; see `lapwing rules list`", args.name)
            })?;
            let builtin = PACK.iter().find(|(file, _)| *rule.source == *format!("builtin/{file}"));
            match builtin {
                Some((_, text)) => out.write_all(text.as_bytes())?,
                None => out.write_all(&std::fs::read(&*rule.source)?)?,
            }
        }
        RulesCommand::Check(args) => {
            let set = args.selection().load_all()?;
            writeln!(out, "{} rules are valid", set.rules.len())?;
        }
        RulesCommand::Test(args) => return test(args, &mut out),
    }
    Ok(Outcome::Done)
}

fn test(args: &RuleArgs, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let results = run_tests(args.selection().load_all()?);
    let mut failed = 0;
    for result in &results {
        match &result.failure {
            None => writeln!(out, "ok      {}: {}", result.rule, result.test)?,
            Some(failure) => {
                failed += 1;
                writeln!(out, "FAILED  {}: {}\n        {failure}", result.rule, result.test)?;
            }
        }
    }
    writeln!(out, "{} passed, {failed} failed", results.len() - failed)?;
    Ok(if failed == 0 { Outcome::Done } else { Outcome::Found })
}
