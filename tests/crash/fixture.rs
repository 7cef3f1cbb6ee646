//! A store with something in it, and what may be found in it after a command that failed.

use crate::sandbox::Sandbox;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};
use tempfile::TempDir;

/// The modules of all fixtures. Their files have not changed for a while, so that a run records them in the index.
pub fn guests() -> &'static Path {
    static GUESTS: OnceLock<TempDir> = OnceLock::new();
    let dir = GUESTS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        for (name, answer) in [("a.wasm", 7), ("b.wasm", 9), ("c.wasm", 11)] {
            fs::write(dir.path().join(name), guest(answer)).unwrap();
        }
        // What changed less than 3 seconds ago is not recorded.
        std::thread::sleep(Duration::from_millis(3100));
        dir
    });
    dir.path()
}

/// A module whose `get` is `answer` once `init` has been called.
fn guest(answer: i32) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"init\") (i32.store (i32.const 0) (i32.const {answer})))
           (func (export \"get\") (result i32) (i32.load (i32.const 0))))"
    );
    wat::parse_str(text).unwrap()
}

/// The path of a module.
pub fn module(name: &str) -> String {
    guests().join(name).into_os_string().into_string().unwrap()
}

/// The names of all that is in a store, and what each holds: the bytes of a file, or where a link leads. Temporary
/// files are left out.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// What is in the store of a sandbox.
pub fn contents(sandbox: &Sandbox) -> Contents {
    let mut contents = Contents::new();
    let mut directories = vec![sandbox.store()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                directories.push(path);
                continue;
            }
            let held = match kind.is_symlink() {
                true => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                false => fs::read(&path).unwrap(),
            };
            contents.insert(path.strip_prefix(sandbox.store()).unwrap().to_owned(), held);
        }
    }
    contents
}

/// Whether a name is that of a file that has not got its name yet.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().ends_with(".tmp")
}

/// A store with the function `old`, whose `get` is 7, the function `scratch`, and an automatic snapshot.
pub fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, file) in [("old", "a.wasm"), ("scratch", "c.wasm")] {
        let create = ["snapshot", "create", "--name", name, "--init", "init", &module(file)];
        assert_eq!(sandbox.run(&create).code, 0);
    }
    sandbox.run(&["run", "--invoke", "get", &module("a.wasm")]).succeeded("0\n");
    sandbox
}

/// A sandbox with what another one has.
pub fn copy(of: &Sandbox) -> Sandbox {
    let sandbox = Sandbox::new();
    let from = of.path().join(".");
    let copied = Command::new("cp").arg("-a").arg(from).arg(sandbox.path()).status().unwrap();
    assert!(copied.success());
    sandbox
}
