//! Standard streams, polling and stopping.

use super::{DATA, END, Guest, IOVS, OUT, SIZE};
use crate::stream::wait;
use crate::{Canceller, Errno, fd, io, poll};
use rustix::event::PollFlags;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[test]
fn output_arrives_at_once_and_input_ends() {
    let mut guest = Guest::new(|_| {});
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(*guest.stdout.lock().unwrap(), b"outerr");
    assert_eq!(guest.read(0, 3).unwrap(), b"inp");
    assert_eq!(guest.read(0, 9).unwrap(), b"ut");
    assert_eq!(guest.read(0, 9).unwrap(), b"");
    assert_eq!(guest.write(0, b"x"), Err(Errno::BADF));
    assert_eq!(guest.read(1, 1), Err(Errno::BADF));
    assert_eq!(guest.call(|c, m| io::fd_seek(c, m, 1, 0, 1, OUT)), Err(Errno::SPIPE));
    assert_eq!(guest.call(|c, m| io::fd_pread(c, m, 0, IOVS, 0, 0, OUT)), Err(Errno::SPIPE));
    assert_eq!(guest.call(|c, m| fd::fd_sync(c, m, 1)), Err(Errno::INVAL));
}

#[test]
fn hostile_buffers_are_refused_before_anything_is_written() {
    let mut guest = Guest::new(|_| {});
    let mut write = |iovecs: &[(u32, u32)], at: u32, count: u32| {
        guest.iovecs(iovecs);
        guest.call(|c, m| io::fd_write(c, m, 1, at, count, OUT))
    };
    assert_eq!(write(&[(DATA, 4), (END, 2)], IOVS, 2), Err(Errno::FAULT));
    assert_eq!(write(&[(u32::MAX, u32::MAX)], IOVS, 1), Err(Errno::FAULT));
    assert_eq!(write(&[(DATA, 4)], END, 1), Err(Errno::FAULT));
    assert_eq!(write(&[(DATA, 4)], u32::MAX, u32::MAX), Err(Errno::INVAL));
    assert_eq!(write(&[(DATA, 4)], u32::MAX - 8, 1024), Err(Errno::FAULT));
    assert_eq!(write(&[(DATA, 0)], IOVS, 1), Ok(()));
    assert!(guest.stdout.lock().unwrap().is_empty());
}

#[test]
fn input_over_its_own_buffer_list_stays_in_memory() {
    let mut guest = Guest::new(|builder| {
        builder.stdin(crate::Input::Bytes(vec![0xff; 64].into()));
    });
    // The first buffer is the list itself.
    let count = guest.iovecs(&[(IOVS, 16), (DATA, 16)]);
    guest.call(|c, m| io::fd_read(c, m, 0, IOVS, count, OUT)).unwrap();
    assert_eq!(guest.u32(OUT), 16);
    assert_eq!(guest.bytes.len(), SIZE);
}

#[test]
fn flags_of_streams_are_the_guests_own() {
    let mut guest = Guest::new(|_| {});
    guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, 0, 4)).unwrap();
    guest.call(|c, m| fd::fd_fdstat_get(c, m, 0, DATA)).unwrap();
    assert_eq!(guest.at(DATA, 4), [0, 0, 4, 0]);
    assert_eq!(guest.u64(DATA + 8), 1 << 1 | 1 << 27);
    assert_eq!(guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, 0, 16)), Err(Errno::NOTSUP));
}

#[test]
fn waiting_ends_with_data_or_with_the_canceller() {
    let (read, mut write) = std::io::pipe().unwrap();
    let canceller = Canceller::new().unwrap();
    let wait = |nonblock| wait(read.as_fd(), PollFlags::IN, nonblock, Some(&canceller));
    assert_eq!(wait(true), Err(Errno::AGAIN));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            canceller.cancel();
        });
        assert_eq!(wait(false), Err(Errno::INTR));
    });
    canceller.clear();
    assert!(!canceller.is_cancelled());
    write.write_all(b"x").unwrap();
    assert_eq!((wait(false), wait(true)), (Ok(()), Ok(())));
}

/// A subscription to a clock.
fn clock(userdata: u64, id: u32, time: u64, flags: u16) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[..8].copy_from_slice(&userdata.to_le_bytes());
    raw[16..20].copy_from_slice(&id.to_le_bytes());
    raw[24..32].copy_from_slice(&time.to_le_bytes());
    raw[40..42].copy_from_slice(&flags.to_le_bytes());
    raw
}

/// A subscription to a descriptor.
fn descriptor(userdata: u64, tag: u8, fd: u32) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[..8].copy_from_slice(&userdata.to_le_bytes());
    raw[8] = tag;
    raw[16..20].copy_from_slice(&fd.to_le_bytes());
    raw
}

/// Polls; returns userdata, error and type of each event.
fn poll(guest: &mut Guest, subscriptions: &[[u8; 48]]) -> Result<Vec<(u64, u16, u8)>, Errno> {
    guest.put(DATA, subscriptions.as_flattened());
    let events = DATA + 4096;
    let count = subscriptions.len() as u32;
    guest.call(|c, m| poll::poll_oneoff(c, m, DATA, events, count, OUT))?;
    let event = |i| {
        let at = events + i * 32;
        let errno = u16::from_le_bytes(guest.at(at + 8, 2).try_into().unwrap());
        (guest.u64(at), errno, guest.at(at + 10, 1)[0])
    };
    Ok((0..guest.u32(OUT)).map(event).collect())
}

#[test]
fn sleeping_takes_its_time() {
    let mut guest = Guest::new(|_| {});
    let begin = Instant::now();
    let subscriptions = [clock(7, 1, 20_000_000, 0), clock(8, 1, u64::MAX, 0)];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(vec![(7, 0, 0)]));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    // Points in time that have passed are reported at once.
    for id in [0, 1] {
        assert_eq!(poll(&mut guest, &[clock(9, id, 1, 1)]), Ok(vec![(9, 0, 0)]));
    }
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
    ];
    let expected = vec![
        (2, 0, 2),
        (3, 0, 1),
        (4, Errno::BADF.raw(), 1),
        (5, Errno::INVAL.raw(), 9),
        (6, Errno::NOTSUP.raw(), 0),
    ];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(expected));
    let mut oneoff =
        |at, events, count| guest.call(|c, m| poll::poll_oneoff(c, m, at, events, count, OUT));
    assert_eq!(oneoff(DATA, DATA, 0), Err(Errno::INVAL));
    assert_eq!(oneoff(DATA, DATA, u32::MAX), Err(Errno::INVAL));
    assert_eq!(oneoff(END, DATA, 1), Err(Errno::FAULT));
    assert_eq!(oneoff(DATA, END, 1), Err(Errno::FAULT));
}

#[test]
fn a_sleeping_guest_is_stopped() {
    let canceller = Canceller::new().unwrap();
    let mut guest = Guest::new(|builder| {
        builder.canceller(canceller.clone());
    });
    canceller.cancel();
    assert_eq!(poll(&mut guest, &[clock(1, 1, u64::MAX, 0)]), Err(Errno::INTR));
    assert!(guest.ctx.cancelled());
}
