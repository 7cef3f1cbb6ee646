//! Snapshots over another: what a restore of one costs, and that many share what they have in common.

use crate::{
    scene::{Scene, Trust},
    system_calls::count,
};
use executor_model::{InstanceId, Val};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A module whose start function writes to every page of `pages` of 64 KiB. `put` writes to one page.
fn guest(pages: u32) -> String {
    format!(
        r#"(module (memory {pages})
          (func $start (local i32)
            (loop (i64.store (local.get 0) (i64.const -2))
              (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4096)))
                (i32.const {bytes})))))
          (start $start)
          (func (export "put") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
          (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
          (func (export "get") (result i32) (i32.const 2)))"#,
        bytes = pages * 65536
    )
}

fn call(scene: &mut Scene, export: &str, params: &[i32]) {
    let func = scene.guest.store.exported_func(InstanceId::from_position(0), export).unwrap();
    let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
    scene.guest.store.call(func, &params).unwrap();
}

/// A scene with `s.snap`, which differs from its base in `changes` pages.
fn scene(pages: u32, changes: i32) -> Scene {
    let mut scene = Scene::new();
    scene.add("a", &guest(pages));
    scene.guest.write(&scene.path("base.snap"));
    for change in 0..changes {
        call(&mut scene, "put", &[change * 131_072, 7]);
    }
    scene.guest.write_over(&scene.path("s.snap"), &scene.path("base.snap"));
    scene
}

/// What 20 restores take.
fn calls(scene: &Scene) -> Option<BTreeMap<String, u32>> {
    let (once, often) = (count(scene, 1, &[])?, count(scene, 21, &[])?);
    let more = often.into_iter().map(|(name, n)| {
        let more = n.saturating_sub(once.get(&name).copied().unwrap_or_default());
        (name, more)
    });
    Some(more.filter(|(_, n)| *n > 0).collect())
}

#[test]
fn a_restore_over_a_base_costs_a_few_system_calls_more_whatever_the_size_of_the_state() {
    let (small, large) = (scene(4, 1), scene(1024, 1));
    let (Some(small), Some(of_large)) = (calls(&small), calls(&large)) else { return };
    assert_eq!(small, of_large, "the count grows with the state");
    large.guest.write(&large.path("s.snap"));
    let Some(flat) = calls(&large) else { return };
    let sum = |counts: &BTreeMap<String, u32>| counts.values().sum::<u32>() / 20;
    let of = |counts: &BTreeMap<String, u32>, name| counts.get(name).copied().unwrap_or(0) / 20;
    println!("flat: {flat:?}; layered: {of_large:?}");
    // One piece of its own and the rest of the base, which is looked for under two names, opened, checked, read
    // at its beginning and closed.
    assert_eq!(of(&of_large, "mmap"), of(&flat, "mmap") + 1);
    assert!(sum(&of_large) <= sum(&flat) + 9, "{of_large:?} and {flat:?}");
}

#[test]
fn a_kept_store_over_a_base_is_reset_without_system_calls() {
    let scene = scene(64, 8);
    let Some(few) = count(&scene, 2, &["kept"]) else { return };
    let Some(many) = count(&scene, 52, &["kept"]) else { return };
    assert_eq!(few, many, "50 more calls");
}

/// The files that this process has mapped: how many bytes of each, by inode.
fn mapped() -> BTreeMap<u64, u64> {
    let mut files = BTreeMap::new();
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        *files.entry(fields[4].parse().unwrap()).or_default() += number(end) - number(start);
    }
    files
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_hundred_over_one_base_have_their_own_pages_on_disk_and_map_the_rest_from_it() {
    const TENANTS: i32 = 100;
    const PAGES: u32 = 64;
    let mut scene = Scene::new();
    scene.add("a", &guest(PAGES));
    let base = scene.path("base.snap");
    scene.guest.write(&base);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let path = |i: i32| scene.dir.path().join(format!("{i}.snap"));
    let paths: Vec<_> = (0..TENANTS).map(path).collect();
    for (i, path) in paths.iter().enumerate() {
        // Another page and another value each.
        call(&mut scene, "put", &[i as i32 * 4096 + 8, 1000 + i as i32]);
        scene.guest.write_over(path, &base);
        call(&mut scene, "put", &[i as i32 * 4096 + 8, 0]);
        // The head and the state block, a page of its own, and the hash of a chunk.
        assert!(size(path) <= 5 * 4096 + 32, "{} bytes", size(path));
    }

    let mut tenants: Vec<_> = paths.iter().map(|path| scene.restore(path, Trust::Own)).collect();
    let mapped = mapped();
    let whole = u64::from(PAGES) * 65536;
    // Each maps all of the memory but its own page from the base.
    assert_eq!(mapped[&inode(&base)], TENANTS as u64 * (whole - 4096));
    let own: BTreeSet<u64> = paths.iter().map(|path| inode(path)).collect();
    assert!(own.iter().all(|inode| mapped[inode] <= 2 * 4096));
    for (i, tenant) in tenants.iter_mut().enumerate() {
        let load = tenant.store.exported_func(InstanceId::from_position(0), "load").unwrap();
        for (at, value) in [(i, 1000 + i as i32), ((i + 1) % TENANTS as usize, 0)] {
            let at = Val::I32(at as i32 * 4096 + 8);
            assert_eq!(tenant.store.call(load, &[at]).unwrap(), [Val::I32(value)]);
        }
    }
}
