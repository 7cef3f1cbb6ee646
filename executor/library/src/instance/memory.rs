//! Reading and writing a guest's memory.
//!
//! Invariant: the memory is the one that WASI and host functions see: what the instance exports as
//! `memory`, or its only one.

use super::Instance;
use crate::Error;
use executor_model::{CallError, ExternKind};
use executor_runtime::{MemoryMut, OutOfBounds, WrittenPages};

impl Instance {
    /// The bytes of its memory. Those of a snapshot are read from its file as they are used: what can't be read
    /// any more, because the file was cut short or the disk failed, is zero here.
    /// [`Self::ensure_intact`] says whether that happened.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn memory(&self) -> Result<&[u8], Error> {
        self.store.memory(self.main, self.memory_index()?).ok_or(Error::NoMemory)
    }

    /// The bytes of its memory, to change.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn memory_mut(&mut self) -> Result<MemoryMut<'_>, Error> {
        let index = self.memory_index()?;
        self.store.memory_mut(self.main, index).ok_or(Error::NoMemory)
    }

    /// `len` bytes of its memory from address `at` on.
    ///
    /// # Errors
    /// [`Error::NoMemory`], and [`Error::OutOfBounds`] when they are not all inside. As for
    /// [`Self::ensure_intact`], when they cannot all be read.
    pub fn read(&self, at: u64, len: u64) -> Result<&[u8], Error> {
        const PAGE: usize = 4096;
        let memory = self.memory()?;
        let bytes = &memory[range(at, len, memory.len())?];
        let of_pages = bytes.iter().step_by(PAGE).chain(bytes.last());
        of_pages.for_each(|byte| _ = std::hint::black_box(*byte));
        self.ensure_intact()?;
        Ok(bytes)
    }

    /// Says whether all that was read of the instance so far, by its host functions and here, is what was
    /// there.
    ///
    /// # Errors
    /// [`Error::Call`] with the trap [`TrapCode::PageLost`](crate::TrapCode::PageLost) when a page could not be
    /// read. Every later call of the instance ends so too.
    pub fn ensure_intact(&self) -> Result<(), Error> {
        Ok(self.store.ensure_intact().map_err(CallError::Trap)?)
    }

    /// Writes bytes to its memory from address `at` on.
    ///
    /// # Errors
    /// [`Error::NoMemory`], and [`Error::OutOfBounds`] when they do not all fit; nothing is written then. As for
    /// [`Self::ensure_intact`], when a page that they lie in cannot be read.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut memory = self.memory_mut()?;
        let len = bytes.len() as u64;
        let to = memory.get_mut(range(at, len, memory.len())?);
        to.ok_or(OutOfBounds { at, len })?.copy_from_slice(bytes);
        self.ensure_intact()
    }

    /// Which pages of its memory its calls have written to: those that are not as in the snapshot, found by comparing
    /// them. `None` where there is no memory, or that is not known: the instance is the first of its function, or what was
    /// done to it is more than a reset takes back.
    pub fn written_pages(&mut self) -> Option<WrittenPages> {
        let index = self.memory_index().ok()?;
        self.store.written_pages(self.main, index)
    }

    fn memory_index(&self) -> Result<u32, Error> {
        match self.module()?.code().export("memory") {
            Some((ExternKind::Memory, index)) => Ok(index),
            _ => Ok(0),
        }
    }
}

fn range(at: u64, len: u64, size: usize) -> Result<std::ops::Range<usize>, OutOfBounds> {
    let end = at.checked_add(len).filter(|end| *end <= size as u64);
    let end = end.ok_or(OutOfBounds { at, len })?;
    Ok(at as usize..end as usize)
}
