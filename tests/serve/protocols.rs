//! Requests as calls, and calls as responses: `cgi`, `stdio` and `export:NAME`.

use crate::{
    client,
    guests::{self, EXPORTS},
    server::Store,
};
use std::process::Command;

#[test]
fn a_command_answers_as_cgi_and_each_request_has_an_instance_of_its_own() {
    let store = Store::new();
    let server = store
        .function("hello", &guests::page("hello\n"))
        .function("traces", &guests::leaves_traces())
        .serve(&[]);
    let response = server.get("/hello");
    assert_eq!((response.status, response.text()), (200, "hello\n"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.header("content-length"), Some("6"));
    assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(server.get("/hello/below?x").status, 200);
    for path in ["/", "/hell", "/helloo", "/other", "/hello%2Fx"] {
        let missing = server.get(path);
        assert_eq!(
            (missing.status, missing.text()),
            (404, "there is no function here\n"),
            "{path}"
        );
    }
    for n in 0..20 {
        let body = format!("{n:0>64}");
        let response = server.post("/traces", body.as_bytes());
        let (before, after) = response.body.split_at(5 + 64);
        assert_eq!(before, [&b"fresh"[..], &[0; 64]].concat(), "call {n}");
        assert_eq!(after, body.as_bytes());
    }
}

#[test]
fn cgi_has_the_request_in_its_environment() {
    let store = Store::new();
    let config = "[functions.e]\nroute = \"/a/b\"\nenv = { OWN = \"1\", REQUEST_METHOD = \"X\" }";
    let server = store.function("e", &guests::environment()).serve_by(config);
    let headers =
        [("X-One", "1"), ("x-one", "2"), ("Proxy", "http://evil"), ("Content-Type", "a/b")];
    let response = client::request(server.addr, "PUT", "/a/b/c%20d?q=1", &headers, b"12345");
    let mut lines: Vec<&str> = response.text().lines().collect();
    lines.retain(|line| !line.starts_with("REMOTE_PORT="));
    lines.sort_unstable();
    let port = server.addr.port().to_string();
    let software = format!("SERVER_SOFTWARE=executor/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        [
            "CONTENT_LENGTH=5",
            "CONTENT_TYPE=a/b",
            "GATEWAY_INTERFACE=CGI/1.1",
            "HTTP_HOST=example.org",
            "HTTP_X_ONE=1, 2",
            "OWN=1",
            "PATH_INFO=/c d",
            "QUERY_STRING=q=1",
            "REMOTE_ADDR=127.0.0.1",
            "REMOTE_HOST=127.0.0.1",
            "REQUEST_METHOD=PUT",
            "SCRIPT_NAME=/a/b",
            "SERVER_NAME=example.org",
            &format!("SERVER_PORT={port}"),
            "SERVER_PROTOCOL=HTTP/1.1",
            &software,
        ]
    );
    assert_eq!(server.get("/a/b/%ff").status, 400, "a path that is no text");
}

#[test]
fn cgi_decides_about_its_status_and_headers() {
    let store = Store::new();
    let server = store
        .function("missing", &guests::prints("Status: 404 Not Here\nX-A: 1\n\ngone"))
        .function("moved", &guests::prints("Location: /elsewhere\n\n"))
        .function("none", &guests::prints("no headers"))
        .function("bad", &guests::prints("Status: abc\n\n"))
        .function("close", &guests::prints("Content-Length: 1\nConnection: close\n\nall of it"))
        .serve(&[]);
    let missing = server.get("/missing");
    assert_eq!((missing.status, missing.header("x-a"), missing.text()), (404, Some("1"), "gone"));
    let moved = server.get("/moved");
    assert_eq!((moved.status, moved.header("location")), (302, Some("/elsewhere")));
    for name in ["none", "bad"] {
        let response = server.get(&format!("/{name}"));
        assert_eq!(response.status, 502, "{name}");
        assert_eq!(response.text(), "the function's response is not valid\n");
    }
    assert_eq!(server.get("/close").text(), "all of it");
    server.wait_for_log("`abc` is no status");
}

#[test]
fn stdio_has_the_body_and_perhaps_a_line_before_it() {
    let store = Store::new();
    let config = r#"
        [functions.cat]
        protocol = "stdio"
        content-type = "text/x-cat"
        [functions.line]
        protocol = "stdio"
        request-line = true
    "#;
    let server =
        store.function("cat", &guests::cat("")).function("line", &guests::cat("")).serve_by(config);
    let response = server.post("/cat", b"body");
    assert_eq!((response.status, response.text()), (200, "body"));
    assert_eq!(response.header("content-type"), Some("text/x-cat"));
    assert_eq!(server.get("/cat").text(), "");
    let response = client::request(server.addr, "POST", "/line/x?y", &[("A", "b")], b"body");
    assert_eq!(response.header("content-type"), Some("application/octet-stream"));
    let (line, body) = response.text().split_once('\n').unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(body, "body");
    assert_eq!(
        (&line["method"], &line["path"], &line["query"]),
        (&"POST".into(), &"/x".into(), &"y".into())
    );
    assert_eq!((&line["headers"]["a"], &line["route"]), (&"b".into(), &"/line".into()));
}

#[test]
fn a_snapshot_inside_a_call_goes_on_with_the_body() {
    let store = Store::new();
    let server =
        store.function_with("inside", &guests::cat("read: "), &["--at", "stdin"]).serve(&[]);
    // What it had printed before the point was printed then.
    assert_eq!(server.post("/inside", b"one").text(), "one");
    assert_eq!(server.post("/inside", b"two").text(), "two");
    let config = "[functions.inside]\nprotocol = \"cgi\"";
    let path = store.config(config);
    let words = ["serve", "--addr", "127.0.0.1:0", "--config", path.to_str().unwrap(), "inside"];
    let output = store.executor(&words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("inside a call, so its protocol is stdio"),
        "{error}"
    );
}

#[test]
fn an_export_takes_bytes_and_returns_bytes() {
    let store = Store::new();
    let names = ["packed", "pair", "in_memory", "outside", "odd"];
    let config: String = names
        .iter()
        .map(|name| format!("[functions.{name}]\nprotocol = \"export:{name}\"\nbody = \"4MiB\"\n"))
        .collect();
    names.iter().for_each(|name| _ = store.function(name, EXPORTS));
    let server = store.serve_by(&config);
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    for name in &names[..3] {
        for body in [&b""[..], b"bytes", &large[..60_000], &large] {
            let response = server.post(&format!("/{name}"), body);
            assert!(response.status == 200 && response.body == body, "{name}, {}", body.len());
        }
    }
    assert_eq!(server.post("/outside", b"x").status, 502);
    server.wait_for_log("its result of 16 bytes at 0xfffffff8 is outside its memory");
    assert_eq!(server.post("/odd", b"x").status, 502);
    server.wait_for_log("`odd` has another type than the protocol knows");
}

#[test]
fn curl_gets_answers_by_both_versions() {
    let Ok(version) = Command::new("curl").arg("--version").output() else {
        return println!("skipped: there is no curl");
    };
    let store = Store::new();
    let server = store.function("cat", &guests::cat("Content-Type: text/plain\n\n")).serve(&[]);
    let url = format!("http://{}/cat", server.addr);
    let mut ways = vec![("--http1.1", "1.1"), ("--http1.0", "1")];
    match String::from_utf8_lossy(&version.stdout).contains("HTTP2") {
        true => ways.push(("--http2-prior-knowledge", "2")),
        false => println!("skipped: this curl has no HTTP/2"),
    }
    for (option, expected) in ways {
        let mut curl = Command::new("curl");
        curl.args([
            option,
            "-sS",
            "--data-binary",
            "hello",
            "-w",
            " %{http_version} %{http_code}",
            &url,
        ]);
        let output = curl.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("hello {expected} 200"), "{option}");
    }
}
