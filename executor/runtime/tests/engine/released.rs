//! What is known of a store once it is given back.

use crate::{
    kept::{ask, image, main_instance, verifying},
    *,
};
use executor_runtime::{Released, WrittenPages};
use std::ops::Range;

const PAGE: u64 = 4096;

#[test]
fn a_store_that_is_given_back_tells_of_its_slot() {
    let engine = verifying();
    let image = image(&engine);
    let write = || {
        let mut store = image.acquire().unwrap();
        ask(&mut store, "stores", &[65536, 4096, 10]).unwrap();
        store.release()
    };
    let pages = |released: Released| {
        let reset = released.reset.unwrap();
        (released.reused, reset.pages, reset.write_faults)
    };
    let state = 1;
    assert_eq!(pages(write()), (false, 10 + state, 10));
    assert_eq!(pages(write()), (true, 10 + state, 0), "the pages stay open");
    let idle = image.acquire().unwrap().release();
    assert_eq!(pages(idle), (true, 10 + state, 0), "it cannot know which of them were written to");
    // What is used once, or has changed for good, is not reset.
    let mut once = image.restore().unwrap();
    ask(&mut once, "stores", &[65536, 4096, 10]).unwrap();
    assert_eq!(once.written_pages(main_instance(), 0), None);
    assert_eq!(once.release(), Released::default());
    let mut changed = image.acquire().unwrap();
    changed.linker_mut().instance("name", main_instance());
    assert_eq!(changed.written_pages(main_instance(), 0), None);
    assert_eq!(changed.release(), Released { reused: true, reset: None });
}

#[test]
fn pages_that_were_written_to_are_found_by_looking_at_them() {
    let engine = verifying();
    let image = image(&engine);
    let written = |way: &dyn Fn(&mut Store)| {
        let mut store = image.acquire().unwrap();
        way(&mut store);
        store.written_pages(main_instance(), 0)
    };
    let pages = |run: Range<u64>, len: u64| {
        let run = run.start * PAGE..run.end * PAGE;
        let ranges = Some(run).filter(|run| !run.is_empty()).into_iter().collect();
        Some(WrittenPages { len, ranges })
    };
    let len = 20 * 65536;
    let first = written(&|s| drop(ask(s, "stores", &[65536, 4096, 10]).unwrap()));
    assert_eq!(first, pages(16..26, len));
    // They are open still, and are as in the image.
    assert_eq!(written(&|_| {}), pages(0..0, len));
    let one = written(&|s| drop(ask(s, "store", &[65536 + 3 * 4096, 1]).unwrap()));
    assert_eq!(one, pages(19..20, len));
    let same = written(&|s| drop(ask(s, "store", &[65536, 0]).unwrap()));
    assert_eq!(same, pages(0..0, len), "it is as it was");
    let grown = written(&|s| drop(ask(s, "grow", &[2, 0]).unwrap()));
    assert_eq!(grown, pages(320..352, len + 2 * 65536));
    assert_eq!(written(&|s| drop(ask(s, "all", &[5]).unwrap())), None, "nobody knows where");
    let mut store = image.acquire().unwrap();
    assert_eq!(store.written_pages(main_instance(), 1), None, "there is one memory");
}

#[test]
fn stores_that_wait_are_given_up_as_far_as_their_memory_is_wanted() {
    let engine = verifying();
    let (one, other) = (image(&engine), image(&engine));
    let fill = || {
        for image in [&one, &other] {
            let mut stores: Vec<Store> = (0..3).map(|_| image.acquire().unwrap()).collect();
            let params = [65536, 4096, 9];
            stores.iter_mut().for_each(|s| drop(ask(s, "stores", &params).unwrap()));
        }
    };
    fill();
    // Nine pages, and the state block.
    let each = 10 * PAGE;
    let idle = one.idle();
    assert_eq!((idle.stores, idle.bytes), (3, 3 * each));
    assert_eq!(engine.pool_stats().idle_bytes, 6 * each);
    engine.give_up_idle(0);
    assert_eq!(engine.pool_stats().idle, 6);
    engine.give_up_idle(each + 1);
    let stats = engine.pool_stats();
    assert_eq!((stats.idle, stats.idle_bytes, stats.dropped), (4, 4 * each, 2));
    assert_eq!(one.idle().stores, 1, "those first that have waited longest");
    engine.give_up_idle(u64::MAX);
    assert_eq!((engine.pool_stats().idle, engine.pool_stats().idle_bytes), (0, 0));
    fill();
    assert_eq!(engine.pool_stats().idle, 6, "others are kept after");
}
