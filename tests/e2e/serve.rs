//! The examples of docs/serve.md.

use crate::{packages, server::Store};
use std::{fs, path::Path, process::Stdio};

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
