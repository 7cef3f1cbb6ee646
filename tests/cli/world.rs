//! What a guest is given of the world: environment, directories, sockets, clocks, randomness.

use crate::process::Finish;
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

/// The guest's environment under `options`, in a process with the variables `host` and no others.
fn environment(options: &[&str], host: &[(&str, &str)]) -> Run {
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::echo_env());
    let mut command = sandbox.command(&[&["run", "--no-store"], options, &["env.wat"]].concat());
    command.env_clear().envs(host.iter().copied());
    Run::from(command.finish())
}

#[test]
fn the_environment_is_what_is_asked_for() {
    let host = [("A", "1"), ("B", "two words")];
    environment(&[], &host).succeeded("");
    environment(&["--env", "X=y"], &host).succeeded("X=y\0");
    environment(&["--env", "B", "--env", "X="], &host).succeeded("B=two words\0X=\0");
    // A process's environment has no order.
    let inherited = environment(&["--inherit-env"], &host);
    assert!(["A=1\0B=two words\0", "B=two words\0A=1\0"].contains(&&*inherited.stdout));
    let stronger = environment(&["--env", "A=2", "--inherit-env"], &host);
    stronger.succeeded("B=two words\0A=2\0");
    environment(&["--env", "A=1", "--env", "A=2"], &[]).succeeded("A=2\0");
}

#[test]
fn a_variable_that_the_host_does_not_have_is_named() {
    environment(&["--env", "MISSING"], &[]).failed(2, &["MISSING", "--env MISSING=VALUE"]);
}

#[test]
fn variables_that_are_not_utf8_are_not_inherited() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::echo_env());
    let run = |options: &[&str]| {
        let line = [&["run", "--no-store"], options, &["env.wat"]].concat();
        let mut command = sandbox.command(&line);
        command.env_clear().env("BAD", std::ffi::OsStr::from_bytes(b"\xff")).env("A", "1");
        Run::from(command.finish())
    };
    run(&["--inherit-env"]).succeeded("A=1\0").says(&["warning", "BAD"]);
    run(&["--env", "BAD"]).failed(2, &["BAD", "UTF-8"]);
}

#[test]
fn a_read_only_directory_is_read_and_not_written() {
    let sandbox = Sandbox::new();
    sandbox.file("open.wat", guests::OPENS_TO_WRITE);
    sandbox.file("reads.wat", guests::READS_FILE);
    sandbox.file("x", "A");
    let errno = |dir: &str| {
        let run = sandbox.run(&["run", "--dir", dir, "--invoke", "errno", "open.wat"]);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    assert_eq!(errno(".::/"), "0\n");
    assert_ne!(errno(".::/:ro"), "0\n");
    sandbox.run(&["run", "--dir", ".::/:ro", "--invoke", "got", "reads.wat"]).succeeded("65\n");
    assert_eq!(fs::read(sandbox.path().join("x")).unwrap(), b"A");
}

#[test]
fn a_guest_accepts_connections_at_the_address_given() {
    let sandbox = Sandbox::new();
    sandbox.file("serve.wat", guests::SERVES);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    // The second run is restored.
    for _ in 0..2 {
        let mut command = sandbox.command(&["run", "--listen", &address, "serve.wat"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut client = loop {
            match TcpStream::connect(&address) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        client.write_all(b"ping").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ping");
        Run::from(child.finish()).succeeded("");
    }
}

#[test]
fn an_address_that_cannot_be_listened_at_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    sandbox.run(&["run", "--listen", &address, "hello.wat"]).failed(1, &[&address, "in use"]);
    sandbox.run(&["run", "--listen", "nonsense", "hello.wat"]).failed(1, &["nonsense"]);
}

#[test]
fn deterministic_runs_see_the_same_time_and_randomness() {
    for guest in [guests::observes_random(), guests::observes_clock()] {
        let sandbox = Sandbox::new();
        sandbox.file("guest.wat", guest);
        let run = |options: &[&str]| {
            let line = [&["run", "--no-store"], options, &["--invoke", "got", "guest.wat"]];
            let run = sandbox.run(&line.concat());
            assert_eq!(run.code, 0, "{run:?}");
            run.stdout
        };
        assert_eq!(run(&["--deterministic"]), run(&["--deterministic"]));
        assert_ne!(run(&["--deterministic"]), run(&[]));
    }
}
