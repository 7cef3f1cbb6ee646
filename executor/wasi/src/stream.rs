//! The standard streams: where they lead, and waiting for them.
//!
//! Invariant: nothing is buffered on this side: when a write returns, the host has the bytes. Waiting for
//! input, for a stream to take output, or for time to pass ends when the call is interrupted; only a
//! single write larger than the host's pipe holds goes on to its end.

use crate::abi::filetype;
use crate::descriptor::StdStream;
use crate::io::retry;
use crate::{Errno, WasiCtx};
use executor_runtime::{Interrupts, Wake};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::FileType;
use rustix::stdio::{stderr, stdin, stdout};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the guest's standard input comes from.
#[derive(Debug, Default)]
pub enum Input {
    /// The process's standard input.
    #[default]
    Inherit,
    /// A file, pipe or socket of the host.
    Fd(OwnedFd),
    /// These bytes, and then the end.
    Bytes(VecDeque<u8>),
}

/// Where the guest's standard output or standard error goes.
#[derive(Debug, Clone, Default)]
pub enum Output {
    /// The process's own stream.
    #[default]
    Inherit,
    /// A file, pipe or socket of the host.
    Fd(Arc<OwnedFd>),
    /// To the end of this buffer.
    Capture(Arc<Mutex<Vec<u8>>>),
    /// To the embedder, write by write.
    Stream(Arc<dyn OutputStream>),
    /// Nowhere: it is thrown away.
    Discard,
}

/// Where an embedder takes the output of a guest as it is written. It is called on the guest's thread, and should
/// not wait: for that it has a descriptor.
pub trait OutputStream: fmt::Debug + Send + Sync {
    /// Takes bytes, and says how many; all of them, in order, where it says less than there are after being called
    /// again.
    ///
    /// # Errors
    /// Whatever the guest is to be told; `WouldBlock` makes it try again, when [`Self::descriptor`] takes output.
    fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Passes on what it holds back: the guest is about to wait.
    fn flush(&self) {}

    /// What takes output once this does, to be waited for. An interrupt ends the wait.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Output {
    fn host<'a>(&'a self, own: BorrowedFd<'a>) -> Option<BorrowedFd<'a>> {
        match self {
            Self::Inherit => Some(own),
            Self::Fd(fd) => Some(fd.as_fd()),
            Self::Stream(stream) => stream.descriptor(),
            Self::Capture(_) | Self::Discard => None,
        }
    }
}

/// The three standard streams.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Stdio {
    /// The buffers that output is captured in.
    fn captures_of(&self) -> impl Iterator<Item = &Mutex<Vec<u8>>> {
        [&self.stdout, &self.stderr].into_iter().filter_map(|output| match output {
            Output::Capture(captured) => Some(&**captured),
            _ => None,
        })
    }

    /// Whether any output is captured.
    pub(crate) fn captures(&self) -> bool {
        self.captures_of().next().is_some()
    }

    /// How many bytes of output are captured and not yet taken.
    pub(crate) fn captured(&self) -> u64 {
        let len = |captured: &Mutex<Vec<u8>>| {
            captured.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
        };
        self.captures_of().map(len).sum()
    }

    /// The host's stream behind a standard stream, if there is one.
    pub(crate) fn host(&self, stream: StdStream) -> Option<BorrowedFd<'_>> {
        match (stream, &self.stdin) {
            (StdStream::Stdin, Input::Inherit) => Some(stdin()),
            (StdStream::Stdin, Input::Fd(fd)) => Some(fd.as_fd()),
            (StdStream::Stdin, Input::Bytes(_)) => None,
            (StdStream::Stdout, _) => self.stdout.host(stdout()),
            (StdStream::Stderr, _) => self.stderr.host(stderr()),
        }
    }

    /// Passes on what output streams hold back.
    pub(crate) fn flush(&self) {
        for output in [&self.stdout, &self.stderr] {
            if let Output::Stream(stream) = output {
                stream.flush();
            }
        }
    }

    /// What the guest is told that a stream is: a terminal, a regular file, or unknown. Other
    /// character devices (`/dev/null`) are unknown, since guests take character devices for
    /// terminals.
    pub(crate) fn filetype(&self, stream: StdStream) -> u8 {
        let Some(host) = self.host(stream) else { return filetype::UNKNOWN };
        match rustix::fs::fstat(host).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(ty) if ty.is_file() => filetype::REGULAR_FILE,
            Ok(ty) if ty.is_char_device() && host.is_terminal() => filetype::CHARACTER_DEVICE,
            _ => filetype::UNKNOWN,
        }
    }

    /// Reads standard input.
    pub(crate) fn read(
        &mut self,
        buffers: &mut [IoSliceMut<'_>],
        canceller: Option<&Canceller>,
    ) -> Result<usize, Errno> {
        if let Input::Bytes(bytes) = &mut self.stdin {
            let before = bytes.len();
            for buffer in buffers {
                let _ = bytes.read(buffer)?;
            }
            return Ok(before - bytes.len());
        }
        let host = self.host(StdStream::Stdin).ok_or(Errno::BADF)?;
        retry(canceller, || rustix::io::readv(host, buffers))
    }

    /// Writes standard output or standard error; what is captured is at most `room` bytes.
    ///
    /// # Errors
    /// `BADF` for standard input; `NOSPC` where there is no room; what the host says otherwise, `PIPE` included.
    pub(crate) fn write(
        &mut self,
        stream: StdStream,
        buffers: &[IoSlice<'_>],
        room: u64,
        canceller: Option<&Canceller>,
    ) -> Result<usize, Errno> {
        let output = match stream {
            StdStream::Stdin => return Err(Errno::BADF),
            StdStream::Stdout => &self.stdout,
            StdStream::Stderr => &self.stderr,
        };
        if let Output::Capture(captured) = output {
            let mut captured = captured.lock().unwrap_or_else(PoisonError::into_inner);
            if buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>() > room {
                return Err(Errno::NOSPC);
            }
            let before = captured.len();
            buffers.iter().for_each(|buffer| captured.extend_from_slice(buffer));
            return Ok(captured.len() - before);
        }
        if let Output::Discard = output {
            return Ok(buffers.iter().map(|buffer| buffer.len()).sum());
        }
        if let Output::Stream(output) = output {
            return Ok(output.write(buffers)?);
        }
        let host = self.host(stream).ok_or(Errno::BADF)?;
        retry(canceller, || rustix::io::writev(host, buffers))
    }
}

/// What ends the waits of a guest whose call is interrupted; the function then traps with
/// `TrapCode::Interrupted`.
pub(crate) struct Canceller {
    interrupts: Interrupts,
    /// What is waited for beside the host: made at the first wait that someone could end.
    event: OnceCell<Event>,
}

struct Event {
    /// Readable once the call was interrupted.
    fd: Arc<OwnedFd>,
    /// Makes it so, as long as it is kept.
    _wake: Arc<Wake>,
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canceller").field(&self.is_cancelled()).finish()
    }
}

impl Canceller {
    pub(crate) fn new(interrupts: Interrupts) -> Self {
        Self { interrupts, event: OnceCell::new() }
    }

    /// Whether the call is to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.interrupts.requested()
    }

    /// What becomes readable when the call is to stop; `None` if nobody could ask for that.
    ///
    /// # Errors
    /// `INTR` when it is to stop already; when the operating system has no descriptor left.
    pub(crate) fn event(&self) -> Result<Option<BorrowedFd<'_>>, Errno> {
        if !self.interrupts.possible() {
            return Ok(None);
        }
        let event = match self.event.get() {
            Some(event) => {
                // Of an interrupt that is over. It can only fail where there was none.
                let _ = rustix::io::read(&event.fd, &mut [0u8; 8]);
                event
            }
            None => {
                let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let fd = Arc::new(fd);
                let wake: Arc<Wake> = Arc::new({
                    let fd = Arc::clone(&fd);
                    // It can only fail where the counter is full, and then the descriptor is readable.
                    move || {
                        let _ = rustix::io::write(&fd, &1u64.to_ne_bytes());
                    }
                });
                self.interrupts.wake_by(&wake);
                self.event.get_or_init(|| Event { fd, _wake: wake })
            }
        };
        match self.is_cancelled() {
            true => Err(Errno::INTR),
            false => Ok(Some(event.fd.as_fd())),
        }
    }
}

/// Waits until `host` can be read or written, where that is needed to be interruptible or not to
/// wait at all (`nonblock`); otherwise the call itself will wait.
///
/// # Errors
/// `AGAIN` when it would wait and must not, `INTR` when cancelled.
pub(crate) fn wait(
    host: BorrowedFd<'_>,
    events: PollFlags,
    nonblock: bool,
    canceller: Option<&Canceller>,
) -> Result<(), Errno> {
    if nonblock {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::from_borrowed_fd(host, events)];
        return match retry(canceller, || poll(&mut fds, Some(&now)))? {
            0 => Err(Errno::AGAIN),
            _ => Ok(()),
        };
    }
    while let Some(event) = canceller.map(Canceller::event).transpose()?.flatten() {
        let mut fds = [
            PollFd::from_borrowed_fd(host, events),
            PollFd::from_borrowed_fd(event, PollFlags::IN),
        ];
        retry(canceller, || poll(&mut fds, None))?;
        if canceller.is_some_and(Canceller::is_cancelled) {
            return Err(Errno::INTR);
        }
        if !fds[0].revents().is_empty() {
            break;
        }
    }
    Ok(())
}

impl WasiCtx {
    /// Whether the guest has been asked to stop.
    pub(crate) fn cancelled(&self) -> bool {
        self.canceller.as_ref().is_some_and(Canceller::is_cancelled)
    }
}
