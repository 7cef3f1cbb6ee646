//! Making calls: each thread takes one from the socket, makes it, and answers.
//!
//! Invariant: a call that was taken is answered with one end, whatever becomes of its guest. Nothing is shared between
//! calls but functions, which are the same for all.

use super::{
    export,
    flush::Flusher,
    functions::Functions,
    output::{Output, Stderr, Stdout},
    turns::Turns,
};
use crate::wire::{
    Body, Call, Callee, Directory, End, Entry, Failure, Kept, Outcome, Packets, PageMap, Phases,
    Reply, Usage,
};
use executor::{CallError, Cancellation, DirAccess, Environment, Error, Function, Instance, Stdin};
use nix::sys::resource::{UsageWho, getrusage};
use std::{
    any::Any,
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write as _},
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The longest description of a failure, in bytes.
const MAX_TEXT: usize = 16 << 10;

/// Slots of so many snapshots are told of at most: what a packet has room for.
const MAX_KEPT: usize = 2048;

/// All calls of the worker.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) functions: Functions,
    pub(super) flusher: Arc<Flusher>,
    /// Which threads wait for calls.
    pub(super) turns: Turns,
    /// What each thread does.
    pub(super) running: Box<[Running]>,
    /// Calls that were cancelled before a thread had them.
    pub(super) cancelled: Mutex<BTreeSet<u64>>,
    /// How many bytes the server knows that kept slots take, if it wants to know.
    pub(super) told_kept: Option<Mutex<u64>>,
}

/// What a thread does. Alone in its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Running(Mutex<Option<Current>>);

#[derive(Debug)]
struct Current {
    number: u64,
    output: Arc<Output>,
    cancellation: Cancellation,
}

/// Why a call failed, and what is to be said of it.
type Failed = (Failure, String);

impl Running {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Takes calls and makes them, until the server is gone.
    pub(super) fn serve(&self, place: usize) {
        let mut packets = Packets::new();
        let mut faults = faults();
        loop {
            self.turns.begin(place);
            let received = packets.receive::<Call<'_>>(&self.socket, true);
            self.turns.end();
            let received = received.and_then(|received| {
                let Some((call, with)) = received else { return Ok(None) };
                Ok(Some((self.functions.callee(call.callee)?, call, with)))
            });
            match received {
                Ok(Some((callee, call, with))) => {
                    let end = self.make(place, &callee, call, with, &mut faults);
                    if packets.send(&self.socket, &Reply::End(end), None, true).is_err() {
                        process::exit(0);
                    }
                }
                // The control socket tells the main thread so.
                Ok(None) => return,
                // The server starts another worker.
                Err(error) => {
                    // It is said to whoever reads the server's log; nobody else would hear it.
                    let _ = writeln!(io::stderr(), "error: the server's calls: {error}");
                    process::exit(1);
                }
            }
        }
    }

    /// Passes on output that is held back for a moment, again and again.
    pub(super) fn keep_flushing(&self) {
        self.flusher.run(|since| {
            let mut held = false;
            for running in &self.running {
                let output = running.current().as_ref().map(|current| Arc::clone(&current.output));
                held |= output.is_some_and(|output| output.flush_since(since));
            }
            held
        });
    }

    /// Ends a call, also one that comes yet.
    pub(super) fn cancel(&self, number: u64) {
        // Who begins a call looks here after it can be found, so one of the two sees the other.
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        cancelled.insert(number);
        // There are no more calls at a time than threads: the others have ended.
        if cancelled.len() > self.running.len() {
            cancelled.pop_first();
        }
        drop(cancelled);
        for running in &self.running {
            match &*running.current() {
                Some(current) if current.number == number => current.cancellation.cancel(),
                _ => {}
            }
        }
    }

    /// By how many bytes what kept slots take has changed. Who asks tells the server.
    fn kept_change(&self) -> i64 {
        let Some(told) = &self.told_kept else { return 0 };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.functions.kept_bytes();
        now.cast_signed() - std::mem::replace(&mut *told, now).cast_signed()
    }

    /// Gives up slots until so many bytes are free, and tells the server.
    pub(super) fn give_up(&self, bytes: u64, packets: &mut Packets) -> io::Result<()> {
        self.functions.give_up(bytes);
        packets.send(&self.socket, &Reply::GaveUp(self.kept_change()), None, true)
    }

    /// Tells the server which slots are kept.
    pub(super) fn tell_kept(&self, packets: &mut Packets) -> io::Result<()> {
        let kept = self.functions.kept().map(|(snapshot, idle)| Kept {
            snapshot,
            slots: idle.stores as u64,
            bytes: idle.bytes,
        });
        packets.send(&self.socket, &Reply::Kept(kept.take(MAX_KEPT).collect()), None, true)
    }

    fn is_cancelled(&self, number: u64) -> bool {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    /// Makes a call. `faults` are those of the thread so far.
    fn make(
        &self,
        place: usize,
        callee: &Callee,
        call: Call<'_>,
        with: Option<OwnedFd>,
        faults: &mut u64,
    ) -> End {
        let number = call.number;
        let (socket, flusher) = (Arc::clone(&self.socket), Arc::clone(&self.flusher));
        let output = Output::new(number, socket, flusher, callee.output);
        let cancellation = Cancellation::new();
        let current =
            Current { number, output: Arc::clone(&output), cancellation: cancellation.clone() };
        *self.running[place].current() = Some(current);
        if self.is_cancelled(number) {
            cancellation.cancel();
        }
        let (mut phases, mut usage) = (Phases::default(), Usage::default());
        let made = catch_unwind(AssertUnwindSafe(|| {
            let told = (&mut phases, &mut usage);
            let made = self.make_of(callee, call, with, &output, &cancellation, told);
            made.map_err(|failed| match failed {
                (Failure::Trap, _) if cancellation.is_cancelled() => {
                    (Failure::Cancelled, "the client went away".to_owned())
                }
                failed => failed,
            })
        }));
        *self.running[place].current() = None;
        let before = std::mem::replace(faults, self::faults());
        phases.faults = faults.saturating_sub(before);
        let outcome = match made.unwrap_or_else(|panic| Err((Failure::Trap, panicked(&*panic)))) {
            _ if output.exceeded() => {
                Outcome::Failed(Failure::Output, "it wrote more than it may".to_owned())
            }
            Ok(code) => Outcome::Done(code),
            Err((failure, mut text)) => {
                text.truncate(text.floor_char_boundary(MAX_TEXT));
                Outcome::Failed(failure, text)
            }
        };
        let (output, log) = output.finish();
        let kept = self.kept_change();
        End { number, outcome, output, log, phases, usage, kept }
    }

    /// Makes a call; returns its exit code.
    fn make_of(
        &self,
        callee: &Callee,
        call: Call<'_>,
        with: Option<OwnedFd>,
        output: &Arc<Output>,
        cancellation: &Cancellation,
        (phases, usage): (&mut Phases, &mut Usage),
    ) -> Result<i32, Failed> {
        let begun = Instant::now();
        let function = self.functions.get(callee.snapshot).map_err(|error| not_begun(&error))?;
        let (input, bytes) = match (call.body, with, &callee.entry) {
            (Body::Inline(head, rest), _, Entry::Run) => {
                (Stdin::Bytes([&**head, rest].concat()), Vec::new())
            }
            (Body::Inline(head, rest), _, Entry::Export(_)) => {
                (Stdin::Empty, [&**head, rest].concat())
            }
            (Body::Descriptor, Some(pipe), Entry::Run) => (Stdin::File(pipe.into()), Vec::new()),
            (Body::Descriptor, Some(file), Entry::Export(_)) => {
                let mut bytes = Vec::new();
                let read = File::from(file).read_to_end(&mut bytes);
                read.map_err(|e| (Failure::Start, format!("the request's body: {e}")))?;
                (Stdin::Empty, bytes)
            }
            (Body::Descriptor, None, _) => {
                return Err((Failure::Start, "the request's body is missing".to_owned()));
            }
        };
        let env = Environment::parse(call.env.to_owned());
        let mut builder = function
            .instance()
            .arg0(&callee.arg0)
            .environment(env.map_err(|error| not_begun(&error.into()))?)
            .stdin(input)
            .stdout(executor::Stdout::Stream(Arc::new(Stdout(Arc::clone(output)))))
            .stderr(executor::Stdout::Stream(Arc::new(Stderr(Arc::clone(output)))))
            .timeout(callee.deadline)
            .cancellation(cancellation);
        if let Some(args) = &callee.args {
            builder = builder.args(args);
        }
        for Directory { host, guest, read_only } in &callee.directories {
            let access = if *read_only { DirAccess::ReadOnly } else { DirAccess::ReadWrite };
            builder = builder.dir(host, guest, access);
        }
        if let Some(bytes) = callee.memory {
            builder = builder.max_memory(bytes);
        }
        if let Some(elements) = callee.table {
            builder = builder.max_table(elements);
        }
        let mut instance = builder.start().map_err(|error| not_begun(&error))?;
        let acquired = Instant::now();
        phases.acquire = acquired - begun;
        let made = call_of(&function, &mut instance, &callee.entry, &bytes, output);
        let ran = Instant::now();
        phases.run = ran - acquired;
        let written = call.sample.then(|| instance.written_pages()).flatten();
        *usage = Usage::new(instance.release(), written.as_ref().map(PageMap::new));
        phases.release = ran.elapsed();
        made
    }
}

/// Does what is to be called.
fn call_of(
    function: &Function,
    instance: &mut Instance,
    entry: &Entry,
    bytes: &[u8],
    output: &Output,
) -> Result<i32, Failed> {
    match entry {
        Entry::Run => Ok(instance.run().map_err(|error| ended(&error))?.exit_code()),
        Entry::Export(name) => {
            let result =
                export::call(function, instance, name, bytes).map_err(|error| match error {
                    export::ExportError::Call(error) => ended(&error),
                    error => (Failure::Trap, error.to_string()),
                })?;
            // The server has closed the pipe where it fails, or the result is too long, which it says itself.
            let _ = output.write_all(&result);
            Ok(0)
        }
    }
}

/// Why a call ended without a result.
fn ended(error: &Error) -> Failed {
    match error {
        Error::TimedOut { .. } => (Failure::Deadline, error.to_string()),
        _ => (Failure::Trap, error.to_string()),
    }
}

/// Why a call could not be begun.
fn not_begun(error: &Error) -> Failed {
    let failure = match error {
        Error::TimedOut { .. } => Failure::Deadline,
        Error::Call(CallError::Trap(_) | CallError::Exception(_)) => Failure::Trap,
        Error::UnknownSnapshot(_) => Failure::Gone,
        _ => Failure::Start,
    };
    (failure, error.to_string())
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason");
    format!("a function of the host panicked: {text}")
}

/// The page faults of this thread so far.
fn faults() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    usage.map_or(0, |usage| (usage.minor_page_faults() + usage.major_page_faults()).cast_unsigned())
}
