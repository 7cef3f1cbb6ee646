//! Who may call now, who waits, and who is sent away.
//!
//! Invariant: no more calls run than there are permits, of a function and in all, and than there is memory for,
//! their own and that of their output; no more requests wait than a function's queue holds, and none longer than its
//! deadline.

use crate::memory::{Memory, Reserved};
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

/// What the calls of all functions share.
#[derive(Debug)]
pub(crate) struct All {
    permits: Arc<Semaphore>,
    concurrency: usize,
    memory: Option<Arc<Memory>>,
    output: Option<Memory>,
}

/// How many bytes each call of a function reserves, where those of all are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// For itself.
    pub(crate) memory: u64,
    /// For its output on the way to the client.
    pub(crate) output: u64,
}

impl All {
    /// Permits for so many calls at a time, with so many bytes of memory, and so many for output.
    pub(crate) fn new(concurrency: usize, memory: Option<u64>, output: Option<u64>) -> Self {
        let permits = Arc::new(Semaphore::new(concurrency));
        let memory = memory.map(|bytes| Arc::new(Memory::new(bytes)));
        Self { permits, concurrency, memory, output: output.map(Memory::new) }
    }

    /// How many calls may run at a time.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// How many could begin now.
    pub(crate) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// The memory of all workers, if it is limited.
    pub(crate) fn memory(&self) -> Option<&Arc<Memory>> {
        self.memory.as_ref()
    }

    /// The memory of output on its way to clients, if it is limited.
    pub(crate) fn output(&self) -> Option<&Memory> {
        self.output.as_ref()
    }
}

/// The permits of a function.
#[derive(Debug)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    all: Arc<All>,
    needs: Needs,
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
    /// The most memory that it may take, where that is limited.
    pub(crate) memory: Option<Reserved>,
    /// The most memory that its output takes at a time, where that is limited. Its response holds this too.
    pub(crate) output: Option<Arc<Reserved>>,
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
    /// The permits that settings give a function, of those that there are in all, and what each of its calls reserves.
    pub(crate) fn new(settings: &Settings, all: &Arc<All>, needs: Needs) -> Self {
        let limits = Self::limits(settings);
        let (concurrency, queue, deadline) = limits;
        Self {
            permits: Arc::new(Semaphore::new(concurrency as usize)),
            all: Arc::clone(all),
            needs,
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
    pub(crate) fn fits(&self, settings: &Settings, all: &Arc<All>, needs: Needs) -> bool {
        self.limits == Self::limits(settings) && Arc::ptr_eq(&self.all, all) && self.needs == needs
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
        let All { permits: all, memory, output, .. } = &*self.all;
        let now = || {
            let function = Arc::clone(&self.permits).try_acquire_owned().ok()?;
            let all = Arc::clone(all).try_acquire_owned().ok()?;
            let memory = match memory {
                Some(memory) => Some(memory.try_reserve(self.needs.memory)?),
                None => None,
            };
            let output = match output {
                Some(output) => Some(Arc::new(output.try_reserve(self.needs.output)?)),
                None => None,
            };
            Some(Permit { _function: function, _all: all, memory, output })
        };
        if let Some(permit) = now() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, self.queue).ok_or(Busy::Full)?;
        let wait = async {
            // None of them is ever closed.
            let function = Arc::clone(&self.permits).acquire_owned().await.ok()?;
            let all = Arc::clone(all).acquire_owned().await.ok()?;
            let memory = match memory {
                Some(memory) => Some(memory.reserve(self.needs.memory).await?),
                None => None,
            };
            let output = match output {
                Some(output) => Some(Arc::new(output.reserve(self.needs.output).await?)),
                None => None,
            };
            Some(Permit { _function: function, _all: all, memory, output })
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

    fn needs(memory: u64) -> Needs {
        Needs { memory, ..Needs::default() }
    }

    #[tokio::test]
    async fn no_more_run_wait_or_wait_longer_than_may() {
        let all = Arc::new(All::new(100, None, None));
        let settings = Settings {
            concurrency: Some(2),
            queue: Some(1),
            queue_deadline: Some(Time(Duration::from_millis(30))),
            ..Settings::default()
        };
        let admission = Arc::new(Admission::new(&settings, &all, Needs::default()));
        let first = admission.admit().await.unwrap();
        let _second = admission.admit().await.unwrap();
        assert_eq!((admission.running(), all.free()), (2, 98));
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
        assert_eq!((admission.waiting(), all.free()), (0, 98));
    }

    #[tokio::test]
    async fn who_gets_only_one_of_two_permits_keeps_none() {
        let all = Arc::new(All::new(1, None, None));
        let settings = Settings { queue: Some(0), ..Settings::default() };
        let (one, two) = (
            Admission::new(&settings, &all, Needs::default()),
            Admission::new(&settings, &all, Needs::default()),
        );
        let permit = one.admit().await.unwrap();
        assert_eq!(two.admit().await.unwrap_err(), Busy::Full);
        assert_eq!(two.running(), 0);
        drop(permit);
        assert!(two.admit().await.is_ok());
    }
    #[tokio::test]
    async fn who_finds_no_memory_waits_for_it_and_holds_none_meanwhile() {
        let all = Arc::new(All::new(100, Some(3 << 20), None));
        let settings = Settings {
            queue_deadline: Some(Time(Duration::from_millis(30))),
            ..Settings::default()
        };
        let large = Arc::new(Admission::new(&settings, &all, needs(2 << 20)));
        let small = Admission::new(&settings, &all, needs(1 << 20));
        let first = large.admit().await.unwrap();
        assert_eq!(large.admit().await.unwrap_err(), Busy::Late);
        let _other = small.admit().await.unwrap();
        let second = tokio::spawn({
            let large = Arc::clone(&large);
            async move { large.admit().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        let _second = second.await.unwrap().unwrap();
        assert_eq!((large.running(), small.running(), all.free()), (1, 1, 98));
        assert_eq!(all.memory().unwrap().free(), 0);
    }
}
