//! The administration: health, figures, and deploying, at an address of its own.
//!
//! Invariant: nothing is told or done before the client has shown that it may: by the token, or on a socket of the file
//! system by being the server's own user or root. What needs neither says nothing of the functions.

mod api;
mod figures;
mod page;
mod token;

pub(crate) use token::{Token, TokenError};

use crate::{config::Address, load::Loader, observe::metrics, state::State};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    fs,
    io::{self, ErrorKind},
    os::unix::{fs::PermissionsExt as _, net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long it is waited where the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// What the administration works on.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) state: Arc<State>,
    pub(crate) loader: Arc<Loader>,
    /// What clients show over TCP.
    pub(crate) token: Option<Token>,
}

/// Where it listens. A socket in the file system is removed with it.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { socket: UnixListener, _file: Socket },
}

/// The file of a socket.
#[derive(Debug)]
pub(crate) struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Begins to listen.
///
/// # Errors
/// When the address is taken, or cannot be had.
pub(crate) async fn listen(address: &Address) -> io::Result<Listener> {
    match address {
        Address::Tcp(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
        Address::Unix(path) => {
            remove_stale(path)?;
            let socket = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok(Listener::Unix { socket, _file: Socket(path.clone()) })
        }
    }
}

/// Removes the socket of a server that has ended without removing it.
fn remove_stale(path: &Path) -> io::Result<()> {
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// Answers until the server ends.
pub(crate) async fn serve(listener: Listener, admin: Arc<Admin>) {
    loop {
        let accepted = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                tokio::spawn(speak(stream, Arc::clone(&admin), false));
            }),
            Listener::Unix { socket, .. } => socket.accept().await.map(|(stream, _)| {
                let own = stream.peer_cred().is_ok_and(|peer| {
                    peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0
                });
                tokio::spawn(speak(stream, Arc::clone(&admin), own));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!("cannot take a connection of the administration: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Serves the requests of a connection; `own` says that its client is known to be the user.
async fn speak<S>(stream: S, admin: Arc<Admin>, own: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(answer(&admin, request, own).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // Errors are the client's: what it sent was no HTTP, or it is gone.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

type Reply = Response<Full<Bytes>>;

async fn answer(admin: &Admin, request: Request<Incoming>, own: bool) -> Reply {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/readyz") => match not_ready(&admin.state) {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        (&Method::GET, "/") => page::page(),
        _ if !own && !shows_token(admin, &request) => {
            let mut reply = api::error(StatusCode::UNAUTHORIZED, "show the administration's token");
            let challenge = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            reply
        }
        (&Method::GET, "/metrics") => {
            let kept = admin.state.workers.get().kept().await;
            let mut reply = Reply::new(metrics::text(&admin.state, &kept).into());
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            reply.headers_mut().insert(CONTENT_TYPE, kind);
            reply
        }
        (&Method::GET, "/stats") => api::json(StatusCode::OK, &figures::figures(admin).await),
        _ => api::answer(admin, request).await,
    }
}

fn shows_token(admin: &Admin, request: &Request<Incoming>) -> bool {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    matches!((&admin.token, shown), (Some(token), Some(shown)) if token.is(shown))
}

/// Why no requests should be sent here.
fn not_ready(state: &State) -> Option<&'static str> {
    if state.is_draining() {
        Some("draining\n")
    } else if state.workers.get().running() == 0 {
        Some("no worker runs\n")
    } else {
        None
    }
}

fn text(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Reply::new(Bytes::from_static(text.as_bytes()).into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}
