//! A version that is replaced, and whose snapshot is removed, while requests wait that have found it.

use crate::{
    admin::ask,
    client, guests,
    server::{Server, Store},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    thread,
};

/// How many requests for a function wait.
fn waiting(server: &Server, token: &str, function: &str) -> u64 {
    let text = ask(server, token, "GET", "/metrics", b"").text().to_owned();
    let sample = format!("executor_requests_waiting{{function=\"{function}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap().parse().unwrap()
}

#[test]
fn a_request_whose_version_is_swept_while_it_waits_is_answered_by_the_next_one() {
    let store = Store::new();
    let cat = |head: &str| guests::cat(&format!("Content-Type: text/plain\n\n{head} "));
    let export = |n: u32| guests::EXPORTS.replace("i32.const 1024", &format!("i32.const {n}"));
    let blocks = guests::pauses("Content-Type: text/plain\n\nfirst", 3_600_000, "");
    store.function("blocks", &blocks).function("last", &guests::page("last"));
    store.function("cat", &cat("one")).function("export", &export(1024));
    // Calls wait until the one that blocks ends, and no worker has opened what they are for.
    let config = "concurrency = 1\n[defaults]\nqueue-deadline = \"60s\"\n\
                  [functions.blocks]\ndeadline = \"1h\"\n[functions.export]\nprotocol = \"export:pair\"";
    let path = store.config(config);
    let server = store.serve(&["--admin", "127.0.0.1:0", "--config", path.to_str().unwrap()]);
    let token = fs::read_to_string(store.path().join("admin-token")).unwrap();
    let mut blocker = client::connect(server.addr);
    blocker.write_all(b"GET /blocks HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    blocker.read_exact(&mut [0]).unwrap();
    let long = vec![b'x'; 200_000];
    thread::scope(|scope| {
        let short = scope.spawn(|| server.post("/cat", b"short"));
        let in_file = scope.spawn(|| server.post("/export", &long));
        let streamed = scope.spawn(|| server.post("/cat", &long));
        let wait = |server: &Server| {
            let waiting = |name| waiting(server, token.trim(), name);
            (waiting("cat"), waiting("export")) == (2, 1)
        };
        server.wait(wait, "three wait");
        let snapshots = fs::read_dir(store.path().join("snapshots")).unwrap();
        let before: Vec<PathBuf> = snapshots.map(|entry| entry.unwrap().path()).collect();
        store.function("cat", &cat("two")).function("export", &export(2048));
        server.wait(|server| server.log().matches(" is ").count() >= 2, "both are replaced");
        before.iter().for_each(|path| fs::remove_file(path).unwrap());
        drop(blocker);
        let (short, in_file) = (short.join().unwrap(), in_file.join().unwrap());
        assert_eq!((short.status, short.text()), (200, "two short"));
        assert_eq!((in_file.status, in_file.body == long), (200, true));
        // A guest might have read of it.
        let streamed = streamed.join().unwrap();
        assert_eq!((streamed.status, streamed.header("retry-after")), (503, Some("1")));
        assert_eq!(streamed.text(), "the function was just replaced\n");
    });
    // Where nothing takes its place, that is all there is to say.
    let last = server.get("/last");
    assert_eq!((last.status, last.header("retry-after")), (503, Some("1")));
    let (request, text) =
        (last.header("x-request-id").unwrap(), "Gone: its snapshot is not in the store");
    let logged = |server: &Server| {
        server.log().lines().any(|line| line.contains(request) && line.contains(text))
    };
    server.wait(logged, "it is in the log");
}
