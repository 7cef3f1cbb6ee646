//! Stopping guests: by hand from other threads, and when their time is up.
//!
//! Invariant: a guest that is to stop leaves machine code within one signal's delivery, and a wait in a
//! host function at once. Only the guest's own time counts against its limit.

use crate::{Error, event::Listener, watchdog::Watch};
use executor_model::CallError;
use executor_runtime::Interrupter;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Cancels the calls of instances from any thread. Clones are the same cancellation.
///
/// It is given to instances as they are made, and holds for as long as they live: once cancelled,
/// the call in progress of each, and every later one, ends with the trap
/// [`TrapCode::Interrupted`](crate::TrapCode::Interrupted), also of an instance that is made after.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    cancelled: bool,
    stops: Vec<Weak<Inner>>,
}

impl Cancellation {
    /// A new one, not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call in progress of every instance that has this, and every later one.
    pub fn cancel(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.cancelled = true;
        for stop in watched.stops.drain(..) {
            if let Some(inner) = stop.upgrade() {
                Stop(inner).stop();
            }
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cancelled
    }

    fn watch(&self, stop: &Stop) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.cancelled {
            true => stop.stop(),
            false => {
                watched.stops.retain(|stop| stop.strong_count() > 0);
                watched.stops.push(Arc::downgrade(&stop.0));
            }
        }
    }
}

/// What stops one instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    /// Known as soon as there is a store.
    interrupter: OnceLock<Interrupter>,
}

impl Stop {
    /// What stops an instance that is to be made, where anything may.
    pub(crate) fn new(
        timeout: Option<Duration>,
        cancellation: Option<&Cancellation>,
    ) -> Option<Self> {
        if timeout.is_none() && cancellation.is_none() {
            return None;
        }
        let stop = Self::default();
        if let Some(cancellation) = cancellation {
            cancellation.watch(&stop);
        }
        Some(stop)
    }

    /// Makes it stop the calls of a store.
    pub(crate) fn attach(&self, interrupter: Interrupter) {
        let interrupter = self.0.interrupter.get_or_init(|| interrupter);
        // Whoever stops sets the flag before looking for the interrupter, so one of the two sees it.
        if self.0.stopped.load(SeqCst) {
            interrupter.interrupt();
        }
    }

    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, SeqCst);
        if let Some(interrupter) = self.0.interrupter.get() {
            interrupter.interrupt();
        }
    }
}

/// The time of a guest.
#[derive(Debug)]
pub(crate) struct Clock {
    limit: Option<Duration>,
    /// What stops it, also by a [`Cancellation`], which holds it by a weak reference.
    stop: Option<Stop>,
    used: Duration,
    passed: bool,
    listener: Listener,
}

impl Clock {
    /// A guest that has `limit`, and that `stop` stops.
    pub(crate) fn new(limit: Option<Duration>, stop: Option<Stop>, listener: &Listener) -> Self {
        Self { limit, stop, used: Duration::ZERO, passed: false, listener: listener.clone() }
    }

    /// Runs the guest, and stops it when its time is up.
    pub(crate) fn run<T>(&mut self, guest: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let (Some(limit), Some(stop)) = (self.limit, self.stop.clone()) else { return guest() };
        let left = limit.saturating_sub(self.used);
        let begun = Instant::now();
        // What is further away than clocks can tell is no limit.
        let Some(at) = begun.checked_add(left) else { return guest() };
        let watch = Watch::new(at, limit, stop, self.listener.clone())
            .map_err(|source| Error::System { what: "start a thread", source })?;
        let value = guest();
        self.passed |= watch.end();
        self.used += begun.elapsed();
        match value {
            Err(error) if self.passed && matches!(error.call(), Some(CallError::Trap(_))) => {
                Err(Error::TimedOut { limit, source: Box::new(error) })
            }
            value => value,
        }
    }
}
