//! Which code files are mapped where, for the signal handler and for backtraces.
//!
//! Invariant: an entry is registered before any of its code can run and removed only when its
//! module is dropped, when no instance can run it. Readers take the lock without blocking a
//! writer that they interrupted: machine code, where faults are looked up, never holds it.

use crate::sys::Mapping;
use executor_code::file::{CodeFile, Section};
use executor_model::TrapCode;
use std::{
    ops::Range,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError},
};

/// A code file in use.
#[derive(Debug)]
pub(crate) struct CodeEntry {
    /// The file.
    pub(crate) file: CodeFile<Mapping>,
    /// The addresses of its text.
    pub(crate) text: Range<usize>,
}

static ENTRIES: RwLock<Vec<Arc<CodeEntry>>> = RwLock::new(Vec::new());

/// Keeps a code file registered.
#[derive(Debug)]
pub(crate) struct Registration(pub(crate) Arc<CodeEntry>);

impl Registration {
    /// Registers a checked code file whose text is executable.
    pub(crate) fn new(file: CodeFile<Mapping>) -> Self {
        let text = file.section(Section::Text).as_ptr_range();
        let entry = Arc::new(CodeEntry { text: text.start as usize..text.end as usize, file });
        let mut entries = ENTRIES.write().unwrap_or_else(PoisonError::into_inner);
        let at = entries.partition_point(|e| e.text.start < entry.text.start);
        entries.insert(at, Arc::clone(&entry));
        Self(entry)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = ENTRIES.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|e| !Arc::ptr_eq(e, &self.0));
    }
}

/// A read lock without waiting in the kernel, which a signal handler must not do.
fn read() -> RwLockReadGuard<'static, Vec<Arc<CodeEntry>>> {
    loop {
        match ENTRIES.try_read() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
}

fn with_entry<T>(pc: usize, use_entry: impl FnOnce(&Arc<CodeEntry>) -> T) -> Option<T> {
    let entries = read();
    let at = entries.partition_point(|e| e.text.start <= pc).checked_sub(1)?;
    let entry = &entries[at];
    entry.text.contains(&pc).then(|| use_entry(entry))
}

/// Whether `pc` is in machine code, and if so, why it can trap there. Async-signal-safe.
pub(super) fn trap_code(pc: usize) -> Option<Option<TrapCode>> {
    with_entry(pc, |entry| entry.file.trap_at((pc - entry.text.start) as u32))
}

/// The code file that an address lies in.
pub(crate) fn find_code(pc: usize) -> Option<Arc<CodeEntry>> {
    with_entry(pc, Arc::clone)
}
