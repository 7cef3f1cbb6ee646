//! Kept stores: what a call in one costs, and what one costs that waits.

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
        let output = restorer.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [bytes, mappings] = numbers[..] else { panic!("{output:?}") };
        assert!(bytes <= 24 << 10, "{bytes} bytes for a module of {functions} functions");
        // A process may have 65,530.
        assert!(mappings <= 6, "{mappings} mappings");
    }
}
