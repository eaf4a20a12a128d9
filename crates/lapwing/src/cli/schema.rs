//! `lapwing schema`: the generated schemas and references.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::Outcome;
use crate::docs::{formats_reference, generated};

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// What to print
    #[arg(value_enum, required_unless_present = "write")]
    what: Option<What>,
    /// Write all generated files into this folder instead
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// JSON Schema of an event in the native format
    Event,
    /// JSON Schema of an alert
    Alert,
    /// JSON Schema of the configuration
    Config,
    /// The fields of an event, with their names in OpenTelemetry, ECS and OCSF
    Fields,
    /// The columns of the archive
    Archive,
    /// The keys of the configuration
    ConfigKeys,
    /// The input formats and what each can never show
    Formats,
}

impl What {
    fn file(self) -> Option<&'static str> {
        match self {
            Self::Event => Some("event.schema.json"),
            Self::Alert => Some("alert.schema.json"),
            Self::Config => Some("config.schema.json"),
            Self::Fields => Some("fields.md"),
            Self::Archive => Some("archive.md"),
            Self::ConfigKeys => Some("config.md"),
            Self::Formats => None,
        }
    }
}

/// Prints or writes schemas.
pub(super) fn schema(args: &SchemaArgs) -> anyhow::Result<Outcome> {
    if let Some(folder) = &args.write {
        for (name, text) in generated() {
            let path = folder.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("{}: cannot be written", path.display()))?;
        }
    }
    if let Some(what) = args.what {
        let text = match what.file() {
            None => formats_reference(),
            Some(name) => {
                let found = generated().into_iter().find(|(file, _)| *file == name);
                found.map(|(_, text)| text).unwrap_or_default()
            }
        };
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(Outcome::Done)
}
