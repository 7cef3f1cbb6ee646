//! The page of the administration, and what it shows.

use crate::{
    admin::{ask, json, server},
    client, guests,
    server::Store,
};

#[test]
fn the_page_needs_nothing_but_itself_and_says_nothing_of_functions() {
    let store = Store::new();
    store.function("secretname", &guests::page("hello"));
    let (server, token) = server(&store);
    let get = || client::request(server.admin(), "GET", "/", &[], b"");
    let page = get();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    let text = page.text();
    assert!(text.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(text.contains(&format!("<style nonce=\"{nonce}\">")));
    assert!(!get().text().contains(nonce), "it is another one each time");
    // Nothing of others, and no way for text to become markup.
    for part in [
        "://",
        "src=",
        "href=",
        "@import",
        "innerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
    ] {
        assert!(!text.contains(part), "{part}");
    }
    for part in ["secretname", &token, "{nonce}"] {
        assert!(!text.contains(part), "{part}");
    }
    let policy = page.header("x-content-type-options");
    assert_eq!((policy, page.header("cache-control")), (Some("nosniff"), Some("no-store")));
    assert_eq!(server.get("/").status, 404, "it is not where functions are");
}

#[test]
fn figures_have_each_phase_and_the_last_failures_escaped() {
    let store = Store::new();
    store.function("hello", &guests::page("hello")).function("traps", &guests::traps(""));
    store.function("exits", &guests::exits(3, "no head"));
    let (server, token) = server(&store);
    for _ in 0..3 {
        assert_eq!(server.get("/hello").status, 200);
    }
    let mut ids = Vec::new();
    for _ in 0..22 {
        let response = server.get("/traps");
        assert_eq!(response.status, 502);
        ids.push(response.header("x-request-id").unwrap().to_owned());
    }
    assert_eq!(server.get("/exits").status, 500);
    let stats = || json(&ask(&server, &token, "GET", "/stats", b""));
    let function = |name: &str| {
        let all = stats()["functions"].as_array().unwrap().clone();
        all.into_iter().find(|function| function["name"] == name).unwrap()
    };
    // A response is counted when all of it is gone.
    let counted = |name: &str| function(name)["responses"].to_string();
    server.wait(|_| counted("hello") == "[3,0,0,0]", "three responses");
    server.wait(|_| counted("traps") == "[0,0,0,22]", "22 responses");
    let hello = function("hello");
    let classes = stats()["bounds_us"].as_array().unwrap().len() + 1;
    for phase in ["queue", "acquire", "run", "release", "total"] {
        let counts = hello["phases"][phase]["counts"].as_array().unwrap();
        let sum: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!((counts.len(), sum), (classes, 3), "{phase}: {hello}");
    }
    assert_eq!(hello["failures"].as_array().unwrap().len(), 0);
    let failures = function("traps")["failures"].as_array().unwrap().clone();
    assert_eq!(failures.len(), 20, "the last ones are kept");
    ids.reverse();
    for (failed, id) in failures.iter().zip(&ids) {
        assert_eq!((&failed["request"], &failed["failure"]), (&(&**id).into(), &"Trap".into()));
        let text = failed["text"].as_str().unwrap();
        assert!(text.contains("unreachable") && text.contains("inner"), "{text}");
        assert!(text.lines().count() > 1, "its backtrace has a line for each frame: {text}");
    }
    let failures = function("exits")["failures"].as_array().unwrap().clone();
    assert_eq!(failures[0]["text"], "exited with 3");
}
