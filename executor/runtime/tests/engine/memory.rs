//! Memory: bounds, growth, limits, bulk operators.

use crate::*;
use executor_model::{CallError, TrapCode};

const MODULE: &str = r#"(module (memory (export "m") 1 4)
    (data $d "abcdef")
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "far") (param i32) (result i32)
      (i32.load offset=0xfffffff0 (local.get 0)))
    (func (export "store8") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "init") (param i32 i32 i32)
      (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $d))
    (func (export "copy") (param i32 i32 i32)
      (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i32 i32 i32)
      (memory.fill (local.get 0) (local.get 1) (local.get 2))))"#;

fn i32s(values: &[i32]) -> Vec<Val> {
    values.iter().map(|v| Val::I32(*v)).collect()
}

fn code(result: Result<Vec<Val>, CallError>) -> Option<TrapCode> {
    match result {
        Ok(_) => None,
        Err(CallError::Trap(trap)) => Some(trap.code),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn accesses_stop_at_the_last_byte() {
    let (mut store, id) = instantiate(MODULE);
    let outside = Some(TrapCode::MemoryOutOfBounds);
    assert_eq!(code(call(&mut store, id, "load", &i32s(&[65532]))), None);
    for at in [65533, 65536, i32::MAX, -1, -4] {
        assert_eq!(code(call(&mut store, id, "load", &i32s(&[at]))), outside, "{at}");
    }
    for at in [0, 16, -1] {
        assert_eq!(code(call(&mut store, id, "far", &i32s(&[at]))), outside, "{at}");
    }
    assert_eq!(code(call(&mut store, id, "store8", &i32s(&[65536, 1]))), outside);
}

#[test]
fn growth_is_zeroed_accessible_and_limited() {
    let (mut store, id) = instantiate(MODULE);
    let grow = |store: &mut Store, by| call(store, id, "grow", &i32s(&[by])).unwrap()[0];
    assert_eq!(grow(&mut store, 2), Val::I32(1));
    assert_eq!(grow(&mut store, 2), Val::I32(-1), "beyond its maximum");
    assert_eq!(grow(&mut store, -1), Val::I32(-1));
    assert_eq!(grow(&mut store, 0), Val::I32(3));
    assert_eq!(call(&mut store, id, "load", &i32s(&[3 * 65536 - 4])).unwrap(), i32s(&[0]));
    assert_eq!(store.memory(id, 0).unwrap().len(), 3 * 65536);

    let engine = engine();
    let module = compile(&engine, MODULE);
    let config = StoreConfig { max_memory: 2 * 65536, ..StoreConfig::default() };
    let mut store = Store::new(&engine, Linker::new(), config).unwrap();
    let id = store.instantiate(&module).unwrap();
    assert_eq!(call(&mut store, id, "grow", &i32s(&[2])).unwrap(), i32s(&[-1]), "the limit");
    assert_eq!(call(&mut store, id, "grow", &i32s(&[1])).unwrap(), i32s(&[1]));
}

#[test]
fn bulk_operators_check_before_they_write() {
    let (mut store, id) = instantiate(MODULE);
    let outside = Some(TrapCode::MemoryOutOfBounds);
    assert_eq!(code(call(&mut store, id, "init", &i32s(&[8, 1, 4]))), None);
    assert_eq!(&store.memory(id, 0).unwrap()[8..13], b"bcde\0");
    assert_eq!(code(call(&mut store, id, "init", &i32s(&[8, 4, 3]))), outside);
    assert_eq!(code(call(&mut store, id, "copy", &i32s(&[10, 8, 4]))), None);
    assert_eq!(&store.memory(id, 0).unwrap()[8..14], b"bcbcde", "overlap");
    assert_eq!(code(call(&mut store, id, "copy", &i32s(&[65534, 8, 4]))), outside);
    assert_eq!(code(call(&mut store, id, "fill", &i32s(&[65534, 7, 3]))), outside);
    assert_eq!(store.memory(id, 0).unwrap()[65534], 0, "nothing was written");
    assert_eq!(code(call(&mut store, id, "drop", &[])), None);
    assert_eq!(code(call(&mut store, id, "init", &i32s(&[0, 0, 1]))), outside);
    assert_eq!(code(call(&mut store, id, "init", &i32s(&[65536, 0, 0]))), None);
}

/// Every short length, and some beyond what is short, against the same done to a slice.
#[test]
fn copies_and_fills_of_every_short_length_are_exact() {
    let (mut store, id) = instantiate(MODULE);
    let pattern = |i: usize| (i * 7 + i / 256) as u8;
    let mut do_both = |export: &str, params: [i32; 3], model: &dyn Fn(&mut [u8])| {
        let mut memory = store.memory_mut(id, 0).unwrap();
        memory[..8192].iter_mut().enumerate().for_each(|(i, byte)| *byte = pattern(i));
        let mut expected = memory[..8192].to_vec();
        model(&mut expected);
        assert_eq!(code(call(&mut store, id, export, &i32s(&params))), None);
        assert!(store.memory(id, 0).unwrap()[..8192] == expected, "{export} {params:?}");
    };
    let longer = [191, 192, 193, 255, 256, 257, 1000, 2047, 2048, 2049];
    for len in (0..=140).chain(longer) {
        let n = len as usize;
        do_both("fill", [100, 0x1a5, len], &|bytes| bytes[100..100 + n].fill(0xa5));
        for distance in [0, 1, 2, 5, 9, 15, 17, 31, 64, 127, 140, 200, 2100] {
            for to in [3000 - distance, 3000 + distance] {
                let params = [to as i32, 3000, len];
                do_both("copy", params, &|bytes| bytes.copy_within(3000..3000 + n, to));
            }
        }
    }
    // Up to the last byte, and one beyond it: nothing is written then.
    let outside = Some(TrapCode::MemoryOutOfBounds);
    for len in [0, 1, 2, 7, 16, 63, 128, 129, 192, 2048, 2049] {
        let last = 65536 - len;
        for (export, params) in
            [("fill", [last, 9, len]), ("copy", [last, 0, len]), ("copy", [0, last, len])]
        {
            assert_eq!(code(call(&mut store, id, export, &i32s(&params))), None);
            let before = store.memory(id, 0).unwrap().to_vec();
            let beyond = params.map(|n| if n == last { last + 1 } else { n });
            assert_eq!(code(call(&mut store, id, export, &i32s(&beyond))), outside, "{beyond:?}");
            assert_eq!(store.memory(id, 0).unwrap(), before);
        }
    }
    for at in [65537, i32::MAX, -1, -128] {
        assert_eq!(code(call(&mut store, id, "fill", &i32s(&[at, 1, 0]))), outside);
        assert_eq!(code(call(&mut store, id, "copy", &i32s(&[0, at, 16]))), outside);
        assert_eq!(code(call(&mut store, id, "copy", &i32s(&[0, at, 512]))), outside);
    }
}

#[test]
fn long_copies_and_fills_are_as_if_done_at_once() {
    // 64 MiB: several of the parts that they are done in.
    let wat = r#"(module (memory 1024)
        (func (export "fill") (param i32 i32 i32)
          (memory.fill (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i32 i32 i32)
          (memory.copy (local.get 0) (local.get 1) (local.get 2))))"#;
    const LEN: usize = 40 << 20;
    let (mut store, id) = instantiate(wat);
    let args = |args: [usize; 3]| args.map(|arg| Val::I32(arg as i32));
    for (byte, word) in store.memory_mut(id, 0).unwrap().chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&(byte as u32).to_le_bytes());
    }
    for (to, from) in [(1 << 20, 3 << 20), (3 << 20, 1 << 20), (5, 0)] {
        let mut expected = store.memory(id, 0).unwrap().to_vec();
        expected.copy_within(from..from + LEN, to);
        call(&mut store, id, "copy", &args([to, from, LEN])).unwrap();
        assert!(store.memory(id, 0).unwrap() == expected, "{from} to {to}");
    }
    for range in [[1, 9, 1024 << 16], [usize::MAX, 9, LEN]] {
        assert!(call(&mut store, id, "fill", &args(range)).is_err());
    }
    assert!(call(&mut store, id, "copy", &args([(24 << 20) + 1, 0, LEN])).is_err());
    assert!(!store.memory(id, 0).unwrap().ends_with(&[9]), "nothing is done unless all can be");
    call(&mut store, id, "fill", &args([1, 7, LEN])).unwrap();
    let memory = store.memory(id, 0).unwrap();
    assert!(memory[1..=LEN].iter().all(|byte| *byte == 7) && memory[LEN + 1] != 7);
}
