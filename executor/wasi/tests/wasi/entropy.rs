//! The entropy ledger, and what is done about what is in it.

use crate::guest::*;
use executor_wasi::{CaptureOptions, Entropy, WasiStateError};

fn options(entropy: Entropy) -> CaptureOptions {
    CaptureOptions { entropy, ..CaptureOptions::default() }
}

fn draw(guest: &mut Guest, at: u32, len: u32) {
    guest.call("draw", &[at.into(), len.into()]).unwrap();
}

#[test]
fn a_draw_is_entered_with_its_place_its_hash_and_its_backtrace() {
    let mut guest = Guest::new(|_| {});
    draw(&mut guest, DATA, 16);
    draw(&mut guest, DATA + 100, 24);
    draw(&mut guest, DATA + 100, 0);
    guest.put(DATA + 100, b"overwritten");
    let ledger = guest.state().unwrap().entropy().unwrap();
    let [first, second] = &ledger.draws[..] else { panic!("{ledger:?}") };
    assert_eq!((first.range.address, first.range.len, first.intact), (DATA, 16, true));
    assert_eq!(first.hash, *blake3::hash(guest.bytes(DATA, 16)).as_bytes());
    assert!(first.backtrace.contains("told!draws"), "{}", first.backtrace);
    assert_eq!((second.range.address, second.intact), (DATA + 100, false));
    assert!(second.to_string().starts_with("24 random bytes at 0x8064, no longer there, drawn at"));
    assert_eq!(ledger.more, 0);
}

#[test]
fn a_guest_that_draws_without_end_is_counted() {
    let mut guest = Guest::new(|_| {});
    for _ in 0..1000 {
        draw(&mut guest, DATA, 8);
    }
    let state = guest.state().unwrap();
    let ledger = state.entropy().unwrap();
    assert_eq!((ledger.draws.len(), ledger.more), (256, 744));
    assert!(state.encode().len() < 100_000, "{} bytes", state.encode().len());
    let refused = guest.capture(&options(Entropy::Refill(None))).unwrap_err();
    assert!(matches!(refused, WasiStateError::TooManyDraws(744)), "{refused}");
}

#[test]
fn randomness_is_denied_by_its_backtrace() {
    let mut guest = Guest::new(|_| {});
    assert!(guest.capture(&options(Entropy::Deny)).is_ok());
    draw(&mut guest, DATA, 16);
    guest.put(DATA, &[0; 16]);
    let error = guest.capture(&options(Entropy::Deny)).unwrap_err().to_string();
    assert!(error.starts_with("16 random bytes were drawn"), "{error}");
    assert!(error.contains("told!draws"), "{error}");
}

#[test]
fn kept_bytes_stay_and_later_ones_are_fresh() {
    let mut guest = Guest::new(|_| {});
    draw(&mut guest, DATA, 16);
    let seed = guest.bytes(DATA, 16).to_vec();
    let state = guest.state().unwrap();
    assert!(state.refill.is_empty());
    let [mut one, mut other] = [0, 1].map(|_| Guest::restored(&guest, &state, |_| {}));
    for guest in [&mut one, &mut other] {
        state.refill(&mut guest.store).unwrap();
        assert_eq!(guest.bytes(DATA, 16), seed);
        draw(guest, DATA, 16);
    }
    assert_ne!(one.bytes(DATA, 16), other.bytes(DATA, 16));
}

#[test]
fn refilled_bytes_are_fresh_where_they_were_still_unchanged() {
    let mut guest = Guest::new(|_| {});
    for i in 0..3 {
        draw(&mut guest, DATA + i * 100, 16);
    }
    guest.put(DATA + 100, b"changed");
    let before: Vec<_> = (0..3).map(|i| guest.bytes(DATA + i * 100, 17).to_vec()).collect();
    let state = guest.capture(&options(Entropy::Refill(None))).unwrap();
    let mut restored = Guest::restored(&guest, &state, |_| {});
    state.refill(&mut restored.store).unwrap();
    let after: Vec<_> = (0..3).map(|i| restored.bytes(DATA + i * 100, 17).to_vec()).collect();
    assert_ne!(before[0][..16], after[0][..16]);
    assert_eq!(before[1], after[1]);
    assert_ne!(before[2][..16], after[2][..16]);
    assert_eq!((before[0][16], before[2][16]), (after[0][16], after[2][16]));
    // Only some.
    let some = Entropy::Refill(Some(vec![DATA + 200]));
    let state = guest.capture(&options(some)).unwrap();
    assert_eq!(state.refill.iter().map(|range| range.address).collect::<Vec<_>>(), [DATA + 200]);
    for none in [DATA + 100, DATA + 1] {
        let refused = guest.capture(&options(Entropy::Refill(Some(vec![DATA, none]))));
        assert!(matches!(refused, Err(WasiStateError::NoDraw(at)) if at == none));
    }
}

#[test]
fn a_snapshot_of_a_restored_guest_has_the_whole_ledger() {
    let mut guest = Guest::new(|_| {});
    draw(&mut guest, DATA, 16);
    let state = guest.state().unwrap();
    let mut restored = Guest::restored(&guest, &state, |_| {});
    draw(&mut restored, DATA + 100, 8);
    restored.put(DATA, &[0; 4]);
    let ledger = restored.state().unwrap().entropy().unwrap();
    let lens: Vec<_> = ledger.draws.iter().map(|draw| (draw.range.len, draw.intact)).collect();
    assert_eq!(lens, [(16, false), (8, true)]);
}

#[test]
fn made_up_ranges_and_ledgers_do_no_harm() {
    let mut guest = Guest::new(|_| {});
    draw(&mut guest, DATA, 16);
    let mut state = guest.capture(&options(Entropy::Refill(None))).unwrap();
    let range = state.refill[0];
    for (instance, memory, address, len) in
        [(0, 0, 0, 1), (99, 0, 0, 1), (1, 1, 0, 1), (1, 0, END, 2), (1, 0, u32::MAX, u32::MAX)]
    {
        state.refill = vec![executor_wasi::MemoryRange { instance, memory, address, len }];
        state.refill(&mut guest.store).unwrap();
    }
    assert_eq!(range.instance, guest.instance.get());
    state.ledger = vec![1, 2, 3];
    assert!(state.entropy().is_err());
    let restored = Guest::restored(&guest, &state, |_| {});
    assert!(matches!(restored.state(), Err(WasiStateError::DamagedLedger)));
}
