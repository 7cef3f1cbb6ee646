//! The output of all calls together, on its way to clients.

use crate::{
    client, guests,
    memory::{figures, serve},
    server::{Server, Store},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

const RESERVED: &str = "executor_output_reserved_bytes";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Requests of a path, each in a stream of its own, by a client that takes no byte of their bodies.
fn ask_and_take_nothing(server: &Server, path: &str, streams: &[u32]) -> TcpStream {
    let mut client = client::connect(server.addr);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    // The window that each stream begins with.
    client.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    // GET, http, a path and an authority that no table has.
    let head = [&[0x82, 0x86, 0x04, path.len() as u8][..], path.as_bytes(), &[0x01, 1, b'h']];
    for stream in streams {
        client.write_all(&frame(1, 0x4 | 0x1, *stream, &head.concat())).unwrap();
    }
    client
}

#[test]
fn output_of_calls_that_have_ended_counts_until_it_is_taken() {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let config = "output = \"256KiB\"\n[defaults]\noutput = \"128KiB\"\nqueue-deadline = \"200ms\"";
    let (server, token) = serve(&store, config);
    let mut client = ask_and_take_nothing(&server, "/hello", &[1, 3, 5]);
    let names = [RESERVED, "executor_calls_running{function=\"hello\"}"];
    let holds = |server: &Server, expected| figures(server, &token, names) == [expected, 0];
    // In units of 64 KiB.
    server
        .wait(|server| holds(server, 3 << 16), "three calls have ended, and their output is here");
    let busy = server.get("/hello");
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("1")), "it may be 128 KiB");
    // One of them is taken.
    client.write_all(&frame(8, 0, 3, &1000u32.to_be_bytes())).unwrap();
    server.wait(|server| holds(server, 2 << 16), "it is not here any more");
    assert_eq!(server.get("/hello").text(), "hello");
    drop(client);
    server.wait(|server| holds(server, 0), "who is gone takes nothing");
}

#[test]
fn output_of_calls_that_run_counts_and_others_wait_for_its_room() {
    let store = Store::new();
    store.function("floods", &guests::floods(60)).function("hello", &guests::page("hello"));
    let config = "output = \"512KiB\"\n[defaults]\nqueue-deadline = \"200ms\"";
    let (server, token) = serve(&store, config);
    let begin = || {
        let mut client = client::connect(server.addr);
        client.write_all(b"GET /floods HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client
    };
    let (one, mut two) = (begin(), begin());
    assert_eq!(figures(&server, &token, [RESERVED, "executor_output_limit_bytes"]), [512 << 10; 2]);
    assert_eq!(server.get("/hello").status, 429);
    drop(one);
    server.wait(|server| server.get("/hello").status == 200, "there is room again");
    // The other goes on where it was.
    let mut rest = Vec::new();
    two.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 60 << 20, "{}", rest.len());
    server.wait(|server| figures(server, &token, [RESERVED]) == [0], "all is taken");
}

#[test]
fn a_client_that_takes_nothing_of_a_response_loses_its_connection() {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    // Nothing else ends a connection so soon: that it answers no ping is not seen before.
    let config = "output = \"256KiB\"\nstall-timeout = \"2s\"\nheader-timeout = \"10m\"\n[defaults]\noutput = \"64KiB\"";
    let (server, token) = serve(&store, config);
    let mut client = ask_and_take_nothing(&server, "/hello", &[1, 3]);
    // It takes one of the two.
    client.write_all(&frame(8, 0, 3, &1000u32.to_be_bytes())).unwrap();
    let mut sent = Vec::new();
    // Its connection may be reset, since nobody reads what it sent last.
    match client.read_to_end(&mut sent) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(sent.windows(5).any(|bytes| bytes == b"hello"), "{sent:?}");
    server.wait(|server| figures(server, &token, [RESERVED]) == [0], "what it left is not kept");
}

#[test]
fn a_function_whose_output_has_never_room_is_not_served() {
    let store = Store::new();
    store.function("large", &guests::page("x")).function("small", &guests::page("small"));
    let server = store.serve_by("output = \"128KiB\"\n[functions.small]\noutput = \"1KiB\"");
    assert_eq!(server.get("/small").text(), "small");
    assert_eq!(server.get("/large").status, 404);
    server.wait_for_log(
        "`large`: the output of a call of it may take 229376 bytes on its way, and that of all calls together only 131072",
    );
}
