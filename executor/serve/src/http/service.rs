//! A request, from its head to its response.
//!
//! Invariant: a client is told what it can do about an error, and nothing of the guest's insides: those go to the log.
//! What has been read of a body is in the guest's hands or in this request's, never lost.

use super::{
    body::{Body, Stream, holding},
    listen::Connection,
    sent::{Input, Sent, pump, spool},
};
use crate::{
    admission::Busy,
    functions::Served,
    memory::Reserved,
    observe::{self, Access, RequestSpan},
    protocol::{self, cgi},
    state::State,
    wire::{self, End, Failure, INLINE, Outcome, Phases},
    workers::{First, InFlight, NoWorker, Ticket},
};
use bytes::BytesMut;
use executor::settings::Protocol;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use serde_bytes::Bytes;
use std::{
    borrow::Cow,
    convert::Infallible,
    future::poll_fn,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::net::unix::pipe;

/// The header by which a client finds its request in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How often a call is given to workers that are just being replaced, and how long it is waited in between.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// Tells of a request when it is over.
#[derive(Debug)]
pub(crate) struct Trace {
    request: Arc<str>,
    served: Option<Arc<Served>>,
    client: std::net::SocketAddr,
    method: Method,
    path: String,
    begun: Instant,
    /// None as long as there is no response: the client may go before.
    status: Option<StatusCode>,
    /// Where spans are made, and one is of it.
    span: Option<Box<RequestSpan>>,
}

impl Trace {
    /// Its call is over.
    pub(crate) fn ended(&mut self, phases: &Phases) {
        if let Some(span) = &mut self.span {
            span.call(phases);
        }
    }

    /// Tells why a call failed.
    pub(crate) fn failed(&mut self, failure: Failure, text: &str) {
        let function = self.served.as_ref().map(|served| &*served.name);
        let (request, text) = (&*self.request, executor::Escaped(text));
        match failure {
            Failure::Cancelled => tracing::info!(target: "call", request, function, "{text}"),
            _ => tracing::error!(target: "call", request, function, "{failure:?}: {text}"),
        }
        if let (Some(served), false) = (&self.served, failure == Failure::Cancelled) {
            served.stats.failures.keep(&self.request, failure, text.0);
        }
        if let Some(span) = &mut self.span {
            span.failed(failure);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let time = self.begun.elapsed();
        // As nginx has it: the client closed the connection.
        let status = self.status.map_or(499, |status| status.as_u16());
        if let Some(served) = &self.served {
            served.stats.response(status, time);
        }
        if let Some(span) = self.span.take() {
            span.end(self.status, self.served.as_deref());
        }
        observe::access(&Access {
            request: &self.request,
            function: self.served.as_ref().map(|served| &*served.name),
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
            status,
            time,
        });
    }
}

/// A response that the server makes itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
    /// The connection is not used again: what else was sent on it is not read.
    pub(super) close: bool,
    /// The snapshot of the call is not in the store any more, and nothing of it has run.
    pub(super) gone: bool,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text, retry_after: None, close: false, gone: false }
    }
}

/// Answers a request.
pub(super) async fn answer(
    state: Arc<State>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let h2 = parts.version == hyper::Version::HTTP_2;
    let request = state.request_id();
    let span = state.spans.as_ref();
    let span =
        span.and_then(|spans| spans.begin(&request, connection.client, connection.tls, &parts));
    let mut trace = Trace {
        request: Arc::clone(&request),
        served: None,
        client: connection.client,
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        begun: Instant::now(),
        status: None,
        span,
    };
    let mut response = match respond(&state, &connection, &parts, body, &mut trace).await {
        Ok(Answer::Whole(response)) => {
            trace.status = Some(response.status());
            response
        }
        Ok(Answer::Stream(head, mut stream)) => {
            trace.status = Some(head.status());
            stream.trace = Some(trace);
            head.map(|()| Body::Stream(stream))
        }
        Err(refusal) => {
            trace.status = Some(refusal.status);
            let mut response = Response::new(Body::from(format!("{}\n", refusal.text)));
            *response.status_mut() = refusal.status;
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
            if let Some(seconds) = refusal.retry_after {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            if refusal.close && !h2 {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    if let Ok(value) = HeaderValue::from_str(&request) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// A response of the guest's.
enum Answer {
    Whole(Response<Body>),
    Stream(Response<()>, Box<Stream>),
}

/// Answers a request with the function that has its path. Where that is replaced and its snapshot gone before the call
/// begins, the function that took its place answers, once.
async fn respond(
    state: &State,
    connection: &Connection,
    parts: &Parts,
    body: Incoming,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    if state.is_draining() {
        let gone = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is about to end");
        return Err(Refusal { retry_after: Some(1), close: true, ..gone });
    }
    let not_found = Refusal::new(StatusCode::NOT_FOUND, "there is no function here");
    let not_found = Refusal { close: !body.is_end_stream(), ..not_found };
    let (served, below) = find(state, parts).ok_or(not_found)?;
    trace.served = Some(Arc::clone(&served));
    let len = body.size_hint().exact();
    let stall = state.config.get().stall_timeout.0;
    let mut sent = Sent::Coming(Input { body, stall, left: served.body });
    let mut answer =
        call(state, connection, parts, (&mut sent, len), (&served, below), trace).await;
    if matches!(answer, Err(Refusal { gone: true, .. }))
        && !matches!(sent, Sent::Given)
        && let Some((served, below)) = replacing(state, parts, &served).await
    {
        trace.served = Some(Arc::clone(&served));
        answer = call(state, connection, parts, (&mut sent, len), (&served, below), trace).await;
    }
    if matches!(answer, Err(Refusal { gone: true, .. })) {
        trace.failed(Failure::Gone, "its snapshot is not in the store any more");
    }
    answer
}

/// The function that has the path of a request, and what of the path lies below its route.
fn find<'a>(state: &State, parts: &'a Parts) -> Option<(Arc<Served>, &'a str)> {
    let table = state.table.get();
    let found = table.find(parts.uri.path()).filter(|_| parts.method != Method::CONNECT);
    found.map(|(served, below)| (Arc::clone(served), below))
}

/// What has taken the place of a function whose snapshot is gone: it may be known a moment later.
async fn replacing<'a>(
    state: &State,
    parts: &'a Parts,
    gone: &Served,
) -> Option<(Arc<Served>, &'a str)> {
    for _ in 0..TRIES {
        let (served, below) = find(state, parts)?;
        if served.snapshot != gone.snapshot {
            return Some((served, below));
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// Makes the call that a request asks for. What is left in `sent` of its body can be given to another.
async fn call(
    state: &State,
    connection: &Connection,
    parts: &Parts,
    (sent, len): (&mut Sent, Option<u64>),
    (served, below): (&Arc<Served>, &str),
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    let request = described(connection, parts, len, served, below);
    let too_large = Refusal {
        close: true,
        ..Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large")
    };
    if request.body_len.is_some_and(|len| len > served.body) {
        return Err(too_large);
    }
    let mut head = Vec::new();
    let env = match &served.protocol {
        Protocol::Cgi => {
            let env = cgi::environment(&request, &served.env);
            let not_text = Refusal::new(StatusCode::BAD_REQUEST, "the path is not text");
            Cow::Owned(env.ok_or(not_text)?)
        }
        Protocol::Stdio | Protocol::Export(_) => Cow::Borrowed(&served.env),
    };
    if served.protocol == Protocol::Stdio && served.settings.request_line == Some(true) {
        head = protocol::request_line(&request);
    }

    // What is short is read before anything is taken for it: a client that sends slowly holds nobody up.
    let short = len.is_some_and(|len| len as usize + head.len() <= INLINE);
    if let (Sent::Coming(input), true) = (&mut *sent, short) {
        let mut bytes = BytesMut::new();
        while let Some(part) = input.part().await? {
            bytes.extend_from_slice(&part);
        }
        *sent = Sent::Whole(bytes.freeze());
    }
    let waited = Instant::now();
    let admitted = served.admission.admit().await;
    let queued = waited.elapsed();
    if let Some(span) = &mut trace.span {
        span.queued(waited, queued);
    }
    let permit = admitted.map_err(|busy| {
        let seconds = served.admission.deadline.as_secs().max(1);
        let text = match busy {
            Busy::Full => "too many requests wait for this function",
            Busy::Late => "this function was busy for too long",
        };
        let busy = Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
        Refusal { retry_after: Some(seconds), close: !short, ..busy }
    })?;
    served.stats.queue.time(queued);

    let sampled = state.config.get().admin.is_some() && served.stats.pages.is_wanted();
    let ticket = Ticket {
        request: Arc::clone(&trace.request),
        served: Arc::clone(served),
        permit,
        sampled,
        deadline: served.deadline,
    };
    if let Sent::Whole(bytes) = sent {
        let body = wire::Body::Inline(Bytes::new(&head), Bytes::new(bytes));
        let call = served.call(&env, body, sampled);
        let in_flight = give(state, call, None, ticket).await?;
        return outcome(in_flight, served, trace).await;
    }
    let call = served.call(&env, wire::Body::Descriptor, sampled);
    let no_descriptor =
        |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server has no descriptors left");
    let in_file = matches!(served.protocol, Protocol::Export(_));
    let incoming = match (std::mem::replace(sent, Sent::Given), in_file) {
        (Sent::Coming(incoming), false) => incoming,
        (body, true) => {
            let file = match body {
                Sent::Coming(mut incoming) => spool(&mut incoming).await?,
                Sent::File(file) => file,
                Sent::Whole(_) | Sent::Given => return Err(refusal(Failure::Gone)),
            };
            let with = file.try_clone().map_err(no_descriptor)?;
            *sent = Sent::File(file);
            let in_flight = give(state, call, Some(with), ticket).await?;
            return outcome(in_flight, served, trace).await;
        }
        // It is for an export, and what has taken its place is none.
        _ => return Err(refusal(Failure::Gone)),
    };
    let (reader, writer) = io::pipe().map_err(no_descriptor)?;
    let writer = pipe::Sender::from_owned_fd(writer.into()).map_err(no_descriptor)?;
    let in_flight = give(state, call, Some(reader.into()), ticket).await?;
    // The call reads while its body comes, and may answer before it has all of it.
    let stopped = Arc::new(OnceLock::new());
    let inline = BytesMut::from(&head[..]);
    let pumped = pump(incoming, inline, writer, in_flight.canceller(), Arc::clone(&stopped));
    let pumped = tokio::spawn(pumped);
    let answer = outcome(in_flight, served, trace).await;
    match answer {
        // What the call did not read is not read at all.
        Ok(Answer::Whole(mut response)) if !pumped.is_finished() => {
            pumped.abort();
            if parts.version != hyper::Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(Answer::Whole(response))
        }
        // Why there is no body explains why there is no answer.
        Err(refusal) => match stopped.get().copied() {
            Some(earlier) => Err(earlier),
            None => Err(Refusal { close: true, ..refusal }),
        },
        answer => answer,
    }
}

/// What a guest may know of a request.
fn described<'a>(
    connection: &'a Connection,
    parts: &'a Parts,
    body_len: Option<u64>,
    served: &'a Served,
    below: &'a str,
) -> protocol::Request<'a> {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = authority.or(host).unwrap_or_default();
    protocol::Request {
        method: &parts.method,
        route: served.route.path().trim_end_matches('/'),
        below,
        query: parts.uri.query().unwrap_or_default(),
        version: parts.version,
        headers: &parts.headers,
        // Without the port. An address of version 6 is in brackets.
        host: match host.rfind(':') {
            Some(colon) if !host[colon..].contains(']') => &host[..colon],
            _ => host,
        },
        client: connection.client,
        connection: &connection.variables,
        body_len,
    }
}

/// Gives a call to a worker.
async fn give(
    state: &State,
    mut call: wire::Call<'_>,
    with: Option<OwnedFd>,
    mut ticket: Ticket,
) -> Result<InFlight, Refusal> {
    let unavailable = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no worker takes the call");
    for _ in 0..TRIES {
        let with = with.as_ref().map(|with| with.as_fd());
        match state.workers.get().call(&mut call, with, ticket).await {
            Ok(in_flight) => return Ok(in_flight),
            Err(NoWorker::None(back)) => ticket = back,
            Err(error @ NoWorker::Send(_)) => {
                tracing::error!("{error}");
                return Err(unavailable);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Refusal { retry_after: Some(1), ..unavailable })
}

/// The response that a call comes to.
async fn outcome(
    mut in_flight: InFlight,
    served: &Arc<Served>,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    if let Some(span) = &mut trace.span {
        span.given();
    }
    match in_flight.first().await {
        First::End(end) => whole(served, end, in_flight.reserved.take(), trace).map(Answer::Whole),
        First::Output(begun, pipe, end) => {
            let broken =
                |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the output cannot be read");
            let stream = Box::new(Stream {
                begun: begun.into(),
                pipe: Some(pipe::Receiver::from_owned_fd(pipe).map_err(broken)?),
                end,
                in_flight,
                buffer: BytesMut::new(),
                served: Arc::clone(served),
                trace: None,
            });
            begin(stream, trace).await
        }
    }
}

/// The response to a call that has ended.
fn whole(
    served: &Served,
    end: End,
    mut reserved: Option<Arc<Reserved>>,
    trace: &mut Trace,
) -> Result<Response<Body>, Refusal> {
    trace.ended(&end.phases);
    let code = match end.outcome {
        Outcome::Done(code) => code,
        // Another may answer.
        Outcome::Failed(failure @ Failure::Gone, _) => return Err(refusal(failure)),
        Outcome::Failed(failure, text) => {
            trace.failed(failure, &text);
            return Err(refusal(failure));
        }
    };
    // The call has ended, so nobody else has it.
    if let Some(reserved) = reserved.as_mut().and_then(Arc::get_mut) {
        reserved.shrink(end.output.len() as u64);
    }
    let output = holding(end.output.into(), reserved);
    if served.protocol == Protocol::Cgi {
        let head = match cgi::head(&output) {
            Ok(Some(head)) => Ok(head),
            Ok(None) => Err("no empty line ends its headers".to_owned()),
            Err(error) => Err(error),
        };
        return match head {
            Ok(cgi::Head { status, headers, len }) => {
                if code != 0 {
                    tracing::warn!(target: "call", request = &*trace.request, "exited with {code}");
                }
                let body = Body::Whole(output.slice(len..));
                Ok(response(status, headers).map(|()| body))
            }
            Err(error) if code == 0 => {
                trace.failed(Failure::Output, &error);
                Err(Refusal::new(StatusCode::BAD_GATEWAY, "the function's response is not valid"))
            }
            Err(_) => Err(exited(code, trace)),
        };
    }
    match code {
        0 => Ok(response(StatusCode::OK, content_type(served)).map(|()| Body::Whole(output))),
        code => Err(exited(code, trace)),
    }
}

fn exited(code: i32, trace: &mut Trace) -> Refusal {
    trace.failed(Failure::Trap, &format!("exited with {code}"));
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the function failed")
}

fn response(status: StatusCode, headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The headers of a response of which the guest gives only the body.
fn content_type(served: &Served) -> HeaderMap {
    let text = served.settings.content_type.as_deref().unwrap_or("application/octet-stream");
    let value = HeaderValue::from_str(text).ok();
    value.into_iter().map(|value| (header::CONTENT_TYPE, value)).collect()
}

/// The head of a response whose body is still being written.
async fn begin(mut stream: Box<Stream>, trace: &mut Trace) -> Result<Answer, Refusal> {
    if stream.served.protocol != Protocol::Cgi {
        return Ok(Answer::Stream(response(StatusCode::OK, content_type(&stream.served)), stream));
    }
    let mut begun = BytesMut::from(&stream.begun[..]);
    loop {
        let bad = Refusal::new(StatusCode::BAD_GATEWAY, "the function's response is not valid");
        match cgi::head(&begun) {
            Ok(Some(cgi::Head { status, headers, len })) => {
                stream.begun = begun.freeze().slice(len..);
                return Ok(Answer::Stream(response(status, headers), stream));
            }
            Ok(None) => {}
            Err(error) => {
                trace.failed(Failure::Output, &error);
                return Err(bad);
            }
        }
        match poll_fn(|cx| stream.poll_pipe(cx)).await {
            Ok(Some(part)) => begun.extend_from_slice(&part),
            // It ended within its headers: why is what its end says.
            Ok(None) | Err(_) => {
                let end = (&mut stream.end).await;
                let mut end = stream.in_flight.end(end);
                end.output = begun.to_vec();
                let reserved = stream.in_flight.reserved.take();
                return whole(&stream.served, end, reserved, trace).map(Answer::Whole);
            }
        }
    }
}

/// What a client is told of a call that failed.
fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Trap => Refusal::new(StatusCode::BAD_GATEWAY, "the function failed"),
        Failure::Output => {
            Refusal::new(StatusCode::BAD_GATEWAY, "the function wrote more than it may")
        }
        Failure::Worker => Refusal::new(StatusCode::BAD_GATEWAY, "the function's process ended"),
        Failure::Deadline => {
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the function took longer than it may")
        }
        Failure::Cancelled => Refusal::new(StatusCode::BAD_REQUEST, "the request was cancelled"),
        Failure::Gone => Refusal {
            retry_after: Some(1),
            gone: true,
            ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the function was just replaced")
        },
        Failure::Start => Refusal::new(StatusCode::BAD_GATEWAY, "the function cannot be started"),
    }
}
