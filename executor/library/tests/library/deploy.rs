//! Versions of functions: made, gone back to, named and removed; and the settings of functions.

use executor::{CatalogueError, Creation, Deployed, Error, Runtime, Val, settings::Settings};
use std::{fs, path::Path};
use tempfile::TempDir;

/// A module whose `get` is `answer` once `init` has been called.
fn guest(answer: u32) -> String {
    format!(
        r#"(module (memory (export "memory") 1)
             (func (export "init") (i32.store (i32.const 0) (i32.const {answer})))
             (func (export "get") (result i32) (i32.load (i32.const 0))))"#
    )
}

fn store() -> (TempDir, Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path().join("store")).unwrap();
    (dir, runtime)
}

fn creation(runtime: &Runtime, name: &str, answer: u32) -> Creation {
    runtime.create(name, guest(answer).as_str()).init("init")
}

/// Deploys, and returns the version, and whether it is new.
fn deploy(runtime: &Runtime, answer: u32) -> (u32, bool) {
    let Deployed { version, is_new, .. } = creation(runtime, "f", answer).deploy().unwrap();
    (version, is_new)
}

#[track_caller]
fn answers(runtime: &Runtime, name: &str, answer: i32) {
    let got = runtime.function(name).unwrap().instantiate().unwrap().call("get", &[]).unwrap();
    assert_eq!(got, [Val::I32(answer)], "{name}");
}

/// What is in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn numbers(runtime: &Runtime) -> Vec<u32> {
    runtime.versions("f").unwrap().iter().map(|version| version.number).collect()
}

#[test]
fn each_deployment_is_a_version_and_an_equal_one_is_none() {
    let (_dir, runtime) = store();
    assert_eq!(deploy(&runtime, 7), (1, true));
    assert_eq!(deploy(&runtime, 7), (1, false));
    assert_eq!(deploy(&runtime, 9), (2, true));
    for (name, answer) in [("f", 9), ("f@2", 9), ("f@1", 7)] {
        answers(&runtime, name, answer);
    }
    let versions = runtime.versions("f").unwrap();
    assert_eq!(
        versions.iter().map(|v| (v.number, v.current)).collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );
    assert_eq!(runtime.current("f").unwrap(), versions[1].snapshot);
    assert_eq!(runtime.current("f@1").unwrap(), versions[0].snapshot);
    let function = runtime.function_of(versions[0].snapshot).unwrap();
    assert_eq!(function.instantiate().unwrap().call("get", &[]).unwrap(), [Val::I32(7)]);
    // One function, however many versions it has.
    assert_eq!(runtime.functions().unwrap().len(), 1);
    assert_eq!(runtime.store().unwrap().usage().unwrap().functions.len(), 1);
    assert_eq!(runtime.store().unwrap().check().unwrap().faults, []);
}

#[test]
fn one_goes_back_and_forth_between_versions() {
    let (_dir, runtime) = store();
    for answer in [7, 8, 9] {
        deploy(&runtime, answer);
    }
    assert_eq!(runtime.rollback("f", None).unwrap(), 2);
    answers(&runtime, "f", 8);
    assert_eq!(runtime.rollback("f", None).unwrap(), 1);
    let none = runtime.rollback("f", None);
    assert!(matches!(none, Err(Error::Store(CatalogueError::NoEarlierVersion { .. }))), "{none:?}");
    assert_eq!(runtime.rollback("f", Some(3)).unwrap(), 3);
    answers(&runtime, "f", 9);
    let none = runtime.rollback("f", Some(4));
    assert!(matches!(none, Err(Error::Store(CatalogueError::UnknownTag { .. }))), "{none:?}");
    // Numbers are not used twice.
    runtime.rollback("f", Some(1)).unwrap();
    assert_eq!(deploy(&runtime, 10), (4, true));
}

#[test]
fn a_function_that_was_not_deployed_becomes_the_first_version() {
    let (_dir, runtime) = store();
    creation(&runtime, "f", 7).save().unwrap();
    assert!(numbers(&runtime).is_empty());
    let early = runtime.rollback("f", None);
    assert!(matches!(early, Err(Error::Store(CatalogueError::NotDeployed { .. }))), "{early:?}");
    assert_eq!(deploy(&runtime, 9), (2, true));
    assert_eq!(runtime.rollback("f", None).unwrap(), 1);
    answers(&runtime, "f", 7);
    // Its versions are not passed over.
    for made in [creation(&runtime, "f", 8).save().map(drop), runtime.flatten("f", "f").map(drop)] {
        assert!(matches!(made, Err(Error::Store(CatalogueError::Deployed { .. }))), "{made:?}");
    }
    creation(&runtime, "g", 7).save().unwrap();
    let same = creation(&runtime, "g", 7).deploy().unwrap();
    assert_eq!((same.version, same.is_new), (1, false));
    assert!(runtime.versions("g").unwrap()[0].current);
}

#[test]
fn aliases_lead_to_versions_which_stay_as_long() {
    let (_dir, runtime) = store();
    for answer in [7, 8, 9] {
        deploy(&runtime, answer);
    }
    runtime.set_alias("f", "prod", 1).unwrap();
    runtime.set_alias("f", "b-2.x", 1).unwrap();
    answers(&runtime, "f@prod", 7);
    assert_eq!(runtime.versions("f").unwrap()[0].aliases, ["b-2.x", "prod"]);
    match runtime.remove("f@1") {
        Err(Error::Store(CatalogueError::VersionInUse { by, .. })) => {
            assert_eq!(by, ["f@b-2.x", "f@prod"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(runtime.remove("f@3").unwrap_err().to_string().contains("in use by f;"));
    creation(&runtime, "f", 10).keep(1).deploy().unwrap();
    assert_eq!(numbers(&runtime), [1, 4]);
    runtime.set_alias("f", "prod", 4).unwrap();
    answers(&runtime, "f@prod", 10);
    runtime.remove_alias("f", "b-2.x").unwrap();
    runtime.remove("f@1").unwrap();
    assert_eq!(numbers(&runtime), [4]);
    for bad in ["1", "007", "Prod", "", "-x", "p@q", "p.wasm", &"x".repeat(65)] {
        let refused = runtime.set_alias("f", bad, 4);
        assert!(matches!(refused, Err(Error::Store(CatalogueError::Tag { .. }))), "{bad}");
    }
    for absent in ["f@2", "f@dev"] {
        let gone = runtime.function(absent);
        assert!(matches!(gone, Err(Error::Store(CatalogueError::UnknownTag { .. }))), "{absent}");
        assert!(!runtime.has_function(absent));
    }
    for bad in ["f@01", "f@0", "f@4294967296", "f@", "f@4@4", "@1", "f@P"] {
        assert!(runtime.function(bad).is_err() && !runtime.has_function(bad), "{bad}");
    }
}

#[test]
fn old_versions_go_with_what_only_they_used() {
    let (dir, runtime) = store();
    for answer in 0..12 {
        deploy(&runtime, answer);
    }
    assert_eq!(numbers(&runtime), (3..=12).collect::<Vec<_>>());
    assert_eq!(names(&dir.path().join("store/snapshots")).len(), 10);
    assert_eq!(names(&dir.path().join("store/modules")).len(), 10);
    let garbage = runtime.store().unwrap().collect(executor::Collect::default()).unwrap();
    assert_eq!(garbage.garbage.files, 0);
    runtime.set_settings("f", &Settings::default()).unwrap();
    runtime.set_alias("f", "prod", 5).unwrap();
    runtime.remove("f").unwrap();
    for left in ["functions", "snapshots", "modules", "settings"] {
        assert_eq!(names(&dir.path().join("store").join(left)), [""; 0], "{left}");
    }
}

#[test]
fn a_copy_without_links_has_the_same_versions() {
    let (dir, runtime) = store();
    for answer in [7, 8, 9] {
        deploy(&runtime, answer);
    }
    runtime.rollback("f", Some(2)).unwrap();
    runtime.set_alias("f", "prod", 1).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-rL", "store", "copy"])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let copy = Runtime::open(dir.path().join("copy")).unwrap();
    for (name, answer) in [("f", 8), ("f@1", 7), ("f@3", 9), ("f@prod", 7)] {
        answers(&copy, name, answer);
    }
    let all = |runtime: &Runtime| {
        let versions = runtime.versions("f").unwrap().into_iter();
        versions.map(|v| (v.number, v.snapshot, v.current, v.aliases)).collect::<Vec<_>>()
    };
    assert_eq!(all(&copy), all(&runtime));
    assert_eq!(copy.rollback("f", None).unwrap(), 1);
    answers(&copy, "f", 7);
    assert_eq!(deploy(&copy, 10), (4, true));
}

#[test]
fn settings_stay_with_the_name() {
    let (dir, runtime) = store();
    let settings = |deadline: &str| Settings {
        deadline: Some(deadline.parse().unwrap()),
        ..Settings::default()
    };
    let unknown = runtime.set_settings("f", &settings("1s"));
    assert!(matches!(unknown, Err(Error::Store(CatalogueError::UnknownFunction { .. }))));
    creation(&runtime, "f", 7).settings(settings("1s")).deploy().unwrap();
    assert_eq!(runtime.settings("f").unwrap(), settings("1s"));
    deploy(&runtime, 8);
    runtime.rollback("f", None).unwrap();
    assert_eq!(runtime.settings("f").unwrap(), settings("1s"));
    runtime.set_settings("f", &settings("2s")).unwrap();
    assert_eq!(runtime.settings("f").unwrap(), settings("2s"));
    runtime.store().unwrap().collect(executor::Collect::default()).unwrap();
    let file = dir.path().join("store/settings/f.json");
    fs::write(&file, "{").unwrap();
    assert!(runtime.settings("f").unwrap_err().to_string().contains("f.json"));
    assert_eq!(runtime.store().unwrap().usage().unwrap().garbage.files, 0);
    runtime.remove("f").unwrap();
    assert!(!file.exists());
    assert_eq!(runtime.settings("f").unwrap(), Settings::default());
}

#[test]
fn a_runtime_without_a_store_has_no_versions() {
    let runtime = Runtime::in_memory().unwrap();
    let deployed = creation(&runtime, "f", 7).deploy();
    assert!(matches!(deployed, Err(Error::NoVersions)), "{deployed:?}");
    creation(&runtime, "f", 7).save().unwrap();
    assert!(matches!(runtime.versions("f"), Err(Error::NoVersions)));
    assert!(runtime.current("f").is_ok());
}
