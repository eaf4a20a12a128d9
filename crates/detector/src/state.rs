//! The state of a detector, written out and read back: the same records give the same future.
//!
//! Layout: magic, version (u16), digest of the rest (u64), then the postcard encoding of
//! [`Snapshot`], all little-endian.

use std::sync::Arc;

use lapwing_event::{KeyValue, Partition};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_64;

use crate::detector::{Detector, Limits, RuleState};
use crate::episode::Episode;
use crate::loss::Loss;
use crate::rule::RuleSet;
use crate::window::Entries;

const MAGIC: &[u8; 8] = b"LAPWSTAT";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8 + 2 + 8;

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not a state at all.
    #[error("this is not a detector state")]
    NotAState,
    /// Written by another version.
    #[error(
        "the state has version {found}, this program reads version {VERSION}; move it away to begin anew"
    )]
    Version {
        /// The version found.
        found: u16,
    },
    /// Damaged.
    #[error("the state is damaged ({reason}); move it away to begin anew")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    log_time: i64,
    files: Vec<Arc<str>>,
    rules: Vec<RuleSnapshot>,
}

#[derive(Serialize, Deserialize)]
struct RuleSnapshot {
    id: Arc<str>,
    fingerprint: u64,
    evicted_until: Option<i64>,
    loss: Option<Loss>,
    /// In the order in which they would be evicted.
    keys: Vec<KeySnapshot>,
}

#[derive(Serialize, Deserialize)]
struct KeySnapshot {
    values: Box<[KeyValue]>,
    newest: i64,
    least_skew: i64,
    is_after_eviction: bool,
    has_lost_entries: bool,
    entries: Entries,
    episode: Option<Episode>,
}

impl Detector {
    /// Writes the state out.
    pub fn snapshot(&mut self) -> Vec<u8> {
        let mut rules = Vec::new();
        for (rule, state) in self.rules.rules.iter().zip(&mut self.states) {
            let mut keys = Vec::with_capacity(state.keys.len());
            for slot in state.keys.in_order() {
                let Some(key) = state.keys.get_mut(slot) else { continue };
                // The entries are moved out and back, since they can be large.
                keys.push((
                    slot,
                    KeySnapshot {
                        values: key.values.clone(),
                        newest: key.newest,
                        least_skew: key.least_skew,
                        is_after_eviction: key.is_after_eviction,
                        has_lost_entries: key.has_lost_entries,
                        entries: std::mem::take(&mut key.entries),
                        episode: key.episode.as_deref().cloned(),
                    },
                ));
            }
            let (slots, keys): (Vec<u32>, Vec<KeySnapshot>) = keys.into_iter().unzip();
            rules.push((
                slots,
                RuleSnapshot {
                    id: rule.id.clone(),
                    fingerprint: rule.fingerprint,
                    evicted_until: state.evicted_until,
                    loss: state.loss.clone(),
                    keys,
                },
            ));
        }
        let (slots, rules): (Vec<Vec<u32>>, Vec<RuleSnapshot>) = rules.into_iter().unzip();
        let snapshot = Snapshot { log_time: self.log_time, files: self.files.clone(), rules };
        let body = postcard::to_stdvec(&snapshot).expect("a state in memory can be encoded");
        for ((slots, rule), state) in slots.iter().zip(snapshot.rules).zip(&mut self.states) {
            for (slot, key) in slots.iter().zip(rule.keys) {
                if let Some(place) = state.keys.get_mut(*slot) {
                    place.entries = key.entries;
                }
            }
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&xxh3_64(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Reads a state back. The state of a rule that is gone or has changed is left out.
    ///
    /// # Errors
    /// Not a state, another version, damage.
    pub fn restore(
        rules: Arc<RuleSet>,
        partition: Arc<Partition>,
        limits: Limits,
        bytes: &[u8],
    ) -> Result<Self, StateError> {
        let body = check(bytes)?;
        let snapshot: Snapshot = postcard::from_bytes(body)
            .map_err(|error| StateError::Damaged { reason: error.to_string() })?;
        let mut detector = Self::new(rules, partition, limits);
        detector.log_time = snapshot.log_time;
        detector.files = snapshot.files;
        for saved in snapshot.rules {
            let same =
                |r: &crate::rule::Rule| r.id == saved.id && r.fingerprint == saved.fingerprint;
            if let Some(index) = detector.rules.rules.iter().position(same) {
                let rules = detector.rules.clone();
                detector.states[index] = restore_rule(saved, &rules.rules[index]);
            } else {
                let open = saved.keys.iter().filter(|key| key.episode.is_some());
                detector.forgotten_alerts += open.count();
            }
        }
        detector.reschedule();
        Ok(detector)
    }
}

fn check(bytes: &[u8]) -> Result<&[u8], StateError> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(StateError::NotAState)?;
    if &header[..8] != MAGIC {
        return Err(StateError::NotAState);
    }
    let found = u16::from_le_bytes([header[8], header[9]]);
    if found != VERSION {
        return Err(StateError::Version { found });
    }
    match xxh3_64(body).to_le_bytes() == header[10..] {
        true => Ok(body),
        false => Err(StateError::Damaged { reason: "its digest does not fit".into() }),
    }
}

fn restore_rule(saved: RuleSnapshot, rule: &crate::rule::Rule) -> RuleState {
    let mut state =
        RuleState { evicted_until: saved.evicted_until, loss: saved.loss, ..RuleState::default() };
    for key in saved.keys {
        let hash = foldhash::quality::FixedState::default().hash_one(&key.values);
        let slot = state.keys.add(key.values, hash, key.newest, key.least_skew);
        if let Some(place) = state.keys.get_mut(slot) {
            place.is_after_eviction = key.is_after_eviction;
            place.has_lost_entries = key.has_lost_entries;
            place.entries = key.entries;
            place.episode = key.episode.map(|mut episode| {
                episode.fit_facts(rule);
                state.open_alerts += 1;
                Box::new(episode)
            });
        }
        state.keys.touch(slot);
    }
    state
}
