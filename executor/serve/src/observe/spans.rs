//! Spans of requests, sent to a collector as OTLP over HTTP: one for each request, with one for each of its phases.
//!
//! Invariant: a request waits for no collector and fails for none. What there is no room for, and what the collector
//! does not take, is dropped and counted. A span has few bytes of a client, whatever it sends.

use crate::{
    config::Collector,
    functions::Served,
    wire::{Failure, Phases},
};
use async_trait::async_trait;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version, header::USER_AGENT,
    http::request::Parts,
};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{
        Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, hyper::HyperClient};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracer, SdkTracerProvider, Span, SpanData},
};
use std::{
    env,
    error::Error,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{runtime::Handle, task::spawn_blocking};

/// How long the collector may take for a batch, and for the last ones when the server ends.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the log says at most that the collector takes nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// The most bytes of what a client sends that one attribute has.
const TEXT: usize = 1 << 10;
/// The longest `tracestate` that is passed on: what its definition asks for.
const TRACE_STATE: usize = 512;

/// The methods that spans have names of. All others are one.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// What makes spans and sends them.
#[derive(Debug)]
pub(crate) struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    counts: Arc<Counts>,
}

/// How many spans there were so far.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    sent: AtomicU64,
}

impl Spans {
    /// Sends spans to a collector from now on. There has to be a runtime around it, which does that.
    ///
    /// # Errors
    /// When the environment's variables for exporters ask for what there is not.
    pub(crate) fn new(collector: &Collector) -> Result<Self, ExporterBuildError> {
        let counts = Arc::new(Counts::default());
        let client = Client {
            client: HyperClient::with_default_connector(TIMEOUT, None),
            runtime: Handle::current(),
            counts: Arc::clone(&counts),
            said: Mutex::new(None),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(TIMEOUT)
            .with_endpoint(collector.traces())
            .build()?;
        let mut resource = Resource::builder_empty()
            .with_service_name("executor")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_detectors(&[
                Box::new(TelemetryResourceDetector),
                Box::new(EnvResourceDetector::new()),
            ]);
        if let Ok(name) = env::var("OTEL_SERVICE_NAME") {
            resource = resource.with_service_name(name);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Exporter { exporter, counts: Arc::clone(&counts) })
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("executor");
        Ok(Self { provider, tracer, counts })
    }

    /// The span of a request that begins now; none where its client's trace, or the sampler, wants none.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: &Arc<str>,
        client: SocketAddr,
        tls: bool,
        parts: &Parts,
    ) -> Option<Box<RequestSpan>> {
        let begun = (Instant::now(), SystemTime::now());
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &Headers(&parts.headers));
        // Names are few, whatever clients send.
        let known = METHODS.iter().find(|known| **known == parts.method).map(Method::as_str);
        let name = known.unwrap_or("HTTP");
        let builder =
            SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_start_time(begun.1);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if !span.is_recording() {
            return None;
        }
        span.set_attributes([
            KeyValue::new("http.request.method", known.unwrap_or("_OTHER")),
            KeyValue::new("url.scheme", if tls { "https" } else { "http" }),
            KeyValue::new("url.path", short(parts.uri.path())),
            KeyValue::new("client.address", client.ip().to_string()),
            KeyValue::new("faas.invocation_id", Arc::clone(request)),
            KeyValue::new("faas.trigger", "http"),
        ]);
        if known.is_none() {
            let sent = KeyValue::new("http.request.method_original", short(parts.method.as_str()));
            span.set_attribute(sent);
        }
        let version = match parts.version {
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            _ => None,
        };
        if let Some(version) = version {
            span.set_attribute(KeyValue::new("network.protocol.version", version));
        }
        if let Some(agent) = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            span.set_attribute(KeyValue::new("user_agent.original", short(agent)));
        }
        let within = Context::new().with_remote_span_context(span.span_context().clone());
        let spans = Arc::clone(self);
        Some(Box::new(RequestSpan {
            spans,
            span,
            name,
            within,
            begun,
            given: begun.0,
            failure: None,
        }))
    }

    /// How many spans were made.
    pub(crate) fn made(&self) -> u64 {
        self.counts.made.load(Relaxed)
    }

    /// How many spans the collector took.
    pub(crate) fn sent(&self) -> u64 {
        self.counts.sent.load(Relaxed)
    }

    /// Sends what there is yet, as far as the collector takes it in time. No spans are made any more.
    pub(crate) async fn flush(&self) {
        let provider = self.provider.clone();
        // What became of it is in the counts.
        let _ = spawn_blocking(move || provider.shutdown_with_timeout(TIMEOUT)).await;
        let made = self.made();
        match made.saturating_sub(self.sent()) {
            0 => {}
            lost => tracing::warn!("{lost} of {made} spans were not sent"),
        }
    }
}

/// The span of a request that is under way. Its attributes have the names of OpenTelemetry's conventions for HTTP and
/// for functions.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    spans: Arc<Spans>,
    span: Span,
    name: &'static str,
    /// What the spans of its phases are part of.
    within: Context,
    /// The same moment on both clocks.
    begun: (Instant, SystemTime),
    /// When a worker got its call.
    given: Instant,
    failure: Option<Failure>,
}

impl RequestSpan {
    /// It has waited for its permit.
    pub(crate) fn queued(&mut self, from: Instant, time: Duration) {
        self.phase("queue", from, time);
    }

    /// A worker has its call.
    pub(crate) fn given(&mut self) {
        self.given = Instant::now();
    }

    /// Its call is over, whose phases came one after the other. Those that it did not come to are left out.
    pub(crate) fn call(&mut self, phases: &Phases) {
        let mut from = self.given;
        for (name, time) in
            [("acquire", phases.acquire), ("run", phases.run), ("release", phases.release)]
        {
            if !time.is_zero() {
                self.phase(name, from, time);
                from += time;
            }
        }
        let faults = phases.faults.cast_signed();
        self.span.set_attribute(KeyValue::new("executor.page_faults", faults));
    }

    /// Its call failed.
    pub(crate) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// It is over. Without a status its client has gone before there was one.
    pub(crate) fn end(mut self, status: Option<StatusCode>, served: Option<&Served>) {
        if let Some(served) = served {
            self.span.update_name(format!("{} {}", self.name, served.route));
            self.span.set_attributes([
                KeyValue::new("http.route", served.route.to_string()),
                KeyValue::new("faas.name", Arc::clone(&served.name)),
                KeyValue::new("faas.version", executor::SnapshotId(served.snapshot).to_string()),
            ]);
        }
        if let Some(status) = status {
            let code = i64::from(status.as_u16());
            self.span.set_attribute(KeyValue::new("http.response.status_code", code));
        }
        let error = match (self.failure, status) {
            // It is the client's doing.
            (Some(Failure::Cancelled), _) => None,
            (Some(failure), _) => Some(format!("{failure:?}").to_ascii_lowercase()),
            (None, Some(status)) if status.is_server_error() => Some(status.as_str().to_owned()),
            (None, _) => None,
        };
        if let Some(error) = error {
            self.span.set_attribute(KeyValue::new("error.type", error));
            // Its attributes say why.
            self.span.set_status(Status::error(""));
        }
        self.spans.counts.made.fetch_add(1, Relaxed);
        let now = self.wall(Instant::now());
        self.span.end_with_timestamp(now);
    }

    fn phase(&self, name: &'static str, from: Instant, time: Duration) {
        let from = self.wall(from);
        let builder = SpanBuilder::from_name(name).with_start_time(from);
        let mut span = self.spans.tracer.build_with_context(builder, &self.within);
        self.spans.counts.made.fetch_add(1, Relaxed);
        span.end_with_timestamp(from + time);
    }

    /// A moment of the request by the clock on the wall, which may be set meanwhile.
    fn wall(&self, at: Instant) -> SystemTime {
        self.begun.1 + at.saturating_duration_since(self.begun.0)
    }
}

/// As much of a text as an attribute has.
fn short(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

/// The headers that say what a request is part of.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.to_str().ok()?;
        (value.len() <= TRACE_STATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// Counts what the collector takes.
#[derive(Debug)]
struct Exporter {
    exporter: SpanExporter,
    counts: Arc<Counts>,
}

impl opentelemetry_sdk::trace::SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        self.exporter.export(batch).await?;
        self.counts.sent.fetch_add(count, Relaxed);
        Ok(())
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The client of the collector. The thread that sends spans has no runtime; what it sends goes through the server's.
#[derive(Debug)]
struct Client {
    client: HyperClient,
    runtime: Handle,
    counts: Arc<Counts>,
    /// When the log last said that the collector takes nothing.
    said: Mutex<Option<Instant>>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, to) = (self.client.clone(), request.uri().clone());
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await }).await?;
        match &sent {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.failed(&to, &response.status()),
            Err(error) => self.failed(&to, &Causes(&**error)),
        }
        sent
    }
}

impl Client {
    /// Tells of it once in a while.
    fn failed(&self, to: &dyn fmt::Display, why: &dyn fmt::Display) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SILENCE) {
            *said = Some(Instant::now());
            let (made, sent) = (self.counts.made.load(Relaxed), self.counts.sent.load(Relaxed));
            tracing::warn!("spans cannot be sent to {to}: {why} ({sent} of {made} were sent)");
        }
    }
}

/// An error with all that led to it.
struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Causes(source)))
    }
}
