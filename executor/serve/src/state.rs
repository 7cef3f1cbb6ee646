//! What all connections share.
//!
//! Invariant: configuration, table and workers are replaced whole; who has taken one keeps it.

use crate::{admission::All, config::Config, functions::Table, observe::Spans, workers::Workers};
use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Mutex;

/// What is replaced whole.
#[derive(Debug)]
pub(crate) struct Current<T>(RwLock<T>);

impl<T: Clone> Current<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    pub(crate) fn get(&self) -> T {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, value: T) -> T {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value)
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Current<Arc<Config>>,
    pub(crate) table: Current<Arc<Table>>,
    pub(crate) workers: Current<Workers>,
    /// What the calls of all functions share.
    pub(crate) all: Arc<All>,
    /// What makes spans of requests, where they are sent anywhere.
    pub(crate) spans: Option<Arc<Spans>>,
    /// No request is taken any more.
    pub(crate) draining: AtomicBool,
    /// Held while the table is made anew.
    pub(crate) updating: Mutex<()>,
    ids: Ids,
}

impl State {
    pub(crate) fn new(
        config: Arc<Config>,
        workers: Workers,
        all: Arc<All>,
        table: Table,
        spans: Option<Spans>,
    ) -> Self {
        Self {
            all,
            spans: spans.map(Arc::new),
            config: Current::new(config),
            table: Current::new(Arc::new(table)),
            workers: Current::new(workers),
            draining: AtomicBool::new(false),
            updating: Mutex::new(()),
            ids: Ids::new(),
        }
    }

    /// A name for a request, which no other has.
    pub(crate) fn request_id(&self) -> Arc<str> {
        self.ids.next()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// Names of requests: the same beginning for all of a server's, and a number.
#[derive(Debug)]
struct Ids {
    server: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let mut bytes = [0; 8];
        // Without randomness the names of two servers may be the same, and nothing else.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
        Self { server: u64::from_ne_bytes(bytes), next: AtomicU64::new(0) }
    }

    fn next(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Relaxed);
        fmt::format(format_args!("{:08x}-{number:08x}", self.server as u32)).into()
    }
}
