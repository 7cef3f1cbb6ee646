//! Threads that wait at an address of a shared memory: `memory.atomic.wait` and `notify`.
//!
//! Invariant: the value is compared, and a thread added or taken away, under one lock for the whole
//! process, so a notify that comes after the comparison finds the thread. An interrupt sets its
//! store's flag before it takes the lock, so a waiting thread always sees it.

use crate::interrupt::Shared;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// A thread that waits.
struct Parked {
    /// The store that it runs a call of.
    store: Arc<Shared>,
    wake: Condvar,
    /// It was notified, and is no longer in the table.
    notified: AtomicBool,
}

type Table = HashMap<usize, VecDeque<Arc<Parked>>>;

static PARKED: Mutex<Option<Table>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Table>> {
    PARKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// By a notify.
    Notified,
    /// At once: the value was another.
    NotEqual,
    /// By the timeout.
    TimedOut,
    /// By an interrupt of the store.
    Interrupted,
}

/// Waits at an address for a notify, if `equal` says that the value there is the expected one.
pub(crate) fn wait(
    address: usize,
    equal: impl FnOnce() -> bool,
    timeout: Option<Duration>,
    store: &Arc<Shared>,
) -> Waited {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut table = lock();
    if !equal() {
        return Waited::NotEqual;
    }
    let parked = Arc::new(Parked {
        store: Arc::clone(store),
        wake: Condvar::new(),
        notified: AtomicBool::new(false),
    });
    let queues = table.get_or_insert_default();
    queues.entry(address).or_default().push_back(Arc::clone(&parked));
    let ended = loop {
        if parked.notified.load(SeqCst) {
            return Waited::Notified;
        }
        if store.flag.load(SeqCst) {
            break Waited::Interrupted;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        table = match left {
            Some(Duration::ZERO) => break Waited::TimedOut,
            Some(left) => {
                parked.wake.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => parked.wake.wait(table).unwrap_or_else(PoisonError::into_inner),
        };
    };
    let queues = table.get_or_insert_default();
    if let Some(queue) = queues.get_mut(&address) {
        queue.retain(|other| !Arc::ptr_eq(other, &parked));
        if queue.is_empty() {
            queues.remove(&address);
        }
    }
    ended
}

/// Wakes at most `count` threads that wait at an address, those that came first; returns how many.
pub(crate) fn notify(address: usize, count: u32) -> u32 {
    let mut table = lock();
    let queues = table.get_or_insert_default();
    let Some(queue) = queues.get_mut(&address) else { return 0 };
    let woken = queue.len().min(count as usize);
    for parked in queue.drain(..woken) {
        parked.notified.store(true, SeqCst);
        parked.wake.notify_one();
    }
    if queue.is_empty() {
        queues.remove(&address);
    }
    woken as u32
}

/// Wakes the threads that wait in a call of a store whose flag has been set.
pub(crate) fn wake_interrupted(store: &Shared) {
    let mut table = lock();
    for parked in table.get_or_insert_default().values().flatten() {
        if std::ptr::eq(&raw const *parked.store, store) {
            parked.wake.notify_one();
        }
    }
}
