//! Arguments, environment, preopened directories; and builders that are told nonsense.

use crate::guest::*;
use executor_wasi::{Environment, WasiCtxBuilder, WasiError};
use tempfile::tempdir;

#[test]
fn arguments_and_environment_are_laid_out_with_pointers() {
    let mut guest = Guest::new(|builder| {
        builder.args(["prog", "", "é"].map(str::to_owned));
        builder.env(Environment::of([("A", "b=c")]).unwrap());
    });
    let (out, data) = (u64::from(OUT), u64::from(DATA));
    guest.call("args_sizes_get", &[out, out + 4]).unwrap();
    assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (3, 9));
    guest.call("args_get", &[out, data]).unwrap();
    assert_eq!(guest.bytes(DATA, 9), "prog\0\0é\0".as_bytes());
    assert_eq!([0, 4, 8].map(|i| guest.u32(OUT + i)), [DATA, DATA + 5, DATA + 6]);
    guest.call("environ_sizes_get", &[out, out + 4]).unwrap();
    assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (1, 6));
    guest.call("environ_get", &[out, data]).unwrap();
    assert_eq!(guest.bytes(DATA, 6), b"A=b=c\0");
    for (pointers, buffer) in [(OUT, END), (END, DATA), (u32::MAX - 2, DATA)] {
        let args = [pointers.into(), buffer.into()];
        assert_eq!(guest.call("args_get", &args), Err(FAULT));
        assert_eq!(guest.call("args_sizes_get", &args), Err(FAULT));
        assert_eq!(guest.call("environ_get", &args), Err(FAULT));
        assert_eq!(guest.call("environ_sizes_get", &args), Err(FAULT));
    }
}

#[test]
fn preopened_directories_are_found_from_three_on() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(dir.path(), "/data").unwrap().preopen(dir.path(), ".").unwrap();
    });
    for (fd, name) in [(3, "/data"), (4, ".")] {
        let len = name.len() as u64;
        guest.call("fd_prestat_get", &[fd, OUT.into()]).unwrap();
        assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (0, name.len() as u32));
        let short = guest.call("fd_prestat_dir_name", &[fd, DATA.into(), len - 1]);
        assert_eq!(short, Err(NAMETOOLONG));
        guest.call("fd_prestat_dir_name", &[fd, DATA.into(), len + 10]).unwrap();
        assert_eq!(guest.bytes(DATA, name.len() as u32), name.as_bytes());
        assert_eq!(guest.call("fd_prestat_get", &[fd, END.into()]), Err(FAULT));
    }
    for fd in [0, 5] {
        assert_eq!(guest.call("fd_prestat_get", &[fd, OUT.into()]), Err(BADF));
        assert_eq!(guest.call("fd_prestat_dir_name", &[fd, DATA.into(), 9]), Err(BADF));
    }
    // A directory below is open, but not preopened.
    let fd = guest.open_at(3, 0, ".", DIRECTORY, 0, 0, 0).unwrap();
    assert_eq!(guest.call("fd_prestat_get", &[fd.into(), OUT.into()]), Err(BADF));
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
    assert!(WasiCtxBuilder::new().preopen_read_only(&file, "/data").is_err());
}

#[test]
fn a_guest_path_is_given_once() {
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopen(dir.path(), "/").unwrap();
    let error = builder.preopen_read_only(dir.path(), "/").unwrap_err();
    assert!(matches!(error, WasiError::DuplicatePreopen(guest) if guest == "/"));
    assert_eq!(builder.preopens().collect::<Vec<_>>(), ["/"]);
}

#[test]
fn strings_a_guest_cannot_be_told_are_refused() {
    let mut builder = WasiCtxBuilder::new();
    builder.args(["a\0b".to_owned()]);
    assert!(matches!(builder.build(), Err(WasiError::Strings("an argument"))));
}
