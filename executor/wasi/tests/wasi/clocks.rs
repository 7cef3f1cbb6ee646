//! Clocks and randomness, the host's and those that are the same in every run; and the process.

use crate::guest::*;
use executor_model::CallError;

fn time(guest: &mut Guest, id: u32) -> Answer<u64> {
    guest.call("clock_time_get", &[id.into(), 0, DATA.into()])?;
    Ok(guest.u64(DATA))
}

fn random(guest: &mut Guest, len: u32) -> Vec<u8> {
    guest.call("random_get", &[DATA.into(), len.into()]).unwrap();
    guest.bytes(DATA, len).to_vec()
}

#[test]
fn clocks_go_forward_and_unknown_ones_are_refused() {
    let mut guest = Guest::new(|_| {});
    for id in 0..4 {
        let first = time(&mut guest, id).unwrap();
        assert!(time(&mut guest, id).unwrap() >= first, "clock {id}");
        guest.call("clock_res_get", &[id.into(), DATA.into()]).unwrap();
        assert_eq!(guest.u64(DATA), 1);
    }
    for id in [4, u32::MAX] {
        assert_eq!(time(&mut guest, id), Err(INVAL));
        assert_eq!(guest.call("clock_res_get", &[id.into(), DATA.into()]), Err(INVAL));
    }
    assert_eq!(guest.call("clock_time_get", &[0, 0, END.into()]), Err(FAULT));
    assert_eq!(guest.call("clock_res_get", &[0, (SIZE - 7).into()]), Err(FAULT));
    assert_eq!(guest.call("clock_res_get", &[0, (SIZE - 8).into()]), Ok(()));
}

#[test]
fn random_bytes_fill_the_buffer() {
    let mut guest = Guest::new(|_| {});
    guest.call("random_get", &[DATA.into(), 1000]).unwrap();
    let zeroes = guest.bytes(DATA, 1000).iter().filter(|byte| **byte == 0).count();
    assert!(zeroes < 100, "{zeroes} of 1000 random bytes are zero");
    assert_eq!(guest.bytes(DATA + 1000, 1), [0]);
    assert_eq!(guest.call("random_get", &[END.into(), 2]), Err(FAULT));
    assert_eq!(guest.call("random_get", &[END.into(), 1]), Ok(()));
    assert_eq!(guest.call("random_get", &[SIZE.into(), 0]), Ok(()));
}

#[test]
fn a_deterministic_run_has_the_same_clocks_and_random_bytes_every_time() {
    let run = || {
        let mut guest = Guest::new(|builder| {
            builder.deterministic();
        });
        let times: Vec<u64> = (0..8).map(|i| time(&mut guest, i % 4).unwrap()).collect();
        (times, random(&mut guest, 40), random(&mut guest, 40))
    };
    let (times, first, second) = run();
    assert_eq!(run(), (times.clone(), first.clone(), second.clone()));
    assert_ne!(first, second);
    let begin = 946_684_800_000_000_000;
    assert_eq!((times[0], times[4]), (begin + 1_000_000, begin + 5_000_000));
    assert_eq!((times[1], times[3], times[7]), (2_000_000, 4_000_000, 8_000_000));
}

#[test]
fn a_deterministic_run_goes_on_where_its_snapshot_was_taken() {
    let deterministic = |builder: &mut executor_wasi::WasiCtxBuilder| {
        builder.deterministic();
    };
    let mut guest = Guest::new(deterministic);
    random(&mut guest, 10);
    let before = time(&mut guest, 1).unwrap();
    let state = guest.state().unwrap();
    let mut restored = Guest::restored(&guest, &state, deterministic);
    assert_eq!(random(&mut restored, 10), random(&mut guest, 10));
    assert_eq!(time(&mut restored, 1).unwrap(), before + 1_000_000);
}

#[test]
fn a_process_exits_yields_and_raises_signals_against_itself() {
    let mut guest = Guest::new(|_| {});
    assert_eq!(guest.call("sched_yield", &[]), Ok(()));
    let mut ends = |name, code| guest.try_call(name, &[code]);
    assert!(matches!(ends("proc_exit", 7), Err(CallError::Exit(7))));
    // Signals that end a process, with Linux's numbers.
    for (signal, code) in [(1, 129), (6, 134), (9, 137), (15, 143), (23, 152), (30, 159)] {
        let end = ends("proc_raise", signal);
        assert!(matches!(end, Err(CallError::Exit(c)) if c == code), "{signal}: {end:?}");
    }
    for ignored in [0, 16, 17, 22, 27] {
        assert_eq!(guest.call("proc_raise", &[ignored]), Ok(()));
    }
    for stopping in 18..22 {
        assert_eq!(guest.call("proc_raise", &[stopping]), Err(NOTSUP));
    }
    assert_eq!(guest.call("proc_raise", &[31]), Err(INVAL));
}
