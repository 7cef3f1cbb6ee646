//! The output of a call, on its way to the server.
//!
//! Invariant: what a guest writes is held back no longer than until it waits, for a moment ([`super::flush`]), or
//! until there is a packet of it. Then a pipe takes the rest, so that a client that reads slowly stops its guest, and
//! no buffer grows. What is held back when the call ends goes with its end.

use super::flush::Flusher;
use crate::wire::{INLINE, Packets, Reply};
use executor::OutputStream;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// The most bytes of standard error of a call that are passed on.
const MAX_LOG: usize = 64 << 10;

/// The standard output and standard error of a call.
#[derive(Debug)]
pub(super) struct Output {
    number: u64,
    socket: Arc<OwnedFd>,
    flusher: Arc<Flusher>,
    /// The most bytes of standard output.
    limit: u64,
    /// More was written than that.
    exceeded: AtomicBool,
    held: Mutex<Held>,
    /// Where standard output goes once it is too much to hold back.
    pipe: OnceLock<OwnedFd>,
}

#[derive(Debug, Default)]
struct Held {
    output: Vec<u8>,
    /// How much standard output there was.
    written: u64,
    log: Vec<u8>,
    /// How much standard error was passed on or is held.
    logged: usize,
    /// Since when something is held back.
    since: Option<Instant>,
}

impl Output {
    pub(super) fn new(
        number: u64,
        socket: Arc<OwnedFd>,
        flusher: Arc<Flusher>,
        limit: u64,
    ) -> Arc<Self> {
        let (exceeded, held, pipe) = Default::default();
        Arc::new(Self { number, socket, flusher, limit, exceeded, held, pipe })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guest wrote more than it may.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    /// What is held back at the end of the call: output, and log.
    pub(super) fn finish(&self) -> (Vec<u8>, Vec<u8>) {
        let mut held = self.held();
        held.since = None;
        (std::mem::take(&mut held.output), std::mem::take(&mut held.log))
    }

    /// Passes on what is held back since then or longer; whether something still is.
    pub(super) fn flush_since(&self, then: Instant) -> bool {
        let mut held = self.held();
        if held.since.is_some_and(|since| since <= then) {
            self.pass_on(&mut held);
        }
        held.since.is_some()
    }

    /// Notes that something is held back.
    fn hold(&self, held: &mut Held) {
        if held.since.is_none() {
            held.since = Some(Instant::now());
            self.flusher.arm();
        }
    }

    /// Passes on what is held back. That the server is gone ends the worker anyhow.
    fn pass_on(&self, held: &mut Held) {
        held.since = None;
        let mut packets = Packets::new();
        if !held.log.is_empty() {
            let log = Reply::Log { number: self.number, text: std::mem::take(&mut held.log) };
            let _ = packets.send(&self.socket, &log, None, true);
        }
        if !held.output.is_empty() && self.pipe.get().is_none() {
            // Where there is no descriptor left, it stays here until the end.
            let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
                return;
            };
            let begun = std::mem::take(&mut held.output);
            let output = Reply::Output { number: self.number, begun };
            let _ = packets.send(&self.socket, &output, Some(read.as_fd()), true);
            let _ = self.pipe.set(write);
        }
    }

    /// Takes standard output.
    pub(super) fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let len: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut held = self.held();
        if held.written.saturating_add(len as u64) > self.limit {
            self.exceeded.store(true, Relaxed);
            return Err(Errno::FBIG.into());
        }
        if self.pipe.get().is_none() && held.output.len() + len > INLINE {
            self.pass_on(&mut held);
        }
        let written = match self.pipe.get() {
            Some(pipe) => rustix::io::writev(pipe, buffers)?,
            // One write that is longer than all that is held back goes in parts.
            None if len > INLINE - held.output.len() => {
                let room = INLINE - held.output.len();
                let mut taken = 0;
                for buffer in buffers {
                    let part = &buffer[..buffer.len().min(room - taken)];
                    held.output.extend_from_slice(part);
                    taken += part.len();
                }
                taken
            }
            None => {
                buffers.iter().for_each(|buffer| held.output.extend_from_slice(buffer));
                len
            }
        };
        if self.pipe.get().is_none() {
            self.hold(&mut held);
        }
        held.written += written as u64;
        Ok(written)
    }

    /// Takes all of some bytes of standard output, waiting where that is needed: until the client, or the server for it,
    /// has read them or gone.
    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(&[IoSlice::new(bytes)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Some(pipe) = self.pipe.get() else { return Err(error) };
                    match poll(&mut [PollFd::new(pipe, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes standard error; what is too much is lost.
    fn log(&self, buffers: &[IoSlice<'_>]) -> usize {
        let mut held = self.held();
        for buffer in buffers {
            let part = &buffer[..buffer.len().min(MAX_LOG - held.logged)];
            held.log.extend_from_slice(part);
            held.logged += part.len();
        }
        if !held.log.is_empty() {
            self.hold(&mut held);
        }
        buffers.iter().map(|buffer| buffer.len()).sum()
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Stdout(pub(super) Arc<Output>);

impl OutputStream for Stdout {
    fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(buffers)
    }

    fn flush(&self) {
        self.0.pass_on(&mut self.0.held());
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.pipe.get().map(AsFd::as_fd)
    }
}

/// Standard error.
#[derive(Debug)]
pub(super) struct Stderr(pub(super) Arc<Output>);

impl OutputStream for Stderr {
    fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.0.log(buffers))
    }
}
