//! Waiting for time to pass and for descriptors.
//!
//! Invariant: at least one event is reported, of a subscription that was given; a wait ends when the
//! guest is asked to stop.

use crate::abi::{Event, Subscription, rights};
use crate::clock::{MONOTONIC, REALTIME};
use crate::descriptor::{Kind, StdStream};
use crate::stream::{Canceller, Input};
use crate::{Errno, Memory, WasiCtx};
use rustix::event::{PollFd, PollFlags, Timespec, poll as host_poll};
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use zerocopy::FromBytes;

/// More subscriptions than a guest has use for; each costs host memory while waiting.
const MAX_SUBSCRIPTIONS: u32 = 4096;
/// The tags of subscriptions and events.
pub(crate) mod tag {
    pub(crate) const CLOCK: u8 = 0;
    pub(super) const FD_READ: u8 = 1;
    pub(super) const FD_WRITE: u8 = 2;
}
/// The flag of a clock subscription whose time is a point and not a span.
const ABSTIME: u16 = 1;
/// The flag of an event: the other end is gone.
const HANGUP: u16 = 1;

/// What became of a subscription: bytes ready and flags, or an error.
type Outcome = Result<(u64, u16), Errno>;

/// How a subscription stands before the wait.
enum Standing<'a> {
    /// An event already.
    Ready(Outcome),
    /// After so many nanoseconds.
    After(u64),
    /// When the host says so.
    Host(BorrowedFd<'a>, PollFlags),
}

/// `poll_oneoff`.
pub(crate) fn poll_oneoff(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
) -> Result<u32, Errno> {
    poll::<Subscription>(ctx, memory, subscriptions, events, count)
}

/// `poll_oneoff`, of subscriptions that a guest lays out as `S`.
pub(crate) fn poll<S: FromBytes + Into<Subscription>>(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
) -> Result<u32, Errno> {
    ctx.observed.other("time or a descriptor was waited for");
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::INVAL);
    }
    // All is read before anything is written: the arrays may overlap.
    let subscriptions = (0..count)
        .map(|i| Ok(memory.read::<S>(element::<S>(subscriptions, i)?)?.into()))
        .collect::<Result<Vec<Subscription>, Errno>>()?;
    memory.check::<Event>(element::<Event>(events, count - 1)?)?;
    memory.check::<Event>(events)?;
    let outcomes = wait(ctx, &subscriptions)?;
    let mut n = 0;
    for (subscription, outcome) in subscriptions.iter().zip(outcomes) {
        if let Some(outcome) = outcome {
            memory.write(element::<Event>(events, n)?, &event(subscription, outcome))?;
            n += 1;
        }
    }
    Ok(n)
}

/// The address of an element of an array.
fn element<T>(array: u32, i: u32) -> Result<u32, Errno> {
    array.checked_add(i * size_of::<T>() as u32).ok_or(Errno::FAULT)
}

/// Waits until a subscription has an event; says which have one, in order.
fn wait(ctx: &mut WasiCtx, subscriptions: &[Subscription]) -> Result<Vec<Option<Outcome>>, Errno> {
    // What is asked again after a restore is opened first, so that all can be looked at together.
    let spans: Vec<_> =
        subscriptions.iter().map(|subscription| prepare(ctx, subscription)).collect();
    let standings: Vec<_> = subscriptions
        .iter()
        .zip(spans)
        .map(|(subscription, prepared)| match prepared {
            Err(error) => Standing::Ready(Err(error)),
            Ok(Some(nanoseconds)) => Standing::After(nanoseconds),
            Ok(None) => standing(ctx, subscription.id.get(), subscription.tag),
        })
        .collect();
    let ready = standings.iter().any(|standing| matches!(standing, Standing::Ready(_)));
    let spans = standings.iter().filter_map(|standing| match standing {
        Standing::After(nanoseconds) => Some(*nanoseconds),
        _ => None,
    });
    let first = spans.min();
    // Where time passes by being looked at, nobody has to wait for it.
    let immediate = ready || (first.is_some() && ctx.clocks.fixed());

    let canceller = ctx.canceller.as_ref();
    let event = match immediate {
        true => None,
        false => {
            ctx.stdio.flush();
            canceller.map(Canceller::event).transpose()?.flatten()
        }
    };
    let mut fds: Vec<_> = standings
        .iter()
        .filter_map(|standing| match standing {
            Standing::Host(fd, flags) => Some(PollFd::from_borrowed_fd(*fd, *flags)),
            _ => None,
        })
        .collect();
    let hosts = fds.len();
    fds.extend(event.map(|event| PollFd::from_borrowed_fd(event, PollFlags::IN)));
    let begin = Instant::now();
    let passed = || u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let hosts_ready = loop {
        let rest = match immediate {
            true => Some(0),
            false => first.map(|first| first.saturating_sub(passed())),
        };
        let timeout = rest.map(|nanoseconds| Timespec {
            tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
            tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
        });
        let polled = host_poll(&mut fds, timeout.as_ref());
        if canceller.is_some_and(Canceller::is_cancelled) {
            return Err(Errno::INTR);
        }
        match polled {
            Err(rustix::io::Errno::INTR) => {}
            Ok(1..) if fds[..hosts].iter().all(|fd| fd.revents().is_empty()) => {
                // An interrupt that is over already.
                canceller.map(Canceller::event).transpose()?;
            }
            polled => break polled? > 0,
        }
    };

    // Nothing else has happened, so the time that is waited for first has come.
    let came = match first {
        Some(first) if !ready && !hosts_ready => first,
        _ => 0,
    };
    let until = if ctx.clocks.fixed() { came } else { passed().max(came) };
    let mut polled = fds.iter();
    let outcome = |standing: &Standing<'_>| match standing {
        Standing::Ready(outcome) => Some(*outcome),
        Standing::After(nanoseconds) => (*nanoseconds <= until).then_some(Ok((0, 0))),
        Standing::Host(fd, flags) => {
            let now = polled.next()?.revents();
            if now.is_empty() {
                return None;
            }
            // How much could be written is not known, but that something can.
            let bytes = match flags.contains(PollFlags::IN) {
                true => rustix::io::ioctl_fionread(fd).unwrap_or(0),
                false => 1,
            };
            let gone = now.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP);
            Some(Ok((bytes, if gone { HANGUP } else { 0 })))
        }
    };
    let outcomes = standings.iter().map(outcome).collect();
    if ctx.clocks.fixed() {
        ctx.clocks.pass(came);
    }
    Ok(outcomes)
}

/// Looks at a subscription as far as that changes the context: how many nanoseconds from now it
/// waits, if it is one to a clock; otherwise whether its descriptor can be polled.
fn prepare(ctx: &mut WasiCtx, subscription: &Subscription) -> Result<Option<u64>, Errno> {
    let (id, time) = (subscription.id.get(), subscription.timeout.get());
    match (subscription.tag, id) {
        (tag::CLOCK, REALTIME | MONOTONIC) => match subscription.flags.get() {
            0 => Ok(Some(time)),
            ABSTIME => Ok(Some(time.saturating_sub(ctx.clocks.now(id)?))),
            _ => Err(Errno::INVAL),
        },
        // Processor time does not pass while waiting.
        (tag::CLOCK, 2 | 3) => Err(Errno::NOTSUP),
        (tag::FD_READ | tag::FD_WRITE, fd) => {
            let direction = match subscription.tag {
                tag::FD_READ => rights::FD_READ,
                _ => rights::FD_WRITE,
            };
            let descriptor = ctx.descriptors.get(fd)?;
            match descriptor.kind {
                Kind::File(_) => _ = ctx.descriptors.file(fd, direction)?,
                Kind::Directory(_) => return Err(Errno::BADF),
                _ => {}
            }
            ctx.descriptors.get(fd)?.rights.require(rights::POLL_FD_READWRITE)?;
            Ok(None)
        }
        _ => Err(Errno::INVAL),
    }
}

/// How a descriptor that [`prepare`] has looked at stands.
fn standing(ctx: &WasiCtx, fd: u32, tag: u8) -> Standing<'_> {
    let reads = tag == tag::FD_READ;
    let flags = if reads { PollFlags::IN } else { PollFlags::OUT };
    let Some(descriptor) = ctx.descriptors.look(fd) else {
        return Standing::Ready(Err(Errno::BADF));
    };
    match &descriptor.kind {
        Kind::Stream(stream) if reads != (*stream == StdStream::Stdin) => {
            Standing::Ready(Err(Errno::BADF))
        }
        Kind::Stream(stream) => match (ctx.stdio.host(*stream), &ctx.stdio.stdin) {
            (Some(host), _) => Standing::Host(host, flags),
            (None, Input::Bytes(bytes)) if reads => Standing::Ready(Ok((bytes.len() as u64, 0))),
            (None, _) => Standing::Ready(Ok((1, 0))),
        },
        Kind::File(file) if file.is_regular() => {
            let rest = || {
                let at = (&file.file).stream_position().ok()?;
                Some(file.file.metadata().ok()?.len().saturating_sub(at))
            };
            Standing::Ready(Ok((if reads { rest().unwrap_or(0) } else { 1 }, 0)))
        }
        Kind::File(file) => Standing::Host(file.file.as_fd(), flags),
        Kind::Listener(listener, _) if reads => Standing::Host(listener.as_fd(), flags),
        Kind::Connection(connection) if reads => {
            Standing::Host(connection.as_fd(), flags | PollFlags::RDHUP)
        }
        Kind::Connection(connection) => Standing::Host(connection.as_fd(), flags),
        Kind::Listener(..) | Kind::Directory(_) => Standing::Ready(Err(Errno::BADF)),
    }
}

fn event(subscription: &Subscription, outcome: Outcome) -> Event {
    let (error, (nbytes, flags)) = match outcome {
        Ok(ready) => (0, ready),
        Err(errno) => (errno.raw(), (0, 0)),
    };
    Event {
        userdata: subscription.userdata,
        error: error.into(),
        tag: subscription.tag,
        nbytes: nbytes.into(),
        flags: flags.into(),
        ..Event::default()
    }
}
