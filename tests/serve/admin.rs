//! The administration: health, figures, deploying.

use crate::{
    client::{self, Response},
    guests,
    server::{Server, Store},
};
use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

/// A server with an administration, and its token.
pub fn server(store: &Store) -> (Server, String) {
    let server = store.serve(&["--admin", "127.0.0.1:0"]);
    let token = fs::read_to_string(store.path().join("admin-token")).unwrap();
    (server, token.trim().to_owned())
}

/// The response to a request with the token.
#[track_caller]
pub fn ask(server: &Server, token: &str, method: &str, path: &str, body: &[u8]) -> Response {
    let bearer = format!("Bearer {token}");
    client::request(server.admin(), method, path, &[("Authorization", &bearer)], body)
}

pub fn json(response: &Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn only_who_has_the_token_is_told_and_served() {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let (server, token) = server(&store);
    let file = fs::metadata(store.path().join("admin-token")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(!server.log().contains(&token));
    let asked = |path: &str, headers: &[(&str, &str)]| {
        client::request(server.admin(), "GET", path, headers, b"").status
    };
    assert_eq!((asked("/healthz", &[]), asked("/readyz", &[])), (200, 200));
    let wrong = format!("Bearer {}", "0".repeat(64));
    let basic = format!("Basic {token}");
    let cut = format!("Bearer {}", &token[..63]);
    for path in ["/metrics", "/functions", "/functions/hello", "/stats", "/nothing"] {
        assert_eq!(asked(path, &[]), 401, "{path}");
        for value in [&wrong, &basic, &cut] {
            assert_eq!(asked(path, &[("Authorization", value)]), 401, "{path}, {value}");
        }
    }
    let put = client::request(server.admin(), "PUT", "/functions/x", &[], b"\0asm\x01\0\0\0");
    assert_eq!(put.status, 401);
    assert_eq!(server.get("/functions").status, 404, "functions have an address of their own");
    // Looking after the store leaves it.
    for words in [["store", "gc"], ["store", "check"]] {
        assert!(store.executor(&words).output().unwrap().status.success());
    }
    assert_eq!(ask(&server, &token, "GET", "/functions", b"").status, 200);
}

#[test]
fn a_socket_of_the_file_system_is_for_its_user() {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let path = store.dir.path().join("admin");
    let address = format!("unix:{}", path.display());
    let mut server = store.serve(&["--admin", &address]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /functions HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let response = client::read(&mut stream);
    assert_eq!(json(&response)["functions"][0]["name"], "hello");
    // It is taken as long as somebody listens; what is left of a server that was killed is not.
    let taken =
        store.executor(&["serve", "--addr", "127.0.0.1:0", "--admin", &address]).output().unwrap();
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot listen at unix:"), "{taken:?}");
    server.signal("KILL");
    server.end();
    assert!(path.exists());
    let mut server = store.serve(&["--admin", &address]);
    server.signal("TERM");
    assert_eq!(server.end().code(), Some(0));
    assert!(!path.exists(), "it goes with its server");
}

#[test]
fn figures_are_text_for_prometheus() {
    let store = Store::new();
    store.function("hello", &guests::page("hello")).function("traps", &guests::traps(""));
    let (server, token) = server(&store);
    for _ in 0..5 {
        assert_eq!(server.get("/hello").status, 200);
    }
    assert_eq!(server.get("/traps").status, 502);
    // A response is counted when all of it is gone.
    let metrics = || ask(&server, &token, "GET", "/metrics", b"");
    let five = "executor_requests_total{function=\"hello\",status=\"2xx\"} 5";
    server.wait(|_| metrics().text().contains(five), five);
    let response = metrics();
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = response.text();
    for sample in [
        "executor_functions 2",
        "executor_workers 2",
        "executor_worker_deaths_total 0",
        "executor_requests_total{function=\"traps\",status=\"5xx\"} 1",
        "executor_calls_running{function=\"hello\"} 0",
        "executor_phase_seconds_count{function=\"hello\",phase=\"run\"} 5",
        "executor_request_seconds_count{function=\"hello\"} 5",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}: {text}");
    }
    // Each line is a comment or a name, perhaps labels, and a number; each name was introduced.
    let mut introduced = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            introduced.push(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            assert!(name == series || series.ends_with("\"}"), "{line}");
            let base = introduced.last().unwrap();
            assert!(name.starts_with(base.as_str()), "{line}");
        }
    }
    // A histogram never falls.
    let buckets = text
        .lines()
        .filter(|line| line.starts_with("executor_request_seconds_bucket{function=\"hello\""));
    let counts: Vec<u64> =
        buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&5), "{counts:?}");
}

#[test]
fn functions_are_deployed_taken_back_and_removed_while_requests_run() {
    let store = Store::new();
    store.function("other", &guests::page("other"));
    let (server, token) = server(&store);
    let put = |text: &str, query: &str| {
        let module = guests::page(text);
        ask(&server, &token, "PUT", &format!("/functions/f{query}"), module.as_bytes())
    };
    let first = put("one", "?route=/r/f");
    assert_eq!(first.status, 201, "{}", first.text());
    let told = json(&first);
    assert_eq!(
        (&told["version"], &told["route"], &told["protocol"]),
        (&1.into(), &"/r/f".into(), &"cgi".into())
    );
    assert_eq!(server.get("/r/f").text(), "one", "it is served when it is answered");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = 0;
            while !stop.load(Relaxed) {
                let response = server.get("/r/f");
                assert!(
                    response.status == 200 && ["one", "two"].contains(&response.text()),
                    "{response:?}"
                );
                answers += 1;
            }
            answers
        });
        assert_eq!(json(&put("two", ""))["version"], 2);
        assert_eq!(server.get("/r/f").text(), "two");
        assert_eq!(put("two", "").status, 200, "it is as it was");
        let back = ask(&server, &token, "POST", "/functions/f/rollback", b"");
        assert_eq!(json(&back)["version"], 1);
        assert_eq!(server.get("/r/f").text(), "one");
        let forth = ask(&server, &token, "POST", "/functions/f/rollback?to=2", b"");
        assert_eq!(json(&forth)["version"], 2);
        stop.store(true, Relaxed);
        assert!(asking.join().unwrap() > 0);
    });
    let alias = ask(&server, &token, "PUT", "/functions/f/aliases/prod?version=1", b"");
    assert_eq!(json(&alias)["alias"], "f@prod");
    let told = json(&ask(&server, &token, "GET", "/functions/f", b""));
    assert_eq!(told["versions"][0]["aliases"][0], "prod");
    assert_eq!(told["versions"][1]["current"], true);
    assert_eq!(ask(&server, &token, "DELETE", "/functions/f", b"").status, 200);
    assert_eq!(server.get("/r/f").status, 404);
    assert_eq!(server.get("/other").status, 200);
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let store = Store::new();
    store.function("hello", &guests::page("hello"));
    let (server, token) = server(&store);
    let page = guests::page("x");
    let reactor = "(module (memory 1) (func (export \"f\")))";
    for (method, path, body, status, expected) in [
        ("GET", "/functions/none", "", 404, "no function `none` is served"),
        ("GET", "/nothing", "", 404, "there is nothing here"),
        ("DELETE", "/functions/none", "", 404, "none"),
        ("PUT", "/functions/x?rout=/r", &*page, 400, "there is no parameter `rout` here"),
        ("PUT", "/functions/x?route=r", &page, 400, "route: expected a path"),
        (
            "PUT",
            "/functions/x?protocol=http",
            &page,
            400,
            "protocol: expected cgi, stdio or export:NAME",
        ),
        ("PUT", "/functions/x?at=nowhere", &page, 400, "--at"),
        ("PUT", "/functions/x", "neither", 400, "not a WebAssembly module"),
        ("PUT", "/functions/x@1", &page, 400, "x@1"),
        ("PUT", "/functions/x", reactor, 409, "there is nothing to run: it is a reactor"),
        ("POST", "/functions/hello/rollback", "", 400, "hello"),
        (
            "POST",
            "/functions/hello/rollback?to=x",
            "",
            400,
            "`to` is to be the number of a version",
        ),
        ("PUT", "/functions/hello/aliases/prod", "", 400, "say which `version`"),
        ("PUT", "/functions/hello/aliases/prod?version=7", "", 400, "has no versions"),
    ] {
        let response = ask(&server, &token, method, path, body.as_bytes());
        let error = json(&response)["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(response.status, status, "{method} {path}: {error}");
        assert!(error.contains(expected) && !error.contains('\n'), "{method} {path}: {error}");
    }
    assert_eq!(server.get("/hello").text(), "hello");
}
