//! Which threads wait for calls: a few at the socket, and the others asleep, of which the one that worked last is woken
//! first. All of them at the socket would take turns, and each call would find a thread whose memory no cache has.
//!
//! Invariant: as long as a thread has no call, one waits at the socket, or is about to.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, Thread},
};

/// How many threads wait at the socket at most. With more than one, a call that ends before the next begins wakes
/// nobody.
const LISTENERS: usize = 2;

/// The turns of so many threads.
#[derive(Debug)]
pub(super) struct Turns {
    threads: Box<[Turn]>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Turn {
    thread: OnceLock<Thread>,
    has_come: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How many wait at the socket, or were woken to.
    listening: usize,
    /// The threads that sleep, the last that worked at the end.
    asleep: Vec<usize>,
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        let threads = (0..threads).map(|_| Turn::default()).collect();
        Self { threads, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the turn of the thread with this number, which calls it, to wait at the socket.
    pub(super) fn begin(&self, number: usize) {
        let turn = &self.threads[number];
        turn.thread.get_or_init(thread::current);
        let mut waiting = self.waiting();
        if waiting.listening < LISTENERS {
            waiting.listening += 1;
            return;
        }
        waiting.asleep.push(number);
        drop(waiting);
        while !turn.has_come.swap(false, SeqCst) {
            thread::park();
        }
    }

    /// The calling thread has a call: where nobody waits at the socket any more, another does.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.listening -= 1;
        if waiting.listening > 0 {
            return;
        }
        let Some(next) = waiting.asleep.pop() else { return };
        waiting.listening += 1;
        drop(waiting);
        let turn = &self.threads[next];
        turn.has_come.store(true, SeqCst);
        if let Some(thread) = turn.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, Barrier, atomic::AtomicUsize, mpsc},
        time::Duration,
    };

    #[test]
    fn as_many_calls_as_there_are_threads_run_at_a_time() {
        const THREADS: usize = 8;
        let shared = Arc::new((Turns::new(THREADS), Barrier::new(THREADS), AtomicUsize::new(0)));
        let (done, ended) = mpsc::channel();
        for number in 0..THREADS {
            let (shared, done) = (Arc::clone(&shared), done.clone());
            thread::spawn(move || {
                let (turns, all, listening) = &*shared;
                for _ in 0..100 {
                    turns.begin(number);
                    assert!(listening.fetch_add(1, SeqCst) < LISTENERS);
                    listening.fetch_sub(1, SeqCst);
                    turns.end();
                    // A call that ends when all have one.
                    all.wait();
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..THREADS {
            ended.recv_timeout(Duration::from_secs(60)).expect("a thread has no turn");
        }
    }
}
