//! Responses over HTTP/2 of which a client takes nothing, though it takes what others in its connection are sent, or
//! answers pings: no write waits then.
//!
//! Invariant: a connection has no part of a response that is older than its limit. A part is there from when the
//! body gave it until its last byte was written, or it was thrown away.

use super::body::holding;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// The longest part: a frame of HTTP/2, unless client and server agree otherwise. So a client that takes this much of
/// each response within the limit is not too slow.
const PART: usize = 16 << 10;

/// The parts of responses that are on their way to the client of a connection.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    next: u64,
    /// When each was given; a later one has a higher number.
    since: BTreeMap<u64, Instant>,
}

impl Untaken {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut parts = self.parts();
        let number = parts.next;
        parts.next += 1;
        parts.since.insert(number, Instant::now());
        drop(parts);
        holding(bytes, Some(Part { number, of: Arc::clone(self) }))
    }

    /// Waits until a part is older than `limit`.
    pub(super) async fn outlives(&self, limit: Duration) {
        loop {
            let oldest = self.parts().since.first_key_value().map(|(_, since)| *since);
            let left = match oldest {
                // None that comes from now on is too old before.
                None => limit,
                Some(since) => match limit.checked_sub(since.elapsed()) {
                    None | Some(Duration::ZERO) => return,
                    Some(left) => left,
                },
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// What the bytes of a part hold.
struct Part {
    number: u64,
    of: Arc<Untaken>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.parts().since.remove(&self.number);
    }
}

/// A body whose parts are noted.
#[derive(Debug)]
pub(super) struct Noted<B> {
    body: B,
    /// What `body` gave, and was not passed on yet.
    given: Bytes,
    of: Arc<Untaken>,
}

impl<B> Noted<B> {
    pub(super) fn new(body: B, of: Arc<Untaken>) -> Self {
        Self { body, given: Bytes::new(), of }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.given.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(bytes) => this.given = bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let part = this.given.split_to(this.given.len().min(PART));
        Poll::Ready(Some(Ok(Frame::data(this.of.add(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.given.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let given = self.given.len() as u64;
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(given));
        }
        hint.set_lower(of_body.lower().saturating_add(given));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Body as Response;
    use std::{future::poll_fn, pin::pin};

    /// All parts of a body.
    async fn parts(mut body: impl Body<Data = Bytes> + Unpin) -> Vec<Bytes> {
        let mut parts = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            parts.push(frame.into_data().unwrap());
        }
        assert!(body.is_end_stream());
        parts
    }

    #[tokio::test]
    async fn a_body_is_given_in_parts_that_are_noted_until_they_are_gone() {
        let all: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
        let untaken = Arc::new(Untaken::default());
        let body = Noted::new(Response::Whole(all.clone().into()), Arc::clone(&untaken));
        assert_eq!(body.size_hint().exact(), Some(40_000));
        let mut parts = parts(body).await;
        assert_eq!(
            parts.iter().map(Bytes::len).collect::<Vec<_>>(),
            [PART, PART, 40_000 - 2 * PART]
        );
        assert_eq!(parts.concat(), all);
        // A piece keeps the part that it is of.
        let piece = parts.remove(0).split_off(PART - 1);
        drop(parts);
        assert_eq!(untaken.parts().since.keys().collect::<Vec<_>>(), [&0]);
        drop(piece);
        assert!(untaken.parts().since.is_empty());
    }

    #[tokio::test]
    async fn a_part_that_stays_is_found_and_one_that_goes_is_not() {
        let untaken = Arc::new(Untaken::default());
        let limit = Duration::from_millis(20);
        let found = |untaken: Arc<Untaken>, times| async move {
            let outlives = pin!(untaken.outlives(limit));
            tokio::time::timeout(limit * times, outlives).await.is_ok()
        };
        assert!(!found(Arc::clone(&untaken), 3).await, "there is none");
        drop(untaken.add(Bytes::from_static(b"goes")));
        assert!(!found(Arc::clone(&untaken), 3).await, "it is gone");
        let _stays = untaken.add(Bytes::from_static(b"stays"));
        assert!(found(untaken, 1000).await);
    }
}
