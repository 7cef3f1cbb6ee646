//! Machine code in archives: what is taken in is whole and looked for, and nothing is left of what is not.

use crate::archives::{COUNTER, Place, call, compress, digest, tar, unpack};
use executor::{
    Error, Outcome, Point, Runtime, Val,
    archive::{ArchiveError, Export, Import},
};
use serde_json::{Value, json};
use std::fs;

/// Where the header of a code file has the hash of its module and its key, and where its text begins.
const MODULE: usize = 64 + 32;
const KEY: usize = MODULE + 32;
const TEXT: usize = 4096;

/// The entries of a tar file.
type Entries = Vec<(String, Vec<u8>)>;

fn trusting() -> Import {
    Import { trust_code: true, ..Import::default() }
}

/// The entries of an archive of a function with its code.
fn with_code() -> Entries {
    let here = Place::with_functions();
    let path = here.path("code.tar.zst");
    let snapshot = here.runtime.snapshot_of("base").unwrap();
    let options = Export { name: Some("base".to_owned()), code: true };
    here.runtime.export(&snapshot, &path, &options).unwrap();
    // What is exported twice is the same.
    let again = here.path("again.tar.zst");
    here.runtime.export(&snapshot, &again, &options).unwrap();
    assert!(fs::read(&path).unwrap() == fs::read(&again).unwrap());
    unpack(&path)
}

fn position(entries: &Entries, digest: &Value) -> usize {
    let path = digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    entries.iter().position(|(name, _)| *name == path).unwrap()
}

/// The archive with its code and the description of that changed; digests and lengths are right.
fn changed(entries: &Entries, change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Entries {
    let mut entries = entries.clone();
    let index = entries.iter().position(|(name, _)| name == "index.json").unwrap();
    let mut document: Value = serde_json::from_slice(&entries[index].1).unwrap();
    let manifest_at = position(&entries, &document["manifests"][0]["digest"]);
    let mut manifest: Value = serde_json::from_slice(&entries[manifest_at].1).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    let is_code = |layer: &&mut Value| layer["mediaType"] == "application/vnd.executor.code.v1";
    let layer = layers.iter_mut().find(is_code).unwrap();
    let at = position(&entries, &layer["digest"]);
    let mut code = entries[at].1.clone();
    change(layer, &mut code);
    put(&mut entries, at, code, layer);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    put(&mut entries, manifest_at, bytes, &mut document["manifests"][0]);
    entries[index].1 = serde_json::to_vec(&document).unwrap();
    entries
}

fn put(entries: &mut Entries, at: usize, bytes: Vec<u8>, descriptor: &mut Value) {
    let digest = digest(&bytes);
    descriptor["digest"] = json!(format!("sha256:{digest}"));
    descriptor["size"] = json!(bytes.len());
    entries[at] = (format!("blobs/sha256/{digest}"), bytes);
}

/// Imports an archive whose maker is trusted, into a store of its own.
fn import(entries: &Entries) -> (Place, Result<Vec<String>, Error>) {
    let there = Place::new();
    let path = there.path("code.tar.zst");
    fs::write(&path, compress(&tar(entries, &[]))).unwrap();
    let imported = there.runtime.import(&path, &trusting());
    (there, imported.map(|imported| imported.warnings))
}

fn code_files(place: &Place) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(place.path("store/code")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let code = paths.filter(|path| path.extension().is_some_and(|extension| extension == "elf"));
    code.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn code_that_is_trusted_is_used_as_it_is() {
    let entries = with_code();
    let mut before = Vec::new();
    changed(&entries, |_, code| before.clone_from(code));
    assert!(before[TEXT - 32..TEXT] == [0; 32]);
    let (there, imported) = import(&entries);
    assert_eq!(imported.unwrap(), [""; 0]);
    let [code] = &code_files(&there)[..] else { panic!("there is not just one") };
    assert!(code[TEXT..] == before[TEXT..] && code[TEXT - 32..TEXT] != [0; 32]);
    assert_eq!(call(&there.runtime, "base", "next", &[]), [Val::I32(101)]);
    there.runtime.verify("base").unwrap();
}

/// A runtime that compiles nothing, with a store.
fn without_compiler(place: &Place) -> Runtime {
    Runtime::builder().store(place.path("other")).compiler(false).build().unwrap()
}

#[test]
fn a_function_comes_in_with_its_code_where_nothing_can_be_compiled() {
    let there = Place::new();
    let path = there.path("code.tar.zst");
    fs::write(&path, compress(&tar(&with_code(), &[]))).unwrap();
    let runtime = without_compiler(&there);
    let without = runtime.import(&path, &Import::default());
    assert!(matches!(without, Err(Error::NotCompiled { .. })), "{without:?}");
    runtime.import(&path, &trusting()).unwrap();
    assert_eq!(call(&runtime, "base", "next", &[]), [Val::I32(101)]);
}

#[test]
fn a_function_inside_a_call_comes_in_with_the_code_that_goes_on() {
    let here = Place::new();
    let module = r#"(module (import "executor" "checkpoint" (func $checkpoint (result i32)))
        (func (export "_start") (drop (call $checkpoint))))"#;
    here.runtime.create("f", module).at(Point::Checkpoint).save().unwrap();
    let path = here.path("f.tar.zst");
    let options = Export { name: Some("f".to_owned()), code: true };
    here.runtime.export(&here.runtime.snapshot_of("f").unwrap(), &path, &options).unwrap();
    let runtime = without_compiler(&here);
    assert_eq!(runtime.import(&path, &trusting()).unwrap().warnings, [""; 0]);
    let outcome = runtime.function("f").unwrap().instantiate().unwrap().run().unwrap();
    assert_eq!(outcome, Outcome::Returned(Vec::new()));
}

#[test]
fn code_that_this_build_does_not_look_for_is_left_out() {
    let entries = changed(&with_code(), |layer, code| {
        layer["annotations"]["vnd.executor.code.key"] = json!("0".repeat(64));
        code[KEY..][..32].fill(0);
        code[TEXT] ^= 1;
    });
    let (there, imported) = import(&entries);
    let warnings = imported.unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("1 of the 1 code files"), "{warnings:?}");
    assert_eq!(call(&there.runtime, "base", "next", &[]), [Val::I32(101)]);
    there.runtime.verify("base").unwrap();
}

#[test]
fn code_that_is_not_what_it_should_be_is_refused_and_none_of_the_archive_stays() {
    let entries = with_code();
    let refused = |what: &str, change: &dyn Fn(&mut Value, &mut Vec<u8>)| {
        let (there, imported) = import(&changed(&entries, change));
        let error = imported.expect_err(what);
        assert!(
            matches!(error, Error::Archive { source: ArchiveError::Code { .. }, .. }),
            "{what}: {error}"
        );
        there.assert_empty();
        assert_eq!(code_files(&there).len(), 0, "{what}");
        error.to_string()
    };
    let of_text = refused("a byte of the text", &|_, code| code[TEXT] ^= 1);
    assert!(of_text.contains("chunk 0") && of_text.contains("--trust-code"), "{of_text}");
    refused("the last byte", &|_, code| *code.last_mut().unwrap() ^= 1);
    refused("its end", &|_, code| code.truncate(code.len() - 1));
    refused("all but its beginning", &|_, code| code.truncate(100));
    refused("all of it", &|_, code| code.clear());
    refused("something behind it", &|_, code| code.push(0));
    refused("another module", &|_, code| code[MODULE] ^= 1);
    refused("another key", &|_, code| code[KEY] ^= 1);
    for at in (64..64 + 600).step_by(4) {
        let mut whole = Vec::new();
        let entries = changed(&entries, |_, code| {
            code[at] ^= 0x40;
            whole.clone_from(code);
        });
        // Some of the header only tells of the code: the level it was made with, what the layout follows from.
        let (there, imported) = import(&entries);
        match imported {
            Ok(_) => assert!(code_files(&there)[0][TEXT..] == whole[TEXT..], "at {at}"),
            Err(_) => {
                there.assert_empty();
                assert_eq!(code_files(&there).len(), 0, "at {at}");
            }
        }
    }
}

#[test]
fn code_that_does_not_match_its_digest_or_has_no_key_is_no_archive() {
    let entries = with_code();
    let mut of = Value::Null;
    changed(&entries, |layer, _| of = layer["digest"].clone());
    let mut damaged = entries.clone();
    damaged[position(&entries, &of)].1[TEXT] ^= 1;
    let (there, imported) = import(&damaged);
    assert!(imported.unwrap_err().to_string().contains("does not match its digest"));
    there.assert_empty();
    let keyless = changed(&entries, |layer, _| layer["annotations"] = json!({}));
    let (there, imported) = import(&keyless);
    assert!(imported.unwrap_err().to_string().contains("no key"));
    there.assert_empty();
    assert_eq!(code_files(&there).len(), 0);
}

#[test]
fn code_that_the_store_compiled_itself_stays() {
    let entries = with_code();
    let there = Place::new();
    there.runtime.compile(COUNTER).unwrap();
    let own = code_files(&there);
    let path = there.path("code.tar.zst");
    fs::write(&path, compress(&tar(&entries, &[]))).unwrap();
    let name = Some("not a name/".to_owned());
    there.runtime.import(&path, &Import { name, ..trusting() }).unwrap_err();
    there.runtime.import(&path, &trusting()).unwrap();
    assert!(own.len() == 1 && code_files(&there) == own);
}
