//! Stores that are kept: after every way a call can end nothing of it is left for the next.
//!
//! The engine of these tests compares every slot with its image after every reset, so a test only has to
//! make a difference and to come back.

use crate::*;
use executor_model::{CallError, ExternRef, TrapCode};
use executor_runtime::{Caller, HostError, Image, PoolConfig};
use std::{ops::Range, thread, time::Duration};

const PAGE: usize = 4096;

pub fn verifying() -> NativeEngine {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    let pool = PoolConfig { verify: true, ..PoolConfig::default() };
    NativeEngine::new(EngineConfig { compiler: Some(compiler), pool, ..EngineConfig::default() })
        .unwrap()
}

fn linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("host", "exit", |_: &mut Caller<'_>| Err::<(), _>(HostError::Exit(3)));
    linker.func("host", "fail", |_: &mut Caller<'_>| Err::<(), _>(HostError::Error("no".into())));
    // Writes to one range, and to all of the memory.
    linker.func("host", "range", |caller: &mut Caller<'_>, at: u32, len: u32| {
        let mut memory = caller.memory().unwrap();
        memory.get_mut(at as usize..(at + len) as usize).unwrap().fill(0xee);
        Ok(())
    });
    linker.func("host", "all", |caller: &mut Caller<'_>, byte: u32| {
        caller.memory().unwrap().fill(byte as u8);
        Ok(())
    });
    linker
}

/// A module with every kind of state, and a function for every way to change it and to end.
const WAT: &str = r#"(module
  (import "host" "exit" (func $exit))
  (import "host" "fail" (func $fail))
  (import "host" "range" (func $range (param i32 i32)))
  (import "host" "all" (func $all (param i32)))
  (memory (export "memory") 20 400)
  (table $t (export "t") 600 40000 funcref)
  (table $refs 3 externref)
  (global $g (export "g") (mut i64) (i64.const 5))
  (global $v (mut v128) (v128.const i64x2 1 2))
  (global $r (mut externref) (ref.null extern))
  (tag $oops (param i32))
  (data (i32.const 8192) "data of the module")
  (data $passive "passive")
  (elem (i32.const 1) $f $f)
  (elem $e func $f)
  (func $f (export "f") (result i32) (i32.const 9))
  (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "stores") (param $at i32) (param $step i32) (param $count i32)
    (loop $more
      (i32.store (local.get $at) (i32.const -1))
      (local.set $at (i32.add (local.get $at) (local.get $step)))
      (br_if $more (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  (func (export "globals") (global.set $g (i64.const 77)) (global.set $v (v128.const i64x2 8 9)))
  (func (export "segments") (memory.init $passive (i32.const 9) (i32.const 0) (i32.const 7))
    (data.drop $passive) (table.init $t $e (i32.const 5) (i32.const 0) (i32.const 1)) (elem.drop $e))
  (func (export "bulk") (memory.fill (i32.const 4000) (i32.const 7) (i32.const 9000))
    (memory.copy (i32.const 100000) (i32.const 3000) (i32.const 20000))
    (table.fill $t (i32.const 500) (ref.func $f) (i32.const 100))
    (table.copy $t $t (i32.const 300) (i32.const 400) (i32.const 200))
    (table.set $t (i32.const 0) (ref.func $f)))
  (func (export "grow") (param i32 i32) (result i32)
    (drop (table.grow $t (ref.func $f) (local.get 1)))
    (memory.grow (local.get 0)))
  (func (export "size") (result i32 i32) (memory.size) (table.size $t))
  (func (export "refer") (param externref)
    (table.set $refs (i32.const 1) (local.get 0)) (global.set $r (local.get 0)))
  (func (export "trap") (i32.store (i32.const 0) (i32.const 1)) unreachable)
  (func (export "beyond") (i32.store (i32.const 16) (i32.const 1)) (i32.store (i32.const -8) (i32.const 1)))
  (func (export "exits") (i32.store (i32.const 40) (i32.const 1)) (call $exit))
  (func (export "fails") (i32.store (i32.const 44) (i32.const 1)) (call $fail))
  (func (export "throws") (i32.store (i32.const 48) (i32.const 1)) (throw $oops (i32.const 4)))
  (func (export "deep") (i32.store (i32.const 52) (i32.const 1)) (call $deeper (i32.const 0)))
  (func $deeper (param i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))
  (func (export "spins") (loop $l (i32.store (i32.const 56) (i32.const 1)) (br $l)))
  (func (export "range") (param i32 i32) (call $range (local.get 0) (local.get 1)))
  (func (export "all") (param i32) (call $all (local.get 0))))"#;

/// The image of a module that has run already, and so has state of its own.
pub fn image(engine: &NativeEngine) -> Image {
    let module = compile(engine, WAT);
    Image::of_module(engine, linker(), StoreConfig::default(), &module).unwrap()
}

/// A way to use a store, with what it is called.
type Way<'a> = (&'a str, &'a dyn Fn(&mut Store));

pub fn main_instance() -> InstanceId {
    InstanceId::from_position(0)
}

pub fn ask(store: &mut Store, name: &str, params: &[i32]) -> Result<Vec<Val>, CallError> {
    let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
    call(store, main_instance(), name, &params)
}

/// What a guest can find out.
fn look(store: &mut Store) -> Vec<Val> {
    let mut found = ask(store, "size", &[]).unwrap();
    for at in [0, 9, 16, 40, 44, 48, 52, 56, 4000, 8192, 100_000, 20 * 65536 - 4] {
        found.extend(ask(store, "load", &[at]).unwrap());
    }
    let id = main_instance();
    found.extend((0..3).map(|global| store.global(id, global).unwrap()));
    found.extend(
        [0, 1, 2, 5, 300, 500, 599]
            .map(|at| store.table_get(id, 0, at).is_some_and(|v| v != Val::FuncRef(None)))
            .map(|is| Val::I32(is.into())),
    );
    found
}

#[test]
fn nothing_is_left_after_each_way_that_a_call_can_end() {
    let engine = verifying();
    let image = image(&engine);
    let fresh = look(&mut image.acquire().unwrap());
    let ended = |result: Result<Vec<Val>, CallError>| result.unwrap_err();
    let ways: [Way<'_>; 16] = [
        ("store", &|s| drop(ask(s, "store", &[12, 7]).unwrap())),
        ("a store across pages", &|s| drop(ask(s, "store", &[3 * 4096 - 2, -1]).unwrap())),
        ("globals", &|s| drop(ask(s, "globals", &[]).unwrap())),
        ("segments", &|s| drop(ask(s, "segments", &[]).unwrap())),
        ("bulk", &|s| drop(ask(s, "bulk", &[]).unwrap())),
        ("grow", &|s| {
            assert_eq!(ask(s, "grow", &[300, 30_000]).unwrap(), [Val::I32(20)]);
            ask(s, "store", &[20 * 65536, 5]).unwrap();
            ask(s, "store", &[320 * 65536 - 4, 5]).unwrap();
        }),
        ("trap", &|s| assert!(matches!(ended(ask(s, "trap", &[])), CallError::Trap(_)))),
        ("beyond", &|s| assert!(matches!(ended(ask(s, "beyond", &[])), CallError::Trap(_)))),
        ("exits", &|s| assert!(matches!(ended(ask(s, "exits", &[])), CallError::Exit(3)))),
        ("fails", &|s| assert!(matches!(ended(ask(s, "fails", &[])), CallError::Host { .. }))),
        ("throws", &|s| assert!(matches!(ended(ask(s, "throws", &[])), CallError::Exception(_)))),
        ("deep", &|s| {
            let CallError::Trap(trap) = ended(ask(s, "deep", &[])) else { panic!("no trap") };
            assert_eq!(trap.code, TrapCode::StackOverflow);
        }),
        ("interrupt", &|s| {
            let interrupter = s.interrupter();
            let other = thread::spawn(move || {
                thread::sleep(Duration::from_millis(5));
                interrupter.interrupt()
            });
            assert!(matches!(ended(ask(s, "spins", &[])), CallError::Trap(_)));
            assert!(other.join().unwrap());
        }),
        ("host references", &|s| {
            let handle = Val::ExternRef(Some(ExternRef::Host(s.new_extern(5u8))));
            call(s, main_instance(), "refer", &[handle]).unwrap();
        }),
        ("the host writes", &|s| {
            ask(s, "range", &[70_000, 9000]).unwrap();
            s.memory_mut(main_instance(), 0).unwrap().get_mut(500_000..500_010).unwrap().fill(1);
            assert!(s.set_global(main_instance(), 0, Val::I64(1)));
            assert_eq!(s.memory_grow(main_instance(), 0, 1), Some(20));
        }),
        ("the host writes everywhere", &|s| {
            ask(s, "all", &[5]).unwrap();
            s.memory_mut(main_instance(), 0).unwrap()[7] = 1;
        }),
    ];
    // In both orders, so that each follows each kind.
    for (name, way) in ways.iter().chain(ways.iter().rev()) {
        let mut store = image.acquire().unwrap();
        way(&mut store);
        drop(store);
        assert_eq!(look(&mut image.acquire().unwrap()), fresh, "after {name}");
    }
    let stats = engine.pool_stats();
    assert_eq!((stats.made, stats.dropped, stats.idle), (1, 0, 1), "{stats:?}");
}

#[test]
fn what_has_grown_is_out_of_bounds_again_and_zero_when_it_grows_again() {
    let engine = verifying();
    let image = image(&engine);
    let beyond = 20 * 65536;
    for pages in [1, 300, 7] {
        let mut store = image.acquire().unwrap();
        assert!(ask(&mut store, "load", &[beyond]).is_err(), "nothing is accessible there");
        assert_eq!(ask(&mut store, "grow", &[pages, 30_000]).unwrap(), [Val::I32(20)]);
        let last = beyond + pages * 65536 - 4;
        for at in [beyond, last] {
            assert_eq!(ask(&mut store, "load", &[at]).unwrap(), [Val::I32(0)], "{pages} pages");
            ask(&mut store, "store", &[at, -1]).unwrap();
        }
        assert!(ask(&mut store, "load", &[last + 4]).is_err());
        assert_eq!(store.table_get(main_instance(), 0, 600 + 30_000), None);
    }
    let stats = engine.pool_stats();
    assert_eq!((stats.made, stats.dropped), (1, 0));
}

#[test]
fn a_large_state_block_is_watched_too() {
    let engine = verifying();
    let globals = "(global (mut i64) (i64.const 3))".repeat(3000);
    let module = compile(
        &engine,
        &format!(
            r#"(module (memory (export "memory") 1 9) (table 1 9 funcref) (data $d "x") {globals}
                 (func (export "set") (global.set 2999 (i64.const 9)) (data.drop $d))
                 (func (export "grow") (drop (memory.grow (i32.const 1)))
                   (drop (table.grow 0 (ref.null func) (i32.const 2)))))"#
        ),
    );
    let image = Image::of_module(&engine, Linker::new(), StoreConfig::default(), &module).unwrap();
    let id = main_instance();
    // By the host while no call is in progress, and by the guest.
    let ways: [Way<'_>; 4] = [
        ("the host grows", &|s| assert_eq!(s.memory_grow(id, 0, 1), Some(1))),
        ("the host sets", &|s| assert!(s.set_global(id, 1500, Val::I64(1)))),
        ("the guest grows", &|s| drop(ask(s, "grow", &[]).unwrap())),
        ("the guest sets", &|s| drop(ask(s, "set", &[]).unwrap())),
    ];
    for (name, way) in ways.iter().chain(&ways) {
        let mut store = image.acquire().unwrap();
        assert_eq!(store.memory(id, 0).map(<[u8]>::len), Some(65536), "before {name}");
        assert_eq!(store.table_size(id, 0), Some(1));
        for global in [0, 1500, 2999] {
            assert_eq!(store.global(id, global), Some(Val::I64(3)), "before {name}");
        }
        way(&mut store);
    }
}

#[test]
fn a_call_that_repeats_faults_and_copies_no_more_than_it_writes() {
    let engine = verifying();
    let image = image(&engine);
    let call = || drop(ask(&mut image.acquire().unwrap(), "stores", &[65536, 4096, 10]).unwrap());
    call();
    let first = engine.pool_stats();
    assert_eq!(first.write_faults, 10, "a fault for each page");
    for _ in 0..100 {
        call();
    }
    let later = engine.pool_stats();
    assert_eq!(later.write_faults, first.write_faults, "all pages stay open");
    let state = 1;
    assert_eq!(later.pages_copied - first.pages_copied, 100 * (10 + state), "{later:?}");
    // A second slot is told of the pages before its first call.
    let (mut a, mut b) = (image.acquire().unwrap(), image.acquire().unwrap());
    ask(&mut a, "stores", &[65536, 4096, 10]).unwrap();
    ask(&mut b, "stores", &[65536, 4096, 10]).unwrap();
    drop((a, b));
    assert_eq!(engine.pool_stats().write_faults, first.write_faults);
    assert_eq!(engine.pool_stats().made, 2);
}

#[test]
fn pages_that_are_written_to_no_more_are_let_go() {
    let engine = verifying();
    let image = image(&engine);
    ask(&mut image.acquire().unwrap(), "stores", &[65536, 4096, 200]).unwrap();
    let copied = || {
        let before = engine.pool_stats().pages_copied;
        ask(&mut image.acquire().unwrap(), "store", &[65536, 1]).unwrap();
        engine.pool_stats().pages_copied - before
    };
    assert!(copied() >= 200);
    for _ in 0..130 {
        copied();
    }
    assert!(copied() < 10);
}

#[test]
fn a_call_that_writes_to_more_than_is_kept_leaves_little() {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    let pool = PoolConfig { verify: true, keep_resident: 64 << 10, ..PoolConfig::default() };
    let config = EngineConfig { compiler: Some(compiler), pool, ..EngineConfig::default() };
    let engine = NativeEngine::new(config).unwrap();
    let image = image(&engine);
    for _ in 0..5 {
        let before = engine.pool_stats();
        ask(&mut image.acquire().unwrap(), "stores", &[0, 4096, 320]).unwrap();
        let after = engine.pool_stats();
        assert!(after.pages_copied - before.pages_copied < 10, "dropped, not copied");
        let faults = after.write_faults - before.write_faults;
        assert!(faults < 60, "{faults} faults open 320 pages");
    }
}

#[test]
fn what_no_reset_takes_back_is_not_kept() {
    let engine = verifying();
    let image = image(&engine);
    let other = compile(
        &engine,
        r#"(module (import "a" "memory" (memory 1)) (func (export "f") (i32.store (i32.const 0) (i32.const 8))))"#,
    );
    let mut store = image.acquire().unwrap();
    store.linker_mut().instance("a", main_instance());
    let id = store.instantiate(&other).unwrap();
    call(&mut store, id, "f", &[]).unwrap();
    assert_eq!(ask(&mut store, "load", &[0]).unwrap(), [Val::I32(8)]);
    drop(store);
    let stats = engine.pool_stats();
    assert_eq!((stats.dropped, stats.idle), (1, 0));
    assert_eq!(ask(&mut image.acquire().unwrap(), "load", &[0]).unwrap(), [Val::I32(0)]);
}

#[test]
fn a_start_function_runs_in_each_store_of_a_modules_image() {
    let engine = verifying();
    let module = compile(
        &engine,
        r#"(module (memory (export "memory") 1) (global $n (export "n") (mut i32) (i32.const 1))
             (func $start (global.set $n (i32.add (global.get $n) (i32.const 1)))
               (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))))
             (start $start))"#,
    );
    let image = Image::of_module(&engine, Linker::new(), StoreConfig::default(), &module).unwrap();
    for _ in 0..3 {
        let mut store = image.acquire().unwrap();
        let id = main_instance();
        assert_eq!(store.global(id, 0), Some(Val::I32(2)));
        assert_eq!(store.memory(id, 0).unwrap()[0], 1);
        store.memory_mut(id, 0).unwrap().get_mut(0..1).unwrap()[0] = 9;
    }
    let traps = compile(&engine, "(module (func $f unreachable) (start $f))");
    let image = Image::of_module(&engine, Linker::new(), StoreConfig::default(), &traps).unwrap();
    assert!(image.acquire().unwrap_err().to_string().contains("unreachable"));
}

#[test]
fn an_image_that_is_gone_leaves_no_store() {
    let engine = verifying();
    let (one, two) = (image(&engine), image(&engine));
    drop((one.acquire().unwrap(), one.acquire().unwrap(), two.acquire().unwrap()));
    assert_eq!(engine.pool_stats().idle, 3);
    drop(one);
    assert_eq!(engine.pool_stats().idle, 1);
    // A store outlives the caller's handle of its image.
    let mut store = two.acquire().unwrap();
    drop(two);
    assert_eq!(ask(&mut store, "load", &[4]).unwrap(), [Val::I32(0)]);
    drop(store);
    assert_eq!(engine.pool_stats().idle, 0);
}

#[test]
fn eight_threads_share_the_stores_of_two_images_in_turn() {
    let engine = verifying();
    let images = [image(&engine), image(&engine)];
    let fresh = look(&mut images[0].acquire().unwrap());
    thread::scope(|scope| {
        for seed in 0..8_u32 {
            let (images, fresh) = (&images, &fresh);
            scope.spawn(move || {
                let mut random = seed + 1;
                let mut next = |range: Range<u32>| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    range.start + (random >> 8) % (range.end - range.start)
                };
                for _ in 0..60 {
                    let mut store = images[next(0..2) as usize].acquire().unwrap();
                    assert_eq!(look(&mut store), *fresh);
                    let at = next(0..19 * 65536) as i32;
                    let left = (20 * 65536 - at - 4) / 4096;
                    let count = next(1..left.cast_unsigned().min(60) + 2) as i32;
                    match next(0..5) {
                        0 => ask(&mut store, "bulk", &[]).map(drop).unwrap(),
                        1 => {
                            ask(&mut store, "trap", &[]).map(drop).unwrap_err().to_string().clear()
                        }
                        2 => ask(&mut store, "grow", &[next(0..9) as i32, 7]).map(drop).unwrap(),
                        3 => ask(&mut store, "range", &[at, 5]).map(drop).unwrap(),
                        _ => drop(ask(
                            &mut store,
                            "stores",
                            &[at, PAGE as i32, count.min(left.max(1))],
                        )),
                    }
                }
            });
        }
    });
    let stats = engine.pool_stats();
    assert_eq!(stats.dropped, 0);
    assert!(stats.made <= 17, "{stats:?}");
    assert_eq!(stats.reused + stats.made, 8 * 60 + 1);
}
