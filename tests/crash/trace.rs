//! Runs a command under ptrace: which calls it makes of files below a directory, and what it does when one of
//! them fails, or when it is killed right after one.
//!
//! Invariant: nothing in the traced binary knows of it, and every thread is followed. A call that is to fail is
//! not made. A command that does not end is killed at its deadline.

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Seek},
    os::unix::{ffi::OsStrExt, fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::mpsc,
    time::Duration,
};

/// Far longer than any command here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a call does to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opens something that is there, or looks whether it is.
    Open,
    /// Changes a file or a directory, or makes it last.
    Change,
    /// Locks a file.
    Lock,
}

/// A call that concerns a file below the directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    pub kind: Kind,
    /// The file that it concerns.
    pub path: PathBuf,
    /// What a rename calls the file from then on.
    pub to: Option<PathBuf>,
    pub thread: i32,
    /// Whether it succeeded; not known of a call that the command did not live to see the end of.
    pub succeeded: bool,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails.
    Fail(Errno),
    /// It fails, and so does all that would change a file from then on.
    FailOn(Errno),
    /// It is made, and then the process is killed.
    Kill,
    /// Before it is made, the directory is gone.
    Vanish,
}

/// What a command did.
#[derive(Debug)]
pub struct Trace {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub calls: Vec<Call>,
}

/// Runs a command to its end, and does `fault` at the call of this number among those that concern files below
/// the directories `roots`, of which the first may vanish.
#[track_caller]
pub fn trace(command: &Command, roots: &[&Path], fault: Option<(usize, Fault)>) -> Trace {
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    // Stopped before it becomes the command, so that it can be seized from outside.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.stdin(std::process::Stdio::null());
    shell.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    #[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
    let child = shell.spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It may have ended this moment.
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let mut tracer = Tracer { roots, fault, pid, entered: HashMap::new(), calls: Vec::new() };
    let status = tracer.run();
    drop(ended);
    watchdog.join().unwrap();
    let text = |file: &mut File| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let (stdout, stderr) = (text(&mut stdout), text(&mut stderr));
    Trace { status, stdout, stderr, calls: tracer.calls }
}

struct Tracer<'a> {
    roots: &'a [&'a Path],
    fault: Option<(usize, Fault)>,
    pid: Pid,
    /// Calls that threads are in, by number in `calls`, and what is to become of them.
    entered: HashMap<Pid, (usize, Option<Fault>)>,
    calls: Vec<Call>,
}

impl Tracer<'_> {
    fn run(&mut self) -> ExitStatus {
        let stopped = waitpid(self.pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(self.pid, Signal::SIGSTOP));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.pid, options).unwrap();
        kill(self.pid, Signal::SIGCONT).unwrap();
        // Until the shell has become the command, nothing counts.
        let mut began = false;
        loop {
            // Of this thread's children: other tests trace at the same time.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let (thread, signal) = match waitpid(None, Some(flags)).unwrap() {
                WaitStatus::Exited(pid, code) if pid == self.pid => {
                    return ExitStatus::from_raw(code << 8);
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.pid => {
                    return ExitStatus::from_raw(signal as i32);
                }
                WaitStatus::PtraceSyscall(thread) => {
                    if began {
                        self.at_call(thread);
                    }
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    began |= event == libc::PTRACE_EVENT_EXEC;
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            match ptrace::syscall(thread, signal) {
                // It was killed while it was stopped.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// At the beginning or the end of a call.
    fn at_call(&mut self, thread: Pid) {
        let (Ok(info), Ok(mut registers)) = (ptrace::syscall_info(thread), ptrace::getregs(thread))
        else {
            return;
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            let Some(call) = self.describe(thread, &registers) else { return };
            let fault = self.fault_of(&call);
            self.entered.insert(thread, (self.calls.len(), fault));
            self.calls.push(call);
            match fault {
                Some(Fault::Fail(_) | Fault::FailOn(_)) => {
                    // No call has this number.
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(thread, registers).unwrap();
                }
                Some(Fault::Vanish) => fs::rename(self.roots[0], gone(self.roots[0])).unwrap(),
                Some(Fault::Kill) | None => {}
            }
        } else if let Some((number, fault)) = self.entered.remove(&thread) {
            match fault {
                Some(Fault::Fail(errno) | Fault::FailOn(errno)) => {
                    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                    ptrace::setregs(thread, registers).unwrap();
                }
                Some(Fault::Kill) => kill(self.pid, Signal::SIGKILL).unwrap(),
                Some(Fault::Vanish) | None => {}
            }
            self.calls[number].succeeded = registers.rax.cast_signed() >= 0;
        }
    }

    fn fault_of(&self, call: &Call) -> Option<Fault> {
        let (at, fault) = self.fault?;
        let later = matches!(fault, Fault::FailOn(_)) && call.kind == Kind::Change;
        let now = self.calls.len();
        (now == at || now > at && later).then_some(fault)
    }

    /// The call that a thread begins, if it concerns a file below the directories.
    fn describe(&self, thread: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let file = |n: usize| self.file(thread, arguments[n]);
        let at = |n: usize| self.path(thread, arguments[n], arguments[n + 1]);
        let here = |n: usize| self.path(thread, libc::AT_FDCWD as u64, arguments[n]);
        let opened = |flags: u64| match (flags as i32) & (libc::O_CREAT | libc::O_TRUNC) {
            0 => Kind::Open,
            _ => Kind::Change,
        };
        use Kind::{Change, Lock};
        let (name, kind, path, to) = match registers.orig_rax.cast_signed() {
            libc::SYS_open => ("open", opened(arguments[1]), here(0), None),
            libc::SYS_openat => ("openat", opened(arguments[2]), at(0), None),
            libc::SYS_write => ("write", Change, file(0), None),
            libc::SYS_pwrite64 => ("pwrite64", Change, file(0), None),
            libc::SYS_writev => ("writev", Change, file(0), None),
            libc::SYS_pwritev => ("pwritev", Change, file(0), None),
            libc::SYS_copy_file_range => ("copy_file_range", Change, file(2), None),
            libc::SYS_sendfile => ("sendfile", Change, file(0), None),
            libc::SYS_ftruncate => ("ftruncate", Change, file(0), None),
            libc::SYS_fallocate => ("fallocate", Change, file(0), None),
            libc::SYS_fchmod => ("fchmod", Change, file(0), None),
            libc::SYS_fsync => ("fsync", Change, file(0), None),
            libc::SYS_fdatasync => ("fdatasync", Change, file(0), None),
            libc::SYS_rename => ("rename", Change, here(0), here(1)),
            libc::SYS_renameat => ("renameat", Change, at(0), at(2)),
            libc::SYS_renameat2 => ("renameat2", Change, at(0), at(2)),
            libc::SYS_unlink => ("unlink", Change, here(0), None),
            libc::SYS_unlinkat => ("unlinkat", Change, at(0), None),
            libc::SYS_rmdir => ("rmdir", Change, here(0), None),
            libc::SYS_mkdir => ("mkdir", Change, here(0), None),
            libc::SYS_mkdirat => ("mkdirat", Change, at(0), None),
            libc::SYS_symlink => ("symlink", Change, here(1), None),
            libc::SYS_symlinkat => ("symlinkat", Change, at(1), None),
            libc::SYS_linkat => ("linkat", Change, at(2), None),
            libc::SYS_utimensat => ("utimensat", Change, at(0), None),
            libc::SYS_flock => ("flock", Lock, file(0), None),
            libc::SYS_fcntl if is_lock(arguments[1]) => ("fcntl", Lock, file(0), None),
            _ => return None,
        };
        let path = path.filter(|path| self.roots.iter().any(|root| path.starts_with(root)))?;
        Some(Call { name, kind, path, to, thread: thread.as_raw(), succeeded: false })
    }

    /// What a descriptor is open on.
    fn file(&self, thread: Pid, descriptor: u64) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/{thread}/fd/{}", descriptor as i32)).ok()?;
        // Of a file without a name any more: the one that it had.
        let name = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
        Some(name.map(PathBuf::from).unwrap_or(path))
    }

    /// The path at an address, from a directory.
    fn path(&self, thread: Pid, directory: u64, address: u64) -> Option<PathBuf> {
        let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
        let mut bytes = [0; 4096];
        // No further than the end of the page, which may be the last one.
        let most = bytes.len() - (address as usize % bytes.len());
        let mut len = memory.read_at(&mut bytes[..most], address).ok()?;
        if !bytes[..len].contains(&0) {
            len += memory.read_at(&mut bytes[len..], address + len as u64).ok()?;
        }
        let path = Path::new(OsStr::from_bytes(bytes[..len].split(|byte| *byte == 0).next()?));
        let base = match directory as i32 {
            libc::AT_FDCWD => fs::read_link(format!("/proc/{thread}/cwd")).ok()?,
            _ => self.file(thread, directory)?,
        };
        // A directory that is opened again.
        Some(if path == Path::new(".") { base } else { base.join(path) })
    }
}

/// Where a directory is that has vanished.
pub fn gone(root: &Path) -> PathBuf {
    root.with_extension("gone")
}

fn is_lock(command: u64) -> bool {
    [libc::F_OFD_SETLK, libc::F_OFD_SETLKW].contains(&(command as i32))
}
