//! The worker processes: which are there, which gets a call, and new ones for those that end.
//!
//! Invariant: a worker has at most as many calls as it has threads, so every call begins at once; and every call
//! that was given to a worker ends: by the worker's word, or with the worker.

mod in_flight;
mod supervise;
mod worker;

pub(crate) use in_flight::{Canceller, First, InFlight, Ticket};

use crate::{
    memory::Memory,
    wire::{Call, Directory, Hello, Kept},
};
use std::{
    collections::HashMap,
    io,
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::watch;
use worker::Worker;

/// How long a worker may take to end a call whose time is up, or that was cancelled, before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// How many calls more than the others have does a worker get before one of those has its turn.
const AHEAD: usize = 8;

/// Why a call could not be given to a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoWorker {
    /// There is none: those that there were are being replaced, or are retired. What the call would have held is here.
    #[error("no worker is running")]
    None(Ticket),
    /// A worker was there, and took no call.
    #[error("a worker takes no calls: {0}")]
    Send(io::Error),
}

/// Workers that were started alike. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hello: Hello,
    required: bool,
    /// The memory that they share, where it is limited.
    memory: Option<Arc<Memory>>,
    /// The worker in each place, while there is one.
    places: Box<[Mutex<Option<Arc<Worker>>>]>,
    next: AtomicU64,
    /// The place of the worker that has got the last call.
    last: AtomicUsize,
    /// How often a worker ended by itself.
    deaths: AtomicU64,
    /// Whether ended workers are replaced no more.
    retired: watch::Sender<bool>,
}

impl Workers {
    /// Starts so many, and keeps so many running; whether they have to be confined is said by `required`, and what memory
    /// they share, where it is limited, by `memory`.
    ///
    /// # Errors
    /// When one cannot be started.
    pub(crate) async fn start(
        count: usize,
        hello: Hello,
        required: bool,
        memory: Option<Arc<Memory>>,
    ) -> io::Result<Self> {
        let mut first = Vec::with_capacity(count);
        for _ in 0..count {
            first.push(worker::start(&hello, required, memory.clone()).await?);
        }
        let workers = Self(Arc::new(Inner {
            hello,
            required,
            memory,
            places: first.iter().map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(1),
            last: AtomicUsize::new(0),
            deaths: AtomicU64::new(0),
            retired: watch::Sender::new(false),
        }));
        for (place, started) in first.into_iter().enumerate() {
            tokio::spawn(supervise::keep(workers.clone(), place, started));
        }
        Ok(workers)
    }

    /// Gives a call to a worker. The call's number is set here.
    ///
    /// # Errors
    /// When there is no worker, or none takes it.
    pub(crate) async fn call(
        &self,
        call: &mut Call<'_>,
        with: Option<BorrowedFd<'_>>,
        mut ticket: Ticket,
    ) -> Result<InFlight, NoWorker> {
        // Under load the calls of all requests that have come are given one after the other, which wakes a worker once.
        if self.have_calls() {
            tokio::task::yield_now().await;
        }
        loop {
            let Some(worker) = self.next() else { return Err(NoWorker::None(ticket)) };
            call.number = self.0.next.fetch_add(1, Relaxed);
            let refused = match worker.give(call, with, ticket).await {
                Ok(in_flight) => return Ok(in_flight),
                Err(refused) => refused,
            };
            // One that has just ended is in its place for a moment yet.
            tokio::task::yield_now().await;
            ticket = match (refused.ticket, refused.error) {
                (Some(ticket), None) => ticket,
                (_, Some(error)) => return Err(NoWorker::Send(error)),
                (None, None) => return Err(NoWorker::Send(io::ErrorKind::BrokenPipe.into())),
            };
        }
    }

    /// The directories that guests may be given.
    pub(crate) fn directories(&self) -> &[Directory] {
        &self.0.hello.directories
    }

    /// As many for other directories, which take the place of these.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn with_directories(&self, directories: Vec<Directory>) -> io::Result<Self> {
        let hello = Hello { directories, ..self.0.hello.clone() };
        let Inner { places, required, memory, .. } = &*self.0;
        Self::start(places.len(), hello, *required, memory.clone()).await
    }

    /// How many workers are running.
    pub(crate) fn running(&self) -> usize {
        self.0.places.iter().filter(|place| lock(place).is_some()).count()
    }

    /// The slots that the workers keep, by snapshot.
    pub(crate) async fn kept(&self) -> HashMap<[u8; 32], Kept> {
        let mut all: HashMap<[u8; 32], Kept> = HashMap::new();
        let workers: Vec<_> =
            self.0.places.iter().filter_map(|place| lock(place).clone()).collect();
        for worker in workers {
            for kept in worker.kept().await {
                let none = Kept { slots: 0, bytes: 0, ..kept };
                let sum = all.entry(kept.snapshot).or_insert(none);
                sum.slots = sum.slots.saturating_add(kept.slots);
                sum.bytes = sum.bytes.saturating_add(kept.bytes);
            }
        }
        all
    }

    /// How often a worker ended by itself.
    pub(crate) fn deaths(&self) -> u64 {
        self.0.deaths.load(Relaxed)
    }

    /// Has the workers end when they have no calls any more, and waits for that.
    pub(crate) async fn retire(&self) {
        self.0.retired.send_replace(true);
        self.0.retired.closed().await;
    }

    fn have_calls(&self) -> bool {
        self.0.places.iter().any(|place| lock(place).as_ref().is_some_and(|w| w.load() > 0))
    }

    /// The worker that gets the next call.
    fn next(&self) -> Option<Arc<Worker>> {
        let workers: Vec<_> = self.0.places.iter().map(|place| lock(place).clone()).collect();
        let loads = workers.iter().map(|worker| worker.as_ref().map(|worker| worker.load()));
        let place = choose(loads, self.0.last.load(Relaxed), self.0.hello.threads)?;
        self.0.last.store(place, Relaxed);
        workers.into_iter().nth(place).flatten()
    }
}

/// The place of the worker that gets the next call, by how many calls each has where there is one: the one that had the
/// last call, until it has [`AHEAD`] more than another or one for each of its threads; then the one that has the fewest.
/// So calls that come one after the other find a worker awake, and its memory in caches.
fn choose(
    loads: impl Iterator<Item = Option<usize>>,
    last: usize,
    threads: usize,
) -> Option<usize> {
    let loads = loads.enumerate().filter_map(|(place, load)| Some((place, load?)));
    let (place, _) = loads.min_by_key(|(place, load)| match *place == last && *load < threads {
        true => load.saturating_sub(AHEAD),
        false => *load,
    })?;
    Some(place)
}

fn lock(place: &Mutex<Option<Arc<Worker>>>) -> MutexGuard<'_, Option<Arc<Worker>>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_calls_until_it_is_ahead_and_no_more_than_it_has_threads() {
        // Calls that do not end, given to workers of so many threads.
        let given = |count: usize, threads: usize| {
            let (mut loads, mut last) = (vec![0; count], 0);
            let mut places = Vec::new();
            for _ in 0..count * threads {
                last = choose(loads.iter().copied().map(Some), last, threads).unwrap();
                loads[last] += 1;
                assert!(loads[last] <= threads, "{places:?}");
                places.push(last);
            }
            assert_eq!(loads, vec![threads; count]);
            places
        };
        assert_eq!(given(2, 16)[..25], [&[0; AHEAD + 1][..], &[1; 16]].concat());
        assert_eq!(given(3, 1), [0, 1, 2]);
        assert_eq!(given(2, 2), [0, 0, 1, 1]);
        // One that is gone gets none.
        assert_eq!(choose([None, Some(7)].into_iter(), 0, 8), Some(1));
        assert_eq!(choose([None, None].into_iter(), 0, 8), None);
    }
}
