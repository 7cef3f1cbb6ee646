//! Clients that send what they should not, too much of it, or nothing.

use crate::{
    client, guests,
    server::{Server, Store},
};
use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

fn server(config: &str) -> (Store, Server) {
    let store = Store::new();
    let server = store
        .function("counts", &guests::counts())
        .function("e", &guests::environment())
        .serve_by(config);
    (store, server)
}

/// How many responses some bytes are.
fn responses(bytes: &[u8]) -> usize {
    bytes.windows(9).filter(|w| *w == b"HTTP/1.1 ").count()
}

#[test]
fn no_request_hides_in_the_body_of_another() {
    let (_store, server) = server("");
    let hidden = "GET /e HTTP/1.1\r\nHost: evil\r\n\r\n";
    let post = "POST /counts HTTP/1.1\r\nHost: h\r\n";
    let pairs = [
        // Both lengths: whoever believes the other sees another request.
        format!(
            "{post}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{hidden}"
        ),
        format!(
            "{post}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            5 + hidden.len()
        ),
        // Two lengths.
        format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("{post}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len()),
        // What is not a length, or not quite.
        format!("{post}Content-Length: +0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0x1\r\n\r\n{hidden}"),
        format!("{post}Content-Length : 0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: -1\r\n\r\n{hidden}"),
        // Encodings that only some would read as chunked.
        format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "POST /counts HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        // Chunks whose length is not one, or that do not end.
        format!("{post}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n{hidden}"),
        // Lines that are folded, or end with a carriage return alone.
        format!("{post}X: a\r\n Content-Length: 99\r\n\r\n{hidden}"),
        format!("{post}X: a\rContent-Length: 99\r\n\r\n{hidden}"),
        format!("{post}X: a\0b\r\n\r\n{hidden}"),
    ];
    for pair in &pairs {
        let answer = client::raw(server.addr, pair.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        // Either the first is refused and nothing else is read, or its body was what its one length says.
        let smuggled = text.contains("HTTP_HOST=evil");
        let refused = responses(&answer) <= 1;
        let one_length = pair.matches("Length").count() + pair.matches("Encoding").count() <= 1;
        assert!(refused && !smuggled || one_length && !text.contains(" 200 "), "{pair:?}: {text}");
    }
    // As it should be, both are answered.
    let last = hidden.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let both = format!("{post}Content-Length: 5\r\n\r\nhello{last}");
    let answer = client::raw(server.addr, both.as_bytes());
    let text = String::from_utf8_lossy(&answer);
    assert!(responses(&answer) == 2 && text.contains("\r\n\r\n5HTTP/1.1 200"), "{text}");
    assert!(text.contains("HTTP_HOST=evil"), "{text}");
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let (_store, server) = server("header-size = \"16KiB\"");
    let many: String = (0..1000).map(|n| format!("X-{n}: a\r\n")).collect();
    let long = format!("X: {}\r\n", "a".repeat(1 << 20));
    let path = "a".repeat(100_000);
    for head in [
        format!("GET /e HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
        format!("GET /e HTTP/1.1\r\nHost: h\r\n{long}\r\n"),
        format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n"),
    ] {
        let answer = client::raw(server.addr, head.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        let status: Option<u16> = text.get(9..12).and_then(|status| status.parse().ok());
        assert!(matches!(status, Some(400 | 414 | 431) | None), "{text}");
    }
    assert_eq!(server.get("/e").status, 200);
}

#[test]
fn garbage_is_refused_and_nobody_else_notices() {
    let (_store, server) = server("header-timeout = \"500ms\"");
    let garbage: [&[u8]; 9] = [
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /e HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        &[0; 5000],
        &[255; 5000],
        b"CONNECT example.org:80 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    ];
    for bytes in garbage {
        let answer = client::raw(server.addr, bytes);
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{bytes:?}");
    }
    assert_eq!(server.get("/e").status, 200);
}

#[test]
fn clients_that_stop_are_not_waited_for() {
    let (_store, server) = server("header-timeout = \"300ms\"\nstall-timeout = \"300ms\"");
    for begun in ["", "G", "GET /e HTT", "GET /e HTTP/1.1\r\nHost: h\r\n", "PRI * HTTP"] {
        let since = Instant::now();
        let answer = client::raw(server.addr, begun.as_bytes());
        assert!(responses(&answer) <= 1 && since.elapsed() < Duration::from_secs(30), "{begun}");
    }
    // A body that stops, short or streamed.
    for len in [10, 500_000] {
        let head = format!("POST /counts HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\nabc");
        let mut stream = client::connect(server.addr);
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(client::read(&mut stream).status, 408, "{len}");
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the connection is not used again");
    }
    // A connection that is kept and not used.
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /e HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(client::read(&mut stream).status, 200);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_client_that_does_not_read_is_not_written_to_for_ever() {
    let store = Store::new();
    let config = "stall-timeout = \"300ms\"\n[functions.f]\noutput = \"1GiB\"\nconcurrency = 1";
    let server = store.function("f", &guests::floods(200)).serve_by(config);
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    // It takes the head and no more; its permit is wanted by the next.
    stream.read_exact(&mut [0; 10]).unwrap();
    let mut next = client::connect(server.addr);
    next.write_all(b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut status = [0; 12];
    next.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[test]
fn connections_are_limited_and_the_next_one_waits() {
    let (_store, server) = server("connections = 2");
    let idle: Vec<_> = (0..2).map(|_| client::connect(server.addr)).collect();
    let mut third = client::connect(server.addr);
    third.write_all(b"GET /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it is not taken yet");
    drop(idle);
    third.set_read_timeout(Some(crate::server::DEADLINE)).unwrap();
    assert_eq!(client::read(&mut third).status, 200);
}
