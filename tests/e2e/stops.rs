//! Stops a program before calls of the host that are spread over all that it makes, and goes on with it in
//! another process.
//!
//! Invariant: what a program leaves behind when it is stopped and goes on is what it leaves behind when it
//! runs whole: standard output and standard error before and after the point, joined; exit code; files.
//! Standard input is one open file, which the second process reads on from where the first stopped.

use crate::engines::{self, EXECUTOR, Ran};
use crate::process::Finish;
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Once,
};
use tempfile::TempDir;

/// How many points there are for each program. Where it is set, there are also the larger programs.
const POINTS: &str = "EXECUTOR_POINTS";
const DEFAULT_POINTS: u64 = 5;
/// More calls of the host than this are a program that does not end.
const MOST_CALLS: u64 = 1 << 24;
/// What the stopped program is stored as.
const NAME: &str = "stopped";
/// The file that is its input.
const STDIN: &str = "stdin";
/// The digits of a snapshot's identity.
const ID_DIGITS: usize = 64;

/// A program, and what it is given.
#[derive(Default)]
pub struct Guest<'a> {
    /// The module's file.
    pub module: PathBuf,
    /// The program's arguments; `argv[0]` is `argv0`, or `guest`.
    pub args: &'a [&'a str],
    pub argv0: Option<&'a str>,
    /// Variables, as `NAME=VALUE`.
    pub env: &'a [&'a str],
    /// Modules that it imports from, by name.
    pub preload: Vec<(&'a str, PathBuf)>,
    /// The export that is called, where that is not `_start`.
    pub invoke: Option<&'a str>,
    /// Directories that it only reads, by the guest's name.
    pub dirs: Vec<(&'a str, PathBuf)>,
    /// Makes the files that it finds in its directory, `/d`.
    pub files: Option<&'a dyn Fn(&Path)>,
    pub stdin: &'a str,
    /// Whether what it does depends on time or chance.
    pub deterministic: bool,
    /// What shows that it did all that it was to do: its exit code, and something that it prints late.
    pub code: i32,
    pub says: &'a str,
}

/// Whether the larger programs are asked for. That they are not is said once.
pub fn larger() -> bool {
    static SAID: Once = Once::new();
    let asked = env::var_os(POINTS).is_some();
    if !asked {
        SAID.call_once(|| {
            let line = "skipped: larger programs stopped at points";
            let _ = writeln!(std::io::stderr(), "{line}: {POINTS} is not set");
        });
    }
    asked
}

/// A store in which programs are kept while they are stopped.
pub struct Stops {
    dir: TempDir,
}

impl Stops {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A place for the programs of a test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops a program at every point, and compares.
    #[track_caller]
    pub fn go_on_alike(&self, guest: &Guest<'_>) {
        let points = env::var(POINTS).map_or(DEFAULT_POINTS, |points| points.parse().unwrap());
        fs::write(self.dir().join(STDIN), guest.stdin).unwrap();
        let stopped = Stopped { guest, dir: self.dir() };
        let whole = stopped.whole();
        assert!(whole.code == Some(guest.code) && whole.stdout.contains(guest.says), "{whole:?}");
        let calls = stopped.calls();
        let nths: Vec<u64> = match points.min(calls) {
            points @ 0..2 => (1..=points).collect(),
            points => (0..points).map(|i| 1 + i * (calls - 1) / (points - 1)).collect(),
        };
        let different: Vec<_> = nths
            .iter()
            .filter_map(|nth| match stopped.before(*nth) {
                Ok(ran) if ran == whole => None,
                Ok(ran) => Some((*nth, difference(&whole, &ran))),
                Err(said) => Some((*nth, said)),
            })
            .collect();
        let module = guest.module.file_name().unwrap().display();
        let (all, wrong) = (nths.len(), different.len());
        if env::var_os(POINTS).is_some() {
            // Past the harness, which shows only what failing tests print.
            let args: String = guest.args.join(" ").lines().take(1).collect();
            let line = format!("{module} {args}: {calls} calls, {all} points, {wrong} different");
            let _ = writeln!(std::io::stderr(), "points: {line}");
        }
        if let Some((nth, how)) = different.first() {
            let nths: Vec<_> = different.iter().map(|(nth, _)| nth).collect();
            panic!("{module}, {calls} calls, is different from {nths:?}; from {nth}:\n{how}");
        }
    }
}

/// Where two runs differ first.
fn difference(whole: &Ran, ran: &Ran) -> String {
    for (stream, whole, ran) in
        [("output", &whole.stdout, &ran.stdout), ("error", &whole.stderr, &ran.stderr)]
    {
        if whole != ran {
            let same = whole.bytes().zip(ran.bytes()).take_while(|(a, b)| a == b).count();
            return format!("standard {stream}, at byte {same}:\n{ran}\nrather than\n{whole}");
        }
    }
    if whole.code != ran.code {
        return format!("exit code {:?} rather than {:?}", ran.code, whole.code);
    }
    let names = |ran: &Ran| ran.files.iter().map(|(p, c)| (p.clone(), c.len())).collect::<Vec<_>>();
    format!("files {:?} rather than {:?}", names(ran), names(whole))
}

/// A guest, and where its input and the store are.
struct Stopped<'a> {
    guest: &'a Guest<'a>,
    dir: &'a Path,
}

impl Stopped<'_> {
    fn executor(&self, command: &[&str], stdin: File) -> Command {
        let mut executor = Command::new(EXECUTOR);
        executor.args(command).env("EXECUTOR_STORE", self.dir.join("store"));
        executor.env("RUST_BACKTRACE", "0").stdin(Stdio::from(stdin));
        executor
    }

    fn stdin(&self) -> File {
        File::open(self.dir.join(STDIN)).unwrap()
    }

    /// The guest's directory, as it finds it.
    fn files(&self) -> TempDir {
        let dir = tempfile::tempdir_in(self.dir).unwrap();
        if let Some(files) = self.guest.files {
            files(dir.path());
        }
        dir
    }

    /// Adds to a command what the guest is made of and given.
    fn give(&self, command: &mut Command, files: &Path) {
        let Guest { module, args, preload, invoke, dirs, .. } = self.guest;
        let joined = |parts: [&OsStr; 3]| parts.into_iter().collect::<OsString>();
        for (name, module) in preload {
            command.arg("--preload");
            command.arg(joined([name.as_ref(), "=".as_ref(), module.as_ref()]));
        }
        for (name, host) in dirs.iter().map(|(name, host)| (*name, &**host)).chain([("/d", files)])
        {
            command.arg("--dir").arg(joined([host.as_ref(), "::".as_ref(), name.as_ref()]));
        }
        if let Some(export) = invoke {
            command.args(["--invoke", export]);
        }
        self.give_environment(command);
        self.give_argv0(command);
        command.arg(module).args(*args);
    }

    fn give_time(&self, command: &mut Command) {
        if self.guest.deterministic {
            command.arg("--deterministic");
        }
    }

    fn give_environment(&self, command: &mut Command) {
        for variable in self.guest.env {
            command.args(["--env", variable]);
        }
    }

    fn give_argv0(&self, command: &mut Command) {
        command.args(["--argv0", self.guest.argv0.unwrap_or("guest")]);
    }

    /// What an ordinary run leaves behind.
    fn whole(&self) -> Ran {
        let files = self.files();
        let mut run = self.executor(&["run"], self.stdin());
        self.give_time(&mut run);
        self.give(&mut run, files.path());
        ran(&[&run.finish()], files.path())
    }

    /// Keeps the guest before its `nth` call of the host, if it makes so many; `as_what` says
    /// how it is kept.
    fn create(
        &self,
        nth: u64,
        as_what: [&str; 2],
        files: &Path,
        stdin: File,
    ) -> Result<Option<Output>, String> {
        let at = format!("import:*.*:{nth}");
        let mut create = self.executor(&["snapshot", "create", "--at", &at], stdin);
        create.args(as_what);
        self.give_time(&mut create);
        self.give(&mut create, files);
        let mut output = create.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            output.stdout = printed(output.stdout);
            Ok(Some(output))
        } else if said.contains("ended by exiting with code") || said.contains("the call returned")
        {
            Ok(None)
        } else {
            Err(format!("`snapshot create --at {at}` failed: {output:?}"))
        }
    }

    /// How many calls of the host the guest makes: the most before which it can be stopped.
    fn calls(&self) -> u64 {
        // A file, for which nothing is compiled that would go on.
        let file = self.dir.join("counted.snap");
        let reached = |nth| {
            let (files, stdin) = (self.files(), self.stdin());
            self.create(nth, ["-o", file.to_str().unwrap()], files.path(), stdin).unwrap().is_some()
        };
        let (mut reaches, mut ends) = (0, 32);
        while reached(ends) {
            assert!(ends < MOST_CALLS, "{} does not end", self.guest.module.display());
            (reaches, ends) = (ends, ends * 4);
        }
        while reaches + 1 < ends {
            let nth = reaches.midpoint(ends);
            *(if reached(nth) { &mut reaches } else { &mut ends }) = nth;
        }
        reaches
    }

    /// What the guest leaves behind that is stopped before its `nth` call and goes on.
    fn before(&self, nth: u64) -> Result<Ran, String> {
        let (files, stdin) = (self.files(), self.stdin());
        // The same open file, with one position.
        let rest = stdin.try_clone().unwrap();
        let first = self.create(nth, ["--name", NAME], files.path(), stdin)?;
        let first = first.ok_or("it ended before, which it did not do when calls were counted")?;
        let mut run = self.executor(&["run"], rest);
        self.give_time(&mut run);
        // What it has not read before the point is each run's own; the rest it remembers.
        let (args_read, env_read) = self.read();
        if !env_read {
            self.give_environment(&mut run);
        }
        if !args_read {
            self.give_argv0(&mut run);
        }
        run.arg(NAME);
        if !args_read {
            run.args(self.guest.args);
        }
        let second = run.finish();
        let ran = ran(&[&first, &second], files.path());
        let rm = self.executor(&["snapshot", "rm", NAME], self.stdin()).finish();
        assert!(rm.status.success(), "{rm:?}");
        Ok(ran)
    }

    /// Whether the stored guest has read its arguments, and its environment.
    fn read(&self) -> (bool, bool) {
        let inspect = ["snapshot", "inspect", "--json", NAME];
        let output = self.executor(&inspect, self.stdin()).finish();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let read = |what: &str| !value["wasi"][what].is_null();
        (read("arguments_read"), read("environment_read"))
    }
}

/// What the guest printed: all but the last line, `ID SIZE`, which begins anew only if the guest's own
/// last line ended.
fn printed(mut stdout: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&stdout);
    let mut words = text.trim_end().rsplitn(3, ' ');
    let (unit, number, rest) = (words.next(), words.next(), words.next().unwrap());
    let tail = 3 + unit.unwrap().len() + number.unwrap().len() + ID_DIGITS;
    let id = &rest.as_bytes()[rest.len() - ID_DIGITS..];
    assert!(id.iter().all(u8::is_ascii_hexdigit), "{text}");
    let printed = stdout.len() - tail;
    stdout.truncate(printed);
    stdout
}

/// What the processes left behind that ran one program. Our own lines on standard error, such as
/// warnings, are no output of it.
fn ran(outputs: &[&Output], files: &Path) -> Ran {
    let join = |stream: fn(&Output) -> &[u8]| {
        let joined: Vec<u8> = outputs.iter().flat_map(|output| stream(output)).copied().collect();
        String::from_utf8_lossy(&joined).into_owned()
    };
    let mut stderr = join(|output| &output.stderr);
    // A warning begins where the guest stopped, which may be inside a line.
    while let Some(begin) = stderr.find("executor: warning: ") {
        let len = stderr[begin..].find('\n').unwrap() + 1;
        stderr.replace_range(begin..begin + len, "");
    }
    Ran {
        code: outputs.last().unwrap().status.code(),
        stdout: join(|output| &output.stdout),
        stderr,
        files: engines::below(files),
    }
}
