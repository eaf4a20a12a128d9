//! What is shared and outlives every crash: the manifests, the archive, the receiver. Each method is
//! one atomic operation, and the operations themselves see to the laws that they could break.

use crate::detector::{Messages, agree};
use crate::manifest::{Body, Compaction, File, Manifest, View, ranges};

/// The properties of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Property {
    /// P1: no row, and nothing that is needed to go on, is lost.
    NoLostRow,
    /// P2: no offset is in two visible files; epochs neither overlap nor leave a hole.
    NoDuplicateRow,
    /// P3: each message is committed once, and in the end all are handed over.
    EachMessageOnce,
    /// P4: what is handed over was committed before.
    CommittedFirst,
    /// P5: one chain; nobody acts on a manifest that is not of it.
    OneChain,
    /// P6: nothing but a claim takes the partition away from a worker.
    OnlyClaimsTake,
}

pub(crate) type Checked = Result<(), Property>;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Shared {
    /// Every manifest that was ever created at the end of the chain, deleted or not.
    history: Vec<Manifest>,
    /// Which of them are still stored, one bit for each number from 1.
    stored: u32,
    /// Manifests created under numbers that had been deleted.
    stray: Vec<Manifest>,
    /// All that the history says, whatever is deleted.
    pub(crate) truth: View,
    pub(crate) committed: Messages,
    pub(crate) received: Messages,
    pub(crate) note: u8,
    pub(crate) staged: Vec<File>,
    pub(crate) states: Vec<File>,
    pub(crate) visible: u16,
}

impl Shared {
    pub(crate) fn newest(&self) -> u8 {
        self.history.len() as u8
    }

    pub(crate) fn get(&self, number: u8) -> Option<&Manifest> {
        if self.stored & (1 << number) != 0 {
            return self.history.get(usize::from(number) - 1);
        }
        self.stray.iter().find(|stray| stray.number == number)
    }

    /// The manifest at `number` as it was committed.
    pub(crate) fn genuine(&self, number: u8) -> Option<&Manifest> {
        self.history.get(usize::from(number) - 1)
    }

    /// Create if absent. False if the number is taken.
    pub(crate) fn create(&mut self, manifest: Manifest) -> Result<bool, Property> {
        if self.get(manifest.number).is_some() {
            return Ok(false);
        }
        if manifest.number <= self.newest() {
            self.stray.push(manifest);
            return Ok(true);
        }
        self.append(manifest)?;
        Ok(true)
    }

    fn append(&mut self, manifest: Manifest) -> Checked {
        let last = self.history.last().map_or(0, |last| last.attempt);
        if manifest.number != self.newest() + 1 || manifest.link != last {
            return Err(Property::OneChain);
        }
        if let Body::Epoch { file, .. } = manifest.body
            && file.range.from != self.truth.clock.offset
        {
            return Err(Property::NoDuplicateRow);
        }
        let messages = manifest.body.messages();
        if self.committed & messages != 0 || !agree(self.committed | messages) {
            return Err(Property::EachMessageOnce);
        }
        self.committed |= messages;
        if !matches!(manifest.body, Body::Summary(_)) {
            self.truth.apply(&manifest, 0);
        }
        self.stored |= 1 << manifest.number;
        self.history.push(manifest);
        Ok(())
    }

    /// A put instead of a create: whatever was there is gone.
    pub(crate) fn overwrite(&mut self, manifest: Manifest) -> Checked {
        match self.get(manifest.number) {
            Some(there) if *there != manifest => Err(Property::OneChain),
            Some(_) => Ok(()),
            None => self.create(manifest).map(|_| ()),
        }
    }

    /// Lists the chain and reads it back to the newest summary. A manifest that is deleted under the
    /// reader makes it begin again, so that reading is one step. Gives the newest manifest's number
    /// and attempt.
    pub(crate) fn read(&self) -> Result<(View, u8, u8), Property> {
        let mut view = View::default();
        let mut attempt = 0;
        let summary = (1..=self.newest()).rev().find(|&number| {
            self.get(number).is_some_and(|there| matches!(there.body, Body::Summary(_)))
        });
        for number in summary.unwrap_or(1)..=self.newest() {
            let manifest = self.get(number).ok_or(Property::OneChain)?;
            view.apply(manifest, self.note);
            attempt = manifest.attempt;
        }
        Ok((view, self.newest(), attempt))
    }

    /// Deletes the manifests with numbers below `end`.
    pub(crate) fn delete_below(&mut self, end: u8) {
        self.stored &= !((1 << end) - 1);
        self.stray.retain(|stray| stray.number >= end);
    }

    /// The newest manifest that a worker wrote.
    pub(crate) fn newest_of_workers(&self) -> u8 {
        let written = self.history.iter().rev().find(|manifest| !manifest.body.is_maintenance());
        written.map_or(1, |manifest| manifest.number)
    }

    pub(crate) fn stage(files: &mut Vec<File>, file: File) {
        files.push(file);
        files.sort_unstable();
    }

    /// Makes a staged file visible by renaming it; without it, nothing is left to do.
    pub(crate) fn publish(&mut self, file: File) {
        if let Some(at) = self.staged.iter().position(|staged| *staged == file) {
            self.staged.remove(at);
            self.visible |= file.range.bit();
        }
    }

    /// Puts the new file in the place of the old ones, in one step, if it is staged.
    pub(crate) fn swap(&mut self, compaction: Compaction) {
        if self.staged.contains(&compaction.new) {
            self.visible &= !compaction.old;
            self.publish(compaction.new);
        }
    }

    pub(crate) fn hand_over(&mut self, messages: Messages) -> Checked {
        if messages & !self.committed != 0 {
            return Err(Property::CommittedFirst);
        }
        self.received |= messages;
        Ok(())
    }

    /// What must hold at every instant.
    pub(crate) fn check(&self) -> Checked {
        let mut seen = 0;
        for range in ranges(self.visible) {
            if seen & range.offsets() != 0 {
                return Err(Property::NoDuplicateRow);
            }
            seen |= range.offsets();
        }
        let epoch = self.truth.file.filter(|file| self.staged.contains(file));
        let kept = seen | epoch.map_or(0, |file| file.range.offsets());
        let rows_lost = ((1 << self.truth.clock.offset) - 1) & !kept != 0;
        let state_lost = self.truth.state().is_some_and(|state| !self.states.contains(&state));
        let compacted_lost = self.truth.compaction.is_some_and(|compaction| {
            !self.staged.contains(&compaction.new) && self.visible & compaction.new.range.bit() == 0
        });
        if rows_lost || state_lost || compacted_lost {
            return Err(Property::NoLostRow);
        }
        Ok(())
    }
}
