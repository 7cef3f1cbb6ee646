//! Stopping a running call from another thread.
//!
//! Invariant: a call that is in machine code is stopped within one signal's delivery, one that is
//! in host code when it returns to machine code, and one that has not begun does not begin. The
//! flag is set before the thread is looked up, and a call publishes its thread before it reads the
//! flag, so one of the two always sees the other. Likewise a call publishes its instance before it
//! looks whether that is closed, and an instance is closed before the call in progress is looked up.
//!
//! The flag follows from what was asked for and the call in progress, and changes under one lock.

use crate::{
    park,
    sys::{current_thread, interrupt_thread},
};
use executor_model::{InstanceId, StoreId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst},
    },
};

/// What the threads that use and that interrupt a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Which store it is.
    store: StoreId,
    /// Read by the stubs: stop as soon as possible.
    pub(crate) flag: AtomicBool,
    /// Some instance was compiled without `ensure_termination`.
    uninterruptible: AtomicBool,
    /// The thread of the call in progress, or 0.
    thread: AtomicI32,
    /// The instance whose function the outermost call in progress entered, or 0.
    entered: AtomicU32,
    asked: Mutex<Asked>,
    any_closed: AtomicBool,
}

/// What was asked of a store.
#[derive(Debug, Default)]
struct Asked {
    /// That its calls stop.
    interrupt: bool,
    /// That these instances are closed, with exit codes.
    closed: BTreeMap<InstanceId, u32>,
}

impl Shared {
    pub(crate) fn new(store: StoreId) -> Self {
        Self {
            store,
            flag: AtomicBool::new(false),
            uninterruptible: AtomicBool::new(false),
            thread: AtomicI32::new(0),
            entered: AtomicU32::new(0),
            asked: Mutex::default(),
            any_closed: AtomicBool::new(false),
        }
    }

    /// Notes that a call begins, if its instance is not closed; otherwise the exit code that it was
    /// closed with. Whether the call is the outermost is to be given to `leave`.
    pub(crate) fn enter(&self, instance: InstanceId) -> Result<bool, u32> {
        let outermost = self.thread.load(SeqCst) == 0;
        if outermost {
            self.entered.store(instance.get(), SeqCst);
            self.thread.store(current_thread(), SeqCst);
        }
        match self.closed(instance) {
            None => Ok(outermost),
            Some(code) => {
                self.leave(outermost);
                Err(code)
            }
        }
    }

    /// Notes that a call has ended.
    pub(crate) fn leave(&self, outermost: bool) {
        if !outermost {
            return;
        }
        self.thread.store(0, SeqCst);
        self.entered.store(0, SeqCst);
        // An instance that is closed from now on finds no call to stop.
        if self.any_closed.load(SeqCst) {
            self.update(&self.asked());
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the flag to what follows from what was asked for, and stops the call in progress if it is
    /// set.
    fn update(&self, asked: &Asked) {
        let entered = InstanceId::new(self.entered.load(SeqCst));
        let closed = entered.is_some_and(|entered| asked.closed.contains_key(&entered));
        let stop = asked.interrupt || closed && !self.uninterruptible.load(SeqCst);
        self.flag.store(stop, SeqCst);
        if stop {
            park::wake_interrupted(self);
            match self.thread.load(SeqCst) {
                0 => {}
                thread => interrupt_thread(thread),
            }
        }
    }

    /// Says whether calls may be interrupted.
    pub(crate) fn allow_interrupts(&self, allow: bool) {
        self.uninterruptible.store(!allow, SeqCst);
    }

    /// The exit code that an instance was closed with.
    pub(crate) fn closed(&self, instance: InstanceId) -> Option<u32> {
        if !self.any_closed.load(SeqCst) {
            return None;
        }
        self.asked().closed.get(&instance).copied()
    }

    /// The same for another store with the same instances, of which nothing has been asked.
    pub(crate) fn anew(&self, store: StoreId) -> Self {
        let uninterruptible = AtomicBool::new(self.uninterruptible.load(SeqCst));
        Self { uninterruptible, ..Self::new(store) }
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
        let mut asked = self.0.asked();
        asked.interrupt = true;
        self.0.update(&asked);
        true
    }

    /// Lets calls run again.
    pub fn clear(&self) {
        let mut asked = self.0.asked();
        asked.interrupt = false;
        self.0.update(&asked);
    }

    /// Closes an instance: its functions can no longer be called from the host, and a call in
    /// progress that entered through it ends with [`executor_model::CallError::Closed`] (where
    /// `ensure_termination` was asked for; otherwise it finishes). An id of another store does nothing.
    pub fn close(&self, instance: InstanceId, exit_code: u32) {
        if !instance.fits(self.0.store) {
            return;
        }
        let mut asked = self.0.asked();
        asked.closed.entry(instance).or_insert(exit_code);
        self.0.any_closed.store(true, SeqCst);
        self.0.update(&asked);
    }
}
