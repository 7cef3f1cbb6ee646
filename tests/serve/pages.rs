//! What is known of the pages that calls write to, and of the slots that are kept.

use crate::{
    admin::{ask, json, server},
    guests,
    server::{Server, Store},
};

/// The value of a figure of a function.
#[track_caller]
fn figure(server: &Server, token: &str, name: &str, function: &str) -> u64 {
    let text = ask(server, token, "GET", "/metrics", b"").text().to_owned();
    let sample = format!("{name}{{function=\"{function}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&sample));
    value.unwrap_or_else(|| panic!("{sample}: {text}")).parse().unwrap()
}

#[test]
fn each_call_is_counted_by_where_its_instance_came_from_and_by_its_pages() {
    let store = Store::new();
    store.function("writes", &guests::writes(&[20, 33])).function("idle", &guests::page("x"));
    let (server, token) = server(&store);
    let figure = |name: &str| figure(&server, &token, name, "writes");
    const CALLS: u64 = 40;
    for _ in 0..CALLS {
        assert_eq!(server.get("/writes").text(), "written");
    }
    let (restores, acquires) =
        (figure("executor_restores_total"), figure("executor_acquires_total"));
    assert_eq!(restores + acquires, CALLS);
    // In each worker the first is used once, and the next one makes a slot for the others.
    assert!((2..=4).contains(&restores), "{restores}");
    let resets = figure("executor_resets_total");
    assert!((acquires..=CALLS - 1).contains(&resets), "{resets}");
    assert_eq!(figure("executor_pages_written_count"), resets);
    // Two pages, that of the vectors, and that of the globals.
    assert_eq!(figure("executor_pages_written_sum"), 4 * resets);
    let faults = figure("executor_write_faults_total");
    assert!((1..=2 * 3).contains(&faults), "only where slots are new: {faults}");
    let (slots, bytes) = (figure("executor_slots_kept"), figure("executor_slots_kept_bytes"));
    assert!((1..=2).contains(&slots), "{slots}");
    assert_eq!(bytes, slots * 4 * 4096);
    assert_eq!(figure("executor_calls_limit"), 64);
    let idle = |name: &str| self::figure(&server, &token, name, "idle");
    assert_eq!((idle("executor_resets_total"), idle("executor_slots_kept")), (0, 0));
}

#[test]
fn a_call_that_fails_before_it_has_an_instance_has_none_and_one_that_traps_has() {
    let store = Store::new();
    store.function("traps", &guests::traps("")).function("none", &guests::page("x"));
    let path = store.config("[functions.none]\nmemory = \"1KiB\"");
    let words = ["--admin", "127.0.0.1:0", "--config", path.to_str().unwrap()];
    let server = store.serve(&words);
    let token = std::fs::read_to_string(store.path().join("admin-token")).unwrap();
    let figure = |name: &str, function: &str| figure(&server, token.trim(), name, function);
    for _ in 0..10 {
        assert_eq!((server.get("/traps").status, server.get("/none").status), (502, 502));
    }
    let origins =
        |f: &str| (figure("executor_restores_total", f), figure("executor_acquires_total", f));
    let (restores, acquires) = origins("traps");
    assert_eq!(restores + acquires, 10);
    assert!(acquires >= 6, "a trap is taken back too: {acquires}");
    assert_eq!(origins("none"), (0, 0));
}

#[test]
fn the_page_shows_which_pages_the_last_calls_wrote_to() {
    let store = Store::new();
    store.function("writes", &guests::writes(&[20, 33]));
    let (server, token) = server(&store);
    let stats = || json(&ask(&server, &token, "GET", "/stats", b""))["functions"][0].clone();
    let sampled = |server: &Server, more_than: u64| {
        assert_eq!(server.get("/writes").status, 200);
        stats()["map"]["calls"].as_u64().unwrap() > more_than
    };
    server.wait(|server| sampled(server, 0), "a call was looked at");
    let map = stats()["map"].clone();
    assert_eq!((&map["pages"], &map["pages_per_cell"]), (&64.into(), &1.into()), "{map}");
    let cells = map["cells"].as_str().unwrap();
    let written: Vec<usize> =
        cells.char_indices().filter(|(_, digit)| *digit != '0').map(|(at, _)| at).collect();
    assert_eq!((cells.len(), written), (64, vec![0, 20, 33]), "{map}");
    // Another version has a picture of its own.
    store.function("writes", &guests::writes(&[40]));
    let is_new = |server: &Server| {
        assert_eq!(server.get("/writes").status, 200);
        let map = stats()["map"].clone();
        let cells = map["cells"].as_str().unwrap();
        &cells[20..21] == "0" && &cells[40..41] == "f"
    };
    server.wait(is_new, "the picture is of the new version");
}
