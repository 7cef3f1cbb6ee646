//! Objects: what a comparison with another engine on generated modules has found.

use crate::{state::round_trip, *};
use std::num::NonZeroU32;

fn make(wat: &str, collect_every: u32) -> (NativeEngine, Store, InstanceId) {
    let engine = engine();
    let collect_every = NonZeroU32::new(collect_every);
    let config = StoreConfig { collect_every, ..StoreConfig::default() };
    let mut store = Store::new(&engine, Linker::new(), config).unwrap();
    let id = store.instantiate(&compile(&engine, wat)).unwrap();
    (engine, store, id)
}

/// What a collection leaves behind the last object is made zero only when it is used again.
#[test]
fn what_was_not_prepared_is_restored_with_all_that_is_left_over() {
    let (engine, mut store, id) = make(
        r#"(module (type $box (struct (field i32)))
             (global $kept (mut (ref null $box)) (ref.null $box))
             (func (export "make") (param $n i32) (loop $more
               (global.set $kept (struct.new $box (local.get $n)))
               (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
             (func (export "kept") (result i32) (struct.get $box 0 (global.get $kept))))"#,
        0,
    );
    call(&mut store, id, "make", &[Val::I32(100)]).unwrap();
    store.collect_objects();
    let mut restored = round_trip(&engine, &store).unwrap();
    assert_eq!(restored.object_bytes(), store.object_bytes());
    call(&mut restored, id.of_any(), "make", &[Val::I32(100)]).unwrap();
    let kept = call(&mut restored, id.of_any(), "kept", &[]).unwrap();
    assert_eq!(kept, [Val::I32(1)]);
}
