//! The server: what it begins with, what it does on signals, and how it ends.
//!
//! Invariant: what was accepted is answered, whatever is reloaded meanwhile; only `drain` running out breaks that.

use crate::{
    admin::{self, Admin, Token},
    admission::All,
    args::{Args, LogFormat},
    config::{Address, Config, Sandbox},
    functions::Table,
    http::{self, Listener},
    load::{self, Loader},
    observe::Spans,
    state::State,
    watch::Watch,
    wire::Hello,
    workers::Workers,
};
use executor::Runtime;
use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    os::unix::fs::DirBuilderExt as _,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
    time::timeout,
};

/// Why there is no server, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("there is no store: name a directory with --store, or set HOME")]
    NoStore,
    #[error(transparent)]
    Open(#[from] executor::Error),
    #[error("{0}")]
    Function(String),
    #[error(
        "there is nothing to serve: deploy a function first (executor deploy FILE --name NAME)"
    )]
    Nothing,
    #[error(transparent)]
    Tls(#[from] http::TlsError),
    #[error(transparent)]
    Token(#[from] admin::TokenError),
    #[error("otlp: {0}")]
    Spans(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("cannot listen at {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

fn system(what: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { what, source }
}

/// Serves until a signal ends it.
pub(crate) fn run(args: Args) -> Result<(), ServeError> {
    executor::keep_descriptors_from_children();
    let config = args.configuration()?;
    start_log(&args);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = config.threads.unwrap_or(cores / 2).max(1);
    // One thread needs no other to be woken by.
    let mut runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime =
        runtime.worker_threads(threads).enable_all().build().map_err(system("start threads"))?;
    runtime.block_on(serve(args, config, cores))
}

fn start_log(args: &Args) {
    use tracing_subscriber::{
        Layer as _, filter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
    };
    let accesses = args.access_log;
    let filter = filter::filter_fn(move |metadata| {
        *metadata.level() <= tracing::Level::INFO && (accesses || metadata.target() != "access")
    });
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = match args.log {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // It is there already where tests run this in their own process.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

async fn serve(args: Args, config: Config, cores: usize) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let store = args.store.clone().or_else(executor::default_store).ok_or(ServeError::NoStore)?;
    // Workers have another directory to begin from.
    let store = std::path::absolute(&store).map_err(system("find the store"))?;
    // Functions that are deployed first are noticed too.
    if !args.trust_store {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&store);
        made.map_err(system("make the store"))?;
    }
    let runtime = Runtime::builder()
        .store(&store)
        .trust_store(args.trust_store)
        .compiler(false)
        .on_event(|event| tracing::warn!("{}", executor::Escaped(&format!("{event:?}"))))
        .build()?;
    let (memory, output) = (config.memory.map(|size| size.0), config.output.map(|size| size.0));
    let all = Arc::new(All::new(config.concurrency.get(), memory, output));
    let loader = Arc::new(Loader {
        runtime,
        store: store.clone(),
        names: args.names.clone(),
        all: Arc::clone(&all),
    });
    let config = Arc::new(config);
    blocking(&loader, &config, |loader, config| loader.deploy(config))
        .await
        .map_err(ServeError::Function)?;
    // What is deployed from here on is noticed.
    let mut watch = Watch::new(&store).map_err(system("watch the store"))?;
    let (table, said) =
        blocking(&loader, &config, |loader, config| loader.table(config, &Table::default(), None))
            .await?;
    for text in &said {
        tracing::error!("{text}");
    }
    if let (false, Some(text)) = (args.names.is_empty(), said.into_iter().next()) {
        return Err(ServeError::Function(text));
    }
    if table.iter().next().is_none() && config.admin.is_none() {
        return Err(ServeError::Nothing);
    }

    let spans = config.otlp.as_ref().map(Spans::new).transpose()?;
    let count = config.workers.map_or(cores, NonZeroUsize::get);
    let hello = Hello {
        store,
        trust_store: args.trust_store,
        threads: config.concurrency.get().div_ceil(count),
        functions: config.open_functions,
        slots: config.slots,
        directories: load::directories(&table),
        confined: config.sandbox != Sandbox::Off,
        tells_kept: all.memory().is_some(),
    };
    let required = config.sandbox == Sandbox::Require;
    let workers = Workers::start(count, hello, required, all.memory().cloned()).await;
    let workers = workers.map_err(system("start a worker"))?;
    let state = Arc::new(State::new(Arc::clone(&config), workers, all, table, spans));
    let tls = config.tls.as_ref().map(http::acceptor).transpose()?;
    let (tcp, addr) = listen(config.addr).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    for served in state.table.get().iter() {
        tracing::info!(
            "{} at {scheme}://{addr}{} ({})",
            served.name,
            served.route,
            served.protocol
        );
    }
    let admin = match &config.admin {
        Some(address) => Some(administration(address, &config, &loader, &state).await?),
        None => None,
    };
    tracing::info!("serving at {scheme}://{addr}");

    // A task that is dropped ends, with its socket.
    let administered = admin.map(|(listener, admin)| tokio::spawn(admin::serve(listener, admin)));
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(http::serve(Listener { tcp, tls }, Arc::clone(&state), stopped));
    loop {
        tokio::select! {
            said = signals.said() => match said {
                Said::End => break,
                Said::Reload => match reload(&args, &loader, &state).await {
                    Ok(()) => tracing::info!("reloaded"),
                    Err(error) => tracing::error!("not reloaded: {error}"),
                },
            },
            changed = watch.changed() => match changed {
                Ok(changed) => drop(update(&loader, &state, Some(changed)).await),
                Err(error) => {
                    tracing::error!("deployments are not noticed any more; SIGHUP reloads: {error}");
                }
            },
        }
    }
    tracing::info!("draining");
    state.draining.store(true, Relaxed);
    stop.send_replace(true);
    let drained = timeout(config.drain.0, serving);
    match drained.await {
        Ok(_) => tracing::info!("ended"),
        Err(_) => tracing::error!("ended before all requests had"),
    }
    if let Some(administered) = administered {
        administered.abort();
        // It ends by being aborted.
        let _ = administered.await;
    }
    let flushed = async {
        if let Some(spans) = &state.spans {
            spans.flush().await;
        }
    };
    // Workers without calls end at once.
    let workers = state.workers.get();
    let retired = timeout(Duration::from_secs(1), workers.retire());
    let ((), _) = tokio::join!(flushed, retired);
    Ok(())
}

/// Does what waits for files on a thread of its own.
async fn blocking<T: Send + 'static>(
    loader: &Arc<Loader>,
    config: &Arc<Config>,
    load: impl FnOnce(&Loader, &Config) -> T + Send + 'static,
) -> T {
    let (loader, config) = (Arc::clone(loader), Arc::clone(config));
    match spawn_blocking(move || load(&loader, &config)).await {
        Ok(loaded) => loaded,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Begins to listen for the administration.
async fn administration(
    address: &Address,
    config: &Config,
    loader: &Arc<Loader>,
    state: &Arc<State>,
) -> Result<(admin::Listener, Arc<Admin>), ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_string(), source };
    let listener = admin::listen(address).await.map_err(failed)?;
    let token = match (&listener, &config.admin_token) {
        (admin::Listener::Unix { .. }, None) => None,
        (_, Some(path)) => Some(Token::read(path)?),
        (admin::Listener::Tcp(_), None) => {
            let (token, path) = Token::of_store(&loader.store)?;
            tracing::info!("the administration's token is in {}", path.display());
            Some(token)
        }
    };
    let address = match &listener {
        admin::Listener::Tcp(tcp) => format!("http://{}", tcp.local_addr().map_err(failed)?),
        admin::Listener::Unix { .. } => address.to_string(),
    };
    tracing::info!("the administration is at {address}");
    let (loader, state) = (Arc::clone(loader), Arc::clone(state));
    Ok((listener, Arc::new(Admin { state, loader, token })))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Reads the configuration again. What cannot change while the server runs stays as it is.
async fn reload(args: &Args, loader: &Arc<Loader>, state: &Arc<State>) -> Result<(), String> {
    let config = Arc::new(args.configuration().map_err(|error| error.to_string())?);
    let before = state.config.get();
    let fixed = |config: &Config| {
        let Config { addr, admin, workers, concurrency, memory, output, tls, otlp, .. } = config;
        (*addr, admin.clone(), *workers, *concurrency, *memory, *output, tls.clone(), otlp.clone())
    };
    if fixed(&config) != fixed(&before) {
        tracing::warn!(
            "addresses, workers, concurrency, memory, output, TLS and the collector change with the next start only"
        );
    }
    blocking(loader, &config, |loader, config| loader.deploy(config)).await?;
    state.config.replace(config);
    update(loader, state, None).await;
    Ok(())
}

/// Loads functions that have changed, or all. Returns what is to be said of those that are not served.
pub(crate) async fn update(
    loader: &Arc<Loader>,
    state: &Arc<State>,
    changed: Option<BTreeSet<String>>,
) -> Vec<String> {
    // One after the other: each begins with the table that the one before has made.
    let _turn = state.updating.lock().await;
    let (config, before) = (state.config.get(), state.table.get());
    let names = changed.clone();
    let load = {
        let before = Arc::clone(&before);
        move |loader: &Loader, config: &Config| loader.table(config, &before, names.as_ref())
    };
    let (table, said) = match blocking(loader, &config, load).await {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("the store cannot be read: {error}");
            return vec![error.to_string()];
        }
    };
    for text in &said {
        tracing::error!("{text}");
    }
    let table = Arc::new(table);
    let workers = state.workers.get();
    let directories = load::directories(&table);
    // Workers can open only what they were told of when they began.
    let known = workers.directories();
    if directories.iter().any(|directory| !known.contains(directory)) {
        match workers.with_directories(directories).await {
            Ok(started) => {
                let old = state.workers.replace(started);
                tokio::spawn(async move { old.retire().await });
            }
            Err(error) => {
                let text = format!("cannot start workers for other directories: {error}");
                tracing::error!("{text}");
                return vec![text];
            }
        }
    }
    for served in table.iter() {
        let is_as_it_was = before.get(&served.name).is_some_and(|before| {
            before.snapshot == served.snapshot && before.route == served.route
        });
        if !is_as_it_was {
            let id = executor::SnapshotId(served.snapshot);
            tracing::info!("{} at {} ({}) is {id}", served.name, served.route, served.protocol);
        }
    }
    state.table.replace(table);
    said
}

/// What a signal says to the server.
enum Said {
    End,
    Reload,
}

/// The signals that say something to the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, ServeError> {
        let of = |kind| signal(kind).map_err(system("wait for signals"));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    async fn said(&mut self) -> Said {
        tokio::select! {
            _ = self.terminate.recv() => Said::End,
            _ = self.interrupt.recv() => Said::End,
            _ = self.hang_up.recv() => Said::Reload,
        }
    }
}
