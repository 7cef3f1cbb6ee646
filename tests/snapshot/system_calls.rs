//! Restoring takes a fixed number of system calls, whatever the size of code and state.

use crate::{process::Finish, scene::Scene};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// A module of so many functions, all in its table, whose start function writes to every 4 KiB of
/// so many pages of 64 KiB.
pub fn sized(functions: u32, pages: u32) -> String {
    let mut text = format!(
        "(module (memory {pages}) (table {functions} funcref)
           (global $n (mut i32) (i32.const 0))
           (func $start (local i32)
             (loop (i64.store (local.get 0) (i64.const -2))
               (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4096)))
                 (i32.mul (memory.size) (i32.const 65536)))))
             (global.set $n (i32.const 3)))
           (start $start)
           (func (export \"get\") (result i32)
             (i32.add (i32.load (i32.const 4096)) (call_indirect (result i32) (i32.const 1))))\n"
    );
    let mut elements = String::new();
    for i in 0..functions {
        let body = format!("(result i32) (i32.add (global.get $n) (i32.const {i}))");
        writeln!(text, "(func $f{i} {body})").unwrap();
        write!(elements, " $f{i}").unwrap();
    }
    format!("{text}(elem (i32.const 0) func {elements}))")
}

/// Restores the scene's snapshot until every code file is known to be right: one that has just been written is
/// read whole, by each process anew.
fn settle(scene: &Scene) {
    let ending = |end: &str| {
        let names = fs::read_dir(scene.path("code/code")).unwrap().map(|e| e.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == end)).count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while ending("checked") < ending("elf") {
        assert!(Instant::now() < deadline, "code files stay unchecked");
        let mut restorer = Command::new(env!("CARGO_BIN_EXE_restorer"));
        restorer.arg(scene.path("code")).arg(scene.path("s.snap")).arg("1");
        assert!(restorer.finish().status.success());
    }
}

/// How often each system call is made by a process that restores the scene's snapshot so many
/// times, in the way that `how` says; `None`, with the reason printed, where strace cannot trace.
pub fn count(scene: &Scene, times: u32, how: &[&str]) -> Option<BTreeMap<String, u32>> {
    settle(scene);
    let log = scene.path("strace.log");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log).arg(env!("CARGO_BIN_EXE_restorer"));
    strace.arg(scene.path("code")).arg(scene.path("s.snap")).arg(times.to_string()).args(how);
    let output = match strace.output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: strace cannot be run: {e}");
            return None;
        }
    };
    let log = fs::read_to_string(log).unwrap_or_default();
    if !log.contains("execve(") {
        println!("skipped: strace cannot trace: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[I32(2)]\n", "{output:?}");
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        // `PID name(arguments) = result`; the ends of signals and of the process are no calls.
        let call = line.split_once(' ').map_or(line, |(_pid, call)| call).trim_start();
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some(counts)
}

#[test]
fn a_restore_makes_as_many_system_calls_for_a_large_store_as_for_a_small_one() {
    const TIMES: u32 = 20;
    let mut per_restore = Vec::new();
    // 4 functions and 64 KiB; 10,000 functions and 64 MiB.
    for (functions, pages) in [(4, 1), (10_000, 1024)] {
        let mut scene = Scene::new();
        scene.add("a", &sized(functions, pages));
        scene.guest.write(&scene.path("s.snap"));
        let Some(once) = count(&scene, 1, &[]) else { return };
        let Some(often) = count(&scene, 1 + TIMES, &[]) else { return };
        let more = often.into_iter().map(|(name, n)| {
            let more = n.saturating_sub(once.get(&name).copied().unwrap_or_default());
            (name, more)
        });
        per_restore.push((more.filter(|(_, n)| *n > 0).collect::<BTreeMap<_, _>>(), once));
    }
    let [(small, small_once), (large, large_once)] = &per_restore[..] else { unreachable!() };
    let calls = |counts: &BTreeMap<String, u32>| counts.values().sum::<u32>();
    println!("{} in a process of one restore: {small_once:?}", calls(small_once));
    println!("{} in {TIMES} more: {small:?}", calls(small));
    assert_eq!(small, large, "the count of {TIMES} restores grows with the store");
    assert_eq!(small_once, large_once, "the count of a first restore grows with the store");
    assert!(calls(small) < 30 * TIMES, "{small:?}");
}
