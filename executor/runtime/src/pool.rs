//! Kept stores: where they wait between calls, and who gets them.
//!
//! Invariant: what waits here is clean, which is to say that its slot equals the image, and belongs to nobody. A thread
//! looks on its own shelf first, so threads that use a pool together rarely meet.

use crate::{
    image::{Home, Inner as Image},
    released::Released,
    store::StoreInner,
    vm::{Reset, Stable},
};
use executor_code::layout::PAGE;
use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// How much an engine keeps between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// The most stores that wait, over all images. Those that have waited longest go first.
    pub max_idle: usize,
    /// The most bytes of each memory and table that a waiting store keeps resident.
    pub keep_resident: u64,
    /// Compare each slot with its image after each reset, byte by byte, and panic where they differ. For tests: it
    /// costs as much as reading the whole state.
    pub verify: bool,
}

impl Default for PoolConfig {
    /// 1,000 stores, each with at most 16 MiB of a memory.
    fn default() -> Self {
        Self { max_idle: 1000, keep_resident: 16 << 20, verify: false }
    }
}

/// What an engine's kept stores have done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Stores that were taken and had been used before.
    pub reused: u64,
    /// Stores that were looked for and not there, and so were made.
    pub made: u64,
    /// Stores that were reset and wait, or waited.
    pub reset: u64,
    /// Stores that could not be kept: no room, or a state that no reset accounts for.
    pub dropped: u64,
    /// Pages that resets copied.
    pub pages_copied: u64,
    /// Faults that opened pages for writes.
    pub write_faults: u64,
    /// Stores that wait now.
    pub idle: usize,
    /// The bytes of their slots that are resident for them alone.
    pub idle_bytes: u64,
}

/// The stores of an image that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idle {
    /// How many there are.
    pub stores: usize,
    /// The bytes of their slots that are resident for them alone.
    pub bytes: u64,
}

/// A store that waits.
#[derive(Debug)]
struct Kept {
    image: u64,
    lease: Lease,
    /// The bytes of its slot that are resident for it alone.
    bytes: u64,
}

/// What one or few threads keep. Alone in its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shelf {
    /// In the order of their last use.
    kept: Vec<Kept>,
    stats: PoolStats,
}

/// The kept stores of an engine.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    /// One for each core, made when the first store comes.
    shelves: OnceLock<Box<[Mutex<Shelf>]>>,
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for each thread, small and in turn.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self { config, shelves: OnceLock::new() }
    }

    pub(crate) fn config(&self) -> &PoolConfig {
        &self.config
    }

    fn shelves(&self) -> &[Mutex<Shelf>] {
        self.shelves.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (0..cores).map(|_| Mutex::default()).collect()
        })
    }

    fn own_shelf(&self) -> &Mutex<Shelf> {
        let shelves = self.shelves();
        &shelves[thread_number() % shelves.len()]
    }

    /// Takes a store of an image, if one waits: the one used last by this thread, or else another's.
    pub(crate) fn take(&self, image: u64) -> Option<Lease> {
        let own = self.own_shelf();
        let mut shelf = lock(own);
        let taken = shelf.take(image);
        match taken {
            Some(_) => shelf.stats.reused += 1,
            None => shelf.stats.made += 1,
        }
        drop(shelf);
        taken.or_else(|| {
            // A shelf that is in use has work of its own.
            let found = self.shelves().iter().find_map(|s| s.try_lock().ok()?.take(image))?;
            let mut shelf = lock(own);
            shelf.stats.made -= 1;
            shelf.stats.reused += 1;
            Some(found)
        })
    }

    /// Keeps a clean store of an image, unless that is gone: who sets that calls [`Self::forget`] after.
    pub(crate) fn put(&self, image: u64, lease: Lease, reset: Reset, gone: impl Fn() -> bool) {
        let most = self.config.max_idle.div_ceil(self.shelves().len());
        let mut shelf = lock(self.own_shelf());
        shelf.stats.reset += 1;
        shelf.stats.pages_copied += reset.copied;
        shelf.stats.write_faults += u64::from(reset.faults);
        let kept = Kept { image, lease, bytes: reset.copied * PAGE };
        let evicted = match gone() {
            true => Some(kept),
            false => {
                shelf.kept.push(kept);
                (shelf.kept.len() > most).then(|| shelf.kept.remove(0))
            }
        };
        shelf.stats.dropped += u64::from(evicted.is_some());
        drop(shelf);
        // Unmapping takes its time, and nobody waits for it.
        if let Some(Kept { lease, .. }) = evicted {
            lease.end();
        }
    }

    /// Notes that a store was not kept.
    pub(crate) fn dropped(&self) {
        lock(self.own_shelf()).stats.dropped += 1;
    }

    /// Drops the stores of an image.
    pub(crate) fn forget(&self, image: u64) {
        for shelf in self.shelves.get().into_iter().flatten() {
            let gone: Vec<Kept> = lock(shelf).kept.extract_if(.., |k| k.image == image).collect();
            gone.into_iter().for_each(|Kept { lease, .. }| lease.end());
        }
    }

    /// Drops stores that wait, those first that have waited longest on their shelf, until so many bytes are free or none
    /// waits any more.
    pub(crate) fn give_up(&self, bytes: u64) {
        let mut left = bytes;
        let shelves = self.shelves.get().map(|shelves| &shelves[..]).unwrap_or_default();
        // From each in turn.
        let mut empty = 0;
        for shelf in shelves.iter().cycle() {
            if left == 0 || empty == shelves.len() {
                return;
            }
            let mut shelf = lock(shelf);
            if shelf.kept.is_empty() {
                empty += 1;
                continue;
            }
            let Kept { lease, bytes, .. } = shelf.kept.remove(0);
            shelf.stats.dropped += 1;
            drop(shelf);
            lease.end();
            (left, empty) = (left.saturating_sub(bytes), 0);
        }
    }

    /// The stores of an image that wait.
    pub(crate) fn idle(&self, image: u64) -> Idle {
        let mut idle = Idle::default();
        for shelf in self.shelves.get().into_iter().flatten() {
            for kept in lock(shelf).kept.iter().filter(|kept| kept.image == image) {
                idle.stores += 1;
                idle.bytes += kept.bytes;
            }
        }
        idle
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.shelves.get().into_iter().flatten().fold(PoolStats::default(), |sum, shelf| {
            let shelf = lock(shelf);
            let PoolStats { reused, made, reset, dropped, pages_copied, write_faults, .. } =
                shelf.stats;
            PoolStats {
                reused: sum.reused + reused,
                made: sum.made + made,
                reset: sum.reset + reset,
                dropped: sum.dropped + dropped,
                pages_copied: sum.pages_copied + pages_copied,
                write_faults: sum.write_faults + write_faults,
                idle: sum.idle + shelf.kept.len(),
                idle_bytes: sum.idle_bytes + shelf.kept.iter().map(|kept| kept.bytes).sum::<u64>(),
            }
        })
    }
}

impl Shelf {
    fn take(&mut self, image: u64) -> Option<Lease> {
        let at = self.kept.iter().rposition(|kept| kept.image == image)?;
        Some(self.kept.remove(at).lease)
    }
}

/// What owns a store's inside, and gives it back to its image when dropped if it came from one.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `None` only while it is being dropped.
    store: Option<Stable<StoreInner>>,
    home: Option<Arc<Home>>,
}

impl Lease {
    /// A store that is used once.
    pub(crate) fn once(store: StoreInner) -> Self {
        Self { store: Some(Stable::new(store)), home: None }
    }

    /// A store of an image, which takes it back.
    pub(crate) fn kept(store: Stable<StoreInner>, home: Arc<Home>) -> Self {
        Self { store: Some(store), home: Some(home) }
    }

    /// Drops the store, and gives nothing back.
    fn end(mut self) {
        self.home = None;
    }

    /// Gives the store back, if it came from an image.
    pub(crate) fn release(mut self) -> Released {
        self.give_back()
    }

    fn give_back(&mut self) -> Released {
        match (self.store.take(), self.home.take()) {
            (Some(store), Some(home)) => Image::release(home, store),
            _ => Released::default(),
        }
    }

    /// The same store, which its image takes back.
    pub(crate) fn of_image(mut self, home: Arc<Home>) -> Self {
        self.home = Some(home);
        self
    }
}

const OWNED: &str = "a store until it is dropped";

impl Deref for Lease {
    type Target = StoreInner;
    fn deref(&self) -> &StoreInner {
        self.store.as_ref().expect(OWNED)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut StoreInner {
        self.store.as_mut().expect(OWNED)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
