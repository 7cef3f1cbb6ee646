//! Threads that wait at an address of a shared memory: `memory.atomic.wait` and `notify`.
//!
//! Invariant: the value is compared, and a thread added or taken away, under the lock of the address, so
//! a notify that comes after the comparison finds the thread. A thread says where it waits before it
//! reads its store's flag, and an interrupt sets the flag before it looks where the thread waits, so
//! one of the two always sees the other.
//!
//! Addresses share a few dozen locks, each on a cache line of its own: threads that use different
//! addresses rarely meet. Threads that wait at one address, or notify there, always do.

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

/// Who waits, by address, first come first.
type Table = HashMap<usize, VecDeque<Arc<Parked>>>;

#[repr(align(128))]
struct Shard(Mutex<Option<Table>>);

static SHARDS: [Shard; 64] = [const { Shard(Mutex::new(None)) }; 64];

/// The threads that wait at an address and at some others.
fn lock(address: usize) -> MutexGuard<'static, Option<Table>> {
    // The upper bits of the product depend on all bits of the address.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    SHARDS[hash as usize].0.lock().unwrap_or_else(PoisonError::into_inner)
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
    let mut table = lock(address);
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
    store.waits_at.store(address, SeqCst);
    let ended = loop {
        if parked.notified.load(SeqCst) {
            break Waited::Notified;
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
    store.waits_at.store(0, SeqCst);
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
    let mut table = lock(address);
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

/// Wakes the thread that waits in a call of a store whose flag has been set, if one does.
pub(crate) fn wake_interrupted(store: &Shared) {
    let address = store.waits_at.load(SeqCst);
    if address == 0 {
        return;
    }
    let mut table = lock(address);
    for parked in table.get_or_insert_default().get(&address).into_iter().flatten() {
        if std::ptr::eq(&raw const *parked.store, store) {
            parked.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_model::StoreId;

    #[test]
    fn an_interrupt_wakes_the_thread_of_its_store_wherever_it_waits() {
        let stores: Vec<_> = (0..8).map(|_| Arc::new(Shared::new(StoreId::unique()))).collect();
        // Addresses of several locks, and one that two threads wait at.
        let address = |i: usize| 0x7000_0000 + (i / 2) * 4096 * 8;
        std::thread::scope(|scope| {
            let waits: Vec<_> = stores
                .iter()
                .enumerate()
                .map(|(i, store)| scope.spawn(move || wait(address(i), || true, None, store)))
                .collect();
            for store in &stores {
                while store.waits_at.load(SeqCst) == 0 {
                    std::thread::yield_now();
                }
            }
            for store in stores.iter().step_by(2) {
                store.flag.store(true, SeqCst);
                wake_interrupted(store);
            }
            let mut waits = waits.into_iter();
            while let (Some(interrupted), Some(notified)) = (waits.next(), waits.next()) {
                assert_eq!(interrupted.join().unwrap(), Waited::Interrupted);
                let i = 6 - waits.len();
                assert_eq!(notify(address(i), u32::MAX), 1);
                assert_eq!(notified.join().unwrap(), Waited::Notified);
            }
        });
        for store in &stores {
            assert_eq!(store.waits_at.load(SeqCst), 0);
        }
    }
}
