//! A server with functions of its own.
//!
//! Invariant: it is killed when the test is over, with its workers, whatever became of it.

use crate::client::{self, Response};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Far longer than anything takes here.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A store directory with functions.
pub struct Store {
    pub dir: TempDir,
}

impl Store {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Where the store is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A command of the executor on this store.
    pub fn executor(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
        command.args(words).env("EXECUTOR_STORE", self.path()).env_remove("EXECUTOR_TRUST_STORE");
        command
    }

    /// Stores a function, made with more options.
    #[track_caller]
    pub fn function_with(&self, name: &str, wat: &str, options: &[&str]) -> &Self {
        let file = self.dir.path().join(format!("{name}.wat"));
        fs::write(&file, wat).unwrap();
        let mut words = vec!["snapshot", "create", "--name", name];
        words.extend(options);
        words.push(file.to_str().unwrap());
        let output = self.executor(&words).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    /// Stores a function.
    #[track_caller]
    pub fn function(&self, name: &str, wat: &str) -> &Self {
        self.function_with(name, wat, &[])
    }

    /// Writes a configuration; returns its path.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("serve.toml");
        fs::write(&path, text).unwrap();
        path
    }

    /// Serves its functions.
    #[track_caller]
    pub fn serve(&self, words: &[&str]) -> Server {
        Server::start(self, words)
    }

    /// Serves its functions by a configuration.
    #[track_caller]
    pub fn serve_by(&self, config: &str) -> Server {
        let path = self.config(config);
        self.serve(&["--config", path.to_str().unwrap()])
    }
}

/// A running server.
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Server {
    #[track_caller]
    fn start(store: &Store, words: &[&str]) -> Self {
        // With a descriptor that is none of its business.
        let shell = ["-c", "exec \"$0\" \"$@\" 9</dev/zero", env!("CARGO_BIN_EXE_executor")];
        let mut command = Command::new("sh");
        command.args(shell).args(["serve", "--addr", "127.0.0.1:0", "--workers", "2"]);
        command.env("EXECUTOR_STORE", store.path()).env_remove("EXECUTOR_TRUST_STORE");
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let addr = loop {
            let Some(line) = lines.next() else { panic!("it does not serve: {said}") };
            let line = line.unwrap();
            said += &line;
            said.push('\n');
            if let Some((_, addr)) = line.split_once("serving at http")
                && let Some((_, addr)) = addr.split_once("://")
            {
                break addr.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            }
        };
        let log = Arc::new(Mutex::new(said));
        thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in lines.map_while(Result::ok) {
                    *log.lock().unwrap() += &(line + "\n");
                }
            }
        });
        Self { child, addr, log }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Where its administration is, at a TCP port.
    pub fn admin(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("the administration is at http://").unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    }

    /// Waits until something is logged.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        self.wait(|server| server.log().contains(text), text);
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn wait(&self, holds: impl Fn(&Self) -> bool, what: &str) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < DEADLINE, "{what}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The response to a request without a body.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        client::request(self.addr, "GET", path, &[], b"")
    }

    /// The response to a request with a body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Response {
        client::request(self.addr, "POST", path, &[], body)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        kill(self.child.id(), name);
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// The processes of its workers.
    pub fn workers(&self) -> Vec<u32> {
        let id = self.child.id();
        let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let children = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        children
            .flat_map(|text| {
                text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
            })
            .collect()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Sends a process a signal.
pub fn kill(process: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(status.unwrap().success());
}

/// Whether a process is there, and no zombie.
pub fn is_alive(process: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}
