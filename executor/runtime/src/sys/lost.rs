//! Pages of mapped files that are gone, because the file was cut short or the disk failed.
//!
//! Invariant: every range that a file is mapped to for a guest is in the registry for as long as it is
//! mapped. A page of it that host code cannot read becomes a page of zeroes, and the range says from then
//! on that it lost a page, so whoever read from it can find out that it read nothing. Code that lost a
//! page is never run again, by any thread: its text is no longer executable before the page reads as zeroes.
//!
//! The signal handler goes through the registry without a lock: entries are never freed, only reused.

use std::{
    ptr::{null, null_mut},
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicPtr, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release, SeqCst},
        },
    },
};

const PAGE: usize = executor_code::layout::PAGE as usize;

/// What a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A guest's state.
    State,
    /// A code file.
    Code,
}

/// A range of addresses, or one that was.
#[derive(Debug)]
struct Entry {
    start: AtomicUsize,
    /// 0 while nobody has it.
    len: AtomicUsize,
    code: AtomicBool,
    lost: AtomicBool,
    /// The entry that was made before.
    next: *const Entry,
}

// SAFETY: `next` does not change once the entry can be seen, and leads to an entry that is never freed.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}

/// The entry that was made last.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());
/// Those that nobody has.
static FREE: Mutex<Vec<&'static Entry>> = Mutex::new(Vec::new());
/// Whether any page was lost in this process.
static ANY: AtomicBool = AtomicBool::new(false);

/// A range in the registry, until it is dropped; that has to be before the range is unmapped.
#[derive(Debug)]
pub(super) struct Registered(&'static Entry);

impl Registered {
    pub(super) fn new(start: usize, len: usize, kind: Kind) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let entry = free.unwrap_or_else(|| {
            let entry = Box::leak(Box::new(Entry {
                start: AtomicUsize::new(0),
                len: AtomicUsize::new(0),
                code: AtomicBool::new(false),
                lost: AtomicBool::new(false),
                next: null(),
            }));
            let mut next = ENTRIES.load(Relaxed);
            loop {
                entry.next = next;
                match ENTRIES.compare_exchange(next, entry, Release, Relaxed) {
                    Ok(_) => return entry,
                    Err(other) => next = other,
                }
            }
        });
        entry.start.store(start, Relaxed);
        entry.code.store(kind == Kind::Code, Relaxed);
        entry.lost.store(false, Relaxed);
        entry.len.store(len, Release);
        Self(entry)
    }

    /// Whether a page of the range was lost.
    pub(super) fn lost(&self) -> bool {
        any() && self.0.lost.load(SeqCst)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.len.store(0, Release);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// Whether any page was lost so far. Nearly always none was, and nobody has to look further.
#[inline]
pub(crate) fn any() -> bool {
    ANY.load(Relaxed)
}

/// The entry of an address. Async-signal-safe.
fn find(address: usize) -> Option<&'static Entry> {
    let mut next = ENTRIES.load(Acquire).cast_const();
    // SAFETY: entries are never freed, and whole before they are in the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        let len = entry.len.load(Acquire);
        if address.wrapping_sub(entry.start.load(Relaxed)) < len {
            return Some(entry);
        }
        next = entry.next;
    }
    None
}

/// Notes that a page could not be read, where machine code met it. Async-signal-safe.
pub(super) fn note(address: usize) {
    if let Some(entry) = find(address) {
        entry.lost.store(true, SeqCst);
        ANY.store(true, SeqCst);
    }
}

/// Puts a page of zeroes in the place of one that could not be read, and notes that; false when no file is
/// known to be mapped there, or the system refuses. Async-signal-safe.
pub(super) fn replace(address: usize) -> bool {
    let Some(entry) = find(address) else { return false };
    let (start, len) = (entry.start.load(Relaxed), entry.len.load(Relaxed));
    let code = entry.code.load(Relaxed);
    let access = if code { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let page = (address & !(PAGE - 1)) as *mut libc::c_void;
    // SAFETY: both ranges lie in a mapping that is in the registry, and so mapped, and that its owner's
    // access to `address` keeps so. What is gone from the page is gone; references to it now see zeroes, which
    // are valid for the bytes and words that guests' state and code files consist of. Taking away the right to run
    // text breaks no reference.
    let replaced = unsafe {
        (!code || libc::mprotect(start as *mut libc::c_void, len, libc::PROT_READ) == 0)
            && libc::mmap(page, PAGE, access, flags, -1, 0) == page
    };
    if replaced {
        entry.lost.store(true, SeqCst);
        ANY.store(true, SeqCst);
    }
    replaced
}
