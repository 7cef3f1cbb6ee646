//! What the server tells of what it does: logs, figures, spans.
//!
//! Invariant: bytes of guests and clients reach no terminal unescaped, and nothing here fails a request.

mod failures;
pub(crate) mod metrics;
mod pages;
mod spans;
mod stats;

pub(crate) use failures::Failed;
pub(crate) use pages::Heat;
pub(crate) use spans::{RequestSpan, Spans};
pub(crate) use stats::{Histogram, PAGES, Stats, TIMES};

use executor::Escaped;
use std::time::Duration;

/// What guests wrote to standard error, line by line.
pub(crate) fn log_of_guest(request: &str, function: &str, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    for line in String::from_utf8_lossy(text).lines() {
        tracing::info!(target: "guest", request, function, "{}", Escaped(line));
    }
}

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) request: &'a str,
    pub(crate) function: Option<&'a str>,
    pub(crate) client: std::net::SocketAddr,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) time: Duration,
}

/// Writes a line of the access log.
pub(crate) fn access(access: &Access<'_>) {
    let Access { request, function, client, method, path, status, time } = *access;
    tracing::info!(
        target: "access",
        request,
        function,
        client = %client,
        method,
        path = %Escaped(path),
        status,
        time_us = time.as_micros() as u64,
    );
}
