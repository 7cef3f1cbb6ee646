//! Hostile guests: whatever a guest asks WASI for, it gets an error number or an answer, and nothing outside the
//! directory that it was given changes.

use arbitrary::{Result, Unstructured};
use executor::{CallError, DirAccess, Error, Function, Runtime, Stdin, Stdout, Val};
use nix::sys::resource::{Resource, setrlimit};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use tempfile::TempDir;

/// The functions, and what their parameters are:
///
/// `f` a descriptor, `p` a path and `b` a buffer (address and length), `v` a list of buffers (address and count),
/// `o` the address of a result, `n` a small number, `N` a number of 64 bits, `s` subscriptions, events and their count.
const FUNCTIONS: &[(&str, &str)] = &[
    ("args_get", "oo"),
    ("args_sizes_get", "oo"),
    ("environ_get", "oo"),
    ("environ_sizes_get", "oo"),
    ("clock_res_get", "no"),
    ("clock_time_get", "nNo"),
    ("fd_advise", "fNNn"),
    ("fd_allocate", "fNN"),
    ("fd_close", "f"),
    ("fd_datasync", "f"),
    ("fd_fdstat_get", "fo"),
    ("fd_fdstat_set_flags", "fn"),
    ("fd_fdstat_set_rights", "fNN"),
    ("fd_filestat_get", "fo"),
    ("fd_filestat_set_size", "fN"),
    ("fd_filestat_set_times", "fNNn"),
    ("fd_pread", "fvNo"),
    ("fd_prestat_get", "fo"),
    ("fd_prestat_dir_name", "fb"),
    ("fd_pwrite", "fvNo"),
    ("fd_read", "fvo"),
    ("fd_readdir", "fbNo"),
    ("fd_renumber", "ff"),
    ("fd_seek", "fNno"),
    ("fd_sync", "f"),
    ("fd_tell", "fo"),
    ("fd_write", "fvo"),
    ("path_create_directory", "fp"),
    ("path_filestat_get", "fnpo"),
    ("path_filestat_set_times", "fnpNNn"),
    ("path_link", "fnpfp"),
    ("path_open", "fnpnNNno"),
    ("path_readlink", "fpbo"),
    ("path_remove_directory", "fp"),
    ("path_rename", "fpfp"),
    ("path_symlink", "pfp"),
    ("path_unlink_file", "fp"),
    ("poll_oneoff", "so"),
    ("proc_exit", "n"),
    ("sched_yield", ""),
    ("random_get", "b"),
    ("sock_accept", "fno"),
    ("sock_recv", "fvnoo"),
    ("sock_send", "fvno"),
    ("sock_shutdown", "fn"),
];

/// The paths that guests know of, each at 64 times its number.
const PATHS: &[&str] = &[
    "file",
    "dir",
    "dir/inner",
    "new",
    "dir/new",
    ".",
    "",
    "/",
    "..",
    "../secret",
    "../other/file",
    "dir/../../secret",
    "out",
    "out/file",
    "away",
    "loop",
    "link",
    "/etc/passwd",
    "new/",
    "file/",
    "dir/",
    "./file",
    "dir//inner",
    "a\u{7f}b",
    "deep/deep/deep",
    "\0",
    "file\0",
    "other",
    "out/new",
];
/// Where lists of buffers, subscriptions, buffers and results are.
const LISTS: i32 = 4096;
const SUBSCRIPTIONS: i32 = 8192;
const BUFFERS: i32 = 16384;
const RESULTS: i32 = 32768;
/// How many calls a guest makes at most.
const MAX_CALLS: usize = 24;
/// The largest file.
const MAX_FILE: u64 = 1 << 20;

/// A function whose exports are the functions of WASI.
fn function() -> &'static Function {
    static FUNCTION: OnceLock<Function> = OnceLock::new();
    FUNCTION.get_or_init(|| {
        // The disk is not the guest's to fill.
        executor::ignore_file_size_signal();
        setrlimit(Resource::RLIMIT_FSIZE, MAX_FILE, MAX_FILE).expect("a lower limit");
        let runtime = Runtime::in_memory().expect("a runtime");
        runtime.compile(guest()).expect("a module")
    })
}

fn guest() -> String {
    let (mut imports, mut functions) = (String::new(), String::new());
    for (name, kinds) in FUNCTIONS {
        let types: Vec<&str> = kinds.chars().flat_map(types).copied().collect();
        let params = types.join(" ");
        let result = if *name == "proc_exit" { "" } else { "(result i32)" };
        let arguments: String = (0..types.len()).map(|n| format!("(local.get {n}) ")).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            imports,
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) {result}))"
        );
        let _ = write!(
            functions,
            "(func (export \"{name}\") (param {params}) {result} (call ${name} {arguments}))"
        );
    }
    format!("(module {imports} (memory (export \"memory\") 1 2) {functions})")
}

/// The types of a parameter.
fn types(kind: char) -> &'static [&'static str] {
    match kind {
        'p' | 'b' | 'v' => &["i32", "i32"],
        's' => &["i32", "i32", "i32"],
        'N' => &["i64"],
        _ => &["i32"],
    }
}

/// A directory that guests are given, and what is beside it.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        // In memory, where there is such a place: files are made last often.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::tempdir_in(parent).expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("given/dir")).expect("a directory");
        fs::create_dir(at("other")).expect("a directory");
        for name in ["secret", "other/file", "given/file", "given/dir/inner"] {
            fs::write(at(name), name).expect("a file");
        }
        for (target, name) in [
            ("../other", "given/out"),
            ("/etc", "given/away"),
            ("loop", "given/loop"),
            ("file", "given/link"),
        ] {
            symlink(target, at(name)).expect("a link");
        }
        Self { dir }
    }

    fn given(&self) -> PathBuf {
        self.dir.path().join("given")
    }

    /// All that is outside the directory, and what can be seen of it.
    fn outside(&self) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)> {
        let mut seen = BTreeMap::new();
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path == self.given() {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).expect("what is there");
                let bytes =
                    if meta.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
                let times = (meta.mtime(), meta.mtime_nsec());
                seen.insert(path.clone(), (meta.mode(), meta.nlink(), times.0, times.1, bytes));
                if meta.is_dir() {
                    directories.push(path);
                }
            }
        }
        seen
    }
}

/// Every call of a function of WASI ends with an error number, with success, or with the guest; and nothing outside
/// the directory that the guest was given is another afterwards.
///
/// # Panics
/// When that is not so.
pub fn wasi_hostile(bytes: &[u8]) {
    let world = World::new();
    let before = world.outside();
    // What ends early asks for nothing more.
    let _ = run(&mut Unstructured::new(bytes), &world);
    assert_eq!(before, world.outside(), "something outside the directory has changed");
}

fn run(u: &mut Unstructured<'_>, world: &World) -> Result<()> {
    let access = if u.ratio(1, 4)? { DirAccess::ReadOnly } else { DirAccess::ReadWrite };
    let inside = || fs::read(world.given().join("file")).ok();
    let file = inside();
    let instance = function()
        .instance()
        .dir(world.given(), "/", access)
        .args(["one", "two"])
        .env("NAME", "value")
        .stdin(Stdin::Bytes(b"input".to_vec()))
        .stdout(Stdout::Capture)
        .max_memory(1 << 20)
        // Of polls and yields; whether it is met is no matter.
        .timeout(Duration::from_millis(100));
    let mut instance = instance.start().expect("an instance of an open function");
    for (number, path) in PATHS.iter().enumerate() {
        instance.write(64 * number as u64, path.as_bytes()).expect("room");
    }
    for number in 0..32 {
        let list = [BUFFERS + 64 * number, 8 * number].map(i32::to_le_bytes).concat();
        instance.write((LISTS + 8 * number) as u64, &list).expect("room");
    }
    for _ in 0..u.int_in_range(1..=MAX_CALLS)? {
        if u.ratio(1, 4)? {
            let at = if u.arbitrary()? { SUBSCRIPTIONS } else { LISTS };
            let at = at + i32::from(u.arbitrary::<u8>()?);
            instance.write(at as u64, &u.arbitrary::<[u8; 16]>()?).expect("room");
        }
        let (name, kinds) = *u.choose(FUNCTIONS)?;
        let mut arguments = Vec::new();
        for kind in kinds.chars() {
            argument(kind, u, &mut arguments)?;
        }
        match instance.call(name, &arguments) {
            // The numbers of errors end at 76.
            Ok(results) => assert!(
                matches!(results[..], [Val::I32(0..=76)]),
                "{name}{arguments:?} returns {results:?}"
            ),
            Err(error) => {
                check_end(name, &arguments, &error);
                break;
            }
        }
    }
    if access == DirAccess::ReadOnly {
        assert_eq!(file, inside(), "a read-only file has changed");
    }
    Ok(())
}

/// A call ends a guest by its exit or when its time is up, and by nothing that went wrong in the host.
fn check_end(name: &str, arguments: &[Val], error: &Error) {
    let ended = matches!(error, Error::TimedOut { .. })
        || matches!(error.call(), Some(CallError::Exit(_))) && name == "proc_exit"
        || matches!(error.call(), Some(CallError::Trap(_) | CallError::Host { .. }));
    assert!(ended, "{name}{arguments:?}: {error}");
}

/// The values of a parameter.
fn argument(kind: char, u: &mut Unstructured<'_>, out: &mut Vec<Val>) -> Result<()> {
    // Now and then anything at all.
    if u.ratio(1, 16)? {
        for ty in types(kind) {
            out.push(if *ty == "i64" {
                Val::I64(u.arbitrary()?)
            } else {
                Val::I32(u.arbitrary()?)
            });
        }
        return Ok(());
    }
    let small = |u: &mut Unstructured<'_>, end: i32| u.int_in_range(0..=end);
    match kind {
        'f' => out.push(Val::I32(small(u, 9)?)),
        'p' => {
            let number = u.choose_index(PATHS.len())?;
            out.extend([Val::I32(64 * number as i32), Val::I32(PATHS[number].len() as i32)]);
        }
        'b' => out.extend([Val::I32(BUFFERS + small(u, 64)?), Val::I32(small(u, 300)?)]),
        'v' => out.extend([Val::I32(LISTS + 8 * small(u, 31)?), Val::I32(small(u, 8)?)]),
        's' => {
            out.extend([Val::I32(SUBSCRIPTIONS), Val::I32(RESULTS), Val::I32(small(u, 5)?)]);
        }
        'o' => out.push(Val::I32(RESULTS + 8 * small(u, 63)?)),
        'N' => out.push(Val::I64(match u.int_in_range(0..=3u8)? {
            0 => i64::from(small(u, 100)?),
            1 => -1,
            2 => 1 << small(u, 63)?,
            _ => u.arbitrary()?,
        })),
        _ => out.push(Val::I32(small(u, 31)?)),
    }
    Ok(())
}
