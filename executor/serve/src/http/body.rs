//! The bodies of responses.
//!
//! Invariant: a body that is not all that the guest wrote ends with an error, which the client sees as a connection
//! that breaks, and never as an end.

use crate::{
    functions::Served,
    http::service::Trace,
    wire::{End, Failure, Outcome},
    workers::InFlight,
};
use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::unix::pipe,
    sync::oneshot,
};

/// How much of a pipe is read at a time: what a pipe holds.
const PART: usize = 64 << 10;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Bytes),
    /// As it is written.
    Stream(Box<Stream>),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Whole(text.into())
    }
}

/// The output of a call that runs.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What was read already.
    pub(super) begun: Bytes,
    /// None once it has ended.
    pub(super) pipe: Option<pipe::Receiver>,
    pub(super) end: oneshot::Receiver<End>,
    pub(super) in_flight: InFlight,
    pub(super) buffer: BytesMut,
    pub(super) served: Arc<Served>,
    /// Tells of the request when all of this is gone.
    pub(super) trace: Option<Trace>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => {
                stream.poll(cx).map(|part| part.map(|part| part.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl Stream {
    /// Reads more of the output, as far as it is there; none at its end.
    pub(super) fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(None)) };
        self.buffer.resize(PART, 0);
        let mut part = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(pipe).poll_read(cx, &mut part))?;
        match part.filled().len() {
            0 => {
                self.pipe = None;
                Poll::Ready(Ok(None))
            }
            len => Poll::Ready(Ok(Some(self.buffer.split_to(len).freeze()))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let part = ready!(self.poll_part(cx));
        Poll::Ready(
            part.map(|part| part.map(|part| holding(part, self.in_flight.reserved.clone()))),
        )
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.begun.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.begun))));
        }
        if let Some(part) = ready!(self.poll_pipe(cx)).transpose() {
            return Poll::Ready(Some(part));
        }
        if self.in_flight.has_ended() {
            return Poll::Ready(None);
        }
        let end = ready!(Pin::new(&mut self.end).poll(cx));
        let end = self.in_flight.end(end);
        if let Some(trace) = &mut self.trace {
            trace.ended(&end.phases);
        }
        match end.outcome {
            Outcome::Done(_) => Poll::Ready(None),
            Outcome::Failed(failure, text) => {
                if let Some(trace) = &mut self.trace {
                    trace.failed(failure, &text);
                }
                Poll::Ready(Some(Err(broken(failure))))
            }
        }
    }
}

/// Bytes that hold something, where there is anything to hold: it is dropped when nobody has them any more, whoever they
/// are passed on to.
pub(super) fn holding<T: Send + 'static>(bytes: Bytes, held: Option<T>) -> Bytes {
    struct Holding<T>(Bytes, T);
    impl<T> AsRef<[u8]> for Holding<T> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match held {
        Some(held) => Bytes::from_owner(Holding(bytes, held)),
        None => bytes,
    }
}

/// What the connection breaks with; the client does not see it.
fn broken(failure: Failure) -> io::Error {
    io::Error::other(format!("the call failed in the middle of its response: {failure:?}"))
}
