//! Making contexts, and restoring them from state that is missing something or made up.

use executor_wasi::{
    DescriptorState, GuestPath, Output, StdStream, WasiCtxBuilder, WasiError, WasiState,
};
use tempfile::tempdir;

fn refusal(state: &WasiState) -> WasiError {
    WasiCtxBuilder::new().restore(state).expect_err("state that must be refused")
}

#[test]
fn a_directory_that_cannot_be_opened_is_named() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = WasiCtxBuilder::new().preopen(&missing, "/data").unwrap_err();
    assert!(
        matches!(&error, WasiError::Preopen { host, guest, .. } if *host == missing && guest == "/data")
    );
    assert!(error.to_string().contains("missing"), "{error}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(WasiCtxBuilder::new().preopen(&file, "/data").is_err());
}

#[test]
fn a_guest_path_is_given_once() {
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopen(dir.path(), "/").unwrap();
    let error = builder.preopen(dir.path(), "/").unwrap_err();
    assert!(matches!(error, WasiError::DuplicatePreopen(guest) if guest == "/"));
    assert_eq!(builder.preopens().collect::<Vec<_>>(), ["/"]);
}

#[test]
fn strings_a_guest_cannot_be_told_are_refused() {
    let mut builder = WasiCtxBuilder::new();
    builder.args(vec!["a\0b".into()]);
    assert!(matches!(builder.build(), Err(WasiError::Strings("an argument"))));
    for name in ["", "A=B"] {
        let mut builder = WasiCtxBuilder::new();
        builder.env(vec![(name.into(), "x".into())]);
        assert!(matches!(builder.build(), Err(WasiError::VariableName(_))), "{name:?}");
    }
    let mut builder = WasiCtxBuilder::new();
    builder.env(vec![("A".into(), "\0".into())]);
    assert!(matches!(builder.build(), Err(WasiError::Strings(_))));
}

#[test]
fn a_restored_context_has_the_state_it_was_restored_from() {
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopen(dir.path(), "/a").unwrap().stdout(Output::Capture(Default::default()));
    let state = builder.build().unwrap().state().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopen(dir.path(), "/a").unwrap();
    assert_eq!(builder.restore(&state).unwrap().state().unwrap(), state);
    let error = refusal(&state);
    assert!(matches!(&error, WasiError::MissingPreopen(guest) if guest == "/a"), "{error}");
}

#[test]
fn made_up_state_is_refused() {
    let stream = |flags| DescriptorState::Stream { stream: StdStream::Stdout, flags };
    let state = |descriptors| WasiState { descriptors, ..WasiState::default() };
    let twice = state(vec![(1, stream(0)), (1, stream(0))]);
    assert!(matches!(refusal(&twice), WasiError::InvalidState(_)));
    assert!(matches!(refusal(&state(vec![(1, stream(64))])), WasiError::InvalidState(_)));
    // A number far off is only a number.
    let far = state(vec![(u32::MAX, stream(0))]);
    assert_eq!(WasiCtxBuilder::new().restore(&far).unwrap().state().unwrap(), far);
}

#[test]
fn guest_paths_read_as_the_guest_wrote_them() {
    let path = |preopen: &str, path: &str| {
        GuestPath { preopen: preopen.into(), path: path.into() }.to_string()
    };
    assert_eq!(path("/", "a/b"), "/a/b");
    assert_eq!(path("/data", "a"), "/data/a");
    assert_eq!(path("/data", ""), "/data");
    assert_eq!(path(".", "a"), "./a");
}
