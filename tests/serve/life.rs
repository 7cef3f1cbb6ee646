//! How a server begins, changes what it serves, and ends.

use crate::{
    client, guests,
    server::{Server, Store, is_alive, kill},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let store = Store::new();
    let serve = |words: &[&str]| {
        let mut all = vec!["serve", "--addr", "127.0.0.1:0"];
        all.extend(words);
        let output = store.executor(&all).stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{words:?}: {error}");
        error.lines().last().unwrap_or_default().to_owned()
    };
    assert!(serve(&[]).starts_with("error: there is nothing to serve: deploy a function first"));
    store.function("hello", &guests::page("hello"));
    store.function("reactor", "(module (memory 1) (func (export \"f\")))");
    assert!(serve(&["other"]).contains("other"));
    assert!(serve(&["reactor"]).contains("there is nothing to run: it is a reactor"));
    assert!(serve(&["--workers", "0"]).contains("0 is not in 1..=1024"));
    assert!(serve(&["--tls-cert", "x"]).contains("--tls-key"));
    assert!(serve(&["--config", "/nonexistent"]).contains("/nonexistent: No such file"));
    let config = store.config("[functions.hello]\nroute = \"hello\"");
    assert!(
        serve(&["--config", config.to_str().unwrap()]).contains("serve.toml:2:9: expected a path")
    );
    let cert = store.dir.path().join("cert.pem");
    fs::write(&cert, "nothing").unwrap();
    let cert = cert.to_str().unwrap();
    assert!(
        serve(&["--tls-cert", cert, "--tls-key", cert, "hello"])
            .contains("there is no certificate in it")
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = store.executor(&["serve", "--addr", &addr, "hello"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("cannot listen at {addr}: Address already in use")), "{error}");
}

#[test]
fn workers_are_confined_and_have_no_variables_and_no_other_descriptors() {
    let store = Store::new();
    let server = store.function("hello", &guests::page("hello")).serve(&["--sandbox", "require"]);
    assert_eq!(server.get("/hello").text(), "hello");
    for worker in server.workers() {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
            assert!(status.lines().any(|l| l == line), "{line}: {status}");
        }
        let environ = fs::read_to_string(format!("/proc/{worker}/environ")).unwrap();
        assert!(environ.is_empty() || environ.starts_with("RUST_BACKTRACE="), "{environ}");
        let descriptors = fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten();
        for descriptor in descriptors {
            let leads = fs::read_link(descriptor.path()).unwrap_or_default();
            let leads = leads.to_string_lossy().into_owned();
            let store = store.path().to_string_lossy().into_owned();
            let known = ["/dev/null", "socket:", "pipe:", "anon_inode:[eventfd]", &store];
            // Standard error is the server's.
            assert!(known.iter().any(|known| leads.starts_with(known)), "{leads}");
        }
    }
    let off = store.serve(&["--sandbox", "off"]);
    let status = fs::read_to_string(format!("/proc/{}/status", off.workers()[0])).unwrap();
    assert!(status.contains("Seccomp:\t0"), "{status}");
}

#[test]
fn functions_that_cannot_be_served_do_not_keep_others_from_it() {
    let store = Store::new();
    let server = store
        .function("hello", &guests::page("hello"))
        .function("reactor", "(module (memory 1) (func (export \"f\")))")
        .function("same", &guests::page("same"))
        .serve_by("[functions.same]\nroute = \"/hello\"");
    assert_eq!(server.get("/hello").text(), "hello");
    let log = server.log();
    assert!(log.contains("`same` is not served: `hello` has its route /hello already"), "{log}");
    assert!(log.contains("`reactor`: there is nothing to run"), "{log}");
}

#[test]
fn a_function_is_served_as_soon_as_it_is_stored_and_until_it_is_removed() {
    let store = Store::new();
    let server = store.function("a", &guests::page("one")).serve(&[]);
    assert_eq!(server.get("/a").text(), "one");
    assert_eq!(server.get("/b").status, 404);
    store.function("b", &guests::page("b"));
    server.wait(|server| server.get("/b").status == 200, "b is served");
    store.function("a", &guests::page("two"));
    server.wait(|server| server.get("/a").text() == "two", "a is replaced");
    let output = store.executor(&["snapshot", "rm", "b"]).output().unwrap();
    assert!(output.status.success());
    server.wait(|server| server.get("/b").status == 404, "b is gone");
    assert_eq!(server.get("/a").text(), "two");
}

#[test]
fn code_that_is_missing_is_compiled_before_a_request_comes() {
    let store = Store::new();
    store.function("a", &guests::page("one"));
    store.function_with("inside", &guests::cat("read: "), &["--at", "stdin"]);
    fs::remove_dir_all(store.path().join("code")).unwrap();
    let server = store.serve(&[]);
    assert_eq!(server.get("/a").text(), "one");
    assert_eq!(server.post("/inside", b"body").text(), "body");
}

#[test]
fn a_deployed_function_is_served_by_its_settings_and_can_be_taken_back() {
    let store = Store::new();
    let deploy = |text: &str, options: &[&str]| {
        let file = store.dir.path().join("d.wat");
        fs::write(&file, guests::page(text)).unwrap();
        let mut words = vec!["deploy", "--name", "d"];
        words.extend(options);
        words.push(file.to_str().unwrap());
        let output = store.executor(&words).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    deploy("one", &["--route", "/r/d"]);
    let server = store.serve(&[]);
    assert_eq!(server.get("/r/d").text(), "one");
    deploy("two", &[]);
    server.wait(|server| server.get("/r/d").text() == "two", "the second version");
    let output = store.executor(&["rollback", "d"]).output().unwrap();
    assert!(output.status.success());
    server.wait(|server| server.get("/r/d").text() == "one", "the first version again");
    deploy("one", &["--route", "/other"]);
    server.wait(|server| server.get("/other").status == 200, "another route");
    for version in ["2", "1"] {
        let output = store.executor(&["alias", "d@prod", version]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = if version == "2" { "two" } else { "one" };
        server.wait(|server| server.get("/d@prod").text() == text, "the alias");
    }
    let named = store.serve(&["d@2"]);
    assert_eq!((named.get("/d@2").text(), named.get("/other").status), ("two", 404));
}

#[test]
fn the_readme_s_example_answers() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, section) = readme.split_once("### Serving\n").unwrap();
    let mut commands = section.lines().filter_map(|line| line.strip_prefix("    "));
    let deploy: Vec<&str> = commands.next().unwrap().split(' ').skip(1).collect();
    let store = Store::new();
    let status = store.executor(&deploy).current_dir(root).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    assert_eq!(commands.next(), Some("executor serve &"));
    let server = store.serve(&[]);
    let path = commands.next().unwrap().strip_prefix("curl http://127.0.0.1:8080").unwrap();
    assert_eq!(server.get(path).text(), "hello, world!\n");
}

#[test]
fn what_a_configuration_names_files_for_is_deployed() {
    let store = Store::new();
    let file = store.dir.path().join("m.wat");
    fs::write(&file, guests::page("one")).unwrap();
    let server = store.serve_by(&format!("[functions.m]\nmodule = \"{}\"", file.display()));
    assert_eq!(server.get("/m").text(), "one");
    fs::write(&file, guests::page("two")).unwrap();
    server.signal("HUP");
    server.wait(|server| server.get("/m").text() == "two", "it is deployed again");
}

/// Asks again and again until told to stop; every answer has to be one of some.
fn ask(server: &Server, stop: &AtomicBool, texts: &[&str]) -> usize {
    let mut answers = 0;
    while !stop.load(Relaxed) {
        let response = server.get("/a");
        assert_eq!(response.status, 200, "{response:?}");
        assert!(texts.contains(&response.text()), "{response:?}");
        answers += 1;
    }
    answers
}

#[test]
fn replacing_and_reloading_under_load_loses_no_request() {
    let store = Store::new();
    let given = store.dir.path().join("given");
    fs::create_dir(&given).unwrap();
    let server = store.function("a", &guests::page("one")).serve_by("");
    let stop = AtomicBool::new(false);
    let texts = ["one", "two"];
    thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&server, &stop, &texts))).collect();
        for (n, text) in ["two", "one", "two"].into_iter().enumerate() {
            store.function("a", &guests::page(text));
            // Another directory needs other workers.
            let dir = if n % 2 == 0 {
                format!("dirs = [\"{}::/g\"]", given.display())
            } else {
                String::new()
            };
            store.config(&format!("[functions.a]\n{dir}"));
            server.signal("HUP");
            server.wait(|server| server.log().matches("reloaded").count() > n, "reloaded");
        }
        server.wait(|server| server.get("/a").text() == "two", "the last version");
        stop.store(true, Relaxed);
        let answers: usize = asking.into_iter().map(|asked| asked.join().unwrap()).sum();
        assert!(answers > 0);
    });
    server.wait(|server| server.workers().len() == 2, "the former workers end");
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let store = Store::new();
    let server =
        store.function("a", &guests::page("one")).serve_by("[functions.a]\nroute = \"/x\"");
    store.config("[functions.a]\nroute = 1");
    server.signal("HUP");
    server.wait_for_log("not reloaded: ");
    assert_eq!(server.get("/x").text(), "one");
    store.config("[functions.a]\nroute = \"/y\"");
    server.signal("HUP");
    server.wait(|server| server.get("/y").status == 200, "the route is another");
    assert_eq!(server.get("/x").status, 404);
}

#[test]
fn a_server_that_ends_answers_what_it_has_accepted() {
    let store = Store::new();
    let mut server = store
        .function("p", &guests::pauses("Content-Type: text/plain\n\nfirst ", 1000, "last"))
        .function("hello", &guests::page("hello"))
        .serve(&[]);
    let workers = server.workers();
    let mut idle = client::connect(server.addr);
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(client::read(&mut idle).text(), "hello");
    let mut slow = client::connect(server.addr);
    slow.write_all(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut half = client::connect(server.addr);
    half.write_all(b"GET /hello HT").unwrap();
    thread::sleep(Duration::from_millis(200));
    // As a service manager or a terminal does it, which knows no server among processes.
    for signal in ["HUP", "INT", "TERM"] {
        workers.iter().for_each(|worker| kill(*worker, signal));
    }
    server.signal("TERM");
    server.wait_for_log("draining");
    half.write_all(b"TP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let half = client::read(&mut half);
    assert!([200, 503].contains(&half.status), "{half:?}");
    let response = client::read(&mut slow);
    assert!(response.complete && response.text() == "first last", "{response:?}");
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0, "a connection without a request is closed");
    assert_eq!(server.end().code(), Some(0));
    assert!(std::net::TcpStream::connect(server.addr).is_err());
    for worker in workers {
        assert!(!is_alive(worker));
    }
}

#[test]
fn a_server_does_not_wait_for_ever_to_end() {
    let store = Store::new();
    let mut server = store
        .function("p", &guests::pauses("Content-Type: text/plain\n", 3_600_000, ""))
        .serve_by("drain = \"200ms\"\n[functions.p]\ndeadline = \"1h\"");
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    assert_eq!(server.end().code(), Some(0));
    assert!(server.log().contains("ended before all requests had"));
}

#[test]
fn workers_end_with_their_server() {
    let store = Store::new();
    let mut server = store.function("s", &guests::spins("Content-Type: text/plain\n")).serve(&[]);
    let workers = server.workers();
    let mut stream = client::connect(server.addr);
    stream.write_all(b"GET /s HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal("KILL");
    server.end();
    server.wait(|_| workers.iter().all(|worker| !is_alive(*worker)), "the workers end");
    // Nobody else starts one.
    let program =
        std::path::Path::new(env!("CARGO_BIN_EXE_executor")).with_file_name("executor-serve");
    let output =
        std::process::Command::new(program).arg("worker").stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "error: a worker is started by `executor serve`, and by nobody else\n");
}
