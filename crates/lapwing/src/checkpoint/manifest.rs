//! A manifest: one link of a partition's chain, as JSON. What it holds, and how it is written and
//! read back; where it lies is not its concern.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_event::archive::Table;
use lapwing_event::{Message, hex};
use lapwing_ingest::{FollowCursor, LogTimeStep, TopicCursor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the format.
pub const MANIFEST_VERSION: u32 = 1;

/// One link of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// Its place in the chain, from 1.
    pub number: u64,
    /// SHA-256 of the manifest before it, as 64 hexadecimal digits; null for the first.
    pub previous: Option<String>,
    /// A random id: tells a manifest of one's own from that of somebody else after a reply was lost.
    pub attempt: String,
    /// The process that wrote it, for people.
    pub worker: String,
    /// When, by its clock, for people.
    pub written_at: String,
    /// The source.
    pub source_id: Arc<str>,
    /// The partition.
    pub partition: Arc<str>,
    /// What it commits.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What a manifest commits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// A process takes the partition over.
    Claim(ClaimEntry),
    /// Records were read, archived, and made into a state.
    Epoch(Box<EpochEntry>),
    /// Alerts were raised since, ahead of their epoch.
    Alerts(AlertsEntry),
    /// Files of the archive were merged.
    Compact(CompactEntry),
    /// Files of the archive are removed, since they are older than they are kept.
    Retain(RetainEntry),
    /// Stands for the manifests before it, which may be removed.
    Summary(Box<SummaryEntry>),
}

impl Entry {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Claim(_) => "claim",
            Self::Epoch(_) => "epoch",
            Self::Alerts(_) => "alerts",
            Self::Compact(_) => "compact",
            Self::Retain(_) => "retain",
            Self::Summary(_) => "summary",
        }
    }

    /// Whether it was written beside the owner of the partition, who goes on after it.
    pub fn is_maintenance(&self) -> bool {
        matches!(self, Self::Compact(_) | Self::Retain(_) | Self::Summary(_))
    }

    /// The messages that it commits.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Epoch(epoch) => &epoch.messages,
            Self::Alerts(alerts) => &alerts.messages,
            _ => &[],
        }
    }
}

/// A process takes the partition over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimEntry {
    /// The offset from which its rules hold: reading goes on there.
    pub next_offset: i64,
    /// The rules by name, with the fingerprint of each.
    pub rules: BTreeMap<Arc<str>, String>,
}

/// Records were read, archived, and made into a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochEntry {
    /// The first offset that it covers.
    pub first_offset: i64,
    /// The offset after the last one.
    pub next_offset: i64,
    /// The log time reached, microseconds since 1970; null before the first record.
    pub log_time: Option<i64>,
    /// Records in it, events and rejected ones.
    pub records: u64,
    /// What the source needs to go on.
    pub cursor: Cursor,
    /// The files of the archive that hold the records.
    pub files: Vec<FileEntry>,
    /// The state of the detector after the last record.
    pub state: Option<StateEntry>,
    /// Alerts that are open after it.
    pub open_alerts: u64,
    /// Messages raised and not committed before.
    pub messages: Vec<Message>,
    /// Messages committed before that no file of alerts holds yet: silence raised them, and there were no
    /// records to name a file by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unarchived: Vec<Message>,
}

/// Alerts were raised ahead of their epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertsEntry {
    /// The offset after the last record read when they were raised.
    pub next_offset: i64,
    /// The log time then, microseconds since 1970.
    pub log_time: i64,
    /// Where the clock had a part in the log times of the records since the last manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<LogTimeStep>,
    /// The messages.
    pub messages: Vec<Message>,
}

/// Files of the archive were merged: those of one day, in all tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactEntry {
    /// The files that are replaced.
    pub replaced: Vec<FileEntry>,
    /// The files that replace them: each has at least one to replace in its table.
    pub files: Vec<FileEntry>,
}

/// Files of the archive are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainEntry {
    /// The files.
    pub removed: Vec<FileEntry>,
}

/// Stands for all manifests before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryEntry {
    /// The first number it stands for.
    pub first: u64,
    /// The first offset that the chain has archived; null before the first epoch.
    pub first_offset: Option<i64>,
    /// The files of the archive, as of here.
    pub files: Vec<FileEntry>,
    /// The newest epoch. Its messages are all that may not have been handed over, also those of older
    /// manifests.
    pub epoch: Option<EpochEntry>,
    /// What was committed ahead of the next epoch.
    pub alerts: Option<AlertsEntry>,
}

/// What a source needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cursor {
    /// A partition of a Kafka topic.
    Topic(TopicCursor),
    /// Files that are followed.
    Files(FollowCursor),
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// `events`, `rejected` or `alerts`.
    pub table: String,
    /// Where it lies below the archive.
    pub path: String,
    /// Where it lay until it was published.
    pub staged: String,
    /// Its rows.
    pub rows: u64,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, as 64 hexadecimal digits.
    pub sha256: String,
}

impl FileEntry {
    /// The table it belongs to.
    pub fn table(&self) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.folder() == self.table)
    }
}

/// A detector state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// Its name beside the manifests.
    pub name: String,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, as 64 hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// The bytes that are written: one line of JSON whose last key is the SHA-256 of everything before it,
    /// since nothing else tells of damage to the newest manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec(self).expect("a manifest has text keys and finite numbers");
        bytes.pop();
        let hash = sha256(&bytes);
        bytes.extend_from_slice(format!("{SEAL}{hash}{SEAL_END}").as_bytes());
        bytes
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// What does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        check_seal(bytes)?;
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if version != MANIFEST_VERSION {
            return Err(format!(
                "it has version {version}, this program reads version {MANIFEST_VERSION}"
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// What stands between a manifest and its hash, and after that.
const SEAL: &str = ",\"sha256\":\"";
const SEAL_END: &str = "\"}\n";
/// The length of a hash in hexadecimal digits.
const HASH_DIGITS: usize = 64;

fn check_seal(bytes: &[u8]) -> Result<(), String> {
    let seal_bytes = SEAL.len() + HASH_DIGITS + SEAL_END.len();
    let whole = bytes.split_at_checked(bytes.len().saturating_sub(seal_bytes));
    let (before, seal) = whole.ok_or("it is too short")?;
    match seal == format!("{SEAL}{}{SEAL_END}", sha256(before)).as_bytes() {
        true => Ok(()),
        false => Err("its bytes are not those that were written, as their SHA-256 says".to_owned()),
    }
}

/// SHA-256 as it stands in manifests.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_manifest_counts() {
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            number: 7,
            previous: Some(sha256(b"the one before")),
            attempt: "0123".to_owned(),
            worker: "host:1".to_owned(),
            written_at: "2026-11-22T16:00:00Z".to_owned(),
            source_id: "agents".into(),
            partition: "audit-0".into(),
            entry: Entry::Claim(ClaimEntry { next_offset: 12, rules: BTreeMap::new() }),
        };
        let mut bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
    }
}
