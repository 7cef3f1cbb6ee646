//! Which code files a store's machine code can be in, for the signal handler and for backtraces.
//!
//! Invariant: a store's map has the code of every instance and continuation that can be on its
//! stack, and changes only in host code. Whoever looks an address up for machine code therefore
//! needs no lock: the signal handler reads the map only if the thread's stack pointer is on the
//! store's own stack, where host code never is.

use crate::sys::Mapping;
use executor_code::file::{CodeFile, Section};
use executor_model::TrapCode;
use std::{ops::Range, sync::Arc};

/// A code file in use.
#[derive(Debug)]
pub(crate) struct CodeEntry {
    /// The file.
    pub(crate) file: CodeFile<Mapping>,
    /// The addresses of its text.
    pub(crate) text: Range<usize>,
}

impl CodeEntry {
    /// A checked code file whose text is executable.
    pub(crate) fn new(file: CodeFile<Mapping>) -> Self {
        let text = file.section(Section::Text).as_ptr_range();
        Self { text: text.start as usize..text.end as usize, file }
    }

    /// Why machine code can trap at an address. Async-signal-safe.
    pub(super) fn trap_at(&self, pc: usize) -> Option<TrapCode> {
        self.file.trap_at((pc - self.text.start) as u32)
    }

    /// Whether a page of the file was lost. Async-signal-safe.
    pub(super) fn lost(&self) -> bool {
        self.file.bytes().lost()
    }
}

/// The code files of a store, by address.
#[derive(Debug, Default)]
pub(crate) struct CodeMap(Vec<Arc<CodeEntry>>);

impl CodeMap {
    /// Adds a code file, if it is not there yet.
    pub(crate) fn add(&mut self, entry: &Arc<CodeEntry>) {
        if let Err(at) = self.0.binary_search_by_key(&entry.text.start, |e| e.text.start) {
            self.0.insert(at, Arc::clone(entry));
        }
    }

    /// The code file that an address lies in. Async-signal-safe.
    pub(crate) fn find(&self, pc: usize) -> Option<&CodeEntry> {
        let at = self.0.partition_point(|e| e.text.start <= pc).checked_sub(1)?;
        let entry = &*self.0[at];
        entry.text.contains(&pc).then_some(entry)
    }
}

impl<'a> FromIterator<&'a Arc<CodeEntry>> for CodeMap {
    fn from_iter<T: IntoIterator<Item = &'a Arc<CodeEntry>>>(entries: T) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|entry| map.add(entry));
        map
    }
}
