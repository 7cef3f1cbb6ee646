//! Objects: what is reachable stays, wherever it is referred to from, and moves; the rest goes.

use crate::{state::round_trip, *};
use executor_model::{AnyRef, CallError, CompositeType, ExternRef, ObjectRef, TrapCode};
use executor_runtime::{Caller, CaptureError, HostError, Image, PoolConfig, RestoreError};
use std::{num::NonZeroU32, time::Duration};

/// Collects at every allocation.
fn always() -> StoreConfig {
    StoreConfig { collect_every: NonZeroU32::new(1), ..StoreConfig::default() }
}

fn make(wats: &[&str], linker: Linker, config: StoreConfig) -> (NativeEngine, Store, InstanceId) {
    let engine = engine();
    let mut store = Store::new(&engine, linker, config).unwrap();
    let mut last = None;
    for (i, wat) in wats.iter().enumerate() {
        let id = store.instantiate(&compile(&engine, wat)).unwrap();
        store.linker_mut().instance(&format!("m{i}"), id);
        last = Some(id);
    }
    (engine, store, last.unwrap())
}

fn i32s(store: &mut Store, id: InstanceId, name: &str, params: &[i32]) -> i32 {
    let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
    match call(store, id, name, &params).unwrap()[..] {
        [Val::I32(n)] => n,
        ref other => panic!("{other:?}"),
    }
}

fn object(value: Val) -> ObjectRef {
    match value {
        Val::AnyRef(Some(AnyRef::Object(object))) => object,
        other => panic!("{other:?}"),
    }
}

fn trap(result: Result<Vec<Val>, CallError>) -> TrapCode {
    match result {
        Err(CallError::Trap(trap)) => trap.code,
        other => panic!("{other:?}"),
    }
}

/// Trees, made and summed by recursion: references are operands and locals of many frames at once.
const TREE: &str = r#"(module
  (type $tree (sub (struct (field $left (ref null $tree)) (field $n i32) (field $right (ref null $tree)))))
  (type $tall (sub $tree (struct (field (ref null $tree)) (field i32) (field (ref null $tree)) (field i64))))
  (global $kept (export "kept") (mut (ref null $tree)) (ref.null $tree))
  (func $make (export "make") (param $depth i32) (result (ref $tree))
    (if (result (ref $tree)) (local.get $depth)
      (then (struct.new $tall
        (call $make (i32.sub (local.get $depth) (i32.const 1)))
        (local.get $depth)
        (call $make (i32.sub (local.get $depth) (i32.const 1)))
        (i64.const -1)))
      (else (struct.new $tree (ref.null $tree) (i32.const 1) (ref.null $tree)))))
  (func $sum (export "sum") (param $tree (ref null $tree)) (result i32)
    (block $null
      (br_on_null $null (local.get $tree)) (drop)
      (return (i32.add (struct.get $tree $n (local.get $tree))
        (i32.add (call $sum (struct.get $tree $left (local.get $tree)))
                 (call $sum (struct.get $tree $right (local.get $tree)))))))
    (i32.const 0))
  (func (export "keep") (param i32) (global.set $kept (call $make (local.get 0))))
  (func (export "sum kept") (result i32) (call $sum (global.get $kept)))
  (func (export "tall") (result i32) (ref.test (ref $tall) (global.get $kept)))
  (func (export "churn") (param $times i32)
    (loop $more (drop (call $make (i32.const 6)))
      (br_if $more (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))"#;

/// What a tree of a depth sums up to.
fn sum_of(depth: i32) -> i32 {
    if depth == 0 { 1 } else { depth + 2 * sum_of(depth - 1) }
}

#[test]
fn operands_and_locals_of_all_frames_are_roots_and_follow_what_moves() {
    let (_, mut store, id) = make(&[TREE], Linker::new(), always());
    let tree = call(&mut store, id, "make", &[Val::I32(7)]).unwrap()[0];
    assert!(store.collections().count >= 255);
    i32s_of_tree(&mut store, id, tree, 7);
    // The handle follows it.
    call(&mut store, id, "churn", &[Val::I32(3)]).unwrap();
    i32s_of_tree(&mut store, id, tree, 7);
}

fn i32s_of_tree(store: &mut Store, id: InstanceId, tree: Val, depth: i32) {
    assert_eq!(call(store, id, "sum", &[tree]).unwrap(), [Val::I32(sum_of(depth))]);
}

#[test]
fn what_nothing_refers_to_goes() {
    let (_, mut store, id) = make(&[TREE], Linker::new(), StoreConfig::default());
    call(&mut store, id, "keep", &[Val::I32(5)]).unwrap();
    store.collect_objects();
    let kept = store.object_bytes();
    // 31 with three fields and a number more, and 32 leaves.
    assert_eq!(kept, 31 * 32 + 32 * 24);
    call(&mut store, id, "churn", &[Val::I32(5000)]).unwrap();
    let collections = store.collections();
    assert!(collections.count > 1, "none was due in 15 MB");
    assert!(collections.most_bytes > 4 * kept && collections.longest > Duration::ZERO);
    store.collect_objects();
    assert_eq!(store.object_bytes(), kept);
    assert_eq!(i32s(&mut store, id, "sum kept", &[]), sum_of(5));
    assert_eq!(i32s(&mut store, id, "tall", &[]), 1);
    assert!(store.set_global(id, 0, Val::AnyRef(None)));
    store.collect_objects();
    assert_eq!(store.object_bytes(), 0);
}

#[test]
fn globals_tables_segments_and_payloads_are_roots() {
    let (_, mut store, id) = make(
        &[r#"(module
          (type $box (struct (field (mut i32))))
          (type $row (array (mut (ref null $box))))
          (tag $t (param (ref $box) i32))
          (global $first (ref $box) (struct.new $box (i32.const 10)))
          (global $second (mut eqref) (struct.new $box (i32.const 20)))
          (global $nested (ref $row)
            (array.new_fixed $row 2 (struct.new $box (i32.const 1)) (struct.new $box (i32.const 2))))
          (table $t (export "t") 4 (ref null $box))
          (elem (table $t) (i32.const 1) (ref $box) (item (struct.new $box (i32.const 30))))
          (elem $late (ref $box) (item (struct.new $box (i32.const 40))) (item (global.get $first)))
          (func $garbage (drop (array.new_default $row (i32.const 100))))
          (func (export "sum") (result i32)
            (call $garbage)
            (i32.add (struct.get $box 0 (global.get $first))
            (i32.add (struct.get $box 0 (ref.cast (ref $box) (global.get $second)))
            (i32.add (struct.get $box 0 (table.get $t (i32.const 1)))
            (i32.add (struct.get $box 0 (array.get $row (global.get $nested) (i32.const 0)))
                     (struct.get $box 0 (array.get $row (global.get $nested) (i32.const 1))))))))
          (func (export "segment") (result i32) (local $row (ref $row))
            (local.set $row (array.new_elem $row $late (i32.const 0) (i32.const 2)))
            (call $garbage)
            (struct.set $box 0 (array.get $row (local.get $row) (i32.const 0)) (i32.const 41))
            (call $garbage)
            ;; The segment has one object, however often it is used.
            (table.init $t $late (i32.const 2) (i32.const 0) (i32.const 2))
            (call $garbage)
            (i32.and
              (ref.eq (table.get $t (i32.const 2)) (array.get $row (local.get $row) (i32.const 0)))
              (i32.and (ref.eq (table.get $t (i32.const 3)) (global.get $first))
                (i32.eq (struct.get $box 0 (table.get $t (i32.const 2))) (i32.const 41)))))
          (func $throw (throw $t (struct.new $box (i32.const 7)) (i32.const 1)))
          (func (export "payload") (result i32) (local $e exnref)
            (block $h (result (ref $box) i32 exnref)
              (try_table (catch_ref $t $h) (call $throw)) (unreachable))
            (local.set $e) (drop) (drop)
            (call $garbage)
            (block $again (result (ref $box) i32)
              (try_table (catch $t $again) (throw_ref (local.get $e))) (unreachable))
            (call $garbage)
            (drop) (struct.get $box 0)))"#],
        Linker::new(),
        always(),
    );
    assert_eq!(i32s(&mut store, id, "sum", &[]), 63);
    assert_eq!(i32s(&mut store, id, "segment", &[]), 1);
    assert_eq!(i32s(&mut store, id, "segment", &[]), 1);
    assert_eq!(i32s(&mut store, id, "payload", &[]), 7);
    assert_eq!(i32s(&mut store, id, "sum", &[]), 63);
}

#[test]
fn equal_types_of_other_modules_are_equal_and_code_without_types_holds_objects_too() {
    let point = r#"(rec (type $point (sub (struct (field i32) (field i32))))
                        (type $wide (sub $point (struct (field i32) (field i32) (field i64)))))"#;
    let maker = format!(
        r#"(module {point} (type $other (struct (field i32)))
             (func (export "point") (param i32) (result anyref)
               (struct.new $wide (local.get 0) (i32.const 2) (i64.const 3)))
             (func (export "other") (result anyref) (struct.new $other (i32.const 5)))
             (func (export "outside") (param i32) (result externref)
               (extern.convert_any (struct.new $point (local.get 0) (i32.const 9)))))"#
    );
    // It knows no type of objects; its frame holds one while another is made.
    let between = r#"(module
        (import "m0" "outside" (func $outside (param i32) (result externref)))
        (func (export "first") (result externref) (local externref)
          (local.set 0 (call $outside (i32.const 77)))
          (drop (call $outside (i32.const 78)))
          (drop (call $outside (i32.const 79)))
          (local.get 0)))"#;
    let user = format!(
        r#"(module (type $unlike (func)) {point} (type $alone (struct (field f32)))
             (import "m0" "point" (func $point (param i32) (result anyref)))
             (import "m0" "other" (func $other (result anyref)))
             (import "m1" "first" (func $first (result externref)))
             (func (export "is") (result i32 i32 i32 i32)
               (ref.test (ref $point) (call $point (i32.const 1)))
               (ref.test (ref $wide) (call $point (i32.const 1)))
               (ref.test (ref $alone) (call $point (i32.const 1)))
               (ref.test (ref $point) (call $other)))
             (func (export "get") (param i32) (result i32)
               (struct.get $point 0 (ref.cast (ref $point) (call $point (local.get 0)))))
             (func (export "cast") (result i32)
               (struct.get $point 0 (ref.cast (ref $point) (call $other))))
             (func (export "through") (result i32)
               (struct.get $point 0 (ref.cast (ref $point) (any.convert_extern (call $first))))))"#
    );
    let (engine, mut store, id) = make(&[&maker, between, &user], Linker::new(), always());
    let is = call(&mut store, id, "is", &[]).unwrap();
    assert_eq!(is, [1, 1, 0, 0].map(Val::I32));
    assert_eq!(i32s(&mut store, id, "get", &[31]), 31);
    assert_eq!(i32s(&mut store, id, "through", &[]), 77);
    let cast = call(&mut store, id, "cast", &[]);
    assert_eq!(trap(cast), TrapCode::CastFailure);
    store.prepare_capture();
    let mut restored = round_trip(&engine, &store).unwrap();
    assert_eq!(i32s(&mut restored, id.of_any(), "through", &[]), 77);
}

#[test]
fn a_host_holds_objects_by_handles() {
    let mut linker = Linker::new();
    linker.func("host", "none", |_: &mut Caller<'_>| Ok::<(), HostError>(()));
    let (_, mut store, id) = make(
        &[
            TREE,
            r#"(module (type $pair (struct (field (mut i8)) (field (mut anyref)) (field i64)))
             (type $row (array (mut i16)))
             (type $refs (array (mut (ref null $pair))))
             (func (export "pair") (result (ref $pair))
               (struct.new $pair (i32.const 300) (ref.i31 (i32.const -5)) (i64.const 6)))
             (func (export "first") (param (ref null $pair)) (result i32)
               (struct.get_u $pair 0 (local.get 0)))
             (func (export "garbage") (drop (array.new_default $row (i32.const 50)))))"#,
        ],
        linker,
        always(),
    );
    let pair = object(call(&mut store, id, "pair", &[]).unwrap()[0]);
    let ty = store.object_type(pair).unwrap();
    assert!(matches!(ty.ty, CompositeType::Struct(ref fields) if fields.len() == 3));
    assert_eq!((ty.instance, ty.index, store.object_len(pair).unwrap()), (id, 0, 3));
    assert_eq!(store.field(pair, 0).unwrap(), Val::I32(44), "its low 8 bits");
    assert_eq!(store.field(pair, 1).unwrap(), Val::AnyRef(Some(AnyRef::I31(-5))));
    assert_eq!(store.field(pair, 2).unwrap(), Val::I64(6));
    store.set_field(pair, 0, Val::I32(7)).unwrap();
    for (index, value) in
        [(0, Val::I64(7)), (1, Val::ExternRef(None)), (2, Val::I64(1)), (3, Val::I32(0))]
    {
        assert!(matches!(store.set_field(pair, index, value), Err(CallError::Usage(_))), "{index}");
    }
    // Arrays, and a structure of its own; what is given to each is moved meanwhile.
    let row = store.new_object(id, 1, &[Val::I32(70_000), Val::I32(-1)]).unwrap();
    assert_eq!(store.field(row, 0).unwrap(), Val::I32(70_000 & 0xffff));
    assert_eq!(store.field(row, 1).unwrap(), Val::I32(0xffff));
    let any = |object| Val::AnyRef(Some(AnyRef::Object(object)));
    let other = store.new_object(id, 0, &[Val::I32(1), any(row), Val::I64(2)]).unwrap();
    let refs = store.new_object(id, 2, &[any(pair), Val::AnyRef(None), any(other)]).unwrap();
    assert!(store.new_object(id, 2, &[any(row)]).is_err(), "an array is no pair");
    let found = object(store.field(refs, 2).unwrap());
    assert!(store.is_same_object(found, other) && !store.is_same_object(found, pair));
    assert!(store.is_same_object(object(store.field(other, 1).unwrap()), row));
    // Scopes end handles; what is kept stays until it is let go.
    let (inner, kept) = store.object_scope(|store| {
        let object = store.new_object(id, 1, &[Val::I32(3)]).unwrap();
        (object, store.keep_object(object).unwrap())
    });
    assert!(store.field(inner, 0).is_err());
    call(&mut store, id, "garbage", &[]).unwrap();
    assert_eq!(store.field(kept.get(), 0).unwrap(), Val::I32(3));
    let before = store.object_bytes();
    let gone = kept.get();
    drop(kept);
    store.collect_objects();
    assert!(store.field(gone, 0).is_err() && store.object_bytes() < before);
    // Another store's handle, and an ended one, are errors.
    let (_, mut others, theirs) = make(&[TREE], Linker::new(), always());
    let foreign = call(&mut others, theirs, "make", &[Val::I32(0)]).unwrap()[0];
    assert!(matches!(call(&mut store, id, "first", &[foreign]), Err(CallError::Usage(_))));
    assert!(matches!(call(&mut store, id, "first", &[any(gone)]), Err(CallError::Usage(_))));
    assert_eq!(call(&mut store, id, "first", &[any(pair)]).unwrap(), [Val::I32(7)]);
}

#[test]
fn host_functions_take_and_return_objects_and_may_collect_meanwhile() {
    let mut linker = Linker::new();
    let anyref = executor_model::ValType::ANYREF;
    let ty = executor_model::FuncType { params: vec![anyref, anyref], results: vec![anyref] };
    linker.func_raw("host", "swap", ty, move |caller, values| {
        let [first, second] = [0, 1].map(|i| caller.value(values[i], anyref));
        let make = caller.exported_func("make").unwrap();
        // All others move.
        caller.call(make, &[])?;
        let (first, second) = (object(first), object(second));
        let n = caller.field(second, 0).map_err(HostError::new)?;
        caller.set_field(first, 0, n).map_err(HostError::new)?;
        values[0] = caller.raw(&Val::AnyRef(Some(AnyRef::Object(first)))).unwrap();
        Ok(())
    });
    let (_, mut store, id) = make(
        &[r#"(module (type $box (struct (field (mut i32))))
             (import "host" "swap" (func $swap (param anyref anyref) (result anyref)))
             (func (export "make") (drop (struct.new $box (i32.const 0))))
             (func (export "run") (result i32 i32) (local $a (ref $box)) (local $b (ref $box))
               (drop (struct.new $box (i32.const 99)))
               (local.set $a (struct.new $box (i32.const 1)))
               (local.set $b (struct.new $box (i32.const 2)))
               (struct.get $box 0 (ref.cast (ref $box) (call $swap (local.get $a) (local.get $b))))
               (ref.eq (local.get $a) (local.get $b))))"#],
        linker,
        always(),
    );
    for _ in 0..10 {
        assert_eq!(call(&mut store, id, "run", &[]).unwrap(), [Val::I32(2), Val::I32(0)]);
    }
}

#[test]
fn a_full_heap_is_a_trap_and_goes_on_when_there_is_room() {
    let wat = r#"(module (type $list (struct (field (ref null $list)) (field i64)))
        (type $bytes (array i8)) (type $vectors (array v128))
        (global $list (export "list") (mut (ref null $list)) (ref.null $list))
        (func (export "grow") (loop $more
          (global.set $list (struct.new $list (global.get $list) (i64.const 1))) (br $more)))
        (func (export "bytes") (param i32) (result i32)
          (array.len (array.new_default $bytes (local.get 0))))
        (func (export "vectors") (param i32) (result i32)
          (array.len (array.new_default $vectors (local.get 0)))))"#;
    let config = StoreConfig { max_heap: 8 << 20, ..StoreConfig::default() };
    let (_, mut store, id) = make(&[wat], Linker::new(), config);
    let grow = call(&mut store, id, "grow", &[]);
    assert_eq!(trap(grow), TrapCode::HeapExhausted);
    assert!(store.object_bytes() <= 8 << 20 && store.object_bytes() > 7 << 20);
    assert!(store.set_global(id, 0, Val::AnyRef(None)));
    assert_eq!(i32s(&mut store, id, "bytes", &[6 << 20]), 6 << 20);
    for len in [9 << 20, i32::MAX, -1] {
        let result = call(&mut store, id, "bytes", &[Val::I32(len)]);
        assert_eq!(trap(result), TrapCode::HeapExhausted, "{len}");
        let result = call(&mut store, id, "vectors", &[Val::I32(len)]);
        assert_eq!(trap(result), TrapCode::HeapExhausted, "{len}");
    }
    assert_eq!(i32s(&mut store, id, "bytes", &[0]), 0);
    // Memory in all is limited too.
    let config = StoreConfig { max_memory: 4 << 20, ..StoreConfig::default() };
    let (_, mut store, id) = make(&[wat], Linker::new(), config);
    let grow = call(&mut store, id, "grow", &[]);
    assert_eq!(trap(grow), TrapCode::HeapExhausted);
    assert!(store.object_bytes() <= 4 << 20);
}

#[test]
fn objects_are_captured_without_garbage_and_validated() {
    let (engine, mut store, id) = make(&[TREE], Linker::new(), StoreConfig::default());
    call(&mut store, id, "keep", &[Val::I32(6)]).unwrap();
    call(&mut store, id, "churn", &[Val::I32(50)]).unwrap();
    store.prepare_capture();
    let kept = store.object_bytes();
    let mut restored = round_trip(&engine, &store).unwrap();
    assert_eq!(restored.object_bytes(), kept);
    assert_eq!(i32s(&mut restored, id.of_any(), "sum kept", &[]), sum_of(6));
    call(&mut restored, id.of_any(), "churn", &[Val::I32(5000)]).unwrap();
    assert!(restored.collections().count > 0);
    assert_eq!(i32s(&mut restored, id.of_any(), "sum kept", &[]), sum_of(6));
    // And again.
    restored.prepare_capture();
    let mut again = round_trip(&engine, &restored).unwrap();
    assert_eq!(i32s(&mut again, id.of_any(), "sum kept", &[]), sum_of(6));
}

#[test]
fn host_values_in_objects_are_not_captured() {
    let (_, mut store, id) = make(
        &[r#"(module (type $box (struct (field i64) (field (mut externref))))
             (type $row (array (mut anyref)))
             (type $thrown (struct (field (mut exnref))))
             (tag $t)
             (global $box (export "box") (mut (ref null $box)) (ref.null $box))
             (global $row (mut (ref null $row)) (ref.null $row))
             (global $thrown (mut (ref null $thrown)) (ref.null $thrown))
             (func (export "box it") (param externref)
               (global.set $box (struct.new $box (i64.const 1) (local.get 0))))
             (func (export "row it") (param externref)
               (global.set $row (array.new $row (any.convert_extern (local.get 0)) (i32.const 3))))
             (func (export "throw it")
               (global.set $thrown (struct.new $thrown
                 (block $h (result exnref) (try_table (catch_all_ref $h) (throw $t)) (unreachable)))))
             (func (export "forget")
               (global.set $box (ref.null $box)) (global.set $row (ref.null $row))
               (global.set $thrown (ref.null $thrown)))
             (func (export "catch") (result i32)
               (block $h (try_table (catch $t $h)
                 (throw_ref (struct.get $thrown 0 (global.get $thrown))))) (i32.const 5)))"#],
        Linker::new(),
        StoreConfig::default(),
    );
    let host = Val::ExternRef(Some(ExternRef::Host(store.new_extern(1u8))));
    let refusal = |store: &mut Store| {
        store.prepare_capture();
        match store.capture() {
            Err(error @ CaptureError::HostReference { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    call(&mut store, id, "box it", &[host]).unwrap();
    assert!(
        refusal(&mut store)
            .starts_with("field 1 of an object of type 0 of instance 1 holds a host")
    );
    call(&mut store, id, "forget", &[]).unwrap();
    call(&mut store, id, "row it", &[host]).unwrap();
    assert!(
        refusal(&mut store).starts_with("element 0 of an object of type 1 of instance 1 holds")
    );
    call(&mut store, id, "forget", &[]).unwrap();
    call(&mut store, id, "throw it", &[]).unwrap();
    assert!(refusal(&mut store).contains("an exception"));
    assert_eq!(i32s(&mut store, id, "catch", &[]), 5);
    call(&mut store, id, "forget", &[]).unwrap();
    store.prepare_capture();
    store.capture().unwrap();
    // An object made external is none of the host's.
    let object = store.new_object(id, 1, &[]).unwrap();
    let outside = Val::ExternRef(Some(ExternRef::Object(object)));
    call(&mut store, id, "box it", &[outside]).unwrap();
    store.prepare_capture();
    store.capture().unwrap();
}

#[test]
fn nothing_of_a_call_is_left_in_a_heap_that_is_kept() {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    let pool = PoolConfig { verify: true, ..PoolConfig::default() };
    let config = EngineConfig { compiler: Some(compiler), pool, ..EngineConfig::default() };
    let engine = NativeEngine::new(config).unwrap();
    let module = compile(&engine, TREE);
    let image = Image::of_module(&engine, Linker::new(), StoreConfig::default(), &module).unwrap();
    let id = InstanceId::from_position(0);
    for churn in [1, 1, 3000, 1, 2] {
        let mut store = image.acquire().unwrap();
        assert_eq!(store.object_bytes(), 0);
        assert_eq!(i32s(&mut store, id, "sum kept", &[]), 0);
        call(&mut store, id, "keep", &[Val::I32(5)]).unwrap();
        call(&mut store, id, "churn", &[Val::I32(churn)]).unwrap();
        assert_eq!(i32s(&mut store, id, "sum kept", &[]), sum_of(5));
    }
    let stats = engine.pool_stats();
    assert!(stats.reused >= 4, "{stats:?}");
}

#[test]
fn forged_heaps_are_refused() {
    let (engine, mut store, id) = make(&[TREE], Linker::new(), StoreConfig::default());
    call(&mut store, id, "keep", &[Val::I32(2)]).unwrap();
    store.prepare_capture();
    // Any change of a word of the header, of an object's first word or of a reference is noticed. Numbers are free.
    let changes: Vec<(usize, u64)> = vec![
        (0, 1),
        (8, 1 << 40),
        (8, 72),
        (16, 8),
        (24, 8),
        (32, 0),
        (40, 1),
        (64, 0),
        (64, u64::MAX),
        (64, 1 << 40 | 1),
        (64, 1 << 40 | 7 << 20),
        (72, 1),
        (72, 8),
        (72, 64 << 32 | 4),
    ];
    for (at, value) in changes {
        let forged = crate::state::round_trip_changed(&engine, &store, |memories| {
            let heap = memories.last_mut().unwrap();
            heap[at..at + 8].copy_from_slice(&value.to_le_bytes());
        });
        assert!(matches!(forged, Err(RestoreError::Mismatch(_))), "{value:#x} at {at}");
    }
    assert!(crate::state::round_trip_changed(&engine, &store, |_| ()).is_ok());
}
