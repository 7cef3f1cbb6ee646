//! A worker process, and what it has to do.

use super::{
    GRACE,
    in_flight::{First, InFlight, Listed, Ticket, Waiting},
};
use crate::{
    memory::{Hoard, Memory, Reserved},
    observe,
    wire::{self, Call, End, Hello, Kept, Order, Packets, Reply},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    env, io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::unix::pipe::{Receiver, Sender},
    process::{Child, Command},
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

/// How long a worker may take to begin.
const START: Duration = Duration::from_secs(60);
/// How long it is waited for what a worker is asked for.
const TELL: Duration = Duration::from_millis(500);

/// A worker that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) worker: Arc<Worker>,
    pub(super) child: Child,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) process: u32,
    /// As the type with which Tokio waits for packets, and not for room: that there is with each packet that the worker
    /// takes.
    calls: Receiver,
    control: Mutex<(OwnedFd, Packets)>,
    sender: Mutex<Packets>,
    /// Its calls, by number; none once it has ended.
    listed: Mutex<Option<HashMap<u64, Listed>>>,
    load: AtomicUsize,
    /// The slots that it kept when it was asked last.
    kept: watch::Sender<Vec<Kept>>,
    /// What it keeps of the memory of all workers, where that is limited.
    hoard: Option<Hoard>,
}

/// Why a worker does not get a call.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the call would have held, unless it went with the worker's other calls.
    pub(super) ticket: Option<Ticket>,
    /// None where the worker ends, or has ended.
    pub(super) error: Option<io::Error>,
}

/// A call that is listed, and that the worker does not have yet.
struct Unsent<'a> {
    worker: &'a Worker,
    number: u64,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.worker.remove(self.number);
    }
}

/// Starts a worker, and waits until it takes calls. Whether it has to be confined is said by `required`.
///
/// # Errors
/// When there is no process or no socket for it, it ends, or it cannot be confined and has to be.
pub(super) async fn start(
    hello: &Hello,
    required: bool,
    memory: Option<Arc<Memory>>,
) -> io::Result<Started> {
    let (calls, theirs) = wire::pair()?;
    let (control, their_control) = wire::pair()?;
    // Its own binary, by the file that runs and not by its path, which may be another's by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("executor-serve").arg(crate::worker::WORD).env_clear();
    // For what it has to say of itself.
    command.envs(env::vars_os().filter(|(name, _)| name == "RUST_BACKTRACE"));
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).kill_on_drop(true);
    let child = command.spawn()?;
    Packets::new().send(&calls, hello, Some(their_control.as_fd()), true)?;
    let calls = Receiver::from_owned_fd_unchecked(calls)?;
    let worker = Worker {
        process: child.id().unwrap_or_default(),
        calls: ready(calls, required).await?,
        control: Mutex::new((control, Packets::new())),
        sender: Mutex::new(Packets::new()),
        listed: Mutex::new(Some(HashMap::new())),
        load: AtomicUsize::new(0),
        kept: watch::Sender::default(),
        hoard: memory.map(Hoard::new),
    };
    Ok(Started { worker: Arc::new(worker), child })
}

/// Waits until a worker takes calls.
async fn ready(socket: Receiver, required: bool) -> io::Result<Receiver> {
    let mut packets = Packets::new();
    let said = timeout(START, reply(&socket, &mut packets)).await;
    let said = said.map_err(|_| io::Error::other("it does not begin"))??;
    let unconfined = match said {
        Some((Reply::Ready { unconfined }, _)) => unconfined,
        Some(_) => return Err(io::Error::other("it does not say that it is ready")),
        None => return Err(io::Error::other("it ended before it was ready")),
    };
    match unconfined {
        Some(why) if required => Err(io::Error::other(format!("it cannot be confined: {why}"))),
        Some(why) => {
            tracing::warn!(
                "guests are kept in by WebAssembly alone, as workers are not confined: {why}"
            );
            Ok(socket)
        }
        None => Ok(socket),
    }
}

/// Waits for a reply of a worker; none when it has ended.
async fn reply(
    socket: &Receiver,
    packets: &mut Packets,
) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
    loop {
        socket.readable().await?;
        match socket.try_io(|| packets.receive(socket, false)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

impl Worker {
    /// How many calls it has.
    pub(super) fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    fn listed(&self) -> MutexGuard<'_, Option<HashMap<u64, Listed>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it a call. Where it takes none, what the call would hold is given back.
    pub(super) async fn give(
        self: Arc<Self>,
        call: &Call<'_>,
        with: Option<BorrowedFd<'_>>,
        ticket: Ticket,
    ) -> Result<InFlight, Refused> {
        let number = call.number;
        let (sender, first) = oneshot::channel();
        let reserved = ticket.permit.output.clone();
        match &mut *self.listed() {
            Some(listed) => listed.insert(number, Listed::new(ticket, sender)),
            None => return Err(Refused { ticket: Some(ticket), error: None }),
        };
        self.load.fetch_add(1, Relaxed);
        // Who gives up while it waits for room leaves nothing here: the worker will never tell of that call.
        let unsent = Unsent { worker: &self, number };
        let sent = self.send(call, with).await;
        mem::forget(unsent);
        match sent {
            Ok(()) => Ok(InFlight::new(self, number, first, reserved)),
            Err(error) => {
                let ticket = self.remove(number).map(|listed| listed.ticket);
                // Reset: it ended with calls in its socket that it had not taken.
                let gone = matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                );
                Err(Refused { ticket, error: Some(error).filter(|_| !gone) })
            }
        }
    }

    async fn send(&self, call: &Call<'_>, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let send = || {
            let mut packets = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            packets.send(&self.calls, call, with, false)
        };
        let would_wait = |sent: &io::Result<()>| {
            sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        let mut sent = send();
        if would_wait(&sent) {
            let socket = self.calls.as_fd().try_clone_to_owned()?;
            let socket = Sender::from_owned_fd_unchecked(socket)?;
            while would_wait(&sent) {
                socket.writable().await?;
                sent = socket.try_io(send);
            }
        }
        sent
    }

    /// Takes no calls any more, if it has none.
    pub(super) fn close_if_idle(&self) -> bool {
        self.listed().take_if(|listed| listed.is_empty()).is_some()
    }

    /// Has a call ended.
    pub(super) fn cancel(&self, number: u64) {
        if let Some(listed) = &mut *self.listed()
            && let Some(call) = listed.get_mut(&number)
        {
            call.overdue = call.overdue.min(Instant::now() + GRACE);
        }
        // A worker that does not listen is killed when the call is overdue.
        let _ = self.order(Order::Cancel(number));
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let (socket, packets) = &mut *self.control.lock().unwrap_or_else(PoisonError::into_inner);
        packets.send(socket, &order, None, false)
    }

    /// The slots that it keeps: as it says now, or said last where it does not answer.
    pub(super) async fn kept(&self) -> Vec<Kept> {
        let mut said = self.kept.subscribe();
        if self.order(Order::TellKept).is_ok() {
            // Who does not answer in time is busy, or ends.
            let _ = timeout(TELL, said.changed()).await;
        }
        said.borrow().clone()
    }

    /// Whether a call has not ended.
    pub(super) fn has(&self, number: u64) -> bool {
        self.listed().as_ref().is_some_and(|listed| listed.contains_key(&number))
    }

    /// Whether a call takes longer than it may, and does not end.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let listed = self.listed();
        listed.as_ref().is_some_and(|calls| calls.values().any(|call| call.overdue <= now))
    }

    /// Listens to it until it ends. What it had to do has ended then too.
    pub(super) async fn listen(&self) {
        let mut packets = Packets::new();
        loop {
            match reply(&self.calls, &mut packets).await {
                Ok(Some((reply, with))) => self.hear(reply, with),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(worker = self.process, "what it says is no reply: {error}");
                    break;
                }
            }
        }
        // Who waits for one sees that its sender is gone.
        drop(self.listed().take());
        if let Some(hoard) = &self.hoard {
            hoard.clear();
        }
    }

    /// Notes by how much what it keeps has changed, with what a call that has ended had reserved.
    fn keeps(&self, change: i64, of_call: Option<Reserved>) {
        let Some(hoard) = &self.hoard else { return };
        if let Some(bytes) = hoard.change(change, of_call) {
            self.give_up(bytes);
        }
    }

    /// Has it give up slots, until so many bytes are free.
    pub(super) fn give_up(&self, bytes: u64) {
        // What it does not hear is given up when it ends.
        let _ = self.order(Order::GiveUp(bytes));
    }

    /// Has it give up slots whenever somebody waits for memory.
    pub(super) async fn give_up_what_is_wanted(&self) -> Infallible {
        let Some(hoard) = &self.hoard else { return std::future::pending().await };
        let mut wanted = hoard.wanted();
        loop {
            self.give_up(wanted.next().await);
        }
    }

    fn hear(&self, reply: Reply, with: Option<OwnedFd>) {
        match reply {
            // It was, already.
            Reply::Ready { .. } => {}
            Reply::End(end) => {
                let Some(Listed { mut ticket, waiting, .. }) = self.remove(end.number) else {
                    return;
                };
                observe::log_of_guest(&ticket.request, &ticket.served.name, &end.log);
                let sampled = ticket.sampled.then_some(ticket.served.snapshot);
                ticket.served.stats.call(&end, sampled);
                self.keeps(end.kept, ticket.permit.memory.take());
                drop(ticket.permit);
                // Whoever waited may be gone.
                match waiting {
                    Waiting::First(sender) => drop(sender.send(First::End(end))),
                    Waiting::End(sender) => drop(sender.send(end)),
                }
            }
            Reply::Output { number, begun } => {
                let mut listed = self.listed();
                let Some(call) = listed.as_mut().and_then(|listed| listed.get_mut(&number)) else {
                    return;
                };
                let (sender, end) = oneshot::channel::<End>();
                let Some(pipe) = with else { return };
                match mem::replace(&mut call.waiting, Waiting::End(sender)) {
                    Waiting::First(first) => drop(first.send(First::Output(begun, pipe, end))),
                    // It says so once.
                    Waiting::End(_) => {}
                }
            }
            Reply::GaveUp(change) => self.keeps(change, None),
            Reply::Kept(kept) => drop(self.kept.send_replace(kept)),
            Reply::Log { number, text } => {
                if let Some(listed) = &*self.listed()
                    && let Some(call) = listed.get(&number)
                {
                    observe::log_of_guest(&call.ticket.request, &call.ticket.served.name, &text);
                }
            }
        }
    }

    fn remove(&self, number: u64) -> Option<Listed> {
        let removed = self.listed().as_mut()?.remove(&number)?;
        self.load.fetch_sub(1, Relaxed);
        Some(removed)
    }
}
