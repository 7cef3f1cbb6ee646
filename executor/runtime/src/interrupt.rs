//! Stopping a running call from another thread.
//!
//! Invariant: a call that is in machine code is stopped within one signal's delivery, one that is
//! in host code when it returns to machine code, and one that has not begun does not begin. The
//! flag is set before the thread is looked up, and a call publishes its thread before it reads the
//! flag, so one of the two always sees the other.

use crate::{
    park,
    sys::{ThreadId, current_thread, interrupt_thread},
};
use executor_model::InstanceId;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst},
    },
};

/// What the threads that use and that interrupt a store share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Read by the stubs: stop as soon as possible.
    pub(crate) flag: AtomicBool,
    /// An interrupt was asked for, and not only a close.
    requested: AtomicBool,
    /// Some instance was compiled without `ensure_termination`.
    uninterruptible: AtomicBool,
    /// The thread of the call in progress, or 0.
    thread: AtomicI32,
    /// The instance whose function the outermost call in progress entered, or 0.
    entered: AtomicU32,
    closed: Mutex<BTreeMap<InstanceId, u32>>,
    any_closed: AtomicBool,
}

impl Shared {
    /// Notes that a call begins; returns what to give to `leave`.
    pub(crate) fn enter(&self, instance: InstanceId) -> (ThreadId, u32) {
        let previous = (self.thread.load(SeqCst), self.entered.load(SeqCst));
        if previous.0 == 0 {
            self.entered.store(instance.get(), SeqCst);
            self.thread.store(current_thread(), SeqCst);
        }
        previous
    }

    /// Notes that a call has ended.
    pub(crate) fn leave(&self, (thread, entered): (ThreadId, u32)) {
        self.thread.store(thread, SeqCst);
        self.entered.store(entered, SeqCst);
    }

    pub(crate) fn forbid_interrupts(&self) {
        self.uninterruptible.store(true, SeqCst);
    }

    /// The exit code that an instance was closed with.
    pub(crate) fn closed(&self, instance: InstanceId) -> Option<u32> {
        if !self.any_closed.load(SeqCst) {
            return None;
        }
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).get(&instance).copied()
    }

    /// Forgets the interrupt that closing an instance raised, once it has stopped a call.
    pub(crate) fn close_seen(&self) {
        self.flag.store(self.requested.load(SeqCst), SeqCst);
    }

    /// As if no call had been made, for a store that nobody else has a handle of.
    pub(crate) fn reset(&mut self) {
        *self = self.anew();
    }

    /// The same for a new store of the same instances.
    pub(crate) fn anew(&self) -> Self {
        let uninterruptible = AtomicBool::new(self.uninterruptible.load(SeqCst));
        Self { uninterruptible, ..Self::default() }
    }

    fn stop(&self) {
        self.flag.store(true, SeqCst);
        park::wake_interrupted(self);
        match self.thread.load(SeqCst) {
            0 => {}
            thread => interrupt_thread(thread),
        }
    }
}

/// Interrupts the calls of a store; may be sent to and shared with other threads.
#[derive(Debug, Clone)]
pub struct Interrupter(pub(crate) Arc<Shared>);

impl Interrupter {
    /// Stops the call in progress, if any, and every later one, with
    /// [`executor_model::TrapCode::Interrupted`], until [`Self::clear`]. Returns false, and does
    /// nothing, when a module of the store was compiled without `ensure_termination`.
    pub fn interrupt(&self) -> bool {
        if self.0.uninterruptible.load(SeqCst) {
            return false;
        }
        self.0.requested.store(true, SeqCst);
        self.0.stop();
        true
    }

    /// Lets calls run again.
    pub fn clear(&self) {
        self.0.requested.store(false, SeqCst);
        self.0.flag.store(false, SeqCst);
    }

    /// Closes an instance: its functions can no longer be called from the host, and a call in
    /// progress that entered through it ends with [`executor_model::CallError::Closed`] (where
    /// `ensure_termination` was asked for; otherwise it finishes).
    pub fn close(&self, instance: InstanceId, exit_code: u32) {
        let mut closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.entry(instance).or_insert(exit_code);
        self.0.any_closed.store(true, SeqCst);
        drop(closed);
        if self.0.entered.load(SeqCst) == instance.get() && !self.0.uninterruptible.load(SeqCst) {
            self.0.stop();
        }
    }
}
