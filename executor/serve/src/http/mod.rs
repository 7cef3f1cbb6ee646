//! HTTP: connections, requests and responses.
//!
//! Invariant: whatever a client sends or leaves out, it gets a response or loses its connection, within a time that is
//! configured; and no other client notices.

mod body;
mod listen;
mod sent;
mod service;
mod stall;
mod tls;
mod untaken;

pub(crate) use listen::{Listener, most_on_its_way, serve};
pub(crate) use tls::{TlsError, acceptor};
