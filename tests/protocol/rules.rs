//! The protocol as lists of operations, the ways to break it, and the bounds of a search.

/// One operation of a process. At most one shared thing is touched by each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Op {
    /// Write a staged file, and for an epoch the state file.
    Stage,
    /// Create the pending manifest.
    Create,
    /// List the manifests: is the created one the newest, or linked to by the next?
    Verify,
    /// Rename the staged file of the epoch.
    Publish,
    /// Put the compacted file in the place of the old ones.
    Swap,
    /// Remove the old files of a compaction; in no correct list.
    DropOld,
    /// Delete the staged file that was copied; in no correct list.
    DropStaged,
    /// Delete staged files and state files that nobody needs.
    Clean,
    /// Hand over the messages.
    HandOver,
    /// Delete the manifests that a summary replaces.
    Delete,
}

/// Ways to break the protocol. Each is consulted in one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// The protocol as it is.
    None,
    /// A manifest is put, not created if absent.
    Overwrites,
    /// The epoch is published before its manifest is created.
    PublishesFirst,
    /// Messages are handed over before their manifest is created.
    HandsOverFirst,
    /// A number that is taken counts as one's own without a look at the attempt.
    TakesAnyForOwn,
    /// A number that is absent counts as the end of the chain without a look at the list.
    TrustsAbsence,
    /// A worker reads on without a claim.
    NeverClaims,
    /// A claimer does not publish the newest epoch.
    LeavesUnpublished,
    /// A claimer hands over nothing.
    LeavesUnhanded,
    /// Messages that are committed are raised again.
    NeverSuppresses,
    /// An epoch may end before the position of committed alerts.
    EndsBeforeAlerts,
    /// `alerts` carry a tick only if it happened at their very position.
    CarriesOnePoint,
    /// Cleaning deletes what no manifest names, whoever wrote it and when.
    CleansTheUnnamed,
    /// A manifest of the maintenance counts as the loss of the partition.
    YieldsToMaintenance,
    /// A claim counts as maintenance.
    IgnoresClaims,
    /// A compaction removes the old files before its manifest is created.
    RemovesOldFirst,
    /// A compaction exchanges old and new; doing it again exchanges them back.
    ExchangesBack,
    /// Publishing copies the staged file and deletes it later.
    PublishesByCopy,
    /// A summary carries no epoch.
    ForgetsEpoch,
    /// A summary carries no messages that are still to be handed over.
    ForgetsMessages,
    /// A summary does not say that the newest epoch may be unpublished.
    ForgetsUnpublished,
    /// Pruning deletes all before the summary, even what the owner has not seen yet.
    PrunesUnseen,
}

/// What a worker does with its first manifest, the claim.
pub(crate) fn claim(mutant: Mutant) -> &'static [Op] {
    use Op::{Clean, Create, DropStaged, HandOver, Publish, Swap, Verify};
    match mutant {
        Mutant::TrustsAbsence => &[Create, Publish, Swap, Clean, HandOver],
        Mutant::NeverClaims => &[Publish, Swap, Clean, HandOver],
        Mutant::LeavesUnpublished => &[Create, Verify, Swap, Clean, HandOver],
        Mutant::LeavesUnhanded => &[Create, Verify, Publish, Swap, Clean],
        Mutant::PublishesByCopy => &[Create, Verify, Publish, DropStaged, Swap, Clean, HandOver],
        _ => &[Create, Verify, Publish, Swap, Clean, HandOver],
    }
}

pub(crate) fn alerts(mutant: Mutant) -> &'static [Op] {
    use Op::{Create, HandOver, Verify};
    match mutant {
        Mutant::TrustsAbsence => &[Create, HandOver],
        Mutant::HandsOverFirst => &[HandOver, Create, Verify],
        _ => &[Create, Verify, HandOver],
    }
}

pub(crate) fn epoch(mutant: Mutant) -> &'static [Op] {
    use Op::{Create, DropStaged, HandOver, Publish, Stage, Verify};
    match mutant {
        Mutant::TrustsAbsence => &[Stage, Create, Publish, HandOver],
        Mutant::HandsOverFirst => &[Stage, HandOver, Create, Verify, Publish],
        Mutant::PublishesFirst => &[Stage, Publish, Create, Verify, HandOver],
        Mutant::PublishesByCopy => &[Stage, Create, Verify, Publish, DropStaged, HandOver],
        _ => &[Stage, Create, Verify, Publish, HandOver],
    }
}

pub(crate) fn compact(mutant: Mutant) -> &'static [Op] {
    use Op::{Create, DropOld, Stage, Swap, Verify};
    match mutant {
        Mutant::TrustsAbsence => &[Stage, Create, Swap],
        Mutant::RemovesOldFirst => &[Stage, DropOld, Create, Verify, Swap],
        _ => &[Stage, Create, Verify, Swap],
    }
}

pub(crate) fn prune(mutant: Mutant) -> &'static [Op] {
    use Op::{Create, Delete, Verify};
    match mutant {
        Mutant::TrustsAbsence => &[Create, Delete],
        _ => &[Create, Verify, Delete],
    }
}

/// How far a search goes. Within these numbers it is exhaustive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Bounds {
    /// Records of the partition, at most four.
    pub(crate) records: u8,
    /// How often the partition is assigned while a worker lives; a worker always starts if none does.
    pub(crate) starts: u8,
    /// Crashes of workers and of maintenance together.
    pub(crate) crashes: u8,
    /// Replies of a create that get lost.
    pub(crate) lost_replies: u8,
    /// Writes of the note of what was handed over; all others are lost.
    pub(crate) notes: u8,
    pub(crate) compactions: u8,
    pub(crate) prunes: u8,
}
