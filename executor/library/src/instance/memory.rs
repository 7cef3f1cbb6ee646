//! Reading and writing a guest's memory.
//!
//! Invariant: the memory is the one that WASI and host functions see: what the instance exports as
//! `memory`, or its only one.

use super::Instance;
use crate::Error;
use executor_model::ExternKind;
use executor_runtime::{MemoryMut, OutOfBounds};

impl Instance {
    /// The bytes of its memory.
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
    /// [`Error::NoMemory`], and [`Error::OutOfBounds`] when they are not all inside.
    pub fn read(&self, at: u64, len: u64) -> Result<&[u8], Error> {
        let memory = self.memory()?;
        let range = range(at, len, memory.len())?;
        Ok(&memory[range])
    }

    /// Writes bytes to its memory from address `at` on.
    ///
    /// # Errors
    /// [`Error::NoMemory`], and [`Error::OutOfBounds`] when they do not all fit; nothing is written then.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut memory = self.memory_mut()?;
        let len = bytes.len() as u64;
        let to = memory.get_mut(range(at, len, memory.len())?);
        to.ok_or(OutOfBounds { at, len })?.copy_from_slice(bytes);
        Ok(())
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
