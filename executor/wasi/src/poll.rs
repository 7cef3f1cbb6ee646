//! Waiting for time to pass and for descriptors.
//!
//! Invariant: at least one event is reported, of a subscription that was given; a wait ends when the
//! guest is asked to stop.

use crate::clock::{MONOTONIC, REALTIME};
use crate::descriptor::{Descriptor, StdStream};
use crate::stream::Canceller;
use crate::{Errno, Memory, WasiCtx};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd};

const SUBSCRIPTION_SIZE: u32 = 48;
const EVENT_SIZE: u32 = 32;
/// More subscriptions than a guest has use for; each costs host memory while waiting.
const MAX_SUBSCRIPTIONS: u32 = 4096;
/// The flag of a clock subscription whose time is a point and not a span.
const ABSTIME: u16 = 1;
/// The flag of an event: the other end is gone.
const HANGUP: u16 = 1;

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// So many nanoseconds from now.
    Time(u64),
    Read(u32),
    Write(u32),
}

/// A subscription, read from guest memory.
#[derive(Debug, Clone, Copy)]
struct Subscription {
    userdata: u64,
    tag: u8,
    waiting: Result<Waiting, Errno>,
}

/// How a subscription stands before the wait.
enum Standing<'a> {
    /// An event already: the number of bytes ready, or an error.
    Ready(Result<u64, Errno>),
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
    reported: u32,
) -> Result<(), Errno> {
    ctx.observed.other("time or a descriptor was waited for");
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::INVAL);
    }
    // All is read before anything is written: the arrays may overlap.
    memory.bytes(events, count * EVENT_SIZE)?;
    memory.bytes(reported, 4)?;
    let subscriptions = (0..count)
        .map(|i| {
            let offset = i * SUBSCRIPTION_SIZE;
            let at = subscriptions.checked_add(offset).ok_or(Errno::FAULT)?;
            Ok(subscription(ctx, &memory.array(at)?))
        })
        .collect::<Result<Vec<_>, Errno>>()?;
    let outcomes = wait(ctx, &subscriptions)?;
    let mut n = 0;
    for (subscription, outcome) in subscriptions.iter().zip(outcomes) {
        if let Some(outcome) = outcome {
            memory.write(events + n * EVENT_SIZE, &event(subscription, outcome))?;
            n += 1;
        }
    }
    memory.write_u32(reported, n)
}

fn subscription(ctx: &mut WasiCtx, raw: &[u8; SUBSCRIPTION_SIZE as usize]) -> Subscription {
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| raw[at + i]));
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| raw[at + i]));
    let tag = raw[8];
    let waiting = match tag {
        0 => {
            let (id, time, flags) =
                (u32_at(16), u64_at(24), u16::from_le_bytes([raw[40], raw[41]]));
            match id {
                REALTIME | MONOTONIC if flags & ABSTIME == 0 => Ok(Waiting::Time(time)),
                REALTIME | MONOTONIC => {
                    ctx.clocks.now(id).map(|now| Waiting::Time(time.saturating_sub(now)))
                }
                // Processor time does not pass while waiting.
                _ => Err(Errno::NOTSUP),
            }
        }
        1 => Ok(Waiting::Read(u32_at(16))),
        2 => Ok(Waiting::Write(u32_at(16))),
        _ => Err(Errno::INVAL),
    };
    Subscription { userdata: u64_at(0), tag, waiting }
}

/// What became of a subscription: bytes ready and flags, or an error.
type Outcome = Result<(u64, u16), Errno>;

/// Waits until a subscription has an event; says which have one, in order.
fn wait(ctx: &WasiCtx, subscriptions: &[Subscription]) -> Result<Vec<Option<Outcome>>, Errno> {
    let standings: Vec<_> = subscriptions
        .iter()
        .map(|subscription| match subscription.waiting {
            Err(error) => Standing::Ready(Err(error)),
            Ok(Waiting::Time(nanoseconds)) => Standing::After(nanoseconds),
            Ok(Waiting::Read(fd)) => standing(ctx, fd, PollFlags::IN),
            Ok(Waiting::Write(fd)) => standing(ctx, fd, PollFlags::OUT),
        })
        .collect();
    let timeout = standings
        .iter()
        .filter_map(|standing| match standing {
            Standing::Ready(_) => Some(0),
            Standing::After(nanoseconds) => Some(*nanoseconds),
            Standing::Host(..) => None,
        })
        .min();

    let canceller = ctx.canceller.as_ref();
    let mut fds: Vec<_> = standings
        .iter()
        .filter_map(|standing| match standing {
            Standing::Host(fd, flags) => Some(PollFd::from_borrowed_fd(*fd, *flags)),
            _ => None,
        })
        .collect();
    if let Some(canceller) = canceller {
        fds.push(PollFd::from_borrowed_fd(canceller.as_fd(), PollFlags::IN));
    }
    let timespec = timeout.map(|nanoseconds| Timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    });
    let hosts_ready = poll(&mut fds, timespec.as_ref())?;
    if canceller.is_some_and(Canceller::is_cancelled) {
        return Err(Errno::INTR);
    }

    let mut polled = fds.iter();
    let outcome = |standing: &Standing<'_>| match standing {
        Standing::Ready(ready) => Some(ready.map(|bytes| (bytes, 0))),
        // The wait ended by time only if no host descriptor ended it.
        Standing::After(nanoseconds) => {
            (hosts_ready == 0 && Some(*nanoseconds) == timeout).then_some(Ok((0, 0)))
        }
        Standing::Host(fd, _) => {
            let flags = polled.next()?.revents();
            if flags.is_empty() {
                return None;
            }
            let bytes = rustix::io::ioctl_fionread(fd).unwrap_or(0);
            let hangup = if flags.contains(PollFlags::HUP) { HANGUP } else { 0 };
            Some(Ok((bytes, hangup)))
        }
    };
    Ok(standings.iter().map(outcome).collect())
}

fn standing(ctx: &WasiCtx, fd: u32, flags: PollFlags) -> Standing<'_> {
    let reads = flags == PollFlags::IN;
    match ctx.descriptors.get(fd) {
        Err(error) => Standing::Ready(Err(error)),
        Ok(Descriptor::Stream(stream)) if reads != (stream.stream == StdStream::Stdin) => {
            Standing::Ready(Err(Errno::BADF))
        }
        Ok(Descriptor::Stream(stream)) => match ctx.stdio.host(stream.stream) {
            Some(host) => Standing::Host(host, flags),
            None => Standing::Ready(Ok(1)),
        },
        Ok(Descriptor::File(file)) if file.is_regular() => Standing::Ready(Ok(1)),
        Ok(Descriptor::File(file)) => Standing::Host(file.file.as_fd(), flags),
        Ok(Descriptor::Directory(_)) => Standing::Ready(Err(Errno::BADF)),
    }
}

fn event(subscription: &Subscription, outcome: Outcome) -> [u8; EVENT_SIZE as usize] {
    let (errno, (bytes, flags)) = match outcome {
        Ok(ready) => (0, ready),
        Err(errno) => (errno.raw(), (0, 0)),
    };
    let mut event = [0; EVENT_SIZE as usize];
    event[..8].copy_from_slice(&subscription.userdata.to_le_bytes());
    event[8..10].copy_from_slice(&errno.to_le_bytes());
    event[10] = subscription.tag;
    event[16..24].copy_from_slice(&bytes.to_le_bytes());
    event[24..26].copy_from_slice(&flags.to_le_bytes());
    event
}
