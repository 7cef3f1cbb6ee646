//! Nothing of one request in another, and nothing of one worker in the next.

use crate::{
    client, guests, memory,
    server::{Store, kill},
};
use std::{
    io::{Read as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// How many requests of two tenants are interleaved; 100,000 with `EXECUTOR_SOAK` in the environment.
fn requests() -> usize {
    if std::env::var_os("EXECUTOR_SOAK").is_some() { 100_000 } else { 4000 }
}

#[test]
fn requests_of_two_tenants_have_no_byte_of_each_other() {
    let store = Store::new();
    let server = store
        .function("a", &guests::leaves_traces())
        .function("b", &guests::leaves_traces())
        .serve(&[]);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..8 {
            let (next, addr) = (&next, server.addr);
            scope.spawn(move || {
                let (path, letter) = if client % 2 == 0 { ("/a", b'a') } else { ("/b", b'b') };
                let mut stream = client::connect(addr);
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= requests() {
                        return;
                    }
                    let body = [letter; 64];
                    let head =
                        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 64\r\n\r\n");
                    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
                    let response = client::read(&mut stream);
                    assert_eq!(
                        response.body,
                        [&b"fresh"[..], &[0; 64], &body].concat(),
                        "request {n}"
                    );
                }
            });
        }
    });
}

#[test]
fn a_worker_that_is_killed_loses_its_own_calls_and_is_replaced() {
    let store = Store::new();
    let server = store
        .function("p", &guests::pauses("Content-Type: text/plain\n", 3_600_000, ""))
        .function("hello", &guests::page("hello"))
        .serve(&[]);
    let before = server.workers();
    assert_eq!(before.len(), 2);
    // As many calls as the first worker gets before the second has its turn, and as many again.
    let mut waiting: Vec<_> = (0..18).map(|_| client::connect(server.addr)).collect();
    for stream in &mut waiting {
        stream.write_all(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    kill(before[0], "KILL");
    // Its calls are told, the others still wait.
    let mut told = 0;
    while told < 9 {
        waiting.retain_mut(|stream| {
            let mut part = [0; 1000];
            let Ok(len) = stream.read(&mut part) else { return true };
            let text = String::from_utf8_lossy(&part[..len]);
            assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
            told += 1;
            false
        });
    }
    for other in &mut waiting {
        assert!(other.read(&mut [0]).is_err(), "the other worker's calls go on");
    }
    assert_eq!(waiting.len(), 9);
    for _ in 0..20 {
        assert_eq!(server.get("/hello").text(), "hello");
    }
    server.wait(
        |server| server.workers().iter().filter(|id| **id != before[0]).count() == 2,
        "a new worker",
    );
    assert!(server.log().contains("signal: 9"), "{}", server.log());
}

#[test]
fn calls_wait_for_room_in_the_socket_of_their_worker() {
    const CALLS: usize = 128;
    let store = Store::new();
    store.function("counts", &guests::counts());
    let (server, token) = memory::serve(&store, "concurrency = 129\n[defaults]\nconcurrency = 129");
    let workers = server.workers();
    workers.iter().for_each(|worker| kill(*worker, "STOP"));
    thread::scope(|scope| {
        // More than the kernel keeps for workers that read nothing.
        let posts: Vec<_> = (0..CALLS)
            .map(|_| scope.spawn(|| server.post("/counts", &[0; 60_000]).text().to_owned()))
            .collect();
        let running = ["executor_calls_running{function=\"counts\"}"];
        server.wait(
            |server| memory::figures(server, &token, running) == [CALLS as u64],
            "all calls have begun",
        );
        // One whose client goes before there was room for it is over.
        let mut gone = client::connect(server.addr);
        let head = b"POST /counts HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
        gone.write_all(&[&head[..], &[0; 60_000]].concat()).unwrap();
        let with_it = [CALLS as u64 + 1];
        server.wait(|server| memory::figures(server, &token, running) == with_it, "one more");
        drop(gone);
        server.wait(
            |server| memory::figures(server, &token, running) == [CALLS as u64],
            "it is over",
        );
        workers.iter().for_each(|worker| kill(*worker, "CONT"));
        for post in posts {
            assert_eq!(post.join().unwrap(), "60000");
        }
    });
}

#[test]
fn a_worker_that_does_not_end_a_call_is_killed() {
    let store = Store::new();
    let server = store
        .function("hello", &guests::page("hello"))
        .serve_by("[defaults]\ndeadline = \"100ms\"");
    let before = server.workers();
    before.iter().for_each(|worker| kill(*worker, "STOP"));
    assert_eq!(server.get("/hello").status, 502);
    server.wait_for_log("killed: a call does not end");
    // The other one is found out by its first call.
    server.wait(|server| server.get("/hello").status == 200, "a new worker");
}
