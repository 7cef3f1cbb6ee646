//! The bodies of requests, on their way to guests.
//!
//! Invariant: what has been read of a body is in the guest's hands or in its request's, never lost; and a guest never
//! takes for the end of a body what is none.

use super::service::Refusal;
use crate::workers::Canceller;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{StatusCode, body::Incoming};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, net::unix::pipe, time::timeout};

/// What there is of a request's body.
pub(super) enum Sent {
    /// It comes.
    Coming(Input),
    /// All of it.
    Whole(Bytes),
    /// All of it, in a file that nobody has read.
    File(OwnedFd),
    /// A guest has it.
    Given,
}

/// The body of a request, as it comes.
pub(super) struct Input {
    pub(super) body: Incoming,
    pub(super) stall: Duration,
    /// How many bytes may come yet.
    pub(super) left: u64,
}

impl Input {
    /// The next part of it; none at its end.
    pub(super) async fn part(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = timeout(self.stall, self.body.frame()).await.map_err(|_| Refusal {
                close: true,
                ..Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request's body stopped")
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| Refusal {
                close: true,
                ..Refusal::new(StatusCode::BAD_REQUEST, "the request's body cannot be read")
            })?;
            // Trailers are passed over.
            let Ok(part) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(part.len() as u64).ok_or(Refusal {
                close: true,
                ..Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large")
            })?;
            return Ok(Some(part));
        }
    }
}

/// A body in memory that a worker can read.
pub(super) async fn spool(incoming: &mut Input) -> Result<OwnedFd, Refusal> {
    let full =
        |_: io::Error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server has no room");
    let file = memfd_create("body", MemfdFlags::CLOEXEC).map_err(|e| full(e.into()))?;
    let mut file = File::from(file);
    while let Some(part) = incoming.part().await? {
        file.write_all(&part).map_err(full)?;
    }
    io::Seek::rewind(&mut file).map_err(full)?;
    Ok(file.into())
}

/// Passes a body on to a guest. Where it stops, that is noted, and the call ends before the guest sees an end of its
/// input.
pub(super) async fn pump(
    mut incoming: Input,
    begun: BytesMut,
    mut pipe: pipe::Sender,
    canceller: Canceller,
    stopped: Arc<OnceLock<Refusal>>,
) {
    let mut part = Some(begun.freeze());
    // A guest that reads no more is no error.
    while let Some(bytes) = part
        && pipe.write_all(&bytes).await.is_ok()
    {
        part = match incoming.part().await {
            Ok(part) => part,
            Err(refusal) => {
                // It is the only one who says so.
                let _ = stopped.set(refusal);
                canceller.cancel();
                // Until then the pipe stays open.
                canceller.ended().await;
                return;
            }
        };
    }
}
