//! A worker: the process that guests run in.
//!
//! Invariant: it has no socket to the world, opens nothing but what its store and its guests' directories have, and
//! keeps nothing of a call once that is answered. It ends with the server's end of its sockets.

mod calls;
pub(crate) mod confine;
mod export;
mod flush;
mod functions;
mod output;
mod turns;

use crate::wire::{Hello, Order, Packets, Reply};
use calls::{Calls, Running};
use executor::{PoolConfig, Runtime};
use functions::Functions;
use rustix::stdio;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex},
    thread,
};
use turns::Turns;

/// The stack of a thread that calls guests, which run on one of their own.
const STACK: usize = 512 << 10;

/// The word that the program is started with to be one.
pub(crate) const WORD: &str = "worker";

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("a worker is started by `executor serve`, and by nobody else")]
    NoServer,
    #[error("the server's first message: {0}")]
    Hello(io::Error),
    #[error("the server's orders: {0}")]
    Orders(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Runtime(#[from] executor::Error),
}

/// Makes calls until the server is gone. Standard input is its socket.
pub(crate) fn run() -> Result<(), WorkerError> {
    // They are for the server, which lets calls end first.
    executor::ignore_ending_signals();
    let calls = stdio::stdin().try_clone_to_owned().map_err(|_| WorkerError::NoServer)?;
    let (hello, control) = greet(&calls)?;
    // Before there is another thread.
    let confined = match hello.confined {
        true => confine::confine(&hello.store, &hello.directories),
        false => Ok(()),
    };
    let runtime = runtime(&hello)?;
    let ready = Reply::Ready { unconfined: confined.err().map(|error| error.to_string()) };
    let calls = Arc::new(Calls {
        socket: Arc::new(calls),
        functions: Functions::new(runtime, hello.functions),
        flusher: Default::default(),
        turns: Turns::new(hello.threads),
        running: (0..hello.threads).map(|_| Running::default()).collect(),
        cancelled: Default::default(),
        told_kept: hello.tells_kept.then(Mutex::default),
    });
    for place in 0..hello.threads {
        let calls = Arc::clone(&calls);
        let thread = thread::Builder::new().name("call".to_owned()).stack_size(STACK);
        thread.spawn(move || calls.serve(place)).map_err(WorkerError::Thread)?;
    }
    let flusher = thread::Builder::new().name("flush".to_owned()).stack_size(STACK);
    let flushed = Arc::clone(&calls);
    flusher.spawn(move || flushed.keep_flushing()).map_err(WorkerError::Thread)?;
    Packets::new().send(&calls.socket, &ready, None, true).map_err(WorkerError::Orders)?;
    obey(&calls, &control)
}

/// The server's first message.
fn greet(socket: &OwnedFd) -> Result<(Hello, OwnedFd), WorkerError> {
    match Packets::new().receive(socket, true) {
        Ok(Some((hello, Some(control)))) => Ok((hello, control)),
        Ok(_) => Err(WorkerError::NoServer),
        Err(error)
            if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NOTSOCK) =>
        {
            Err(WorkerError::NoServer)
        }
        Err(error) => Err(WorkerError::Hello(error)),
    }
}

fn runtime(hello: &Hello) -> Result<Runtime, executor::Error> {
    Runtime::builder()
        .store(&hello.store)
        .trust_store(hello.trust_store)
        // What a call needs was compiled before the server began to serve it.
        .compiler(false)
        .pool(PoolConfig { max_idle: hello.slots, ..PoolConfig::default() })
        .build()
}

/// Follows orders until the server is gone.
fn obey(calls: &Calls, control: &OwnedFd) -> Result<(), WorkerError> {
    let mut packets = Packets::new();
    loop {
        match packets.receive(control.as_fd(), true).map_err(WorkerError::Orders)? {
            Some((Order::Cancel(number), _)) => calls.cancel(number),
            Some((Order::GiveUp(bytes), _)) => {
                calls.give_up(bytes, &mut packets).map_err(WorkerError::Orders)?;
            }
            Some((Order::TellKept, _)) => {
                calls.tell_kept(&mut packets).map_err(WorkerError::Orders)?;
            }
            None => return Ok(()),
        }
    }
}
