//! The examples of docs/serve.md.

use crate::{packages, server::Store};
use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

#[test]
fn the_export_in_c_answers() {
    let Some([ziglang]) = packages::fetch("the_export_in_c_answers", ["ziglang"]) else { return };
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serve.md");
    let docs = fs::read_to_string(docs).unwrap();
    let (before, rest) = docs.split_once("```c\n").unwrap();
    let (source, _) = rest.split_once("```").unwrap();
    // The last line before the block has the options.
    let (_, options) = before.rsplit_once("clang --target=wasm32-wasi ").unwrap();
    let (options, _) = options.split_once('`').unwrap();
    let options: Vec<&str> = options.split(' ').collect();
    let store = Store::new();
    let file = store.dir.path().join("upper.c");
    fs::write(&file, source).unwrap();
    let module = store.dir.path().join("upper.wasm");
    let module = packages::compile_sources(&ziglang, [file], &options, module);
    let words =
        ["deploy", "--name", "upper", "--protocol", "export:upper", module.to_str().unwrap()];
    assert!(store.executor(&words).stdout(Stdio::null()).status().unwrap().success());
    let server = store.serve(&[]);
    for text in ["hello, world", ""] {
        let response = server.post("/upper", text.as_bytes());
        assert_eq!((response.status, response.text()), (200, &*text.to_uppercase()));
    }
}

#[test]
fn programs_have_their_directories_in_a_confined_worker() {
    let test = "programs_have_their_directories_in_a_confined_worker";
    let Some([ziglang]) = packages::fetch(test, ["ziglang"]) else { return };
    let store = Store::new();
    let [given, read] = ["given", "read"].map(|name| store.dir.path().join(name));
    for dir in [&given, &read] {
        fs::create_dir_all(dir.join("from/sub")).unwrap();
        fs::write(dir.join("from/sub/file"), "text").unwrap();
        symlink("sub/file", dir.join("from/link")).unwrap();
    }
    for name in ["walk", "copy"] {
        let module = packages::compile_c(&ziglang, name, &[], store.dir.path());
        let dirs = [format!("{}::/d", given.display()), format!("{}::/r:ro", read.display())];
        let words =
            ["deploy", "--name", name, "--protocol", "stdio", "--dir", &dirs[0], "--dir", &dirs[1]];
        let mut deploy = store.executor(&words);
        deploy.arg(module).args(if name == "walk" { &["/d"][..] } else { &["/d/from", "/d/to"] });
        assert!(deploy.stdout(Stdio::null()).status().unwrap().success());
    }
    let server = store.serve(&["--sandbox", "require"]);
    let copied = server.get("/copy");
    assert_eq!(copied.status, 200, "{}", copied.text());
    assert_eq!(fs::read_to_string(given.join("to/sub/file")).unwrap(), "text");
    let walked = server.get("/walk");
    assert_eq!(walked.status, 200, "{}", walked.text());
    assert!(walked.text().contains("/d/to/sub/file"), "{}", walked.text());
}
