//! Guest memory: every access is checked.

use executor_wasi::{Errno, Memory};

#[test]
fn accesses_end_at_the_end_of_memory() {
    let mut bytes = vec![0; 100];
    let mut memory = Memory::new(&mut bytes);
    assert_eq!(memory.bytes(100, 0), Ok(&[][..]));
    assert_eq!(memory.bytes(101, 0), Err(Errno::FAULT));
    assert_eq!(memory.bytes(1, 100), Err(Errno::FAULT));
    assert_eq!(memory.bytes(u32::MAX, u32::MAX), Err(Errno::FAULT));
    assert_eq!(memory.bytes_mut(99, 2), Err(Errno::FAULT));
    assert_eq!(memory.array::<8>(93), Err(Errno::FAULT));
    assert_eq!(memory.array::<8>(u32::MAX), Err(Errno::FAULT));
    assert_eq!(memory.write_u64(92, u64::MAX), Ok(()));
    assert_eq!(memory.write_u32(97, 0), Err(Errno::FAULT));
    assert_eq!(memory.array(92), Ok([0xff; 8]));
    assert_eq!(memory.str(92, 8), Err(Errno::ILSEQ));
    assert_eq!(memory.write(98, b"abc"), Err(Errno::FAULT));
    assert_eq!(memory.bytes(98, 2), Ok(&[0xff; 2][..]));
    assert_eq!(memory.write(98, b"ab"), Ok(()));
    assert_eq!(memory.str(98, 2), Ok("ab"));
}

#[test]
fn a_partial_transfer_hides_a_later_error_and_a_first_one_shows() {
    let mut bytes = vec![0; 1000];
    let mut memory = Memory::new(&mut bytes);
    for i in 0..40 {
        memory.write_u32(i * 8, 900).unwrap();
        memory.write_u32(i * 8 + 4, 10).unwrap();
    }
    // More than one batch: the first is taken whole, the second fails.
    let mut calls = 0;
    let taken = memory.gather(0, 40, |buffers, _| {
        calls += 1;
        if calls == 1 { Ok(buffers.len() * 10) } else { Err(Errno::PIPE) }
    });
    assert_eq!((taken, calls), (Ok(160), 2));
    assert_eq!(memory.gather(0, 40, |_, _| Err(Errno::PIPE)), Err(Errno::PIPE));
    let short = memory.gather(0, 40, |_, done| Ok(if done == 0 { 7 } else { 0 }));
    assert_eq!(short, Ok(7));

    let filled =
        memory.scatter(
            0,
            40,
            true,
            |buffer, done| {
                if done < 30 { Ok(buffer.len()) } else { Err(Errno::IO) }
            },
        );
    assert_eq!(filled, Ok(30));
    assert_eq!(memory.scatter(0, 40, false, |buffer, _| Ok(buffer.len())), Ok(10));
    assert_eq!(memory.scatter(0, 40, true, |_, _| Err(Errno::IO)), Err(Errno::IO));
}

#[test]
fn lengths_that_add_up_to_more_than_a_result_can_say_are_refused() {
    let len = 1 << 23;
    let mut bytes = vec![0; len + 8192];
    let mut memory = Memory::new(&mut bytes);
    for i in 0..1024 {
        memory.write_u32(i * 8, 8192).unwrap();
        memory.write_u32(i * 8 + 4, len as u32).unwrap();
    }
    assert_eq!(memory.gather(0, 1024, |_, _| Ok(0)), Err(Errno::INVAL));
    assert_eq!(memory.gather(0, 511, |_, _| Ok(0)), Ok(0));
    assert_eq!(memory.gather(0, 1025, |_, _| Ok(0)), Err(Errno::INVAL));
}
