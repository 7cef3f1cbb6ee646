//! What the server and its workers say to each other.
//!
//! Invariant: a message is one packet, and says all about itself; what is not a message of the other side's is an
//! error and never a panic. What is too long for a packet goes through a pipe, whose end the packet carries.
//!
//! ```text
//! calls:    server --Call--> any idle thread of the worker --Reply...--> server
//! control:  server --Order--> the worker's main thread
//! ```

mod message;
mod socket;
mod usage;

pub(crate) use message::{
    Body, Call, Callee, Directory, End, Entry, Failure, Hello, Kept, Order, Outcome, Phases, Reply,
    decode, encode,
};
pub(crate) use socket::{Packets, pair};
pub(crate) use usage::{Origin, PageMap, Reset, Usage, cells, pages_per_cell};

/// The most bytes of a body or of output that go within a packet.
pub(crate) const INLINE: usize = 64 << 10;

/// The most bytes of a packet: what goes within it, and the request's head with as much again for its encoding.
pub(crate) const MAX_PACKET: usize = INLINE + (96 << 10);
