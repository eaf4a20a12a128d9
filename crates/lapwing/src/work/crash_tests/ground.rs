//! Where the processes of a test work: a state and an archive, in folders or in S3, that outlive them; and
//! what must hold of both when everything was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use futures_util::TryStreamExt;
use lapwing_event::Message;
use lapwing_ingest::{ArchiveOptions, ArchiveSource, Next, Source};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;

use super::fate::{Fate, Fated};
use super::world::{Expected, World, rows_of};
use crate::checkpoint::{ArchivePlace, ChainStore, Entry, EpochEntry, FileEntry, Place, sha256};

/// A state and an archive.
pub(super) struct Ground {
    folder: tempfile::TempDir,
    state: Arc<dyn ObjectStore>,
    archive: Arc<dyn ObjectStore>,
    is_local: bool,
    runtime: Runtime,
}

/// The objects of a store by their paths.
pub(super) type Objects = BTreeMap<String, Bytes>;

/// What is left in an archive beside its files.
const LOCK: &str = ".swap/.lock";

impl Ground {
    /// Folders; in memory where there is a file system for that, since nothing here loses power.
    pub(super) fn local() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.expect("a folder");
        let open = |name: &str| -> Arc<dyn ObjectStore> {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            let store = LocalFileSystem::new_with_prefix(folder.path().join(name));
            Arc::new(store.expect("a folder"))
        };
        let (state, archive) = (open("state"), open("archive"));
        Self { folder, state, archive, is_local: true, runtime: runtime() }
    }

    /// Two prefixes of a bucket.
    pub(super) fn remote(state: Arc<dyn ObjectStore>, archive: Arc<dyn ObjectStore>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, state, archive, is_local: false, runtime: runtime() }
    }

    /// The state as a process with this fate sees it.
    pub(super) fn state(&self, fate: &Arc<Fate>) -> Place {
        self.place("state", &self.state, fate)
    }

    /// The archive as a process with this fate sees it.
    pub(super) fn archive(&self, fate: &Arc<Fate>) -> ArchivePlace {
        ArchivePlace::new(self.place("archive", &self.archive, fate), self.spool())
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn place(&self, name: &str, store: &Arc<dyn ObjectStore>, fate: &Arc<Fate>) -> Place {
        let (store, fate) = (store.clone(), fate.clone());
        Place {
            store: Arc::new(Fated { store, fate, copies: !self.is_local }),
            folder: self.is_local.then(|| self.folder.path().join(name)),
            name: name.to_owned(),
        }
    }

    /// What a process leaves that is killed while it writes files.
    pub(super) fn leave_half_files(&self, world: &World) {
        let archive = self.archive(&Fate::none());
        let folder = archive.staging_folder(&world.partition);
        let claims = self.manifests(world).into_iter();
        let claim = claims.filter(|(_, entry)| matches!(entry, Entry::Claim(_))).map(|(n, _)| n);
        let Some(claim) = claim.max() else { return };
        fs::create_dir_all(&folder).expect("a folder");
        let name = format!("{claim:020}-0123-events-2026-11-22-{:020}.parquet", 5);
        fs::write(folder.join(name), "PAR1").expect("a file");
        if self.is_local {
            let state = self.folder.path().join("state/agents/audit-0");
            fs::write(state.join(format!("{:020}.json#1", claim + 1)), "{").expect("a file");
            fs::write(state.join(format!("state-{claim:020}-0123#1")), "LAPW").expect("a file");
        }
    }

    /// The epochs so far.
    pub(super) fn epochs(&self, world: &World) -> Vec<EpochEntry> {
        let epoch = |(_, entry)| match entry {
            Entry::Epoch(epoch) => Some(*epoch),
            _ => None,
        };
        self.manifests(world).into_iter().filter_map(epoch).collect()
    }

    /// The messages committed so far.
    pub(super) fn committed_messages(&self, world: &World) -> Vec<Message> {
        let manifests = self.manifests(world);
        manifests.iter().flat_map(|(_, entry)| entry.messages().to_vec()).collect()
    }

    /// The offset after the last record of the last epoch, if there is a manifest.
    pub(super) fn committed_offset(&self, world: &World) -> Option<i64> {
        self.manifests(world).last()?;
        Some(self.epochs(world).last().map_or(0, |epoch| epoch.next_offset))
    }

    /// What is committed: the manifests, and the files that queries see.
    pub(super) fn committed(&self) -> Objects {
        let mut objects = self.state_objects();
        objects.retain(|name, _| name.ends_with(".json"));
        let mut archive = self.archive_objects();
        archive.retain(|name, _| !name.starts_with(".staged"));
        objects.append(&mut archive);
        objects
    }

    fn state_objects(&self) -> Objects {
        self.objects(&self.state)
    }

    /// Without the lock that keeps compactions and publishing apart, which stays.
    fn archive_objects(&self) -> Objects {
        let mut objects = self.objects(&self.archive);
        objects.remove(LOCK);
        objects
    }

    fn objects(&self, store: &Arc<dyn ObjectStore>) -> Objects {
        let read = async {
            let mut objects = Objects::new();
            for object in store.list(None).try_collect::<Vec<_>>().await? {
                let bytes = store.get(&object.location).await?.bytes().await?;
                objects.insert(object.location.to_string(), bytes);
            }
            Ok::<_, object_store::Error>(objects)
        };
        self.runtime.block_on(read).expect("the store is well")
    }

    /// All manifests in their order, linked.
    fn manifests(&self, world: &World) -> Vec<(u64, Entry)> {
        let (place, partition) = (self.state(&Fate::none()), &world.partition);
        let store = ChainStore::new(&place, &partition.source_id, &partition.name);
        let mut previous: Option<String> = None;
        let read = async {
            let mut manifests = Vec::new();
            for (at, number) in store.numbers().await.expect("listed").into_iter().enumerate() {
                let (manifest, hash) = store.manifest(number).await.expect("whole");
                assert_eq!(number, at as u64 + 1, "no number is missing");
                assert_eq!(manifest.previous, previous, "manifest {number} is linked");
                previous = Some(hash);
                manifests.push((number, manifest.entry));
            }
            manifests
        };
        self.runtime.block_on(read)
    }

    /// Asserts everything that must hold when all was read, archived and handed over.
    pub(super) fn check(&self, world: &World) {
        let (manifests, epochs) = (self.manifests(world), self.epochs(world));
        let expected = world.expected();
        let committed = self.committed_messages(world);
        check_messages(&world.received.lock().expect("no panic"), &committed, expected);
        check_epochs(&epochs, expected);
        self.check_state(&manifests, &epochs);
        self.check_archive(&epochs, expected);
    }

    fn check_state(&self, manifests: &[(u64, Entry)], epochs: &[EpochEntry]) {
        let mut objects = self.state_objects();
        let last = manifests.last().expect("a manifest").0;
        objects.retain(|name, _| !name.ends_with(".json"));
        let noted = objects.remove("agents/audit-0/handed-over").expect("a note");
        assert_eq!(noted, format!("{last}\n"), "the note tells of the last manifest");
        let state = epochs.last().expect("an epoch").state.as_ref().expect("a state");
        let names: Vec<&String> = objects.keys().collect();
        assert_eq!(names, [&format!("agents/audit-0/{}", state.name)], "one state is left");
        assert_eq!(sha256(&objects[names[0]]), state.sha256);
        if self.is_local {
            let on_disk = files_below(&self.folder.path().join("state")).len();
            assert_eq!(on_disk, manifests.len() + 2, "nothing else is left in the folder");
        }
    }

    fn check_archive(&self, epochs: &[EpochEntry], expected: &Expected) {
        let objects = self.archive_objects();
        let files: Vec<&FileEntry> = epochs.iter().flat_map(|epoch| &epoch.files).collect();
        let named: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(named.len(), files.len(), "no file is named twice");
        let there: BTreeSet<&str> = objects.keys().map(String::as_str).collect();
        assert_eq!(there, named, "the archive holds the files of the manifests and no others");
        for file in files {
            assert_eq!(sha256(&objects[&file.path]), file.sha256, "{}", file.path);
        }
        if self.is_local {
            let on_disk = files_below(&self.folder.path().join("archive"));
            let on_disk = on_disk.iter().filter(|path| !path.ends_with(LOCK)).count();
            assert_eq!(on_disk, objects.len(), "nothing else is left in the folder");
        }
        assert_eq!(files_below(&self.spool()), Vec::<PathBuf>::new(), "the spool is empty");
        let copy = tempfile::tempdir().expect("a folder");
        for (path, bytes) in &objects {
            let path = copy.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }
        let mut rows = Vec::new();
        let mut source =
            ArchiveSource::open(copy.path(), ArchiveOptions::default()).expect("an archive");
        while let Next::Batch(batch) = source.next_batch().expect("readable") {
            rows.extend(rows_of(&batch));
        }
        rows.sort_unstable();
        let offsets = |rows: &[(i64, i64)]| rows.iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(offsets(&rows), offsets(&expected.rows), "the offsets of the archive");
        let differ = rows.iter().zip(&expected.rows).filter(|(row, expected)| row != expected);
        assert_eq!(differ.collect::<Vec<_>>(), [], "the log times of the archive");
        let alerts = objects.iter().filter(|(path, _)| path.starts_with("alerts/"));
        let mut archived: Vec<(String, u32)> = alerts.flat_map(|(_, b)| alert_rows(b)).collect();
        archived.sort();
        assert_eq!(archived, ids(&expected.messages), "the alerts of the archive");
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

/// What was received is what was expected, to the byte, whatever came more than once; and each message
/// was committed once.
fn check_messages(received: &[Message], committed: &[Message], expected: &Expected) {
    let by_id = |messages: &[Message]| -> BTreeMap<(String, u32), BTreeSet<String>> {
        let mut all = BTreeMap::<_, BTreeSet<String>>::new();
        for message in messages {
            let json = serde_json::to_string(&message.alert).expect("text keys");
            all.entry(id(message)).or_default().insert(json);
        }
        all
    };
    let (received, wanted) = (by_id(received), by_id(&expected.messages));
    for (id, contents) in &received {
        assert_eq!(Some(contents), wanted.get(id), "what was received as {id:?}");
    }
    let missing: Vec<_> = wanted.keys().filter(|id| !received.contains_key(*id)).collect();
    assert!(missing.is_empty(), "never received: {missing:?}");
    assert_eq!(ids(committed), ids(&expected.messages), "each message is committed once");
}

/// Epochs follow each other without a hole, and end where the partition ends.
fn check_epochs(epochs: &[EpochEntry], expected: &Expected) {
    let mut next = 0;
    for epoch in epochs {
        assert_eq!(epoch.first_offset, next, "no hole, nothing twice");
        assert_eq!(epoch.records as i64, epoch.next_offset - epoch.first_offset);
        next = epoch.next_offset;
    }
    assert_eq!(next, expected.rows.len() as i64, "all records are in an epoch");
}

fn id(message: &Message) -> (String, u32) {
    (message.alert.id.to_string(), message.alert.revision)
}

fn ids(messages: &[Message]) -> Vec<(String, u32)> {
    let mut ids: Vec<_> = messages.iter().map(id).collect();
    ids.sort();
    ids
}

fn alert_rows(bytes: &Bytes) -> Vec<(String, u32)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("Parquet");
    let mut rows = Vec::new();
    for batch in reader.build().expect("readable") {
        let batch = batch.expect("readable");
        let column = |name: &str| batch.column_by_name(name).expect("a column").clone();
        let (ids, revisions) = (column("id"), column("revision"));
        let revisions = revisions.as_primitive::<Int64Type>().values().iter();
        let ids = ids.as_string::<i32>().iter().flatten();
        rows.extend(ids.zip(revisions).map(|(id, revision)| (id.to_owned(), *revision as u32)));
    }
    rows
}

/// All files below a folder, if there is one.
fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files
}
