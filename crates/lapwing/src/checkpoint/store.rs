//! Where chains lie: a local folder with fsync, or S3. Objects go in and out; what they mean is not known
//! here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::error::CheckpointError;
use super::manifest::Manifest;

/// How long S3 may be tried by itself before the caller hears of it.
#[cfg(feature = "s3")]
const S3_RETRIES_FOR: Duration = Duration::from_secs(15);
/// How long one request to S3 may take.
#[cfg(feature = "s3")]
const S3_REQUEST: Duration = Duration::from_secs(30);

/// A place for objects, as the configuration names it.
#[derive(Debug, Clone)]
pub struct Place {
    /// What is written and read.
    pub store: Arc<dyn ObjectStore>,
    /// The folder, if it is one.
    pub folder: Option<PathBuf>,
    /// Its name, for messages.
    pub name: String,
}

impl Place {
    /// Opens a folder, creating it (0700), or a prefix `s3://bucket/prefix`.
    ///
    /// # Errors
    /// A folder that cannot be made, a URL that is not understood.
    pub fn open(text: &str) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Place { place: text.to_owned(), reason };
        if let Some(rest) = text.strip_prefix("s3://") {
            return Self::open_s3(text, rest);
        }
        if text.contains("://") {
            return Err(wrong("use a folder, or s3://bucket/prefix".to_owned()));
        }
        let folder = PathBuf::from(text);
        create_folder(&folder).map_err(|error| wrong(format!("cannot be made: {error}")))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| wrong(error.to_string()))?
            .with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: Some(folder), name: text.to_owned() })
    }

    #[cfg(feature = "s3")]
    fn open_s3(text: &str, rest: &str) -> Result<Self, CheckpointError> {
        use object_store::aws::AmazonS3Builder;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let retry = object_store::RetryConfig {
            max_retries: 5,
            retry_timeout: S3_RETRIES_FOR,
            ..object_store::RetryConfig::default()
        };
        let options = object_store::ClientOptions::new().with_timeout(S3_REQUEST);
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_client_options(match std::env::var("AWS_ALLOW_HTTP").as_deref() {
                Ok("true") => options.with_allow_http(true),
                _ => options,
            })
            .build()
            .map_err(|error| CheckpointError::store(text, error))?;
        let store: Arc<dyn ObjectStore> = match prefix.trim_end_matches('/') {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        };
        Ok(Self { store, folder: None, name: text.to_owned() })
    }

    #[cfg(not(feature = "s3"))]
    fn open_s3(text: &str, _: &str) -> Result<Self, CheckpointError> {
        let reason = "this program was built without the feature s3".to_owned();
        Err(CheckpointError::Place { place: text.to_owned(), reason })
    }
}

/// Creates a folder that only this user may read.
fn create_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The chain of one partition, as objects.
#[derive(Debug, Clone)]
pub struct ChainStore {
    store: Arc<dyn ObjectStore>,
    base: Path,
    name: String,
    /// Its folder, if it lies in one.
    folder: Option<PathBuf>,
}

/// What creating a manifest came to.
#[derive(Debug)]
pub(super) enum Created {
    /// It is there now.
    Yes,
    /// One with its number was there.
    Exists,
}

const HANDED_OVER: &str = "handed-over";
const STATE_PREFIX: &str = "state-";

impl ChainStore {
    /// The chain of a partition at a place.
    pub fn new(place: &Place, source_id: &str, partition: &str) -> Self {
        let base = Path::from_iter([source_id, partition]);
        let name = format!("{}/{source_id}/{partition}", place.name.trim_end_matches('/'));
        let folder = place.folder.as_ref().map(|folder| folder.join(source_id).join(partition));
        Self { store: place.store.clone(), base, name, folder }
    }

    /// Where an object of it lies, for messages.
    pub fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// The name of a manifest.
    pub fn manifest_name(number: u64) -> String {
        format!("{number:020}.json")
    }

    /// The name of a state that the owner since a claim writes.
    pub fn state_name(claim: u64, attempt: &str) -> String {
        format!("{STATE_PREFIX}{claim:020}-{attempt}")
    }

    /// The number of the claim in the name of a state.
    pub(super) fn claim_of_state(name: &str) -> Option<u64> {
        name.strip_prefix(STATE_PREFIX)?.split('-').next()?.parse().ok()
    }

    /// The numbers of the manifests that are there, ascending.
    ///
    /// # Errors
    /// The store.
    pub async fn numbers(&self) -> Result<Vec<u64>, CheckpointError> {
        let number = |name: &str| name.strip_suffix(".json")?.parse::<u64>().ok();
        let mut numbers: Vec<u64> =
            self.names().await?.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The names of the states that are there.
    pub(super) async fn states(&self) -> Result<Vec<String>, CheckpointError> {
        let mut names = self.names().await?;
        names.retain(|name| name.starts_with(STATE_PREFIX));
        Ok(names)
    }

    async fn names(&self) -> Result<Vec<String>, CheckpointError> {
        let listed = self.store.list_with_delimiter(Some(&self.base)).await;
        let listed = listed.map_err(|error| CheckpointError::store(self.name.clone(), error))?;
        let names = listed.objects.iter().filter_map(|o| o.location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// Reads a manifest with the hash of its bytes.
    ///
    /// # Errors
    /// The store; a manifest that is damaged.
    pub async fn manifest(&self, number: u64) -> Result<(Manifest, String), CheckpointError> {
        let name = Self::manifest_name(number);
        let bytes = self.get(&name).await?;
        let damaged = |reason| CheckpointError::Manifest { path: self.path_of(&name), reason };
        let manifest = Manifest::decode(&bytes).map_err(damaged)?;
        if manifest.number != number {
            return Err(damaged(format!("it says that it is number {}", manifest.number)));
        }
        Ok((manifest, super::manifest::sha256(&bytes)))
    }

    /// Creates a manifest, if its number is free.
    pub(super) async fn create(
        &self,
        number: u64,
        bytes: Vec<u8>,
    ) -> Result<Created, CheckpointError> {
        let name = Self::manifest_name(number);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self
            .store
            .put_opts(&self.base.clone().join(name.as_str()), bytes.into(), options)
            .await
        {
            Ok(_) => Ok(Created::Yes),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Exists),
            Err(error) => Err(CheckpointError::store(self.path_of(&name), error)),
        }
    }

    /// Reads an object.
    pub(super) async fn get(&self, name: &str) -> Result<Bytes, CheckpointError> {
        let read = async { self.store.get(&self.base.clone().join(name)).await?.bytes().await };
        read.await.map_err(|error| CheckpointError::store(self.path_of(name), error))
    }

    /// Writes an object that may be there already.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        let put = self.store.put(&self.base.clone().join(name), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| CheckpointError::store(self.path_of(name), error))
    }

    /// Removes an object, if it is there.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), CheckpointError> {
        match self.store.delete(&self.base.clone().join(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(CheckpointError::store(self.path_of(name), error)),
        }
    }

    /// Removes what processes that were killed were writing: in a folder, an object is written under its
    /// name, `#` and a number, which no list shows. Failing that, it is left.
    pub(super) fn remove_half_written(&self) {
        let Some(Ok(entries)) = self.folder.as_ref().map(std::fs::read_dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|parts| parts.1);
            if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), %error, "half a file is left");
            }
        }
    }

    /// The last manifest whose messages were handed over, as far as is noted.
    pub(super) async fn handed_over(&self) -> Result<u64, CheckpointError> {
        match self.get(HANDED_OVER).await {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).ok();
                // A note that cannot be read is no note: messages are handed over again.
                Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
            }
            Err(CheckpointError::Store { source: Error::NotFound { .. }, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes that the messages of all manifests up to this one were handed over.
    pub(crate) async fn note_handed_over(&self, number: u64) -> Result<(), CheckpointError> {
        self.put(HANDED_OVER, format!("{number}\n").into_bytes()).await
    }
}

/// The chains at a place: source and partition, sorted.
///
/// # Errors
/// The store.
pub async fn chains(place: &Place) -> Result<Vec<(String, String)>, CheckpointError> {
    let listed: Vec<_> = place
        .store
        .list(None)
        .try_collect()
        .await
        .map_err(|error| CheckpointError::store(place.name.clone(), error))?;
    let mut chains: Vec<(String, String)> = listed
        .iter()
        .filter_map(|object| {
            let parts: Vec<_> = object.location.parts().collect();
            let [source, partition, name] = &parts[..] else { return None };
            name.as_ref()
                .ends_with(".json")
                .then(|| (source.as_ref().to_owned(), partition.as_ref().to_owned()))
        })
        .collect();
    chains.sort_unstable();
    chains.dedup();
    Ok(chains)
}
