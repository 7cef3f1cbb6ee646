//! What happens beside results and errors: progress of long work, and warnings.
//!
//! Invariant: whoever listens changes nothing; without a listener nothing is made to be told.

use crate::SnapshotPolicy;
use executor_wasi::Point;
use std::{fmt, sync::Arc, time::Duration};

/// Long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// A module is compiled; counted in functions.
    Compile {
        /// Whether its code is to have frame maps, so that calls can be suspended.
        frame_maps: bool,
    },
    /// State is hashed and written; counted in bytes.
    Snapshot,
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    Began(Work),
    /// Work goes on; told from any thread.
    Progress {
        /// How much is done.
        done: u64,
        /// Of how much.
        total: u64,
    },
    /// The work that began last is over.
    Ended,
    /// A module was compiled.
    Compiled {
        /// Which.
        module: &'a str,
        /// How many functions it has, imported ones too.
        functions: u32,
    },
    /// Functions were too large for the level of optimisation that was asked for, and were compiled
    /// with [`OptLevel::None`](crate::OptLevel::None).
    Simplified {
        /// The module.
        module: &'a str,
        /// The index of the first.
        function: u32,
        /// Its name, if it has one.
        name: Option<&'a str>,
        /// The length of its body in bytes.
        len: u64,
        /// How many more there are.
        more: usize,
    },
    /// No automatic snapshot was taken of an instance ([`Runtime::launch`](crate::Runtime::launch)).
    NoSnapshot {
        /// Why not.
        reasons: &'a [String],
        /// What was asked for.
        policy: SnapshotPolicy,
        /// The point inside a call at which one was to be taken, if it was.
        at: Option<&'a Point>,
    },
    /// Something went wrong that does not stop the work.
    Warning(&'a str),
    /// A guest whose time is up has not come back for a second from a call of the host that nothing
    /// wakes, such as reading a file from a network that is gone. Its thread waits on.
    Overdue {
        /// How much time it had.
        limit: Duration,
    },
}

type Closure = dyn Fn(Event<'_>) + Send + Sync;

/// Who is told.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Closure>>);

impl Listener {
    pub(crate) fn new(listener: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn tell(&self, event: Event<'_>) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }

    pub(crate) fn warn(&self, what: impl fmt::Display) {
        if self.0.is_some() {
            self.tell(Event::Warning(&what.to_string()));
        }
    }

    /// Does work between its beginning and its end.
    pub(crate) fn work<T>(&self, work: Work, f: impl FnOnce() -> T) -> T {
        self.tell(Event::Began(work));
        let value = f();
        self.tell(Event::Ended);
        value
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}
