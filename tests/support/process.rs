//! Children of tests.
//!
//! Invariant: a child that does not end is killed at its deadline, and fails the test that waits for it.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Far longer than any child takes, also on a busy machine: compiling CPython is the longest.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Waits for a child, no longer than [`DEADLINE`].
pub trait Finish {
    /// Its status and output.
    fn finish(self) -> Output;
}

/// Its standard output and standard error are read, wherever they were to lead; a command that leads them elsewhere
/// is spawned first.
impl Finish for &mut Command {
    #[track_caller]
    fn finish(self) -> Output {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap().finish()
    }
}

impl Finish for Child {
    #[track_caller]
    fn finish(mut self) -> Output {
        drop(self.stdin.take());
        // A full pipe would keep the child from ending.
        let stdout = drain(self.stdout.take());
        let stderr = drain(self.stderr.take());
        let status = wait(&mut self);
        Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }
}

/// Waits for a child whose pipes somebody else reads.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("killed after {DEADLINE:?}: {:?}", child.wait());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// A command that SIGINT ends, also where these tests were started in the background and ignore it.
pub fn interruptible(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--default-signal=INT").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        env.current_dir(dir);
    }
    env
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        bytes
    })
}
