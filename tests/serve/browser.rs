//! A headless browser that shows what a server answers.
//!
//! Invariant: it talks to nobody but the server, keeps what it writes in a directory of its own, and ends with the test.
//! Where none is installed, whoever asks for one is told, and says so.

use crate::server::DEADLINE;
use serde_json::{Value, json};
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};
use tempfile::TempDir;

/// The names that it may be installed under.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser with one page.
pub struct Browser {
    child: Child,
    orders: ChildStdin,
    /// Answers, and events.
    said: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What went wrong on the page.
    errors: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none, where none is installed.
    pub fn start() -> Option<Self> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let paths: Vec<PathBuf> = env::split_paths(&paths).collect();
        let programs = NAMES.iter().flat_map(|name| paths.iter().map(move |path| path.join(name)));
        let program = programs.into_iter().find(|program| program.is_file())?;
        let profile = tempfile::tempdir().unwrap();
        // It is told what to do, and answers, through descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-quic", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (sender, said) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            // They end with a zero each.
            while answers.read_until(0, &mut text).is_ok_and(|len| len > 0) {
                let value = serde_json::from_slice(&text[..text.len() - 1]);
                if sender.send(value.unwrap()).is_err() {
                    return;
                }
                text.clear();
            }
        });
        let orders = child.stdin.take().unwrap();
        let (session, errors) = (None, Vec::new());
        let mut browser =
            Self { child, orders, said, number: 0, session, errors, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.ask(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        Some(browser)
    }

    /// Has it do something; returns what it answers.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut said = self.said.recv_timeout(DEADLINE).expect("the browser does not answer");
            if said["id"] == self.number {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].take();
            }
            let entry = &said["params"]["entry"];
            match said["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.errors.push(said.to_string()),
                // It asks for a picture that nobody has.
                Some("Log.entryAdded")
                    if entry["level"] == "error"
                        && !entry["url"].as_str().unwrap_or_default().ends_with("/favicon.ico") =>
                {
                    self.errors.push(entry.to_string());
                }
                _ => {}
            }
        }
    }

    /// Goes to an address.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let went = self.ask("Page.navigate", json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != true {
            let text = "document.body.innerText";
            assert!(begun.elapsed() < DEADLINE, "{expression}: {}", self.value(text));
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What went wrong on the page so far: exceptions, and what its own policy or the server refused.
    pub fn errors(&mut self) -> Vec<String> {
        // What was said before is there with the next answer.
        self.value("0");
        std::mem::take(&mut self.errors)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
