//! The fate of a process: it ends, is held, or is told a lie at its n-th step. Steps are what it does to
//! a store and to whoever receives its alerts.

use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use lapwing_event::Message;
use lapwing_sink::{Sink, SinkError};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, RenameTargetMode, Result,
};
use tokio::sync::watch;

/// What happens at the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The process ends before it.
    EndsBefore,
    /// The process ends after it, and never hears that it was done.
    EndsAfter,
    /// The process is held before it, until it is let go.
    HeldBefore,
    /// The process is held after it, until it is let go.
    HeldAfter,
    /// It is not done, and the process is told so.
    Fails,
    /// It is done, and the process is told that it was not.
    Lies,
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Goes,
    Held,
    Ended,
}

/// The fate of one process.
#[derive(Debug)]
pub(super) struct Fate {
    steps: AtomicU64,
    at: u64,
    turn: Turn,
    life: watch::Sender<Life>,
    /// The same, for whoever waits without a runtime.
    changed: (Mutex<()>, Condvar),
}

impl Fate {
    /// Something happens at a step, counted from 1.
    pub(super) fn new(at: u64, turn: Turn) -> Arc<Self> {
        let (life, _) = watch::channel(Life::Goes);
        Arc::new(Self { steps: AtomicU64::new(0), at, turn, life, changed: Default::default() })
    }

    /// Nothing happens.
    pub(super) fn none() -> Arc<Self> {
        Self::new(u64::MAX, Turn::EndsBefore)
    }

    /// The steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// Waits until the process has ended.
    pub(super) async fn end(&self) {
        self.wait(|life| life == Life::Ended).await;
    }

    /// Waits until the process is held; gives false if it is not any more.
    pub(super) fn is_held_before(&self, mut is_over: impl FnMut() -> bool) -> bool {
        while self.life() != Life::Held {
            if is_over() {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        true
    }

    /// Lets a process go that is held.
    pub(super) fn let_go(&self) {
        self.turn_to(Life::Goes);
    }

    fn turn_to(&self, life: Life) {
        let _guard = self.changed.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.life.send_replace(life);
        self.changed.1.notify_all();
    }

    async fn wait(&self, is_so: impl Fn(Life) -> bool) {
        let mut life = self.life.subscribe();
        let _ = life.wait_for(|life| is_so(*life)).await;
    }

    /// Counts a step, and waits if the process is held; whether it is the chosen one. `None` if the
    /// process has ended.
    async fn count(&self) -> Option<bool> {
        self.wait(|life| life != Life::Held).await;
        if self.life() == Life::Ended {
            return None;
        }
        Some(self.steps.fetch_add(1, Ordering::Relaxed) + 1 == self.at)
    }

    async fn step<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        match self.count().await {
            None => pending().await,
            Some(false) => what.await,
            Some(true) => self.chosen(what).await,
        }
    }

    async fn chosen<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = || Error::Generic { store: "test", source: "the reply was lost".into() };
        match self.turn {
            Turn::EndsBefore => {
                self.turn_to(Life::Ended);
                pending().await
            }
            Turn::EndsAfter => {
                drop(what.await);
                self.turn_to(Life::Ended);
                pending().await
            }
            Turn::HeldBefore => {
                self.turn_to(Life::Held);
                self.wait(|life| life == Life::Goes).await;
                what.await
            }
            Turn::HeldAfter => {
                let done = what.await;
                self.turn_to(Life::Held);
                self.wait(|life| life == Life::Goes).await;
                done
            }
            Turn::Fails => Err(lost()),
            Turn::Lies => {
                drop(what.await);
                Err(lost())
            }
        }
    }

    /// A step without a runtime: gives whether it is done, and whether the process hears of it.
    fn step_now(&self) -> (bool, bool) {
        let mut guard = self.changed.0.lock().unwrap_or_else(PoisonError::into_inner);
        while self.life() == Life::Held {
            guard = self.changed.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        if self.life() == Life::Ended {
            return (false, false);
        }
        if self.steps.fetch_add(1, Ordering::Relaxed) + 1 != self.at {
            return (true, true);
        }
        match self.turn {
            Turn::EndsBefore | Turn::EndsAfter => {
                self.life.send_replace(Life::Ended);
                (self.turn == Turn::EndsAfter, false)
            }
            Turn::HeldBefore | Turn::HeldAfter => {
                self.life.send_replace(Life::Held);
                while self.life() == Life::Held {
                    guard = self.changed.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                (true, true)
            }
            Turn::Fails => (false, false),
            Turn::Lies => (true, false),
        }
    }
}

/// A store as one process sees it.
#[derive(Debug)]
pub(super) struct Fated {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) fate: Arc<Fate>,
    /// Whether a rename is a copy and a deletion, as in S3.
    pub(super) copies: bool,
}

impl fmt::Display for Fated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fated {}", self.store)
    }
}

#[async_trait]
impl ObjectStore for Fated {
    async fn put_opts(&self, at: &Path, payload: PutPayload, o: PutOptions) -> Result<PutResult> {
        self.fate.step(self.store.put_opts(at, payload, o)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.fate.step(self.store.get_opts(at, options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (store, fate) = (self.store.clone(), self.fate.clone());
        let delete = move |path: Result<Path>| {
            let (store, fate) = (store.clone(), fate.clone());
            async move {
                let path = path?;
                fate.step(store.delete(&path)).await?;
                Ok(path)
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, fate, prefix) = (self.store.clone(), self.fate.clone(), prefix.cloned());
        let list = async move {
            let listed = store.list(prefix.as_ref()).try_collect::<Vec<_>>();
            Ok::<_, Error>(stream::iter(fate.step(listed).await?).map(Ok))
        };
        stream::once(list).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.fate.step(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.fate.step(self.store.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        if !self.copies {
            return self.fate.step(self.store.rename_opts(from, to, options)).await;
        }
        assert!(matches!(options.target_mode, RenameTargetMode::Overwrite), "nothing else is used");
        let copy = CopyOptions { mode: CopyMode::Overwrite, ..CopyOptions::default() };
        self.copy_opts(from, to, copy).await?;
        self.delete(from).await
    }
}

/// Whoever receives the alerts of all processes; as one process sees him.
pub(super) struct FatedReceiver {
    pub(super) received: Arc<Mutex<Vec<Message>>>,
    pub(super) fate: Arc<Fate>,
}

impl Sink for FatedReceiver {
    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        let (is_done, is_heard) = self.fate.step_now();
        if is_done {
            self.received.lock().expect("no test panics here").extend_from_slice(messages);
        }
        match is_heard {
            true => Ok(()),
            false => {
                let source = std::io::Error::other("the reply was lost");
                Err(SinkError::Alerts { to: "the receiver".to_owned(), source })
            }
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
