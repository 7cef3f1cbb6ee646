//! Bodies that stream, both ways, and clients that go away.

use crate::{client, guests, server::Store};
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    thread,
    time::Duration,
};

/// What a guest has written comes, though it never ends.
#[track_caller]
fn comes_before_the_end(guest: &str) {
    let store = Store::new();
    let server = store.function("f", guest).serve(&[]);
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut part = [0; 1000];
    while !String::from_utf8_lossy(&seen).contains("first") {
        let len = stream.read(&mut part).unwrap();
        assert!(len > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..len]);
    }
}

#[test]
fn output_comes_while_the_guest_waits() {
    comes_before_the_end(&guests::pauses("Content-Type: text/plain\n\nfirst", 3_600_000, "never"));
}

#[test]
fn output_comes_while_the_guest_computes() {
    comes_before_the_end(&guests::spins("Content-Type: text/plain\n\nfirst"));
}

#[test]
fn a_large_response_waits_for_its_client() {
    let store = Store::new();
    let config = "[functions.f]\noutput = \"100MiB\"";
    let server = store.function("f", &guests::floods(48)).serve_by(config);
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    // Nobody reads for a while: what the guest writes has to stay within pipes and sockets.
    thread::sleep(Duration::from_millis(300));
    for process in server.workers().into_iter().chain([server.process()]) {
        let resident = resident(process);
        assert!(resident < 40 << 20, "{resident}");
    }
    let response = client::read_to_end(&mut stream);
    assert!(response.complete && response.status == 200);
    assert_eq!(response.body.len(), 48 << 20);
    assert!(response.body.iter().all(|byte| *byte == b'x'));
}

/// The resident bytes of a process.
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_large_body_goes_through_and_back() {
    let store = Store::new();
    let config = "[functions.cat]\nprotocol = \"stdio\"\nbody = \"64MiB\"\n[functions.counts]\nbody = \"64MiB\"";
    let server = store
        .function("cat", &guests::cat(""))
        .function("counts", &guests::counts())
        .serve_by(config);
    let body: Vec<u8> = (0..8_000_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let mut stream = client::connect(server.addr);
    let head = format!(
        "POST /cat HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let response = thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&body).unwrap());
        client::read(&mut stream)
    });
    assert!(
        response.complete && response.body == body,
        "{} of {}",
        response.body.len(),
        body.len()
    );
    assert_eq!(server.post("/counts", &body).text(), "8000000");
    // In chunks, without a length.
    let mut stream = client::connect(server.addr);
    stream
        .write_all(b"POST /counts HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for part in body[..1_000_000].chunks(70_000) {
        stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).unwrap();
        stream.write_all(part).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(client::read(&mut stream).text(), "1000000");
}

#[test]
fn a_guest_that_reads_nothing_answers_all_the_same() {
    let store = Store::new();
    let server = store
        .function("hello", &guests::page("hello"))
        .serve_by("[functions.hello]\nbody = \"64MiB\"");
    assert_eq!(server.post("/hello", &vec![0; 32 << 20]).text(), "hello");
    assert_eq!(server.get("/hello").status, 200);
}

#[test]
fn a_client_that_goes_away_ends_its_call() {
    let store = Store::new();
    let config = "[functions.s]\nconcurrency = 1\nqueue-deadline = \"30s\"\ndeadline = \"1h\"\n\
                  [functions.cat]\nconcurrency = 1\nprotocol = \"stdio\"\ndeadline = \"1h\"\nbody = \"1MiB\"";
    let server = store
        .function("s", &guests::spins("Content-Type: text/plain\n\nfirst"))
        .function("cat", &guests::cat(""))
        .serve_by(config);
    // There is one permit: each can begin only when the one before has ended.
    for _ in 0..3 {
        let mut stream = client::connect(server.addr);
        stream.write_all(b"GET /s HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut part = [0; 1];
        stream.read_exact(&mut part).unwrap();
        drop(stream);
    }
    // In the middle of a body, of which the guest never sees an end.
    for _ in 0..3 {
        let mut stream = client::connect(server.addr);
        let head = "POST /cat HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[b'x'; 100_000]).unwrap();
        let mut part = [0; 1];
        stream.read_exact(&mut part).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(server.post("/cat", b"still here").text(), "still here");
}
