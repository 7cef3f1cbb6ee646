//! The memory of all calls and kept slots together.

use crate::{
    admin::ask,
    client, guests,
    server::{Server, Store},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

/// A server with a configuration and an administration, and its token.
pub fn serve(store: &Store, config: &str) -> (Server, String) {
    let path = store.config(config);
    let server = store.serve(&["--admin", "127.0.0.1:0", "--config", path.to_str().unwrap()]);
    let token = fs::read_to_string(store.path().join("admin-token")).unwrap();
    (server, token.trim().to_owned())
}

/// The values of some figures.
#[track_caller]
pub fn figures<const N: usize>(server: &Server, token: &str, names: [&str; N]) -> [u64; N] {
    let text = ask(server, token, "GET", "/metrics", b"").text().to_owned();
    names.map(|name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    })
}

const RESERVED: &str = "executor_memory_reserved_bytes";

/// A call that has begun, and does not end by itself.
fn begin(server: &Server, path: &str) -> TcpStream {
    let mut stream = client::connect(server.addr);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

#[test]
fn calls_for_which_there_is_no_memory_wait_for_it() {
    let store = Store::new();
    let config = "memory = \"3MiB\"\n[defaults]\nmemory = \"1MiB\"\nqueue = 1\n\
                  queue-deadline = \"200ms\"\n[functions.large]\nmemory = \"2MiB\"";
    let pauses = guests::pauses("Content-Type: text/plain\n\nfirst", 3_600_000, "");
    store.function("pauses", &pauses).function("large", &guests::page("large"));
    store.function("small", &guests::page("small"));
    let (server, token) = serve(&store, config);
    let one = begin(&server, "/pauses");
    assert_eq!(server.get("/large").text(), "large");
    let _two = begin(&server, "/pauses");
    let large = server.get("/large");
    assert_eq!((large.status, large.header("retry-after")), (429, Some("1")));
    assert_eq!(server.get("/small").text(), "small", "there is enough for it");
    let _three = begin(&server, "/pauses");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| server.get("/small").status)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(statuses, [429; 3]);
    let [limit, reserved] = figures(&server, &token, ["executor_memory_limit_bytes", RESERVED]);
    assert_eq!((limit, reserved), (3 << 20, 3 << 20));
    // It is free again when a client is gone and its call has ended.
    drop(one);
    server.wait(|server| server.get("/small").status == 200, "there is memory again");
}

#[test]
fn slots_are_given_up_for_calls_that_need_their_memory() {
    let store = Store::new();
    let config = "memory = \"2MiB\"\n[defaults]\nmemory = \"2MiB\"";
    store.function("one", &guests::writes(&[20, 33])).function("other", &guests::page("other"));
    let (server, token) = serve(&store, config);
    // There is room for one call alone: each needs what the slots of all others take.
    for _ in 0..20 {
        assert_eq!(server.get("/one").text(), "written");
        assert_eq!(server.get("/other").text(), "other");
    }
    // A call that begins has found all of its memory free.
    for _ in 0..6 {
        assert_eq!(server.get("/one").status, 200);
    }
    let names = [
        RESERVED,
        "executor_slots_kept{function=\"one\"}",
        "executor_slots_kept{function=\"other\"}",
    ];
    let kept = |server: &Server| figures(server, &token, names);
    let [reserved, one, other] = kept(&server);
    assert_eq!((one, other), (1, 0), "only the last one is there still");
    assert_eq!(reserved, 64 << 10, "in units of 64 KiB");
}

#[test]
fn slots_are_kept_where_there_is_room_and_nothing_stays_reserved_for_those_that_are_gone() {
    let store = Store::new();
    let config = "memory = \"8MiB\"\nconcurrency = 16\n[defaults]\nmemory = \"1MiB\"\n\
                  queue-deadline = \"60s\"";
    store.function("one", &guests::writes(&[20, 33])).function("other", &guests::page("other"));
    store.function("traps", &guests::traps(""));
    let (server, token) = serve(&store, config);
    thread::scope(|scope| {
        for client in 0..12 {
            let server = &server;
            scope.spawn(move || {
                for call in 0..40 {
                    let (path, status) =
                        [("/one", 200), ("/other", 200), ("/traps", 502)][(client + call) % 3];
                    assert_eq!(server.get(path).status, status);
                }
            });
        }
    });
    let names =
        ["one", "other", "traps"].map(|f| format!("executor_slots_kept{{function=\"{f}\"}}"));
    let bytes =
        ["one", "other", "traps"].map(|f| format!("executor_slots_kept_bytes{{function=\"{f}\"}}"));
    let acquires = "executor_acquires_total{function=\"one\"}";
    let sum = |names: &[String; 3]| {
        figures(&server, &token, [&*names[0], &*names[1], &*names[2]]).iter().sum::<u64>()
    };
    let [reserved, acquires] = figures(&server, &token, [RESERVED, acquires]);
    let (slots, bytes) = (sum(&names), sum(&bytes));
    assert!(slots > 0 && acquires > 0, "{slots} slots, {acquires} times used again");
    // Each of the two workers rounds up.
    assert!((bytes..bytes + (128 << 10)).contains(&reserved), "{reserved} for {bytes}");
    // What a worker has kept goes with it.
    let workers = server.workers();
    workers.iter().for_each(|worker| crate::server::kill(*worker, "KILL"));
    let free = |server: &Server| figures(server, &token, [RESERVED]) == [0];
    server.wait(free, "nothing is reserved");
    server.wait(|server| server.get("/one").status == 200, "new workers serve");
}

#[test]
fn a_function_says_how_much_memory_it_may_have_where_that_of_all_is_limited() {
    let store = Store::new();
    store.function("silent", &guests::page("x")).function("large", &guests::page("x"));
    store.function_with("kept", &guests::page("kept"), &["--max-memory", "1MiB"]);
    let (server, _) = serve(&store, "memory = \"2MiB\"\n[functions.large]\nmemory = \"3MiB\"");
    assert_eq!(server.get("/kept").text(), "kept", "it was made with a limit");
    assert_eq!((server.get("/silent").status, server.get("/large").status), (404, 404));
    let log = server.log();
    for part in [
        "`silent`: the memory of all calls is limited, so say how much a call of it may have at most: `memory` in [defaults]",
        "`large`: a call of it may have 3145728 bytes of memory (`memory`), and all calls together only 2097152",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
