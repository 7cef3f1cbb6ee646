//! The messages, and their encoding: bincode, with a limit.

use super::{MAX_PACKET, usage::Usage};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use std::{io, path::PathBuf, time::Duration};

/// The first message to a worker; with it comes its end of the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The store directory.
    pub(crate) store: PathBuf,
    /// Whether it is used as it is, whoever owns it.
    pub(crate) trust_store: bool,
    /// How many calls it gets at a time.
    pub(crate) threads: usize,
    /// How many functions it keeps open.
    pub(crate) functions: usize,
    /// How many stores wait between calls, of all functions.
    pub(crate) slots: usize,
    /// The directories that its guests may be given.
    pub(crate) directories: Vec<Directory>,
    /// Whether it confines itself.
    pub(crate) confined: bool,
    /// Whether it tells how much memory the slots that it keeps take.
    pub(crate) tells_kept: bool,
}

/// A directory of the host that guests are given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

/// A call for a worker to make. It is read where its packet is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call<'a> {
    /// Its number, which no other call of this worker has.
    pub(crate) number: u64,
    /// Whether its end is to say which pages of its memory it wrote to.
    pub(crate) sample: bool,
    /// A [`Callee`], encoded: the same bytes in all calls of a function, so that they are made and read once.
    #[serde(borrow)]
    pub(crate) callee: &'a Bytes,
    /// The environment, as it is laid out for guests.
    pub(crate) env: &'a str,
    #[serde(borrow)]
    pub(crate) body: Body<'a>,
}

/// What all calls of a function have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Callee {
    /// The snapshot that they begin from.
    #[serde(with = "serde_bytes")]
    pub(crate) snapshot: [u8; 32],
    pub(crate) entry: Entry,
    pub(crate) arg0: String,
    /// Arguments after argument 0, where the function's own are not meant.
    pub(crate) args: Option<Vec<String>>,
    pub(crate) directories: Vec<Directory>,
    pub(crate) deadline: Duration,
    /// The most bytes of memory.
    pub(crate) memory: Option<u64>,
    /// The most elements of a table.
    pub(crate) table: Option<u64>,
    /// The most bytes of output.
    pub(crate) output: u64,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// What the function is for; its body is standard input, its output standard output.
    Run,
    /// An export that takes bytes and returns bytes.
    Export(String),
}

/// Where a call's input is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body<'a> {
    /// Here: its head, if it has one, and the rest.
    Inline(#[serde(borrow)] &'a Bytes, &'a Bytes),
    /// In the descriptor that comes with the packet: a pipe, or for an export a file.
    Descriptor,
}

/// What a worker says: first that it is ready, then of its calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It takes calls. It is not confined as it should be, if there is a reason.
    Ready { unconfined: Option<String> },
    /// Its output begins so, and goes on in the pipe that comes with the packet. An end follows.
    Output {
        number: u64,
        #[serde(with = "serde_bytes")]
        begun: Vec<u8>,
    },
    /// It wrote this to standard error.
    Log {
        number: u64,
        #[serde(with = "serde_bytes")]
        text: Vec<u8>,
    },
    /// It is over.
    End(End),
    /// The slots that it keeps, by the snapshot that they are of, where it was asked for them.
    Kept(Vec<Kept>),
    /// It has given up slots: by how many bytes what the others take has changed since it was last told.
    GaveUp(i64),
}

/// The slots of a snapshot that wait in a worker to be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(with = "serde_bytes")]
    pub(crate) snapshot: [u8; 32],
    pub(crate) slots: u64,
    /// What of them is in memory for them alone.
    pub(crate) bytes: u64,
}

/// The end of a call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
    /// All its output, where none of it went before.
    #[serde(with = "serde_bytes")]
    pub(crate) output: Vec<u8>,
    /// What it wrote to standard error since it was last told.
    #[serde(with = "serde_bytes")]
    pub(crate) log: Vec<u8>,
    pub(crate) phases: Phases,
    pub(crate) usage: Usage,
    /// By how many bytes what the slots take that the worker keeps has changed since it was last told.
    pub(crate) kept: i64,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It returned, or exited with a code.
    Done(i32),
    /// It did not.
    Failed(Failure, String),
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// It trapped, or threw what nobody caught.
    Trap,
    /// Its time was up.
    Deadline,
    /// It wrote too much.
    Output,
    /// It was cancelled.
    Cancelled,
    /// Its snapshot is not in the store any more. Nothing of it has run.
    Gone,
    /// It could not be begun otherwise. Nothing of it has run.
    Start,
    /// The worker ended in the middle of it.
    Worker,
}

/// How long each part of a call took in the worker, and what it cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Phases {
    pub(crate) acquire: Duration,
    pub(crate) run: Duration,
    pub(crate) release: Duration,
    /// Page faults of the thread meanwhile.
    pub(crate) faults: u64,
}

/// What a worker is told beside its calls. That the socket is closed tells it to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Ends a call.
    Cancel(u64),
    /// Asks for the slots that it keeps.
    TellKept,
    /// Has it give up slots that it keeps, until so many bytes are free.
    GiveUp(u64),
}

/// A message as a packet.
pub(crate) fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    bincode::serde::encode_into_std_write(message, buffer, config()).map_err(io::Error::other)?;
    match buffer.len() {
        0..=MAX_PACKET => Ok(()),
        len => Err(io::Error::other(format!("a message of {len} bytes is too long"))),
    }
}

/// The message of a packet.
pub(crate) fn decode<'a, T: Deserialize<'a>>(packet: &'a [u8]) -> io::Result<T> {
    let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
    match bincode::serde::borrow_decode_from_slice(packet, config()).map_err(invalid)? {
        (message, len) if len == packet.len() => Ok(message),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "more than a message")),
    }
}

fn config() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_PACKET>,
> {
    bincode::config::standard().with_limit()
}
