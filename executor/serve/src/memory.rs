//! The memory that calls and kept slots take, of all functions and workers together, and what output takes on its way to
//! clients.
//!
//! Invariant: no less is reserved than calls may take and workers keep. A call reserves the most that it may take
//! before it begins. What its slot keeps of that when it has ended stays reserved, until its worker says that the slot is
//! gone; what is reserved for its output, until no byte of that is left here.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The bytes that a permit stands for.
const UNIT: u64 = 64 << 10;

/// All memory there is.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    free: Arc<Semaphore>,
    /// How many wait for some.
    waiting: AtomicUsize,
    /// How many bytes have been waited for so far: workers give up slots for them.
    wanted: watch::Sender<u64>,
}

/// Memory that is reserved. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved(OwnedSemaphorePermit);

impl Reserved {
    /// Frees what is more than so many bytes need.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let most = usize::try_from(units(bytes)).unwrap_or(usize::MAX);
        drop(self.0.split(self.0.num_permits().saturating_sub(most)));
    }
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT)
}

impl Memory {
    /// So many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let permits = (limit / UNIT).min(Semaphore::MAX_PERMITS as u64) as usize;
        let (waiting, wanted) = Default::default();
        Self { limit, free: Arc::new(Semaphore::new(permits)), waiting, wanted }
    }

    /// How many bytes there are.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// How many bytes are not reserved.
    pub(crate) fn free(&self) -> u64 {
        self.free.available_permits() as u64 * UNIT
    }

    /// Whether so many bytes can be reserved at all.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        units(bytes) <= self.limit / UNIT && u32::try_from(units(bytes)).is_ok()
    }

    /// Reserves bytes, if they are free. There are as many ([`Self::has`]).
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        Arc::clone(&self.free).try_acquire_many_owned(units(bytes) as u32).ok().map(Reserved)
    }

    /// Reserves bytes as soon as they are free; those that wait have their turn one after the other. Workers give up slots for
    /// it. None where there will never be as many.
    pub(crate) async fn reserve(&self, bytes: u64) -> Option<Reserved> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.wanted.send_modify(|wanted| *wanted = wanted.wrapping_add(units(bytes) * UNIT));
        Arc::clone(&self.free).acquire_many_owned(units(bytes) as u32).await.ok().map(Reserved)
    }
}

/// What a worker keeps in slots, and what is reserved for that.
#[derive(Debug)]
pub(crate) struct Hoard {
    memory: Arc<Memory>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    /// For them; less only as long as a call holds what it is to be.
    reserved: Option<Reserved>,
}

impl Hoard {
    /// Of a worker that keeps nothing yet.
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, kept: Mutex::default() }
    }

    /// Notes by how much what is kept has changed, with what a call that has ended had reserved; returns how much is to be
    /// given up at once, because somebody waits for it.
    pub(crate) fn change(&self, by: i64, of_call: Option<Reserved>) -> Option<u64> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes = kept.bytes.saturating_add_signed(by);
        let reserved = match (kept.reserved.take(), of_call) {
            (Some(mut own), Some(Reserved(more))) => {
                own.0.merge(more);
                Some(own)
            }
            (own, more) => own.or(more),
        };
        if let Some(mut reserved) = reserved {
            reserved.shrink(kept.bytes);
            kept.reserved = Some(reserved);
        }
        let waited_for = self.memory.waiting.load(Relaxed) > 0;
        u64::try_from(by).ok().filter(|by| *by > 0 && waited_for)
    }

    /// Nothing is kept any more: the worker has ended.
    pub(crate) fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// Tells from here on how many bytes are waited for.
    pub(crate) fn wanted(&self) -> Wanted {
        let wanted = self.memory.wanted.subscribe();
        let so_far = *wanted.borrow();
        Wanted { wanted, so_far }
    }
}

/// Tells how many bytes are waited for.
#[derive(Debug)]
pub(crate) struct Wanted {
    wanted: watch::Receiver<u64>,
    so_far: u64,
}

impl Wanted {
    /// Waits until more are waited for, and returns how many.
    pub(crate) async fn next(&mut self) -> u64 {
        if self.wanted.changed().await.is_err() {
            // Nobody is left who could want any.
            std::future::pending::<()>().await;
        }
        let all = *self.wanted.borrow_and_update();
        let more = all.wrapping_sub(self.so_far);
        self.so_far = all;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn what_a_slot_keeps_stays_reserved_until_it_is_given_up_for_those_that_wait() {
        let memory = Arc::new(Memory::new(4 * MIB));
        let hoard = Hoard::new(Arc::clone(&memory));
        let mut wanted = hoard.wanted();
        let call = memory.try_reserve(3 * MIB).unwrap();
        assert!(memory.try_reserve(2 * MIB).is_none());
        assert_eq!(hoard.change(MIB as i64 - 5, Some(call)), None, "nobody waits");
        assert_eq!(memory.free(), 3 * MIB);
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.reserve(4 * MIB).await.unwrap() }
        });
        assert_eq!(wanted.next().await, 4 * MIB);
        // The worker gives up some, and a call of its own ends that was there before.
        assert_eq!(hoard.change(-(MIB as i64) / 2, None), None);
        let other = Hoard::new(Arc::clone(&memory));
        assert_eq!(other.change(100, memory.try_reserve(0)), Some(100), "it is not kept");
        assert_eq!(other.change(-100, None), None);
        assert!(!waiting.is_finished());
        hoard.clear();
        drop(waiting.await.unwrap());
        assert_eq!(memory.free(), 4 * MIB);
    }

    #[test]
    fn ends_that_are_heard_in_another_order_leave_what_is_kept_reserved() {
        let memory = Arc::new(Memory::new(4 * MIB));
        let hoard = Hoard::new(Arc::clone(&memory));
        let (one, two) = (memory.try_reserve(MIB), memory.try_reserve(MIB));
        // The first that is heard tells of both slots.
        hoard.change(3 * MIB as i64 / 2, one);
        assert_eq!(memory.free(), 2 * MIB);
        hoard.change(0, two);
        assert_eq!(memory.free(), 4 * MIB - 3 * MIB / 2);
        // A worker that was taken over may say anything.
        hoard.change(i64::MIN, None);
        hoard.change(i64::MAX, None);
        hoard.change(i64::MIN, None);
        hoard.change(i64::MIN, None);
        assert_eq!(memory.free(), 4 * MIB);
    }

    #[test]
    fn what_there_never_is_is_known() {
        let memory = Memory::new(MIB);
        assert!(memory.has(MIB) && !memory.has(MIB + 1) && !memory.has(u64::MAX));
        assert!(!Memory::new(u64::MAX).has(u64::MAX), "more than a call can ask for");
    }
}
