//! Stopping a running call from another thread, wherever it is.
//!
//! Invariant: a call that is in machine code is stopped within one signal's delivery, one that waits in
//! host code is woken, one that is in other host code is stopped when it returns to machine code, and
//! one that has not begun does not begin. The
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
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst},
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
    /// The address at which the call in progress waits (see [`park`]), or 0.
    pub(crate) waits_at: AtomicUsize,
    /// How many [`Interrupter`]s there are.
    interrupters: AtomicUsize,
}

/// What was asked of a store.
#[derive(Default)]
struct Asked {
    /// That its calls stop.
    interrupt: bool,
    /// That these instances are closed, with exit codes.
    closed: BTreeMap<InstanceId, u32>,
    /// That these are called when calls stop.
    wake: Vec<Weak<Wake>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interrupt, closed, .. } = self;
        let mut debug = f.debug_struct("Asked");
        debug.field("interrupt", interrupt).field("closed", closed).finish_non_exhaustive()
    }
}

/// What wakes a thread that waits in a host function.
pub type Wake = dyn Fn() + Send + Sync;

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
            waits_at: AtomicUsize::new(0),
            interrupters: AtomicUsize::new(0),
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
            asked.wake.iter().filter_map(Weak::upgrade).for_each(|wake| wake());
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

/// What a host function that waits asks, and how it is woken.
///
/// A wait that is to be stopped gives a [`Wake`] first, then asks [`Self::requested`], and waits only if
/// that is false; whatever wakes it, it asks again.
#[derive(Debug, Clone)]
pub struct Interrupts(pub(crate) Arc<Shared>);

impl Interrupts {
    /// Whether the call in progress is to stop. The host function then fails with
    /// [`executor_model::TrapCode::Interrupted`].
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.flag.load(SeqCst)
    }

    /// Whether anyone could interrupt calls: somebody has an [`Interrupter`] of the store. While a host
    /// function runs this cannot become true by anything but that function.
    #[must_use]
    pub fn possible(&self) -> bool {
        self.requested() || self.0.interrupters.load(SeqCst) > 0
    }

    /// Calls `wake` whenever calls are interrupted, on the thread that interrupts, as long as the `Arc`
    /// lives. It must not use an [`Interrupter`] of the store.
    pub fn wake_by(&self, wake: &Arc<Wake>) {
        let mut asked = self.0.asked();
        asked.wake.retain(|known| known.strong_count() > 0);
        asked.wake.push(Arc::downgrade(wake));
    }
}

/// Interrupts the calls of a store, in machine code and wherever a host function waits (see
/// [`Interrupts`]); may be sent to and shared with other threads.
#[derive(Debug)]
pub struct Interrupter(Arc<Shared>);

impl Clone for Interrupter {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        self.0.interrupters.fetch_sub(1, SeqCst);
    }
}

impl Interrupter {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.interrupters.fetch_add(1, SeqCst);
        Self(Arc::clone(shared))
    }

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
