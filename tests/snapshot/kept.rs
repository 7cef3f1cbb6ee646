//! Kept stores: what a call in one costs, and what one costs that waits.

use crate::process::Finish;
use crate::{
    scene::Scene,
    system_calls::{count, sized},
};
use std::process::Command;

fn scene(functions: u32, pages: u32) -> Scene {
    let mut scene = Scene::new();
    scene.add("a", &sized(functions, pages));
    scene.guest.write(&scene.path("s.snap"));
    scene
}

#[test]
fn a_call_in_a_kept_store_makes_no_system_call() {
    for (functions, pages) in [(4, 1), (10_000, 1024)] {
        let scene = scene(functions, pages);
        // The first call opens pages, and the second is in a slot that was reset.
        let Some(few) = count(&scene, 2, &["kept"]) else { return };
        let Some(many) = count(&scene, 52, &["kept"]) else { return };
        assert_eq!(few, many, "50 more calls");
    }
}

#[test]
fn a_store_that_waits_costs_little_whatever_its_state_is() {
    for (functions, pages) in [(4, 1), (10_000, 1024)] {
        let scene = scene(functions, pages);
        let mut restorer = Command::new(env!("CARGO_BIN_EXE_restorer"));
        restorer.arg(scene.path("code")).arg(scene.path("s.snap")).args(["1000", "idle"]);
        let output = restorer.finish();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [bytes, mappings] = numbers[..] else { panic!("{output:?}") };
        assert!(bytes <= 24 << 10, "{bytes} bytes for a module of {functions} functions");
        // A process may have 65,530.
        assert!(mappings <= 6, "{mappings} mappings");
    }
}

/// Writes to 16 pages that lie apart from each other.
const SCATTERED: &str = r#"(module (memory 64)
  (func (export "get") (result i32) (local $at i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
      (i32.store (local.get $at) (i32.const 1))
      (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 262144)))
        (i32.const 4194304))))
    (local.get $sum)))"#;

#[test]
fn calls_go_on_where_the_system_has_no_room_for_more_mappings() {
    let mut scene = Scene::new();
    scene.add("a", SCATTERED);
    scene.guest.write(&scene.path("s.snap"));
    let mut restorer = Command::new(env!("CARGO_BIN_EXE_restorer"));
    restorer.arg(scene.path("code")).arg(scene.path("s.snap")).args(["20000", "crowd"]);
    let output = restorer.finish();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("[I32(0)]\n"), "{output:?}");
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [stores, mappings] = numbers[..] else { panic!("{output:?}") };
    // About 33 for each store. The one that waited was called when there were no more.
    assert!(mappings > 65_000 && stores > 1_000, "{stores} stores, {mappings} mappings");
}
