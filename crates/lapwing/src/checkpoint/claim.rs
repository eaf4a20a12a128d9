//! Taking a partition over: the end of its chain is read and a claim is appended, from when on nobody else
//! can append; then what the owner before left half done is finished.

use std::sync::Arc;

use lapwing_detector::rule::RuleSet;
use lapwing_event::{Message, Partition};
use lapwing_ingest::LogTimeStep;
use tracing::info;

use super::archive::ArchivePlace;
use super::chain::{Appended, Chain};
use super::error::CheckpointError;
use super::maintain::finish_swap;
use super::manifest::{AlertsEntry, ClaimEntry, Cursor, Entry, EpochEntry, Manifest, sha256};
use super::store::ChainStore;

/// How often a claim that was outrun is tried again: each time another process has claimed, too.
const MAX_TRIES: usize = 100;

/// A partition that was taken over.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// Its chain, with the claim at its end.
    pub(crate) chain: Chain,
    /// Where to go on.
    pub(crate) resume: Resume,
}

/// What the chain says about going on.
#[derive(Debug, Default)]
pub(crate) struct Resume {
    /// Where the source goes on; `None` at the first start.
    pub(crate) cursor: Option<Cursor>,
    /// The offset of the next record; `None` at the first start.
    pub(crate) next_offset: Option<i64>,
    /// The state of the detector.
    pub(crate) state: Option<Vec<u8>>,
    /// Messages committed after that state: reading on raises them again.
    pub(crate) committed: Vec<Message>,
    /// Messages that no file of alerts holds yet.
    pub(crate) unarchived: Vec<Message>,
    /// How log time went before `known_until`, where the clock had a part in it.
    pub(crate) steps: Vec<LogTimeStep>,
    /// The offset up to which records were read before.
    pub(crate) known_until: i64,
    /// The log time that was reached there.
    pub(crate) reached: i64,
    /// Messages that may not have been handed over.
    pub(crate) repeat: Vec<Message>,
    /// The name of the state, which the next epoch replaces.
    pub(crate) state_name: Option<String>,
}

/// Takes a partition over: from then on nobody else can append.
///
/// # Errors
/// The store; a manifest that is damaged.
pub(crate) async fn claim(
    store: ChainStore,
    partition: Arc<Partition>,
    rules: &RuleSet,
) -> Result<Chain, CheckpointError> {
    for _ in 0..MAX_TRIES {
        let tail = Tail::read(&store).await?;
        let (number, hash) = tail.head();
        let (store, partition) = (store.clone(), partition.clone());
        let mut chain = Chain { store, partition, number, hash, claim: 0 };
        let entry = Entry::Claim(ClaimEntry {
            next_offset: tail.epoch().map_or(0, |epoch| epoch.next_offset),
            rules: rules
                .rules
                .iter()
                .map(|rule| (rule.name.clone(), format!("{:016x}", rule.fingerprint)))
                .collect(),
        });
        if chain.append(&entry).await? == Appended::Yes {
            chain.claim = chain.number;
            return Ok(chain);
        }
    }
    Err(CheckpointError::Place {
        place: store.path_of(""),
        reason: format!(
            "{MAX_TRIES} times another process claimed the partition first; give each consumer group a \
             state of its own"
        ),
    })
}

/// Finishes what the newest epoch has left half done, and says where to go on: after a claim, and after
/// writing has failed. Nobody may be writing for this claim. `None` if another process has claimed the
/// partition meanwhile.
///
/// # Errors
/// The store; a manifest, state or file that is damaged or gone.
pub(crate) async fn go_on(
    chain: &mut Chain,
    archive: Option<&ArchivePlace>,
) -> Result<Option<Resume>, CheckpointError> {
    let tail = Tail::read(&chain.store).await?;
    let newer = tail.manifests.iter().filter(|(manifest, _)| manifest.number > chain.number);
    if newer.clone().any(|(manifest, _)| !manifest.entry.is_maintenance()) {
        return Ok(None);
    }
    (chain.number, chain.hash) = tail.head();
    if let Some(archive) = archive {
        tail.finish(archive, chain).await?;
    }
    Ok(Some(tail.resume(chain).await?))
}

/// The manifests from the newest epoch, or what stands for it, to the end.
struct Tail {
    manifests: Vec<(Manifest, String)>,
}

impl Tail {
    async fn read(store: &ChainStore) -> Result<Self, CheckpointError> {
        let numbers = store.numbers().await?;
        let mut manifests: Vec<(Manifest, String)> = Vec::new();
        for number in numbers.into_iter().rev() {
            let (manifest, hash) = store.manifest(number).await?;
            if let Some((next, _)) = manifests.last() {
                let is_linked = next.number == number + 1 && next.previous.as_ref() == Some(&hash);
                if !is_linked {
                    let path = store.path_of(&ChainStore::manifest_name(next.number));
                    let reason = format!("it does not follow number {number}");
                    return Err(CheckpointError::Manifest { path, reason });
                }
            }
            let is_start = matches!(manifest.entry, Entry::Epoch(_) | Entry::Summary(_));
            manifests.push((manifest, hash));
            if is_start {
                break;
            }
        }
        manifests.reverse();
        if let Some((first, _)) = manifests.first()
            && !matches!(first.entry, Entry::Epoch(_) | Entry::Summary(_))
            && first.number != 1
        {
            let path = store.path_of(&ChainStore::manifest_name(first.number));
            let reason = "the one before it is missing".to_owned();
            return Err(CheckpointError::Manifest { path, reason });
        }
        Ok(Self { manifests })
    }

    fn head(&self) -> (u64, Option<String>) {
        self.manifests.last().map_or((0, None), |(last, hash)| (last.number, Some(hash.clone())))
    }

    fn epoch(&self) -> Option<&EpochEntry> {
        match &self.manifests.first()?.0.entry {
            Entry::Epoch(epoch) => Some(epoch),
            Entry::Summary(summary) => summary.epoch.as_ref(),
            _ => None,
        }
    }

    fn alerts(&self) -> impl Iterator<Item = &AlertsEntry> {
        self.manifests.iter().filter_map(|(manifest, _)| match &manifest.entry {
            Entry::Alerts(alerts) => Some(alerts),
            Entry::Summary(summary) => summary.alerts.as_ref(),
            _ => None,
        })
    }

    /// Publishes what the newest epoch has staged, and removes what no manifest names. Maintenance
    /// publishes an epoch before it appends anything, so that nothing is left to do after one.
    async fn finish(&self, archive: &ArchivePlace, chain: &Chain) -> Result<(), CheckpointError> {
        let partition = &chain.partition;
        finish_swap(archive, chain).await?;
        if let Some((Manifest { number, entry: Entry::Epoch(epoch), .. }, _)) =
            self.manifests.first()
            && !self.manifests.iter().any(|(manifest, _)| manifest.entry.is_maintenance())
        {
            for file in &epoch.files {
                if !archive.publish(file).await? {
                    return Err(CheckpointError::File {
                        path: file.path.clone(),
                        reason: "it is gone".to_owned(),
                        manifest: *number,
                    });
                }
            }
        }
        let removed = archive.clean(partition, chain.claim).await?;
        if removed > 0 {
            let (source, partition) = (&*partition.source_id, &*partition.name);
            info!(source, partition, files = removed, "removed what was staged and not committed");
        }
        Ok(())
    }

    async fn resume(&self, chain: &Chain) -> Result<Resume, CheckpointError> {
        let store = &chain.store;
        let mut resume = Resume { reached: i64::MIN, ..Resume::default() };
        if let Some(epoch) = self.epoch() {
            resume.cursor = Some(epoch.cursor.clone());
            resume.next_offset = Some(epoch.next_offset);
            resume.unarchived.clone_from(&epoch.unarchived);
            if let Some(state) = &epoch.state {
                let bytes = store.get(&state.name).await?;
                if bytes.len() as u64 != state.size_bytes || sha256(&bytes) != state.sha256 {
                    let path = store.path_of(&state.name);
                    let reason = "its SHA-256 is not that of its manifest".to_owned();
                    return Err(CheckpointError::State { path, reason });
                }
                resume.state = Some(bytes.to_vec());
                resume.state_name = Some(state.name.clone());
            }
        }
        for alerts in self.alerts() {
            resume.committed.extend(alerts.messages.iter().cloned());
            resume.steps.extend(&alerts.steps);
            // Alerts of rules that are gone are closed where reading begins again, behind others.
            resume.known_until = resume.known_until.max(alerts.next_offset);
            resume.reached = resume.reached.max(alerts.log_time);
        }
        resume.unarchived.extend(resume.committed.iter().cloned());
        let handed_over = store.handed_over().await?;
        for (manifest, _) in self.manifests.iter().filter(|(m, _)| m.number > handed_over) {
            match &manifest.entry {
                Entry::Summary(summary) => {
                    let epoch = summary.epoch.iter().flat_map(|epoch| &epoch.messages);
                    let alerts = summary.alerts.iter().flat_map(|alerts| &alerts.messages);
                    resume.repeat.extend(epoch.chain(alerts).cloned());
                }
                entry => resume.repeat.extend(entry.messages().iter().cloned()),
            }
        }
        self.clean_states(chain).await?;
        Ok(resume)
    }

    async fn clean_states(&self, chain: &Chain) -> Result<(), CheckpointError> {
        let store = &chain.store;
        store.remove_half_written();
        let named = self.epoch().and_then(|epoch| epoch.state.as_ref()).map(|state| &state.name);
        for name in store.states().await? {
            let is_left =
                ChainStore::claim_of_state(&name).is_some_and(|claim| claim <= chain.claim);
            if is_left && named != Some(&name) {
                store.delete(&name).await?;
            }
        }
        Ok(())
    }
}
