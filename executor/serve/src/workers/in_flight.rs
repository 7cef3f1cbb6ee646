//! Calls that a worker has, as the server sees them.
//!
//! Invariant: what a call holds of the server (its permits) is given back when the worker has ended it, not when the
//! client is gone: until then it takes room. What is reserved for its output is its response's too.

use super::{GRACE, worker::Worker};
use crate::{
    admission::Permit,
    functions::Served,
    memory::Reserved,
    wire::{End, Failure, Outcome, Phases, Usage},
};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// What a call holds until it ends, and what is needed to tell of it.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The number of the request, for logs.
    pub(crate) request: Arc<str>,
    pub(crate) served: Arc<Served>,
    /// The pages that it writes to are asked for.
    pub(crate) sampled: bool,
    pub(crate) permit: Permit,
    pub(crate) deadline: Duration,
}

/// The first that is heard of a call.
#[derive(Debug)]
pub(crate) enum First {
    /// It is over.
    End(End),
    /// Its output begins so, and goes on in a pipe.
    Output(Vec<u8>, OwnedFd, oneshot::Receiver<End>),
}

/// A call that a worker has. Dropped before its end is known, it is cancelled.
#[derive(Debug)]
pub(crate) struct InFlight {
    worker: Arc<Worker>,
    number: u64,
    first: Option<oneshot::Receiver<First>>,
    ended: bool,
    /// What is reserved for its output, where that is limited.
    pub(crate) reserved: Option<Arc<Reserved>>,
}

impl InFlight {
    pub(super) fn new(
        worker: Arc<Worker>,
        number: u64,
        first: oneshot::Receiver<First>,
        reserved: Option<Arc<Reserved>>,
    ) -> Self {
        Self { worker, number, first: Some(first), ended: false, reserved }
    }

    /// Waits for the first that is heard of it.
    ///
    /// # Panics
    /// When it is called again.
    pub(crate) async fn first(&mut self) -> First {
        let first = self.first.take().expect("the first is waited for once");
        // Who waits no more (a client that is gone) drops all of this.
        match first.await {
            Ok(First::End(end)) => {
                self.ended = true;
                First::End(end)
            }
            Ok(output) => output,
            Err(_) => {
                self.ended = true;
                First::End(End::lost(self.number))
            }
        }
    }

    /// Its end, where its output came before.
    pub(crate) fn end(&mut self, end: Result<End, oneshot::error::RecvError>) -> End {
        self.ended = true;
        end.unwrap_or_else(|_| End::lost(self.number))
    }

    /// Whether its end is known.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What can end it, and waits for that.
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { worker: Arc::clone(&self.worker), number: self.number }
    }
}

/// What can end a call.
#[derive(Debug)]
pub(crate) struct Canceller {
    worker: Arc<Worker>,
    number: u64,
}

impl Canceller {
    /// Has the call ended.
    pub(crate) fn cancel(&self) {
        self.worker.cancel(self.number);
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        while self.worker.has(self.number) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.worker.cancel(self.number);
        }
    }
}

impl End {
    /// Of a call whose worker ended.
    fn lost(number: u64) -> Self {
        let text = "its worker ended".to_owned();
        Self {
            number,
            outcome: Outcome::Failed(Failure::Worker, text),
            output: Vec::new(),
            log: Vec::new(),
            phases: Phases::default(),
            usage: Usage::default(),
            kept: 0,
        }
    }
}

/// What a worker's side of a call is waiting for.
#[derive(Debug)]
pub(super) enum Waiting {
    First(oneshot::Sender<First>),
    End(oneshot::Sender<End>),
}

/// A call in the list of its worker.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) ticket: Ticket,
    pub(super) waiting: Waiting,
    /// When the worker is killed for it.
    pub(super) overdue: Instant,
}

impl Listed {
    pub(super) fn new(ticket: Ticket, first: oneshot::Sender<First>) -> Self {
        // What is further away than clocks can tell is a year.
        let far = Duration::from_secs(365 * 86_400);
        let overdue = Instant::now() + ticket.deadline.min(far) + GRACE;
        Self { ticket, waiting: Waiting::First(first), overdue }
    }
}
