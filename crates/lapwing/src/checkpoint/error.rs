//! What can go wrong with a checkpoint, and the way out.

/// Why a checkpoint cannot be used. What was committed before still holds.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A place that is none.
    #[error("{place}: {reason}")]
    Place {
        /// What the configuration says.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store does not answer, or refuses.
    #[error("{path}: the store says: {source}; {}", way_out(source))]
    Store {
        /// The object.
        path: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A manifest that is not as it was written.
    #[error(
        "{path}: the manifest is damaged: {reason}; restore it from a copy, or move the folder away to \
         begin anew after what is archived"
    )]
    Manifest {
        /// The object.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A state that is not as it was written.
    #[error(
        "{path}: the detector state is damaged: {reason}; restore it from a copy, or move the folder away \
         to begin anew after what is archived"
    )]
    State {
        /// The object.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// Files of the archive that cannot be merged.
    #[error(transparent)]
    Archive(Box<lapwing_sink::ArchiveError>),
    /// A file of the archive that is gone or not as it was written.
    #[error("{path}: {reason}; restore it from a copy: its manifest {manifest} names it")]
    File {
        /// The file.
        path: String,
        /// What does not fit.
        reason: String,
        /// The number of its manifest.
        manifest: u64,
    },
}

impl From<lapwing_sink::ArchiveError> for CheckpointError {
    fn from(error: lapwing_sink::ArchiveError) -> Self {
        Self::Archive(Box::new(error))
    }
}

impl CheckpointError {
    pub(crate) fn store(path: impl Into<String>, source: object_store::Error) -> Self {
        Self::Store { path: path.into(), source }
    }

    /// Whether trying again may help: the store did not do what it was asked, and nothing is damaged.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

/// What a person can do about what a store says.
fn way_out(error: &object_store::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(StorageFull | QuotaExceeded) => return "free some space there",
            Some(PermissionDenied | ReadOnlyFilesystem) => {
                return "make it writable for the user of this process";
            }
            _ => next = error.source(),
        }
    }
    "check the folder or the bucket and its rights"
}
