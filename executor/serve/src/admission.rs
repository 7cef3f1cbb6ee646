//! Who may call now, who waits, and who is sent away.
//!
//! Invariant: no more calls run than there are permits, of a function and in all; no more requests wait than a
//! function's queue holds, and none longer than its deadline.

use executor::settings::Settings;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls of a function run at a time where nothing is said.
const CONCURRENCY: u32 = 64;
/// How many requests wait for one where nothing is said.
const QUEUE: u32 = 256;
/// How long a request waits where nothing is said.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

/// The permits of a function.
#[derive(Debug)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    all: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    pub(crate) deadline: Duration,
    limits: (u32, u32, Duration),
}

/// What a call holds while it runs.
#[derive(Debug)]
pub(crate) struct Permit {
    _function: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Why a request is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// As many wait as may.
    Full,
    /// It waited as long as it may.
    Late,
}

impl Admission {
    /// The permits that settings give a function, of those that there are in all.
    pub(crate) fn new(settings: &Settings, all: &Arc<Semaphore>) -> Self {
        let limits = Self::limits(settings);
        let (concurrency, queue, deadline) = limits;
        Self {
            permits: Arc::new(Semaphore::new(concurrency as usize)),
            all: Arc::clone(all),
            waiting: AtomicUsize::new(0),
            queue: queue as usize,
            deadline,
            limits,
        }
    }

    fn limits(settings: &Settings) -> (u32, u32, Duration) {
        (
            settings.concurrency.unwrap_or(CONCURRENCY).max(1),
            settings.queue.unwrap_or(QUEUE),
            settings.queue_deadline.map_or(QUEUE_DEADLINE, |time| time.0),
        )
    }

    /// Whether other settings would give the same.
    pub(crate) fn fits(&self, settings: &Settings, all: &Arc<Semaphore>) -> bool {
        self.limits == Self::limits(settings) && Arc::ptr_eq(&self.all, all)
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many calls may run at a time.
    pub(crate) fn limit(&self) -> usize {
        self.limits.0 as usize
    }

    /// How many calls run.
    pub(crate) fn running(&self) -> usize {
        self.limit().saturating_sub(self.permits.available_permits())
    }

    /// A permit, at once or after waiting.
    pub(crate) async fn admit(&self) -> Result<Permit, Busy> {
        let now = || {
            let function = Arc::clone(&self.permits).try_acquire_owned().ok()?;
            let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
            Some(Permit { _function: function, _all: all })
        };
        if let Some(permit) = now() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, self.queue).ok_or(Busy::Full)?;
        let wait = async {
            // Neither is ever closed.
            let function = Arc::clone(&self.permits).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Permit { _function: function, _all: all })
        };
        match tokio::time::timeout(self.deadline, wait).await {
            Ok(Some(permit)) => Ok(permit),
            Ok(None) | Err(_) => Err(Busy::Late),
        }
    }
}

/// One of those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        match waiting.fetch_add(1, Relaxed) < most {
            true => Some(Self(waiting)),
            false => {
                waiting.fetch_sub(1, Relaxed);
                None
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::settings::Time;

    #[tokio::test]
    async fn no_more_run_wait_or_wait_longer_than_may() {
        let all = Arc::new(Semaphore::new(100));
        let settings = Settings {
            concurrency: Some(2),
            queue: Some(1),
            queue_deadline: Some(Time(Duration::from_millis(30))),
            ..Settings::default()
        };
        let admission = Arc::new(Admission::new(&settings, &all));
        let first = admission.admit().await.unwrap();
        let _second = admission.admit().await.unwrap();
        assert_eq!((admission.running(), all.available_permits()), (2, 98));
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(admission.waiting(), 1);
        assert_eq!(admission.admit().await.unwrap_err(), Busy::Full);
        drop(first);
        // On one thread: nobody was late, as no time passed in between that was not theirs.
        let _third = waiting.await.unwrap().unwrap();
        assert_eq!(admission.waiting(), 0);
        assert_eq!(admission.admit().await.unwrap_err(), Busy::Late, "nobody ends");
        assert_eq!((admission.waiting(), all.available_permits()), (0, 98));
    }

    #[tokio::test]
    async fn who_gets_only_one_of_two_permits_keeps_none() {
        let all = Arc::new(Semaphore::new(1));
        let settings = Settings { queue: Some(0), ..Settings::default() };
        let (one, two) = (Admission::new(&settings, &all), Admission::new(&settings, &all));
        let permit = one.admit().await.unwrap();
        assert_eq!(two.admit().await.unwrap_err(), Busy::Full);
        assert_eq!(two.running(), 0);
        drop(permit);
        assert!(two.admit().await.is_ok());
    }
}
