//! Archives: what goes out comes in the same, and what is not whole does not come in at all.

use executor::{
    DirAccess, Error, Runtime, Val,
    archive::{ArchiveError, Export, Import},
};
use ruzstd::{
    decoding::StreamingDecoder,
    encoding::{CompressionLevel, compress_to_vec},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// A counter, with a memory that is not zero.
pub(crate) const COUNTER: &str = r#"(module
    (memory 4)
    (data (i32.const 0) "something")
    (table 2 funcref)
    (elem (i32.const 1) $next)
    (global $n (mut i32) (i32.const 0))
    (func (export "setup")
      (memory.fill (i32.const 65536) (i32.const 3) (i32.const 65536))
      (global.set $n (i32.const 100)))
    (func (export "more") (memory.fill (i32.const 65536) (i32.const 4) (i32.const 4096)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func $next (export "next") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#;

pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(dir.path().join("store")).unwrap();
        Self { dir, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The functions `base`, and `over` which is laid over it.
    pub(crate) fn with_functions() -> Self {
        let place = Self::new();
        place.runtime.create("base", COUNTER).init("setup").save().unwrap();
        let over = place.runtime.create("over", COUNTER).init("setup").init("more");
        let base = executor::Base::Function("base".to_owned());
        over.over(base).save().unwrap();
        place
    }

    fn export(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}.tar.zst"));
        let snapshot = self.runtime.snapshot_of(name).unwrap();
        let exported = self.runtime.export(&snapshot, &path, &named(name)).unwrap();
        assert_eq!(exported.len, fs::metadata(&path).unwrap().len());
        path
    }

    fn import(&self, path: &Path) -> Result<executor::archive::Imported, Error> {
        self.runtime.import(path, &Import::default())
    }

    /// What is refused leaves nothing that anything leads to, and no other file.
    pub(crate) fn assert_empty(&self) {
        assert!(self.runtime.functions().unwrap().is_empty());
        for folder in ["snapshots", "modules", "functions"] {
            let left = fs::read_dir(self.path("store").join(folder)).into_iter().flatten();
            let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
    }
}

fn named(name: &str) -> Export {
    Export { name: Some(name.to_owned()), code: false }
}

pub(crate) fn call(runtime: &Runtime, name: &str, export: &str, args: &[Val]) -> Vec<Val> {
    runtime.function(name).unwrap().instantiate().unwrap().call(export, args).unwrap()
}

/// The tar file in an archive, as far as it can be decompressed.
fn decompress(archive: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    StreamingDecoder::new(archive).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The entries of an archive.
pub(crate) fn unpack(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = decompress(&fs::read(path).unwrap()).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, content)
    });
    entries.collect()
}

fn header(path: &str, len: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    // As it stands: the library refuses names that lead elsewhere.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(len);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// A tar file of some entries, and of what is behind them.
pub(crate) fn tar(entries: &[(String, Vec<u8>)], more: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in entries {
        let len = content.len() as u64;
        bytes.extend(header(path, len, tar::EntryType::Regular).as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend(more);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn compress(tar: &[u8]) -> Vec<u8> {
    compress_to_vec(tar, CompressionLevel::Fastest)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_function_is_the_same_in_another_store() {
    let here = Place::with_functions();
    for name in ["base", "over"] {
        let there = Place::new();
        let archive = here.export(name);
        let imported = there.import(&archive).unwrap();
        let id = here.runtime.snapshot_of(name).unwrap().id();
        assert_eq!((imported.name.as_str(), imported.id), (name, id));
        assert!(imported.warnings.is_empty(), "{imported:?}");
        there.runtime.verify(name).unwrap();
        assert_eq!(call(&there.runtime, name, "next", &[]), [Val::I32(101)]);
        let (first, second) = if name == "over" { (4, 3) } else { (3, 3) };
        for (at, value) in [(0, i32::from(b's')), (65536, first), (131071, second)] {
            assert_eq!(call(&there.runtime, name, "load", &[Val::I32(at)]), [Val::I32(value)]);
        }
        // And from there again it is the same archive.
        assert!(fs::read(there.export(name)).unwrap() == fs::read(&archive).unwrap());
        // Under another name, beside what is there.
        let other = Import { name: Some("other".to_owned()), ..Import::default() };
        assert_eq!(there.runtime.import(&archive, &other).unwrap().name, "other");
        assert_eq!(there.runtime.functions().unwrap().len(), 2);
        assert!(there.runtime.remove("other").is_ok());
        assert_eq!(call(&there.runtime, name, "next", &[]), [Val::I32(101)]);
    }
}

#[test]
fn an_archive_is_an_image_layout_of_an_artifact() {
    let here = Place::with_functions();
    let entries = unpack(&here.export("over"));
    let find = |path: &str| &entries.iter().find(|(name, _)| name == path).unwrap().1;
    let json = |path: &str| serde_json::from_slice::<Value>(find(path)).unwrap();
    // Every descriptor leads to a blob of its length and digest.
    let blob = |descriptor: &Value| {
        let named = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = find(&format!("blobs/sha256/{named}"));
        assert_eq!(digest(content), named);
        assert_eq!(descriptor["size"], content.len());
        content
    };
    assert_eq!(json("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }));
    let index = json("index.json");
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let [descriptor] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(descriptor["artifactType"], "application/vnd.executor.function.v1");
    assert_eq!(descriptor["annotations"]["org.opencontainers.image.ref.name"], "over");
    let manifest: Value = serde_json::from_slice(blob(descriptor)).unwrap();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], descriptor["mediaType"]);
    assert_eq!(manifest["artifactType"], descriptor["artifactType"]);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(blob(&manifest["config"]), b"{}");
    let id = here.runtime.snapshot_of("over").unwrap().id().to_string();
    assert_eq!(manifest["annotations"]["vnd.executor.snapshot.id"], id);
    let layers = manifest["layers"].as_array().unwrap();
    let types: Vec<&str> = layers.iter().map(|l| l["mediaType"].as_str().unwrap()).collect();
    let snapshot = "application/vnd.executor.snapshot.v1";
    let base = "application/vnd.executor.snapshot.base.v1";
    assert_eq!(types, [snapshot, base, "application/wasm"]);
    assert!(blob(&layers[0]).starts_with(b"\x89snap"));
    assert!(blob(&layers[1]).starts_with(b"\x89snap"));
    assert!(blob(&layers[2]).starts_with(b"\0asm"));
    assert_eq!(layers[0]["annotations"]["org.opencontainers.image.title"], format!("{id}.snap"));
    // Nothing else is in it, and what leads on comes first.
    assert_eq!(entries.len(), 2 + 2 + layers.len());
    assert_eq!((entries[0].0.as_str(), entries[1].0.as_str()), ("oci-layout", "index.json"));
}

#[test]
fn what_an_archive_says_of_the_host_is_left_out_and_told() {
    let here = Place::new();
    let directory = here.dir.path().to_owned();
    let made = here.runtime.create("f", COUNTER).init("setup");
    made.dir(&directory, "/d", DirAccess::ReadWrite).env("A", "b").args(["x"]).save().unwrap();
    let archive = here.export("f");
    let there = Place::new();
    let imported = there.import(&archive).unwrap();
    assert_ne!(imported.id, here.runtime.snapshot_of("f").unwrap().id());
    assert!(imported.warnings[0].contains("directories"), "{imported:?}");
    there.runtime.verify("f").unwrap();
    // The guest has a directory of this name, so each run gives it one.
    let function = there.runtime.function("f").unwrap();
    assert!(function.instantiate().is_err());
    let run = function.instance().dir(&directory, "/d", DirAccess::ReadOnly);
    assert_eq!(run.start().unwrap().call("next", &[]).unwrap(), [Val::I32(101)]);
    let inspected = executor::Inspection::of(
        &there.runtime,
        &there.runtime.snapshot_of("f").unwrap(),
        executor::Detail::Summary,
    );
    let defaults = inspected.unwrap().defaults;
    assert!(defaults.directories.is_empty() && defaults.environment.is_empty());
    assert_eq!(defaults.arguments.as_deref(), Some(&["x".to_owned()][..]));
}

/// Holds that an archive is refused and leaves nothing; returns why.
#[track_caller]
fn refused(there: &Place, bytes: &[u8]) -> String {
    let path = there.path("bad.tar.zst");
    fs::write(&path, bytes).unwrap();
    let error = there.import(&path).expect_err("it was taken in");
    there.assert_empty();
    error.to_string()
}

#[test]
fn damage_anywhere_is_refused() {
    let here = Place::with_functions();
    let archive = here.export("over");
    let whole = fs::read(&archive).unwrap();
    let there = Place::new();
    for len in (0..whole.len()).step_by(whole.len() / 40).chain(whole.len() - 8..whole.len()) {
        let why = refused(&there, &whole[..len]);
        assert!(why.contains("bad.tar.zst"), "{why}");
    }
    let contents = decompress(&whole);
    let last = whole.len() - 4..whole.len();
    let places = (0..4).chain((8..whole.len()).step_by(whole.len() / 60)).chain(last);
    let (mut tried, mut taken) = (0, 0);
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        tried += 1;
        let there = Place::new();
        let path = there.path("bad.tar.zst");
        fs::write(&path, &bytes).unwrap();
        match there.import(&path) {
            Err(_) => there.assert_empty(),
            // The decoder has no use for some bits.
            Ok(_) => {
                assert!(decompress(&bytes) == contents, "byte {at} changes what is taken in");
                taken += 1;
            }
        }
    }
    assert!(taken * 10 < tried, "{taken} of {tried} changes change nothing");
    assert!(refused(&there, &[&whole[..], b"x"].concat()).contains("added"));
    // Every entry, packed again.
    let entries = unpack(&archive);
    for i in 0..entries.len() {
        let mut damaged = entries.clone();
        let at = damaged[i].1.len() / 2;
        damaged[i].1[at] ^= 1;
        let why = refused(&there, &compress(&tar(&damaged, &[])));
        if damaged[i].0.starts_with("blobs/") {
            assert!(why.contains("digest"), "{why}");
        }
        let mut missing = entries.clone();
        missing.remove(i);
        refused(&there, &compress(&tar(&missing, &[])));
        let mut twice = entries.clone();
        twice.push(entries[i].clone());
        let why = refused(&there, &compress(&tar(&twice, &[])));
        assert!(why.contains("twice"), "{why}");
    }
    // Nothing was wrong with it to begin with, and the order is nobody's concern.
    let mut reversed = entries.clone();
    reversed.reverse();
    fs::write(there.path("good.tar.zst"), compress(&tar(&reversed, &[]))).unwrap();
    there.import(&there.path("good.tar.zst")).unwrap();
}

#[test]
fn entries_that_do_not_belong_there_are_refused() {
    use tar::EntryType;
    let here = Place::with_functions();
    let entries = unpack(&here.export("base"));
    let there = Place::new();
    let extra = digest(b"extra");
    for (path, content, why) in [
        ("../../f", &b"x"[..], "does not belong there"),
        ("/etc/f", b"x", "does not belong there"),
        ("blobs/sha256/../../x", b"x", "does not belong there"),
        ("blobs/sha512/00", b"x", "does not belong there"),
        (&format!("blobs/sha256/{}", extra.to_uppercase()), b"extra", "does not belong there"),
        (&format!("blobs/sha256/{extra}"), b"extra", "nothing names"),
        (&format!("blobs/sha256/{extra}"), b"other", "does not match its digest"),
    ] {
        let mut more = entries.clone();
        more.push((path.to_owned(), content.to_vec()));
        let said = refused(&there, &compress(&tar(&more, &[])));
        assert!(said.contains(why), "{path}: {said}");
    }
    let long = |path: &str, len: u64, kind| header(path, len, kind).as_bytes().to_vec();
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::GNULongName,
    ] {
        let blob = long(&format!("blobs/sha256/{extra}"), 0, kind);
        let said = refused(&there, &compress(&tar(&entries, &blob)));
        assert!(said.contains("neither a file nor a directory"), "{kind:?}: {said}");
    }
    let elsewhere = long("elsewhere/", 0, EntryType::Directory);
    refused(&there, &compress(&tar(&entries, &elsewhere)));
    // A name that would take all memory, if it were read.
    let name = long("x", 1 << 40, EntryType::GNULongName);
    refused(&there, &compress(&tar(&entries, &name)));
    // Directories of the layout are no surprise.
    let folder = long("blobs/sha256/", 0, EntryType::Directory);
    fs::write(there.path("good.tar.zst"), compress(&tar(&entries, &folder))).unwrap();
    there.import(&there.path("good.tar.zst")).unwrap();
}

#[test]
fn sizes_are_bounded_before_anything_is_written() {
    let here = Place::with_functions();
    let archive = here.export("base");
    let entries = unpack(&archive);
    let there = Place::new();
    let huge = format!("blobs/sha256/{}", digest(b"huge"));
    for len in [9 << 30, u64::MAX] {
        let blob = header(&huge, len, tar::EntryType::Regular).as_bytes().to_vec();
        let said = refused(&there, &compress(&tar(&entries, &blob)));
        assert!(said.contains("--max-size") || len == u64::MAX, "{said}");
    }
    // Much in little: 64 MiB of zeroes, which compress to nothing.
    let mut bomb = entries.clone();
    bomb.push((huge, vec![0; 64 << 20]));
    let bytes = compress(&tar(&bomb, &[]));
    assert!(bytes.len() < 1 << 20);
    fs::write(there.path("bomb.tar.zst"), bytes).unwrap();
    let small = Import { max_len: 16 << 20, ..Import::default() };
    let refusal = there.runtime.import(&there.path("bomb.tar.zst"), &small).unwrap_err();
    let Error::Archive { source: ArchiveError::TooLarge(_), .. } = refusal else {
        panic!("{refusal}")
    };
    there.assert_empty();
    // And behind the end.
    let said = refused(&there, &compress(&tar(&entries, &vec![0; 64 << 20])));
    assert!(said.contains("added"), "{said}");
    there.runtime.import(&archive, &small).unwrap();
}

/// A change of the manifest and of the layers' blobs.
type Change = Box<dyn Fn(&mut Value, &mut Vec<Vec<u8>>)>;

/// The archive with other contents for its blobs, under digests that are right.
fn rebuilt(
    entries: &[(String, Vec<u8>)],
    change: impl Fn(&mut Value, &mut Vec<Vec<u8>>),
) -> Vec<u8> {
    let find = |named: &Value| {
        let named = named.as_str().unwrap().strip_prefix("sha256:").unwrap();
        entries.iter().find(|(path, _)| path.ends_with(named)).unwrap().1.clone()
    };
    let index: Value = serde_json::from_slice(&entries[1].1).unwrap();
    let mut manifest: Value =
        serde_json::from_slice(&find(&index["manifests"][0]["digest"])).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let mut blobs: Vec<Vec<u8>> = layers.iter().map(|layer| find(&layer["digest"])).collect();
    change(&mut manifest, &mut blobs);
    let mut packed = vec![entries[0].clone()];
    let mut add = |bytes: &[u8]| {
        packed.push((format!("blobs/sha256/{}", digest(bytes)), bytes.to_vec()));
        (json!(format!("sha256:{}", digest(bytes))), json!(bytes.len()))
    };
    add(b"{}");
    for (layer, blob) in manifest["layers"].as_array_mut().unwrap().iter_mut().zip(&blobs) {
        (layer["digest"], layer["size"]) = add(blob);
    }
    let mut index = index;
    let of_manifest = add(&serde_json::to_vec(&manifest).unwrap());
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = of_manifest;
    packed.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    compress(&tar(&packed, &[]))
}

#[test]
fn what_matches_its_digests_is_still_checked_as_a_snapshot() {
    let here = Place::with_functions();
    let entries = unpack(&here.export("over"));
    let there = Place::new();
    let word = |text: &str| wat::parse_str(text).unwrap();
    let cases: [(&str, Change); 10] = [
        ("damaged", Box::new(|_, blobs| *blobs[0].last_mut().unwrap() ^= 1)),
        ("damaged", Box::new(|_, blobs| blobs[0][8192] ^= 1)),
        ("which nothing needs", Box::new(move |_, blobs| blobs[2] = word("(module)"))),
        (
            "that nothing needs",
            Box::new(|_, blobs| {
                blobs[1][8192] ^= 1;
                executor_snapshot::format::reseal(&mut blobs[1]);
            }),
        ),
        (
            "has not module",
            Box::new(|manifest, blobs| {
                manifest["layers"].as_array_mut().unwrap().truncate(2);
                blobs.truncate(2);
            }),
        ),
        ("type", Box::new(|manifest, _| manifest["artifactType"] = json!("other"))),
        ("type", Box::new(|manifest, _| manifest["config"]["mediaType"] = json!("other"))),
        ("type", Box::new(|manifest, _| manifest["layers"][0]["mediaType"] = json!("other"))),
        (
            "just one snapshot",
            Box::new(|manifest, _| {
                manifest["layers"][1]["mediaType"] = manifest["layers"][0]["mediaType"].clone();
            }),
        ),
        ("not a snapshot", Box::new(|_, blobs| blobs[0] = b"nothing".to_vec())),
    ];
    for (i, (why, change)) in cases.iter().enumerate() {
        let said = refused(&there, &rebuilt(&entries, change));
        assert!(said.contains(why), "{i}: {said}");
    }
    // A reference to a function that is not there, with every hash right.
    let base = unpack(&here.export("base"));
    let said = refused(
        &there,
        &rebuilt(&base, |_, blobs| {
            let bytes = &mut blobs[0];
            let snapshot =
                executor_snapshot::format::Head::read(bytes, bytes.len() as u64).unwrap();
            let start = snapshot.data_start() as usize;
            let data = start..start + snapshot.data_len() as usize;
            // The second element of the table, which is a page of its own.
            let page = (data.start..data.end).step_by(4096).find(|page| {
                let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                word(*page) == 0 && word(page + 8) != 0 && word(page + 16) == 0
            });
            bytes[page.unwrap() + 8..][..8].fill(0x77);
            executor_snapshot::format::reseal(bytes);
        }),
    );
    assert!(said.contains("does not fit"), "{said}");
    fs::write(there.path("same.tar.zst"), rebuilt(&entries, |_, _| ())).unwrap();
    there.import(&there.path("same.tar.zst")).unwrap();
}

#[test]
fn an_archive_without_a_name_asks_for_one_and_memory_takes_none_in() {
    let here = Place::with_functions();
    let path = here.path("unnamed.tar.zst");
    let snapshot = here.runtime.snapshot_of("base").unwrap();
    here.runtime.export(&snapshot, &path, &Export::default()).unwrap();
    let there = Place::new();
    let error = there.import(&path).unwrap_err().to_string();
    assert!(error.contains("--name"), "{error}");
    there.assert_empty();
    let memory = Runtime::in_memory().unwrap();
    assert!(matches!(
        memory.import(&path, &Import::default()),
        Err(Error::Archive { source: ArchiveError::NoStore, .. })
    ));
    memory.create("f", COUNTER).init("setup").save().unwrap();
    let snapshot = memory.snapshot_of("f").unwrap();
    memory.export(&snapshot, &path, &named("f")).unwrap();
    there.import(&path).unwrap();
    assert_eq!(call(&there.runtime, "f", "next", &[]), [Val::I32(101)]);
}
