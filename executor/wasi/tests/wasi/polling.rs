//! `poll_oneoff`, and waits that are ended.

use crate::guest::*;
use executor_model::{CallError, TrapCode};
use std::fs;
use std::time::{Duration, Instant};
use tempfile::tempdir;

const EVENTS: u32 = DATA + 8192;

/// A subscription to a clock.
pub fn clock(userdata: u64, id: u32, time: u64, flags: u16) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[..8].copy_from_slice(&userdata.to_le_bytes());
    raw[16..20].copy_from_slice(&id.to_le_bytes());
    raw[24..32].copy_from_slice(&time.to_le_bytes());
    raw[40..42].copy_from_slice(&flags.to_le_bytes());
    raw
}

/// A subscription to a descriptor: tag 1 to read it, 2 to write it.
pub fn descriptor(userdata: u64, tag: u8, fd: u32) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[..8].copy_from_slice(&userdata.to_le_bytes());
    raw[8] = tag;
    raw[16..20].copy_from_slice(&fd.to_le_bytes());
    raw
}

#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub userdata: u64,
    pub errno: u16,
    pub tag: u8,
    pub bytes: u64,
    pub flags: u16,
}

pub fn event(userdata: u64, tag: u8, bytes: u64) -> Event {
    Event { userdata, errno: 0, tag, bytes, flags: 0 }
}

pub fn poll(guest: &mut Guest, subscriptions: &[[u8; 48]]) -> Answer<Vec<Event>> {
    guest.put(DATA, subscriptions.as_flattened());
    let args = [DATA.into(), EVENTS.into(), subscriptions.len() as u64, OUT.into()];
    guest.call("poll_oneoff", &args)?;
    let event = |i| {
        let at = EVENTS + i * 32;
        Event {
            userdata: guest.u64(at),
            errno: guest.u16(at + 8),
            tag: guest.bytes(at + 10, 1)[0],
            bytes: guest.u64(at + 16),
            flags: guest.u16(at + 24),
        }
    };
    Ok((0..guest.u32(OUT)).map(event).collect())
}

#[test]
fn sleeping_takes_its_time_and_ends_with_the_first_clock() {
    let mut guest = Guest::new(|_| {});
    let begin = Instant::now();
    let subscriptions =
        [clock(7, 1, 20_000_000, 0), clock(8, 1, u64::MAX, 0), clock(9, 0, 20_000_000, 0)];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(vec![event(7, 0, 0), event(9, 0, 0)]));
    assert!(begin.elapsed() >= Duration::from_millis(20));
}

#[test]
fn points_in_time_are_waited_for_and_those_past_are_reported_at_once() {
    let mut guest = Guest::new(|_| {});
    for id in [0, 1] {
        assert_eq!(poll(&mut guest, &[clock(9, id, 1, 1)]), Ok(vec![event(9, 0, 0)]));
        guest.call("clock_time_get", &[id.into(), 0, OUT.into()]).unwrap();
        let point = guest.u64(OUT) + 20_000_000;
        let begin = Instant::now();
        assert_eq!(poll(&mut guest, &[clock(1, id, point, 1)]), Ok(vec![event(1, 0, 0)]));
        assert!(begin.elapsed() >= Duration::from_millis(15), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_deterministic_guest_sleeps_without_waiting() {
    let mut guest = Guest::new(|builder| {
        builder.deterministic();
    });
    let begin = Instant::now();
    let century = 3_000_000_000_000_000_000;
    assert_eq!(poll(&mut guest, &[clock(1, 1, century, 0)]), Ok(vec![event(1, 0, 0)]));
    assert!(begin.elapsed() < Duration::from_secs(60));
    guest.call("clock_time_get", &[1, 0, OUT.into()]).unwrap();
    assert_eq!(guest.u64(OUT), century + 1_000_000);
}

#[test]
fn ready_descriptors_and_errors_are_events() {
    let mut guest = Guest::new(|_| {});
    let subscriptions = [
        clock(1, 1, u64::MAX, 0),
        descriptor(2, 2, 1),
        descriptor(3, 1, 0),
        descriptor(4, 1, 99),
        descriptor(5, 9, 0),
        clock(6, 2, 0, 0),
        clock(7, 9, 0, 0),
        clock(8, 1, 0, 2),
        descriptor(9, 1, 1),
        descriptor(10, 2, 0),
        clock(11, 1, 0, 0),
    ];
    let error = |userdata, errno, tag| Event { userdata, errno, tag, bytes: 0, flags: 0 };
    let expected = vec![
        event(2, 2, 1),
        event(3, 1, 5),
        error(4, BADF, 1),
        error(5, INVAL, 9),
        error(6, NOTSUP, 0),
        error(7, INVAL, 0),
        error(8, INVAL, 0),
        error(9, BADF, 1),
        error(10, BADF, 2),
        event(11, 0, 0),
    ];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(expected));
}

#[test]
fn files_are_always_ready_and_tell_what_is_left() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "0123456789").unwrap();
    let mut guest = Guest::at(&dir);
    let f = guest.open("f", 0, READ, 0).unwrap();
    guest.seek(f, 4, 0).unwrap();
    let subscriptions = [clock(1, 1, u64::MAX, 0), descriptor(2, 1, f), descriptor(3, 2, f)];
    let write = Event { userdata: 3, errno: BADF, tag: 2, bytes: 0, flags: 0 };
    assert_eq!(poll(&mut guest, &subscriptions), Ok(vec![event(2, 1, 6), write]));
    let directory = Event { userdata: 1, errno: BADF, tag: 1, bytes: 0, flags: 0 };
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, 3)]), Ok(vec![directory]));
    guest.call("fd_fdstat_set_rights", &[f.into(), READ, 0]).unwrap();
    let refused = Event { userdata: 1, errno: NOTCAPABLE, tag: 1, bytes: 0, flags: 0 };
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, f)]), Ok(vec![refused]));
}

#[test]
fn arrays_must_be_in_memory_and_not_empty() {
    let mut guest = Guest::new(|_| {});
    let mut oneoff = |at: u32, events: u32, count: u32, out: u32| {
        guest.call("poll_oneoff", &[at.into(), events.into(), count.into(), out.into()])
    };
    assert_eq!(oneoff(DATA, DATA, 0, OUT), Err(INVAL));
    assert_eq!(oneoff(DATA, DATA, u32::MAX, OUT), Err(INVAL));
    assert_eq!(oneoff(END, DATA, 1, OUT), Err(FAULT));
    assert_eq!(oneoff(u32::MAX - 8, DATA, 2, OUT), Err(FAULT));
    assert_eq!(oneoff(DATA, END, 1, OUT), Err(FAULT));
    assert_eq!(oneoff(DATA, SIZE - 32, 2, OUT), Err(FAULT));
    assert_eq!(oneoff(DATA, EVENTS, 1, END), Err(FAULT));
    // Over each other, and to the last byte.
    assert_eq!(oneoff(SIZE - 48, SIZE - 32, 1, OUT), Ok(()));
}

/// What a guest does that is asked to stop while it waits.
fn stopped(act: impl FnOnce(&mut Guest) -> Result<(), CallError>) {
    let mut guest = Guest::new(|_| {});
    let interrupter = guest.store.interrupter();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            interrupter.interrupt();
        });
        let Err(CallError::Trap(trap)) = act(&mut guest) else { panic!("it went on") };
        assert_eq!(trap.code, TrapCode::Interrupted);
    });
    interrupter.clear();
    assert_eq!(poll(&mut guest, &[clock(1, 1, 0, 0)]), Ok(vec![event(1, 0, 0)]));
}

#[test]
fn a_sleeping_guest_is_stopped() {
    stopped(|guest| {
        guest.put(DATA, &clock(1, 1, u64::MAX, 0));
        let args = [DATA.into(), EVENTS.into(), 1, OUT.into()];
        guest.try_call("poll_oneoff", &args).map(drop)
    });
}
