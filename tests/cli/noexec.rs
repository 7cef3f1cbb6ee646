//! A store on a file system that is mounted `noexec`.

use crate::{guests, sandbox::Sandbox};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None`, with the reason printed, where this process may not mount.
    fn noexec(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "noexec,mode=700", "none"]).arg(path);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            other => {
                println!("skipped: nothing can be mounted: {other:?}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn code_is_copied_to_memory_and_every_run_says_so_once() {
    let sandbox = Sandbox::new();
    let Some(_mount) = Mount::noexec(&sandbox.store()) else { return };
    sandbox.file("library.wat", guests::LIBRARY);
    let create = sandbox.run(&["snapshot", "create", "--name", "f", "library.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    create.says(&["warning", "store/code", "noexec"]);
    let run = |target| sandbox.report(&["--invoke", "counter", target]);
    for target in ["f", "library.wat", "library.wat"] {
        let run = run(target);
        run.succeeded("100\n").says(&["warning", "store/code", "noexec"]);
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        assert_eq!(run.report["code"]["outcome"], "code-cache", "{run:?}");
    }
    run("library.wat").did("code-cache", "restored");
}
