//! Manifests, and what somebody who reads the chain learns from it.

use crate::detector::{Clock, Messages};

/// Offsets `from..to` of the partition: the name of a visible file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    pub(crate) from: u8,
    pub(crate) to: u8,
}

impl Range {
    /// The place of this range in a set of ranges. Four records are the most that fit.
    pub(crate) fn bit(self) -> u16 {
        1 << (self.from * 4 + self.to - 1)
    }

    /// The offsets as a set.
    pub(crate) fn offsets(self) -> u16 {
        (1 << self.to) - (1 << self.from)
    }
}

/// The ranges of a set.
pub(crate) fn ranges(set: u16) -> impl Iterator<Item = Range> {
    (0..16u8)
        .filter(move |bit| set & (1 << bit) != 0)
        .map(|bit| Range { from: bit / 4, to: bit % 4 + 1 })
}

/// A staged file, or, with the range `0..offset`, a state file. `base` is the number of the claim of
/// the worker that writes it, or of the head from which a compaction started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct File {
    pub(crate) base: u8,
    pub(crate) range: Range,
}

/// Two neighbouring files and the one that takes their place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Compaction {
    pub(crate) old: u16,
    pub(crate) new: File,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Body {
    Claim,
    /// `tick`: the positions that this manifest commits say that the clock ticked at `TICK_AT`.
    Alerts {
        to: u8,
        tick: bool,
        messages: Messages,
    },
    Epoch {
        file: File,
        clock: Clock,
        messages: Messages,
    },
    Compact(Compaction),
    Summary(View),
}

impl Body {
    pub(crate) fn messages(&self) -> Messages {
        match *self {
            Body::Alerts { messages, .. } | Body::Epoch { messages, .. } => messages,
            _ => 0,
        }
    }

    /// Whether the maintenance process writes it, not the owner.
    pub(crate) fn is_maintenance(&self) -> bool {
        matches!(self, Body::Compact(_) | Body::Summary(_))
    }
}

/// The number and the attempt stand for the hash: no two manifests have both in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Manifest {
    pub(crate) number: u8,
    pub(crate) attempt: u8,
    /// The attempt of the manifest before it.
    pub(crate) link: u8,
    pub(crate) body: Body,
}

/// The chain as a reader needs it; a summary carries the same.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct View {
    /// Where the newest epoch ends, with its state.
    pub(crate) clock: Clock,
    /// The file of the newest epoch, which may still be staged.
    pub(crate) file: Option<File>,
    /// The newest compaction, which may still have to be carried out.
    pub(crate) compaction: Option<Compaction>,
    /// The files of the archive.
    pub(crate) live: u16,
    /// Messages of the `alerts` manifests since the newest epoch.
    pub(crate) committed: Messages,
    /// The position of the last of them, and whether they say that the clock ticked.
    pub(crate) until: u8,
    pub(crate) tick: bool,
    /// Messages of manifests beyond the note of what was handed over.
    pub(crate) unhanded: Messages,
}

impl View {
    /// Goes on to the next manifest of the chain.
    pub(crate) fn apply(&mut self, manifest: &Manifest, note: u8) {
        match manifest.body {
            Body::Claim => {}
            Body::Alerts { to, tick, messages } => {
                self.committed |= messages;
                self.until = to;
                self.tick |= tick;
            }
            Body::Epoch { file, clock, .. } => {
                *self = View {
                    clock,
                    file: Some(file),
                    live: self.live | file.range.bit(),
                    compaction: self.compaction,
                    unhanded: self.unhanded,
                    ..View::default()
                };
            }
            Body::Compact(compaction) => {
                self.live = self.live & !compaction.old | compaction.new.range.bit();
                self.compaction = Some(compaction);
            }
            Body::Summary(carried) => *self = carried,
        }
        if manifest.number > note {
            self.unhanded |= manifest.body.messages();
        } else {
            self.unhanded = 0;
        }
    }

    /// The state file of the newest epoch.
    pub(crate) fn state(&self) -> Option<File> {
        let range = Range { from: 0, to: self.clock.offset };
        self.file.map(|file| File { base: file.base, range })
    }
}
