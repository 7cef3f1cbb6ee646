//! The thread that stops guests whose time is up: one for the whole process, started by the first call
//! that has a limit.
//!
//! Invariant: a guest is stopped only while it is watched: stopping and the end of watching hold one lock,
//! so nothing that is made of a guest's store afterwards is stopped in its place. Watching a call that ends
//! in time allocates nothing and makes no system call, but once in a while to set the thread's alarm.

use crate::{Event, event::Listener, stop::Stop};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long an interrupted guest may take to come back from a call of the host that nothing wakes.
const GRACE: Duration = Duration::from_secs(1);

static WATCHDOG: Watchdog = Watchdog {
    state: Mutex::new(State { watched: Vec::new(), next: 0, started: false, alarm: None }),
    changed: Condvar::new(),
};

struct Watchdog {
    state: Mutex<State>,
    /// The alarm is to be set earlier.
    changed: Condvar,
}

struct State {
    watched: Vec<Watched>,
    /// The number of the guest that is watched next.
    next: u64,
    /// Whether there is a thread.
    started: bool,
    /// When the thread looks again by itself.
    alarm: Option<Instant>,
}

/// A guest that is watched.
struct Watched {
    number: u64,
    /// When it is stopped, and then when it is overdue.
    at: Option<Instant>,
    stopped: bool,
    limit: Duration,
    stop: Stop,
    listener: Listener,
}

/// A guest is watched as long as this lives.
pub(crate) struct Watch(u64);

impl Watch {
    /// Stops a guest, whose limit was `limit`, at `at`.
    pub(crate) fn new(
        at: Instant,
        limit: Duration,
        stop: Stop,
        listener: Listener,
    ) -> io::Result<Self> {
        let mut state = WATCHDOG.state();
        if !state.started {
            thread::Builder::new().name("executor-watchdog".to_owned()).spawn(|| WATCHDOG.run())?;
            state.started = true;
        }
        let number = state.next;
        state.next += 1;
        state.watched.push(Watched { number, at: Some(at), stopped: false, limit, stop, listener });
        if state.alarm.is_none_or(|alarm| at < alarm) {
            state.alarm = Some(at);
            WATCHDOG.changed.notify_one();
        }
        Ok(Self(number))
    }

    /// Watches no longer; whether the guest was stopped.
    pub(crate) fn end(self) -> bool {
        let stopped = self.remove();
        std::mem::forget(self);
        stopped
    }

    fn remove(&self) -> bool {
        let mut state = WATCHDOG.state();
        let place = state.watched.iter().position(|watched| watched.number == self.0);
        place.is_some_and(|place| state.watched.swap_remove(place).stopped)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Watchdog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if let Some((limit, listener)) = state.look(now) {
                drop(state);
                // Others are watched still, whatever the listener does.
                let tell = || listener.tell(Event::Overdue { limit });
                let _ = catch_unwind(AssertUnwindSafe(tell));
                state = self.state();
                continue;
            }
            state.alarm = state.watched.iter().filter_map(|watched| watched.at).min();
            let woken = match state.alarm {
                None => self.changed.wait(state),
                Some(alarm) => {
                    let wait = alarm.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(state, wait);
                    woken.map(|(state, _)| state).map_err(|e| PoisonError::new(e.into_inner().0))
                }
            };
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// Stops the guests whose time is up; returns one that is overdue, which is told of once.
    fn look(&mut self, now: Instant) -> Option<(Duration, Listener)> {
        for watched in &mut self.watched {
            if watched.at.is_none_or(|at| at > now) {
                continue;
            }
            if watched.stopped {
                watched.at = None;
                return Some((watched.limit, watched.listener.clone()));
            }
            watched.stop.stop();
            watched.stopped = true;
            watched.at = now.checked_add(GRACE);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_stopped_once_and_told_of_once_if_it_does_not_come_back() {
        let now = Instant::now();
        let (limit, at) = (Duration::from_secs(1), Some(now + Duration::from_secs(1)));
        let (stop, listener) = (Stop::default(), Listener::default());
        let watched = Watched { number: 0, at, stopped: false, limit, stop, listener };
        let mut state = State { watched: vec![watched], next: 1, started: true, alarm: None };
        assert!(state.look(now).is_none() && !state.watched[0].stopped);
        assert!(state.look(now + limit).is_none() && state.watched[0].stopped);
        assert!(state.look(now + limit).is_none(), "it has time to come back");
        let overdue = state.look(now + limit + GRACE);
        assert_eq!(overdue.map(|(limit, _)| limit), Some(limit));
        assert!(state.look(now + limit + GRACE * 2).is_none());
        assert_eq!(state.watched[0].at, None, "nothing is waited for any more");
    }
}
