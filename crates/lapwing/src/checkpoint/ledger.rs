//! A chain read from its beginning, or from the summary that stands for it, to its end: which files the
//! archive must have, where the partition stands, and where the chain itself is broken. Reads only.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use lapwing_event::Message;
use lapwing_event::time::parse_time;
use object_store::Error;

use super::chain::Chain;
use super::error::CheckpointError;
use super::manifest::{AlertsEntry, Entry, EpochEntry, FileEntry, Manifest, SummaryEntry, sha256};
use super::store::ChainStore;

/// Manifests that are asked for at a time: S3 answers each after some 30 ms.
const READ_AHEAD: usize = 16;

/// The way out of a damaged chain.
pub(crate) const RESTORE: &str = "restore it from a copy, or move the folder of this partition away to \
                                  begin anew after what is archived";

/// Something that is not as a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// Where.
    pub path: String,
    /// What does not fit.
    pub what: String,
    /// What can be done.
    pub way_out: String,
}

/// A file of the archive with the number of the manifest that names it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) number: u64,
    pub(crate) file: FileEntry,
}

/// What a chain says.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: ChainStore,
    /// The numbers of all manifests that are there, ascending.
    pub(crate) numbers: Vec<u64>,
    /// Those that a summary stands for, and that can be removed.
    pub(crate) strays: Vec<u64>,
    /// Manifests that were read and count.
    pub(crate) manifests: u64,
    /// The last number, 0 for none.
    pub(crate) number: u64,
    pub(crate) hash: Option<String>,
    /// The files that the archive must have, by path.
    pub(crate) files: BTreeMap<String, Named>,
    /// Files that were merged into others or removed, with the number of the manifest that says so.
    pub(crate) gone: BTreeMap<String, u64>,
    /// The first number that the newest summary stands for, or that is there.
    pub(crate) first: u64,
    /// The first offset that was archived.
    pub(crate) first_offset: Option<i64>,
    /// The newest epoch, with the number and the time of its manifest.
    pub(crate) epoch: Option<(u64, EpochEntry)>,
    pub(crate) epoch_at: Option<i64>,
    /// Alerts since, joined.
    pub(crate) alerts: Option<AlertsEntry>,
    /// Messages of the newest epoch and before that may not have been handed over.
    pub(crate) unhanded: Vec<Message>,
    /// The newest manifest that merges or removes files.
    pub(crate) maintenance: Option<(u64, Entry)>,
    /// The number of the newest summary.
    pub(crate) summary: Option<u64>,
    /// The number of the newest claim.
    pub(crate) claim: u64,
    /// The number of the newest manifest that an owner has written, and who that was.
    pub(crate) owner: u64,
    pub(crate) worker: String,
    /// When manifests were written, microseconds.
    pub(crate) written: Vec<(u64, i64)>,
    pub(crate) breaks: Vec<Break>,
    handed_over: u64,
    /// As `unhanded`, of the alerts since the newest epoch.
    unhanded_alerts: Vec<Message>,
}

/// A manifest, or why it is none, with the hash of its bytes.
type Read = (u64, Result<Manifest, String>, Option<String>);

impl Ledger {
    fn new(store: ChainStore, numbers: Vec<u64>, handed_over: u64) -> Self {
        Self {
            store,
            first: numbers.first().copied().unwrap_or(0),
            numbers,
            strays: Vec::new(),
            manifests: 0,
            number: 0,
            hash: None,
            files: BTreeMap::new(),
            gone: BTreeMap::new(),
            first_offset: None,
            epoch: None,
            epoch_at: None,
            alerts: None,
            unhanded: Vec::new(),
            maintenance: None,
            summary: None,
            claim: 0,
            owner: 0,
            worker: String::new(),
            written: Vec::new(),
            breaks: Vec::new(),
            handed_over,
            unhanded_alerts: Vec::new(),
        }
    }

    /// Reads a chain.
    ///
    /// # Errors
    /// The store. What is damaged is a break.
    pub(crate) async fn read(store: &ChainStore) -> Result<Self, CheckpointError> {
        let handed_over = store.handed_over().await?;
        let numbers = store.numbers().await?;
        let mut ledger = Self::new(store.clone(), numbers.clone(), handed_over);
        let unbroken = unbroken_end(&numbers);
        let below = numbers.len() - unbroken.len();
        let mut reads = stream::iter(unbroken.to_vec())
            .map(|number| read_one(store, number))
            .buffered(READ_AHEAD);
        // Below the first summary of the unbroken end nothing counts, if something is missing there.
        let mut before = Vec::new();
        let mut is_based = unbroken.first().is_none_or(|first| *first == 1);
        while let Some(read) = reads.next().await {
            let read = read?;
            is_based |= matches!(&read.1, Ok(m) if matches!(m.entry, Entry::Summary(_)));
            match is_based {
                true => {
                    ledger.skip(std::mem::take(&mut before));
                    ledger.take(read);
                }
                false => before.push(read),
            }
        }
        drop(reads);
        if is_based {
            ledger.strays.splice(0..0, numbers[..below].iter().copied());
            return Ok(ledger);
        }
        for number in &numbers[..below] {
            ledger.take(read_one(store, *number).await?);
        }
        before.into_iter().for_each(|read| ledger.take(read));
        Ok(ledger)
    }

    /// Reads what was appended since.
    pub(crate) async fn catch_up(&mut self) -> Result<(), CheckpointError> {
        loop {
            let number = self.number + 1;
            match read_one(&self.store, number).await {
                Ok(read) => {
                    self.numbers.push(number);
                    self.take(read);
                }
                Err(CheckpointError::Store { source: Error::NotFound { .. }, .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The end of the chain, for one that appends.
    pub(crate) fn chain(&self, partition: std::sync::Arc<lapwing_event::Partition>) -> Chain {
        Chain {
            store: self.store.clone(),
            partition,
            number: self.number,
            hash: self.hash.clone(),
            claim: self.claim,
        }
    }

    /// Says that something does not fit.
    pub(crate) fn breaks_at(&mut self, path: String, what: String, way_out: &str) {
        self.breaks.push(Break { path, what, way_out: way_out.to_owned() });
    }

    fn path_of(&self, number: u64) -> String {
        self.store.path_of(&ChainStore::manifest_name(number))
    }

    /// Passes over manifests that a summary stands for. What an owner wrote there still tells who it is;
    /// from there on the chain was never touched, and its links must hold.
    fn skip(&mut self, before: Vec<Read>) {
        let is_owners = |read: &Read| matches!(&read.1, Ok(m) if !m.entry.is_maintenance());
        let kept = before.iter().rposition(is_owners).unwrap_or(before.len());
        for (index, (number, read, hash)) in before.into_iter().enumerate() {
            self.strays.push(number);
            if index < kept {
                continue;
            }
            match read {
                Ok(manifest) => {
                    if index > kept {
                        self.check_link(&manifest);
                    }
                    self.note_writer(&manifest);
                }
                Err(what) => self.breaks_at(self.path_of(number), what, RESTORE),
            }
            (self.number, self.hash) = (number, hash);
        }
    }

    /// Takes the next manifest that counts.
    fn take(&mut self, (number, read, hash): Read) {
        self.manifests += 1;
        match read {
            Ok(manifest) => {
                self.check_link(&manifest);
                self.note_writer(&manifest);
                self.apply(manifest);
            }
            Err(what) => {
                self.check_hole(number);
                self.breaks_at(self.path_of(number), what, RESTORE);
            }
        }
        (self.number, self.hash) = (number, hash);
    }

    fn check_hole(&mut self, number: u64) {
        let missing = self.number + 1;
        if self.number != 0 && number > missing {
            let what = match number - missing {
                1 => "the manifest is missing".to_owned(),
                _ => format!("the manifests from here to number {} are missing", number - 1),
            };
            self.breaks_at(self.path_of(missing), what, RESTORE);
        }
    }

    fn check_link(&mut self, manifest: &Manifest) {
        let number = manifest.number;
        if self.number == 0 {
            let is_start = number == 1 || matches!(manifest.entry, Entry::Summary(_));
            if !is_start {
                let what = format!(
                    "the chain begins here, and no summary stands for the {} manifests before it",
                    number - 1
                );
                self.breaks_at(self.path_of(number), what, RESTORE);
            }
            return;
        }
        self.check_hole(number);
        if number == self.number + 1 && manifest.previous != self.hash {
            let what = format!("its SHA-256 is not the one that number {number} names");
            self.breaks_at(self.path_of(self.number), what, RESTORE);
        }
    }

    fn note_writer(&mut self, manifest: &Manifest) {
        let written = parse_time(&manifest.written_at).unwrap_or(i64::MAX);
        self.written.push((manifest.number, written));
        if !manifest.entry.is_maintenance() {
            self.owner = manifest.number;
            self.worker.clone_from(&manifest.worker);
        }
        if matches!(manifest.entry, Entry::Claim(_)) {
            self.claim = manifest.number;
        }
    }

    fn apply(&mut self, manifest: Manifest) {
        let number = manifest.number;
        match manifest.entry {
            Entry::Claim(_) => {}
            Entry::Alerts(alerts) => self.apply_alerts(number, alerts),
            Entry::Epoch(epoch) => {
                self.epoch_at = parse_time(&manifest.written_at);
                self.apply_epoch(number, *epoch);
            }
            Entry::Compact(compact) => {
                self.remove(number, &compact.replaced);
                self.add(number, &compact.files);
                self.maintenance = Some((number, Entry::Compact(compact)));
            }
            Entry::Retain(retain) => {
                self.remove(number, &retain.removed);
                self.maintenance = Some((number, Entry::Retain(retain)));
            }
            Entry::Summary(summary) => {
                self.epoch_at = self.epoch_at.or_else(|| parse_time(&manifest.written_at));
                self.apply_summary(number, *summary);
            }
        }
    }

    fn apply_alerts(&mut self, number: u64, alerts: AlertsEntry) {
        if number > self.handed_over {
            self.unhanded_alerts.extend(alerts.messages.iter().cloned());
        }
        match &mut self.alerts {
            None => self.alerts = Some(alerts),
            Some(joined) => {
                // As a claim does it: a later owner reads again what an earlier one has read.
                joined.next_offset = joined.next_offset.max(alerts.next_offset);
                joined.log_time = joined.log_time.max(alerts.log_time);
                joined.steps.extend(alerts.steps);
                joined.messages.extend(alerts.messages);
            }
        }
    }

    fn apply_epoch(&mut self, number: u64, epoch: EpochEntry) {
        let before = self.epoch.as_ref().map_or(i64::MIN, |(_, before)| before.next_offset);
        if epoch.records > 0 && epoch.first_offset < before {
            let what = format!(
                "the epoch begins at offset {}, but the one before it ends at {before}",
                epoch.first_offset
            );
            self.breaks_at(self.path_of(number), what, RESTORE);
        }
        let alerts = self.alerts.as_ref().map_or(i64::MIN, |alerts| alerts.next_offset);
        if epoch.next_offset < before.max(alerts).max(epoch.first_offset) {
            let what = format!(
                "the epoch ends at offset {}, before what was committed already ({})",
                epoch.next_offset,
                before.max(alerts).max(epoch.first_offset)
            );
            self.breaks_at(self.path_of(number), what, RESTORE);
        }
        if epoch.records > 0 {
            self.first_offset.get_or_insert(epoch.first_offset);
        }
        self.add(number, &epoch.files);
        self.unhanded.append(&mut self.unhanded_alerts);
        if number > self.handed_over {
            self.unhanded.extend(epoch.messages.iter().cloned());
        }
        self.alerts = None;
        self.epoch = Some((number, epoch));
    }

    fn apply_summary(&mut self, number: u64, summary: SummaryEntry) {
        if self.manifests > 1 {
            self.check_summary(number, &summary);
        }
        self.summary = Some(number);
        self.first = summary.first;
        self.first_offset = summary.first_offset;
        let files = summary.files.into_iter();
        self.files = files.map(|file| (file.path.clone(), Named { number, file })).collect();
        self.unhanded.clear();
        self.unhanded_alerts.clear();
        if number > self.handed_over {
            let alerts = summary.alerts.iter().flat_map(|alerts| &alerts.messages);
            self.unhanded_alerts.extend(alerts.cloned());
            let epoch = summary.epoch.iter().flat_map(|epoch| &epoch.messages);
            self.unhanded.extend(epoch.cloned());
        }
        self.alerts = summary.alerts;
        self.epoch = summary.epoch.map(|epoch| (number, epoch));
    }

    fn check_summary(&mut self, number: u64, summary: &SummaryEntry) {
        let paths: Vec<&str> = self.files.keys().map(String::as_str).collect();
        let mut named: Vec<&str> = summary.files.iter().map(|file| &*file.path).collect();
        named.sort_unstable();
        let epoch = |epoch: &EpochEntry| (epoch.next_offset, epoch.state.clone());
        let found = self.epoch.as_ref().map(|(_, e)| epoch(e));
        let fits = paths == named && found == summary.epoch.as_ref().map(epoch);
        if !fits {
            let what = "the summary contradicts the manifests before it".to_owned();
            self.breaks_at(self.path_of(number), what, RESTORE);
        }
    }

    fn add(&mut self, number: u64, files: &[FileEntry]) {
        for file in files {
            let named = Named { number, file: file.clone() };
            if self.files.insert(file.path.clone(), named).is_some() {
                let what = format!("a second file {}", file.path);
                self.breaks_at(self.path_of(number), what, RESTORE);
            }
        }
    }

    fn remove(&mut self, number: u64, files: &[FileEntry]) {
        for file in files {
            if self.files.remove(&file.path).is_none() {
                let what = format!("it takes away {}, which is not there", file.path);
                self.breaks_at(self.path_of(number), what, RESTORE);
            }
            self.gone.insert(file.path.clone(), number);
        }
    }
}

/// The last numbers without a hole.
fn unbroken_end(numbers: &[u64]) -> &[u64] {
    let hole = numbers.windows(2).rposition(|pair| pair[1] != pair[0] + 1);
    &numbers[hole.map_or(0, |index| index + 1)..]
}

async fn read_one(store: &ChainStore, number: u64) -> Result<Read, CheckpointError> {
    let bytes = store.get(&ChainStore::manifest_name(number)).await?;
    let manifest = Manifest::decode(&bytes).and_then(|manifest| match manifest.number == number {
        true => Ok(manifest),
        false => Err(format!("it says that it is number {}", manifest.number)),
    });
    let damaged = |reason| format!("the manifest is damaged: {reason}");
    Ok((number, manifest.map_err(damaged), Some(sha256(&bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_chain_is_what_has_no_hole() {
        assert_eq!(unbroken_end(&[]), &[] as &[u64]);
        assert_eq!(unbroken_end(&[1, 2, 3]), &[1, 2, 3]);
        assert_eq!(unbroken_end(&[1, 3, 4, 7, 8]), &[7, 8]);
    }
}
