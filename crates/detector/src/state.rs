//! The state of a detector, written out and read back: the same records give the same future.
//!
//! Layout: magic, version (u16), digest of the rest (u64), then the postcard encoding of
//! [`Snapshot`], all little-endian. Figures of windows are not kept: they are worked out again
//! from the entries.

use std::sync::Arc;

use lapwing_event::{FieldId, Level, Message, Partition, ResolvedBecause};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::detector::{Detector, Limits};
use crate::entry::{Arrival, Entry};
use crate::episode::{Episode, Facts, Subject};
use crate::key::{Key, Lost};
use crate::keys::{Body, Opened};
use crate::loss::Loss;
use crate::rule::{Condition, Measure, NullKeys, Rule, RuleSet, Template};
use crate::single::Single;
use crate::watch::{Scene, Watch};
use crate::window::{Mark, Windows};

const MAGIC: &[u8; 8] = b"LAPWSTAT";
const VERSION: u16 = 2;
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
    name: Arc<str>,
    title: String,
    /// The names of the group-by fields.
    group_by: Vec<String>,
    /// The names of the fields that its texts use beyond the key.
    facts: Vec<String>,
    fingerprint: u64,
    evicted_until: Option<i64>,
    loss: Option<Loss>,
    /// In the order in which they would be evicted.
    keys: Vec<KeySnapshot>,
}

#[derive(Serialize, Deserialize)]
enum KeySnapshot {
    Single(Vec<u8>),
    Opened(Box<OpenedSnapshot>),
}

#[derive(Serialize, Deserialize)]
struct OpenedSnapshot {
    name: Vec<u8>,
    newest: i64,
    least_skew: i64,
    lost: Lost,
    facts: Facts,
    /// Entries by time, with how they are marked.
    entries: Vec<(Entry, u8)>,
    /// The distinct values, by the places that entries name.
    values: Vec<u128>,
    episode: Option<Box<Episode>>,
}

impl Detector {
    /// Writes the state out.
    pub fn snapshot(&mut self) -> Vec<u8> {
        let rules = self.rules.rules.iter().zip(&self.watches);
        let snapshot = Snapshot {
            log_time: self.log_time,
            files: self.files.clone(),
            rules: rules.map(|(rule, watch)| RuleSnapshot::of(rule, watch)).collect(),
        };
        let body = postcard::to_stdvec(&snapshot).expect("a state in memory can be encoded");
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&xxh3_64(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Reads a state back. A rule that has changed since begins anew; its open alerts, and those of
    /// rules that are gone, are resolved by the messages given.
    ///
    /// # Errors
    /// Not a state, another version, damage.
    pub fn restore(
        rules: Arc<RuleSet>,
        partition: Arc<Partition>,
        limits: Limits,
        bytes: &[u8],
    ) -> Result<(Self, Vec<Message>), StateError> {
        let body = check(bytes)?;
        let snapshot: Snapshot = postcard::from_bytes(body)
            .map_err(|error| StateError::Damaged { reason: error.to_string() })?;
        let mut detector = Self::new(rules, partition, limits);
        detector.log_time = snapshot.log_time;
        detector.files = snapshot.files;
        let mut messages = Vec::new();
        for saved in snapshot.rules {
            let is_same = |r: &Rule| r.id == saved.id && r.fingerprint == saved.fingerprint;
            match detector.rules.rules.iter().position(is_same) {
                Some(index) => {
                    let (watch, scene) = detector.watch(index);
                    saved.restore_into(watch, &scene)?;
                }
                None => detector.close(saved, &mut messages),
            }
        }
        messages.sort_by(|a, b| a.alert.id.cmp(&b.alert.id));
        detector.reschedule();
        Ok((detector, messages))
    }

    /// Ends the alerts of a rule that is gone or has changed.
    fn close(&self, saved: RuleSnapshot, messages: &mut Vec<Message>) {
        let rule = saved.as_it_was();
        let (because, log_time) = (ResolvedBecause::RuleChanged, self.log_time);
        let slack = self.partition.log_time_origin.slack();
        for key in saved.keys {
            let KeySnapshot::Opened(key) = key else { continue };
            let Some(mut episode) = key.episode else { continue };
            let clock = log_time.saturating_sub(key.least_skew).saturating_sub(slack);
            let at = clock.max(key.newest);
            let subject = Subject {
                partition: &self.partition,
                rule: &rule,
                key: &key.name,
                files: &self.files,
            };
            messages.push(episode.resolved(&subject, at, because, log_time));
        }
        if let Some(mut loss) = saved.loss {
            let (partition, files) = (&self.partition, &self.files);
            messages.push(loss.resolved(log_time, because, &rule, partition, files));
        }
    }
}

fn names(fields: &[FieldId]) -> Vec<String> {
    fields.iter().map(|f| f.spec().name.to_owned()).collect()
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

impl RuleSnapshot {
    fn of(rule: &Rule, watch: &Watch) -> Self {
        let key = |slot: u32| match watch.keys.body(slot) {
            Body::Single(bytes) => KeySnapshot::Single(bytes.to_vec()),
            Body::Opened(opened) => KeySnapshot::Opened(Box::new(OpenedSnapshot::of(opened))),
        };
        Self {
            id: rule.id.clone(),
            name: rule.name.clone(),
            title: rule.title.clone(),
            group_by: names(&rule.group_by),
            facts: names(&rule.facts),
            fingerprint: rule.fingerprint,
            evicted_until: watch.evicted_until,
            loss: watch.loss.clone(),
            keys: watch.keys.in_order().into_iter().map(key).collect(),
        }
    }

    /// As much of the rule as its last messages need.
    fn as_it_was(&self) -> Rule {
        let text =
            format!("The rule {} was changed or taken away; this alert is closed.", self.name);
        Rule {
            id: self.id.clone(),
            name: self.name.clone(),
            title: self.title.clone(),
            description: String::new(),
            source: "state".into(),
            enabled: true,
            tags: Vec::new(),
            detections: Vec::new(),
            measure: Measure::EventCount,
            condition: Condition::at_least(1),
            group_by: self.group_by.iter().filter_map(|name| FieldId::by_name(name)).collect(),
            timespan: 1,
            hold_for: 0,
            null_keys: NullKeys::Group,
            allowed_lateness: 0,
            resolve_after: 1,
            level: Level::Informational,
            levels: Vec::new(),
            repeat_interval: None,
            message: Template::plain(text),
            next_step: Template::default(),
            facts: Vec::new(),
            fingerprint: self.fingerprint,
            tests: Vec::new(),
        }
    }

    fn restore_into(self, watch: &mut Watch, scene: &Scene<'_>) -> Result<(), StateError> {
        watch.evicted_until = self.evicted_until;
        watch.loss = self.loss;
        let has_same_facts = self.facts == names(&scene.rule.facts);
        for key in self.keys {
            match key {
                KeySnapshot::Single(bytes) => {
                    if !Single::is_packed(&bytes) {
                        return Err(StateError::Damaged { reason: "a key cannot be read".into() });
                    }
                    let name = Single::name(&bytes).to_vec();
                    watch.restore(&name, Body::Single(bytes.into()), scene);
                }
                KeySnapshot::Opened(saved) => {
                    let name = saved.name.clone();
                    let key = saved.into_key(scene, has_same_facts)?;
                    let opened = Opened { name: name.clone().into(), key };
                    watch.restore(&name, Body::Opened(Box::new(opened)), scene);
                }
            }
        }
        Ok(())
    }
}

impl OpenedSnapshot {
    fn of(opened: &Opened) -> Self {
        let Opened { name, key } = opened;
        let marked = key.windows.list.iter().map(|(entry, mark)| (*entry, mark as u8));
        Self {
            name: name.to_vec(),
            newest: key.newest,
            least_skew: key.least_skew,
            lost: key.lost,
            facts: key.facts.clone(),
            entries: marked.collect(),
            values: key.windows.value_table(),
            episode: key.episode.clone(),
        }
    }

    /// The key; what texts named of its events is left out if they name other fields now.
    fn into_key(self, scene: &Scene<'_>, has_same_facts: bool) -> Result<Key, StateError> {
        let mut key = Key::new(scene.plan, self.newest, self.least_skew);
        key.lost = self.lost;
        key.episode = self.episode;
        if has_same_facts {
            key.facts = self.facts;
        } else if let Some(episode) = &mut key.episode {
            episode.facts = Facts::default();
        }
        let is_counting_values = matches!(scene.plan.measure, Measure::ValueCount(_));
        let is_known = |(entry, _): &(Entry, u8)| {
            entry.fact.as_value().is_none_or(|place| (place as usize) < self.values.len())
        };
        if is_counting_values && !self.entries.iter().all(is_known) {
            return Err(StateError::Damaged { reason: "a value cannot be found".into() });
        }
        let arrivals = self.entries.into_iter().map(|(entry, mark)| {
            let place = entry.fact.as_value().map(|place| place as usize);
            let value = place.and_then(|place| self.values.get(place).copied());
            (Arrival { entry, value }, Mark::of(mark))
        });
        key.windows = Windows::restore(scene.plan, arrivals);
        Ok(key)
    }
}
