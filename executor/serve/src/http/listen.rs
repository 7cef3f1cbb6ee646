//! Connections: taken, told apart by their protocol, served, and ended.
//!
//! Invariant: at most so many connections are there at a time; each has sent its request's head within a time, or is
//! closed. When the server drains, what was accepted is answered.

use super::{
    service,
    stall::Stalling,
    untaken::{Noted, Untaken},
};
use crate::{config::Config, protocol::cgi, state::State, wire::INLINE};
use executor::Environment;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// The bytes that HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many streams a client may open in a connection of HTTP/2.
const STREAMS: u32 = 250;
/// The most headers of a request.
const HEADERS: usize = 128;
/// How long it is waited where the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// The most bytes of a call's output that are anywhere between its guest and the client's connection: in a pipe, in a
/// part that was read from it, and with one more part than a connection buffers.
pub(crate) fn most_on_its_way(config: &Config) -> u64 {
    3 * INLINE as u64 + buffered(config) as u64
}

/// How much a connection buffers of a head that it reads, and of each response.
fn buffered(config: &Config) -> usize {
    usize::try_from(config.header_size.0).unwrap_or(usize::MAX).max(8 << 10)
}

/// Where connections come from.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// What a connection is, as far as requests are concerned.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: SocketAddr,
    pub(super) tls: bool,
    /// The variables that tell of it.
    pub(super) variables: Arc<Environment>,
}

impl Connection {
    fn new(client: SocketAddr, server: SocketAddr, tls: bool) -> Self {
        Self { client, tls, variables: Arc::new(cgi::of_connection(client, server, tls)) }
    }
}

/// What a connection holds until it ends.
struct Held {
    _room: OwnedSemaphorePermit,
    _alive: mpsc::Sender<Infallible>,
    stop: watch::Receiver<bool>,
}

/// Serves connections until `stop`, and then until all have ended.
pub(crate) async fn serve(
    listener: Listener,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let config = state.config.get();
    let server = listener.tcp.local_addr()?;
    let room = Arc::new(Semaphore::new(config.connections));
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accept = async {
            // It is never closed.
            let room = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, client) = listener.tcp.accept().await?;
            Ok::<_, io::Error>((room, stream, client))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((room, stream, client)) => {
                let held = Held { _room: room, _alive: alive.clone(), stop: stop.clone() };
                let connection = Connection::new(client, server, listener.tls.is_some());
                let (state, config) = (Arc::clone(&state), Arc::clone(&config));
                tokio::spawn(begin(stream, listener.tls.clone(), connection, state, config, held));
            }
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    // What waits to be taken was accepted by the kernel, which answers for this server.
    while let Ok(Ok((stream, client))) = timeout(Duration::ZERO, listener.tcp.accept()).await {
        let Ok(room) = Arc::clone(&room).acquire_owned().await else { break };
        let held = Held { _room: room, _alive: alive.clone(), stop: stop.clone() };
        let connection = Connection::new(client, server, listener.tls.is_some());
        let (state, config) = (Arc::clone(&state), Arc::clone(&config));
        tokio::spawn(begin(stream, listener.tls.clone(), connection, state, config, held));
    }
    drop((listener, alive));
    // Nothing is ever sent: it ends with the last connection.
    let _ = ended.recv().await;
    Ok(())
}

/// Waits until the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone, and has stopped.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Finds out what a connection speaks, and serves it.
async fn begin(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: Connection,
    state: Arc<State>,
    config: Arc<Config>,
    held: Held,
) {
    // Responses are written whole; there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let limit = config.header_timeout.0;
    match tls {
        Some(acceptor) => {
            let Ok(Ok(stream)) = timeout(limit, acceptor.accept(stream)).await else { return };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(stream, h2, connection, state, &config, held).await;
        }
        None => {
            let Ok(Ok(h2)) = timeout(limit, begins_with_preface(&stream, held.stop.clone())).await
            else {
                return;
            };
            speak(stream, h2, connection, state, &config, held).await;
        }
    }
}

/// Whether a client begins with the preface of HTTP/2.
///
/// # Errors
/// When it goes before it has sent anything, or the server stops before.
async fn begins_with_preface(
    stream: &TcpStream,
    mut stop: watch::Receiver<bool>,
) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let mut len = 0;
    loop {
        let peeked = tokio::select! {
            biased;
            peeked = stream.peek(&mut seen) => peeked?,
            // Without a byte of a request there is nothing to lose.
            () = stopped(&mut stop), if len == 0 => 0,
        };
        let begun = &seen[..peeked];
        match peeked {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if !PREFACE.starts_with(begun) => return Ok(false),
            PREFACE_LEN => return Ok(true),
            // What was peeked at stays readable; only more of it is news.
            _ if peeked == len => sleep(Duration::from_millis(5)).await,
            _ => len = peeked,
        }
    }
}

const PREFACE_LEN: usize = PREFACE.len();

/// Serves the requests of a connection.
async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    h2: bool,
    connection: Connection,
    state: Arc<State>,
    config: &Config,
    held: Held,
) {
    let Held { _room, _alive, mut stop } = held;
    let io = TokioIo::new(Stalling::new(stream, config.stall_timeout.0));
    let answer = move |request| service::answer(Arc::clone(&state), connection.clone(), request);
    let head = buffered(config);
    // Errors are the client's: what it sent was no HTTP, or it is gone.
    if h2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(head.try_into().unwrap_or(u32::MAX))
            .max_send_buf_size(head.min(u32::MAX as usize))
            // A client that is silent while its requests are answered is asked whether it is there.
            .keep_alive_interval(config.stall_timeout.0)
            .keep_alive_timeout(config.header_timeout.0);
        let untaken = Arc::new(Untaken::default());
        let noted = |request| {
            let (answer, untaken) = (answer(request), Arc::clone(&untaken));
            async move { answer.await.map(|response| response.map(|body| Noted::new(body, untaken))) }
        };
        let mut served = pin!(builder.serve_connection(io, service_fn(noted)));
        let served = async {
            tokio::select! {
                _ = served.as_mut() => {}
                () = stopped(&mut stop) => {
                    served.as_mut().graceful_shutdown();
                    let _ = served.await;
                }
            }
        };
        tokio::select! {
            () = served => {}
            () = untaken.outlives(config.stall_timeout.0) => {}
        }
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout.0)
            .max_headers(HEADERS)
            // `pipeline_flush` would have it buffer whatever comes.
            .max_buf_size(head);
        let mut served = pin!(builder.serve_connection(io, service_fn(answer)));
        tokio::select! {
            _ = served.as_mut() => {}
            () = stopped(&mut stop) => {
                served.as_mut().graceful_shutdown();
                let _ = served.await;
            }
        }
    }
}
