//! What a function may take, and what a client is told when it is too much.

use crate::{
    client::{self, Response},
    guests,
    server::Store,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    thread,
};

#[test]
fn a_call_has_a_deadline() {
    let store = Store::new();
    let config = "[defaults]\ndeadline = \"200ms\"";
    let server = store
        .function("spins", &guests::spins("Content-Type: text/plain\n"))
        .function("sleeps", &guests::pauses("Content-Type: text/plain\n", 3_600_000, ""))
        .function("late", &guests::pauses("Content-Type: text/plain\n\nbegun", 3_600_000, ""))
        .serve_by(config);
    for path in ["/spins", "/sleeps"] {
        let response = server.get(path);
        assert_eq!(
            (response.status, response.text()),
            (504, "the function took longer than it may\n")
        );
    }
    // Its response has begun: all that can be done is to break it off.
    let late = server.get("/late");
    assert_eq!((late.status, late.text(), late.complete), (200, "begun", false));
}

#[test]
fn what_a_guest_does_wrong_is_the_gateways_error_and_its_backtrace_the_logs() {
    let store = Store::new();
    let config = "[functions.stdio]\nprotocol = \"stdio\"";
    let server = store
        .function("traps", &guests::traps(""))
        .function("exits", &guests::exits(3, "Content-Type: text/plain\n\nall the same"))
        .function("stdio", &guests::exits(3, "not a result"))
        .serve_by(config);
    let response = server.get("/traps");
    assert_eq!((response.status, response.text()), (502, "the function failed\n"));
    let request = response.header("x-request-id").unwrap().to_owned();
    server.wait_for_log("about to \\u{1b}[31mtrap");
    server.wait_for_log("unreachable");
    let log = server.log();
    assert!(!log.contains('\u{1b}'), "{log}");
    let of_request = log.lines().filter(|line| line.contains(&request)).collect::<Vec<_>>();
    assert!(of_request.len() >= 2, "what it wrote and what became of it have its number: {log}");
    // A program that has given its response has given it.
    let exits = server.get("/exits");
    assert_eq!((exits.status, exits.text()), (200, "all the same"));
    assert_eq!(server.get("/stdio").status, 500);
}

#[test]
fn bodies_and_output_are_limited() {
    let store = Store::new();
    let config = "[functions.f]\noutput = \"1MiB\"\n[functions.counts]\nbody = \"1000\"";
    let server = store
        .function("f", &guests::floods(2))
        .function("counts", &guests::counts())
        .serve_by(config);
    let flood = server.get("/f");
    assert!(!flood.complete && flood.body.len() <= 1 << 20, "{}", flood.body.len());
    server.wait_for_log("it wrote more than it may");
    assert_eq!(server.post("/counts", &[0; 1000]).text(), "1000");
    let large = server.post("/counts", &[0; 1001]);
    assert_eq!((large.status, large.text()), (413, "the request's body is too large\n"));
    // Of one without a length it turns out later.
    let head = b"POST /counts HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [&b"3e8\r\n"[..], &[0; 1000], b"\r\n"].concat();
    let whole = [&head[..], &chunk, b"0\r\n\r\n"].concat();
    let mut stream = client::connect(server.addr);
    stream.write_all(&whole).unwrap();
    assert_eq!(client::read(&mut stream).text(), "1000");
    let mut stream = client::connect(server.addr);
    stream.write_all(&[&head[..], &chunk, &chunk, b"0\r\n\r\n"].concat()).unwrap();
    assert_eq!(client::read(&mut stream).status, 413);
}

#[test]
fn memory_is_limited() {
    let store = Store::new();
    let grows = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (call $exit (i32.eq (memory.grow (i32.const 100)) (i32.const -1)))))"#;
    let config = "[defaults]\nprotocol = \"stdio\"\n[functions.less]\nmemory = \"1MiB\"\n\
                  [functions.none]\nmemory = \"1KiB\"";
    let server = store
        .function("more", grows)
        .function("less", grows)
        .function("none", grows)
        .serve_by(config);
    assert_eq!(server.get("/more").status, 200);
    assert_eq!(server.get("/less").status, 500, "it cannot grow");
    let none = server.get("/none");
    assert_eq!((none.status, none.text()), (502, "the function cannot be started\n"));
}

#[test]
fn requests_wait_for_a_permit_up_to_a_number_and_a_time() {
    let store = Store::new();
    let config = "[functions.p]\nconcurrency = 1\nqueue = 1\nqueue-deadline = \"200ms\"";
    let server = store
        .function("p", &guests::pauses("Content-Type: text/plain\n\nfirst", 3_600_000, ""))
        .function("hello", &guests::page("hello"))
        .serve_by(config);
    let mut first = client::connect(server.addr);
    first.write_all(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    first.read_exact(&mut [0]).unwrap();
    let responses: Vec<Response> = thread::scope(|scope| {
        let requests: Vec<_> = (0..4).map(|_| scope.spawn(|| server.get("/p"))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    for response in &responses {
        assert_eq!((response.status, response.header("retry-after")), (429, Some("1")));
    }
    let texts: Vec<_> = responses.iter().map(Response::text).collect();
    let late =
        texts.iter().filter(|text| **text == "this function was busy for too long\n").count();
    assert!(late >= 1, "{texts:?}");
    assert!(texts.contains(&"too many requests wait for this function\n"), "{texts:?}");
    assert_eq!(server.get("/hello").status, 200, "others do not notice");
    drop(first);
    let begins = |server: &crate::server::Server| {
        let mut stream = client::connect(server.addr);
        stream.write_all(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        &status == b"HTTP/1.1 200"
    };
    server.wait(begins, "the permit is free again");
}

#[test]
fn what_is_mapped_is_bounded_by_how_many_functions_are_open() {
    let store = Store::new();
    let names: Vec<String> = (0..12).map(|n| format!("f{n}")).collect();
    names.iter().for_each(|name| _ = store.function(name, &guests::page(name)));
    let server = store.serve_by("open-functions = 2\nslots = 2");
    for _ in 0..4 {
        for name in &names {
            assert_eq!(server.get(&format!("/{name}")).text(), name);
        }
    }
    let code = |worker: u32| -> usize {
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
        let files = maps.lines().filter_map(|line| line.split_once("/code/"));
        files.map(|(_, file)| file.to_owned()).collect::<BTreeSet<_>>().len()
    };
    let mapped: Vec<usize> = server.workers().into_iter().map(code).collect();
    // Those that are open, and those of stores that wait. A worker that has had no call has none.
    assert!(mapped.iter().all(|files| *files <= 4), "{mapped:?}");
    assert!(mapped.iter().any(|files| *files > 0), "{mapped:?}");
}
