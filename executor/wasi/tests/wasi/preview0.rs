//! WASI preview 0: what has other layouts and numbers there.

use crate::guest::*;
use std::fs;
use tempfile::tempdir;

const STATUS: [u32; 3] = [16, 20, 24];

#[test]
fn a_status_has_few_bits_for_the_number_of_links() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "12345").unwrap();
    fs::hard_link(dir.path().join("f"), dir.path().join("g")).unwrap();
    let mut guest = Guest::at(&dir);
    let [at, len] = guest.path("f");
    let new = guest.stat(0, "f").unwrap();
    let fd = guest.open("f", 0, READ | 1 << 21, 0).unwrap();
    let calls = [
        ("0.path_filestat_get", vec![3, 0, at, len, DATA.into()]),
        ("0.fd_filestat_get", vec![fd.into(), DATA.into()]),
    ];
    for (name, args) in calls {
        guest.path("f");
        guest.put(DATA, &[0xff; 64]);
        guest.call(name, &args).unwrap();
        let [filetype, links, size] = STATUS;
        assert_eq!(guest.u64(DATA + 8), new.inode, "{name}");
        assert_eq!(guest.bytes(DATA + filetype, 1), [4], "{name}");
        assert_eq!((guest.u32(DATA + links), guest.u64(DATA + size)), (2, 5), "{name}");
        assert_eq!(guest.u64(DATA + 40), new.modified, "{name}");
        // It is 56 bytes long, and no more is written.
        assert_eq!(guest.bytes(DATA + 56, 8), [0xff; 8], "{name}");
    }
    // It fits where that of preview 1 does not.
    assert_eq!(guest.call("fd_filestat_get", &[fd.into(), (SIZE - 56).into()]), Err(FAULT));
    assert_eq!(guest.call("0.fd_filestat_get", &[fd.into(), (SIZE - 56).into()]), Ok(()));
}

#[test]
fn a_position_is_counted_from_here_the_end_and_the_beginning() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "0123456789").unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", 0, READ | SEEK, 0).unwrap();
    let mut seek = |offset: i64, whence: u32| {
        let args = [fd.into(), offset.cast_unsigned(), whence.into(), OUT.into()];
        guest.call("0.fd_seek", &args).map(|()| guest.u64(OUT))
    };
    assert_eq!(seek(4, 2), Ok(4));
    assert_eq!(seek(3, 0), Ok(7));
    assert_eq!(seek(-1, 1), Ok(9));
    assert_eq!(seek(0, 0), Ok(9));
    assert_eq!(seek(0, 3), Err(INVAL));
}

#[test]
fn a_subscription_has_a_second_number_of_the_guests() {
    const EVENTS: u32 = DATA + 8192;
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "12").unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", 0, READ | 1 << 27, 0).unwrap();
    let mut clock = [0; 56];
    clock[0] = 7;
    // The number that nothing reads, the monotonic clock, an hour.
    clock[16..24].copy_from_slice(&[0xff; 8]);
    clock[24] = 1;
    clock[32..40].copy_from_slice(&3_600_000_000_000_u64.to_le_bytes());
    let mut read = [0; 56];
    (read[0], read[8]) = (8, 1);
    read[16..20].copy_from_slice(&fd.to_le_bytes());
    guest.put(DATA, [clock, read].as_flattened());
    guest.call("0.poll_oneoff", &[DATA.into(), EVENTS.into(), 2, OUT.into()]).unwrap();
    assert_eq!(guest.u32(OUT), 1);
    assert_eq!((guest.u64(EVENTS), guest.u16(EVENTS + 8), guest.u64(EVENTS + 16)), (8, 0, 2));
}
