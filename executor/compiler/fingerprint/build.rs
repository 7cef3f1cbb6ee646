//! Hashes what machine code follows from: the sources of the compiler and of the crates that say what
//! code and host agree on, and the versions of the crates that generate code.
//!
//! Without it a build with a mended compiler and an unchanged version would go on running the code
//! that its predecessor cached.

mod tokens;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

/// Where the sources are.
const SOURCES: [&str; 3] = ["../src", "../../code/src", "../../model/src"];

/// What the workspace is locked to; a build of these crates in another workspace may differ.
const LOCK: &str = "../../../Cargo.lock";

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = BTreeMap::new();
    for dir in SOURCES {
        println!("cargo::rerun-if-changed={dir}");
        collect(Path::new(dir), &mut files)?;
    }
    println!("cargo::rerun-if-changed={LOCK}");
    let lock = fs::read_to_string(LOCK)?;
    // Its keys are fixed, so equal sources hash alike wherever they are built.
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    generators(&lock).for_each(|package| package.hash(&mut hasher));
    println!("cargo::rustc-env=EXECUTOR_FINGERPRINT={:016x}", hasher.finish());
    Ok(())
}

/// The tokens of every source file below a directory.
fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<String>>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()? {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            let tokens = tokens::tokens(&fs::read_to_string(&path)?)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            files.insert(path, tokens);
        }
    }
    Ok(())
}

/// The locked packages that read modules and generate code: Cranelift, its register allocator, the
/// parser.
fn generators(lock: &str) -> impl Iterator<Item = &str> {
    lock.split("[[package]]").filter(|package| {
        let name = package.trim_start().strip_prefix("name = \"").unwrap_or_default();
        ["cranelift-", "regalloc2\"", "wasmparser\""].iter().any(|known| name.starts_with(known))
    })
}
