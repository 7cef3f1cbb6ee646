//! Stacks for machine code.
//!
//! Invariant: below every stack lies an inaccessible guard larger than any frame that is not
//! probed, so running over the end faults at a known address instead of touching other memory.
//! Only machine code and the entry stubs run on such a stack; host code runs on the thread's own.

use super::mapping::Reservation;
use executor_code::layout::{PAGE, align_up};
use std::{cell::RefCell, io, ops::Range, sync::Arc};

/// The guard's size. The compiler probes frames from 64 KiB on.
const GUARD: u64 = 1 << 20;

/// The largest stack. More can't be told from a mistake, and near the end of all addresses sizes wrap.
const MAX: u64 = 1 << 40;

/// How many unused stacks a thread keeps for its next calls.
const KEPT: usize = 2;

thread_local! {
    static FREE: RefCell<Vec<Arc<WasmStack>>> = const { RefCell::new(Vec::new()) };
}

/// A stack for machine code.
#[derive(Debug)]
pub(crate) struct WasmStack {
    memory: Reservation,
    size: u64,
}

impl WasmStack {
    /// Takes a stack of at least `size` bytes from this thread's unused ones, or makes one.
    pub(crate) fn take(size: usize) -> io::Result<Arc<Self>> {
        if size as u64 > MAX {
            let message = format!("a stack has at most {MAX} bytes, not {size}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let size = align_up(size as u64, PAGE).max(16 * PAGE);
        let kept = FREE.with_borrow_mut(|free| {
            let at = free.iter().position(|stack| stack.size == size)?;
            Some(free.swap_remove(at))
        });
        if let Some(stack) = kept {
            return Ok(stack);
        }
        let memory = Reservation::new(GUARD + size)?;
        memory.commit(GUARD, size)?;
        Ok(Arc::new(Self { memory, size }))
    }

    /// Gives a stack back to the thread.
    pub(crate) fn give_back(self: Arc<Self>) {
        // When the thread is ending the list is gone, and the stack is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(self);
            }
        });
    }

    /// The address just above the stack, 16-byte aligned.
    pub(crate) fn top(&self) -> usize {
        self.memory.at(GUARD + self.size) as usize
    }

    /// The lowest usable address.
    pub(crate) fn bottom(&self) -> usize {
        self.memory.at(GUARD) as usize
    }

    /// The addresses whose access means that the stack is exhausted.
    pub(crate) fn guard(&self) -> Range<usize> {
        self.memory.at(0) as usize..self.bottom()
    }
}
