//! Spans of requests, as a collector gets them.

use crate::{
    admin, client, guests,
    server::{Server, Store},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use std::{
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Keeps what is sent to it, and answers all with the same status.
struct Collector {
    addr: SocketAddr,
    taken: Arc<Mutex<Vec<ResourceSpans>>>,
}

impl Collector {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = Arc::default();
        let kept = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || take(&mut stream.unwrap(), status, &kept));
            }
        });
        Self { addr, taken }
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let scopes = taken.iter().flat_map(|of| &of.scope_spans);
        scopes.flat_map(|of| &of.spans).cloned().collect()
    }
}

/// Takes the requests of a connection. One that is no export ends it.
fn take(stream: &mut TcpStream, status: &str, taken: &Mutex<Vec<ResourceSpans>>) {
    let mut bytes = Vec::new();
    let mut part = [0; 1 << 16];
    loop {
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        let whole = head.and_then(|head| {
            let text = std::str::from_utf8(&bytes[..head]).unwrap().to_ascii_lowercase();
            assert!(text.starts_with("post /v1/traces http/1.1\r\n"), "{text}");
            assert!(text.contains("content-type: application/x-protobuf\r\n"), "{text}");
            let len = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            let end = head + len.parse::<usize>().unwrap();
            bytes.get(head..end).map(|body| (ExportTraceServiceRequest::decode(body).unwrap(), end))
        });
        if let Some((request, end)) = whole {
            bytes.drain(..end);
            taken.lock().unwrap().extend(request.resource_spans);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        } else {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return,
                Ok(len) => bytes.extend_from_slice(&part[..len]),
            }
        }
    }
}

/// The value of an attribute, as text.
fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

/// A server that sends its spans there, configured further.
#[track_caller]
fn serve(store: &Store, collector: SocketAddr, words: &[&str], config: &str) -> Server {
    let path = store.config(&format!("otlp = \"http://{collector}\"\n{config}"));
    store.serve(&[&["--config", path.to_str().unwrap()], words].concat())
}

/// The figures of a server that has an administration.
#[track_caller]
fn metrics(store: &Store, server: &Server) -> String {
    let token = fs::read_to_string(store.path().join("admin-token")).unwrap();
    admin::ask(server, token.trim(), "GET", "/metrics", b"").text().to_owned()
}

/// Ends a server, which sends its last spans before.
#[track_caller]
fn end(mut server: Server) -> String {
    server.signal("TERM");
    assert_eq!(server.end().code(), Some(0));
    server.log()
}

/// The one span of a name that has an attribute.
#[track_caller]
fn find<'a>(spans: &'a [Span], name: &str, key: &str, value: &str) -> &'a Span {
    let is_it = |span: &&Span| {
        span.name == name && attribute(&span.attributes, key).as_deref() == Some(value)
    };
    let mut found = spans.iter().filter(is_it);
    let span = found.next().unwrap_or_else(|| panic!("{name} with {key} = {value}: {spans:#?}"));
    assert!(found.next().is_none(), "{name} with {key} = {value} was there twice");
    span
}

/// The spans of a request's phases.
fn phases<'a>(spans: &'a [Span], request: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent_span_id == request.span_id).collect()
}

#[test]
fn a_request_has_a_span_with_its_phases() {
    let collector = Collector::start("200 OK");
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    store.function("pauses", &guests::pauses("Content-Type: text/plain\n\na", 50, "b"));
    let server = serve(&store, collector.addr, &[], "[functions.hello]\nroute = \"/say/hello\"");
    let agent = [("User-Agent", "test/1"), ("traceparent", "00-nothing")];
    let hello = client::request(server.addr, "GET", "/say/hello/below?secret", &agent, b"");
    let id = hello.header("x-request-id").unwrap();
    assert_eq!(server.post("/pauses", &vec![b'x'; 100_000]).text(), "ab");
    assert_eq!(server.get("/say/nothing").status, 404);
    end(server);

    let spans = collector.spans();
    let hello = find(&spans, "GET /say/hello", "faas.invocation_id", id);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/say/hello"),
        ("url.scheme", "http"),
        ("url.path", "/say/hello/below"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test/1"),
        ("faas.name", "hello"),
        ("faas.trigger", "http"),
    ] {
        assert_eq!(attribute(&hello.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(&hello.attributes, "faas.version").unwrap().len(), 64);
    let text = format!("{hello:?}");
    assert!(!text.contains("secret") && !text.contains("error.type"), "{text}");
    assert_eq!(hello.kind(), SpanKind::Server);
    assert!(hello.status.as_ref().is_none_or(|status| status.code() == StatusCode::Unset));
    assert!(hello.parent_span_id.is_empty(), "what it sent is no trace");

    let pauses = find(&spans, "POST /pauses", "faas.name", "pauses");
    assert_ne!(pauses.trace_id, hello.trace_id);
    for request in [hello, pauses] {
        let phases = phases(&spans, request);
        let names: Vec<&str> = phases.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["queue", "acquire", "run", "release"], "{}", request.name);
        assert!(phases.iter().all(|span| span.trace_id == request.trace_id));
        assert!(request.start_time_unix_nano <= phases[0].start_time_unix_nano);
        for pair in phases.windows(2) {
            assert!(pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano);
        }
        let run = phases[2].end_time_unix_nano - phases[2].start_time_unix_nano;
        assert!(request.name != "POST /pauses" || run >= 50_000_000, "it ran {run} ns");
    }

    let nothing = find(&spans, "GET", "url.path", "/say/nothing");
    assert_eq!(attribute(&nothing.attributes, "http.response.status_code").unwrap(), "404");
    assert!(nothing.status.as_ref().is_none_or(|status| status.code() == StatusCode::Unset));
    assert!(phases(&spans, nothing).is_empty());
    assert_eq!(spans.len(), 1 + 4 + 1 + 4 + 1);

    let taken = collector.taken.lock().unwrap();
    let resource = taken[0].resource.as_ref().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "executor");
}

#[test]
fn a_request_goes_on_with_its_clients_trace() {
    let collector = Collector::start("200 OK");
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let server = serve(&store, collector.addr, &[], "");
    let parent =
        |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let ask = |path: &str, headers: &[(&str, &str)]| {
        assert_eq!(client::request(server.addr, "GET", path, headers, b"").status, 200);
    };
    ask("/hello/sampled", &[("traceparent", &parent("01")), ("tracestate", "vendor=a")]);
    ask("/hello/long", &[("traceparent", &parent("01")), ("tracestate", &"v=a,".repeat(1000))]);
    ask("/hello/not", &[("traceparent", &parent("00"))]);
    for odd in ["", "00-0-0-01", &parent("0x")[..], &parent("01").to_uppercase()] {
        ask("/hello/odd", &[("traceparent", odd)]);
    }
    end(server);

    let spans = collector.spans();
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    for (path, state) in [("/hello/sampled", "vendor=a"), ("/hello/long", "")] {
        let span = find(&spans, "GET /hello", "url.path", path);
        assert_eq!(span.trace_id, trace);
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(span.trace_state, state);
        assert_eq!(phases(&spans, span).len(), 4);
    }
    let of = |path: &str| {
        let is_it = |span: &&Span| attribute(&span.attributes, "url.path").as_deref() == Some(path);
        spans.iter().filter(is_it).collect::<Vec<_>>()
    };
    assert!(of("/hello/not").is_empty());
    let odd = of("/hello/odd");
    assert_eq!(odd.len(), 4);
    assert!(odd.iter().all(|span| span.trace_id != trace && span.parent_span_id.is_empty()));
    assert_eq!(spans.len(), (2 + 4) * 5, "there is nothing of what its client did not sample");
}

#[test]
fn what_fails_is_an_error_and_has_its_kind() {
    let collector = Collector::start("200 OK");
    let store = Store::new();
    store.function("traps", &guests::traps(""));
    store.function("late", &guests::pauses("Content-Type: text/plain\n\nbegun", 3_600_000, ""));
    store.function("left", &guests::pauses("", 3_600_000, ""));
    let config = "[functions.late]\ndeadline = \"200ms\"";
    let words = ["--access-log", "--admin", "127.0.0.1:0"];
    let server = serve(&store, collector.addr, &words, config);
    assert_eq!(server.get("/traps").status, 502);
    // Its response has begun.
    assert_eq!(server.get("/late").status, 200);
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /left HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let runs = "executor_calls_running{function=\"left\"} 1";
    server.wait(|server| metrics(&store, server).contains(runs), runs);
    drop(stream);
    server.wait_for_log("status=499");
    let long = "/".repeat(5000);
    assert_eq!(client::request(server.addr, "BREW", &long, &[], b"").status, 404);
    end(server);

    let spans = collector.spans();
    for (name, status, kind) in [("traps", "502", "trap"), ("late", "200", "deadline")] {
        let span = find(&spans, &format!("GET /{name}"), "faas.name", name);
        let of = |key| attribute(&span.attributes, key);
        assert_eq!(of("http.response.status_code").unwrap(), status);
        assert_eq!(of("error.type").unwrap(), kind);
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
        assert!(phases(&spans, span).iter().any(|phase| phase.name == "run"));
    }
    let left = find(&spans, "GET /left", "faas.name", "left");
    assert_eq!(attribute(&left.attributes, "http.response.status_code"), None);
    assert_eq!(attribute(&left.attributes, "error.type"), None);
    let odd = find(&spans, "HTTP", "http.request.method", "_OTHER");
    assert_eq!(attribute(&odd.attributes, "http.request.method_original").unwrap(), "BREW");
    assert_eq!(attribute(&odd.attributes, "url.path").unwrap().len(), 1024);
}

#[test]
fn spans_are_sent_while_the_server_runs_and_counted() {
    let collector = Collector::start("200 OK");
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let server = serve(&store, collector.addr, &["--admin", "127.0.0.1:0"], "");
    // What a batch has, and more.
    for _ in 0..110 {
        assert_eq!(server.get("/hello").status, 200);
    }
    server.wait(|_| collector.spans().len() >= 512, "a batch is sent");
    let sent = |server: &Server| {
        let metrics = metrics(&store, server);
        assert!(metrics.contains("\nexecutor_spans_total 550\n"), "{metrics}");
        !metrics.contains("\nexecutor_spans_sent_total 0\n")
    };
    server.wait(sent, "what was sent is counted");
    let log = end(server);
    assert_eq!(collector.spans().len(), 550);
    assert!(!log.contains("were not sent"), "{log}");
}

/// Requests are answered, and the server ends, though the collector takes nothing; the log says so, once.
#[track_caller]
fn holds_nobody_up(collector: SocketAddr, why: &str) {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let server = serve(&store, collector, &[], "");
    // More than there is room for.
    for _ in 0..500 {
        assert_eq!(server.get("/hello").status, 200);
    }
    let said = format!("spans cannot be sent to http://{collector}/v1/traces: ");
    server.wait_for_log(&said);
    assert_eq!(server.get("/hello").status, 200);
    let log = end(server);
    assert_eq!(log.matches(&said).count(), 1, "{log}");
    let line = log.lines().find(|line| line.contains(&said)).unwrap();
    assert!(line.contains(why), "{line}");
    assert!(log.contains("2505 of 2505 spans were not sent"), "{log}");
}

#[test]
fn a_collector_that_is_down_holds_nobody_up() {
    // Nobody listens at the client's end of a connection, and nobody else can while it is there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    holds_nobody_up(stream.local_addr().unwrap(), "Connection refused");
}

#[test]
fn a_collector_that_does_not_answer_holds_nobody_up() {
    // It listens, and takes no connection.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    holds_nobody_up(silent.local_addr().unwrap(), "deadline has elapsed");
}

#[test]
fn a_collector_that_refuses_holds_nobody_up() {
    holds_nobody_up(Collector::start("400 Bad Request").addr, "400 Bad Request");
}
