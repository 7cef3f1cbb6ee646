//! Differential test against Wasmtime: modules that wasm-smith generates, modules of single operators,
//! modules of functions that throw, catch, loop and call each other, and modules of functions that make objects run
//! in both engines, and everything that can be seen of them must be the same.
//!
//! ```text
//! differential [--seed N] [--count N]    generates modules from the seeds N, N + 1, ...
//! differential --module FILE [--seed N]  runs one file, with arguments from the seed
//! ```
//!
//! A seed gives the module, the arguments of its calls, how it is compiled, and whether an instance
//! stands between it and the host. Every exported function is called several times, in three stores:
//!
//! - Wasmtime's;
//! - ours, with usual code. After half of the calls it goes through a snapshot file and is restored in
//!   a fresh engine, with the modules compiled again;
//! - ours, whose code has frame maps. Calls of the host stand between the operators of most modules;
//!   before some of them a call is suspended, and goes on with continuations, in the same store or
//!   in one that is restored from a snapshot file.
//!
//! What is restored is a kept store that was used before, and reset. Each of our stores collects objects when it is
//! due, at every third allocation or at every one; Wasmtime's never does.
//!
//! After each call the results or the trap, the calls of host functions, all globals, tables and
//! memories are compared, bit for bit; objects by what they hold, some references deep. (wasm-smith makes NaNs
//! canonical; for single operators both engines' Cranelift is the same; the others make none.) Where either engine
//! exhausts its stack or its heap of objects the module is left, since these differ. Modules with the older
//! `try`, which Wasmtime does not compile, are run by ours alone.
//!
//! Invariant: a module is on disk, under `target/differential`, while it runs, and is removed only
//! when the engines agreed on it, so a crash leaves what crashed. The program stops at the first
//! difference, with exit code 1.

mod checkpoints;
mod codes;
mod generate;
mod objects;
mod operators;
mod ours;
mod relay;
mod runs;
mod seen;
mod shared;
mod structured;
mod suspended;
mod theirs;

use codes::{Codes, Kind};
use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{
    AnyRef, CallError, ExternKind, ExternRef, FuncIndex, HeapType, Hierarchy, Module, RefType, Val,
    ValType,
};
use ours::{Keep, Ours};
use runs::Runs;
use shared::{End, Given, HostLog};
use std::{
    env, fs,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
};
use suspended::Suspended;
use theirs::Theirs;

/// How many calls of one module at most.
const MAX_CALLS: usize = 160;
/// How often each function is called.
const ROUNDS: usize = 4;
/// Wasmtime runs on the thread's own stack.
const STACK: usize = 64 << 20;

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    modules: u64,
    not_instantiated: u64,
    exhausted: u64,
    calls: u64,
    /// Calls that returned objects.
    objects: u64,
    /// Collections in the stores that were there at the end.
    collections: u64,
    traps: u64,
    exceptions: u64,
    host_calls: u64,
    snapshots: u64,
    /// Modules that Wasmtime cannot run.
    ours_alone: u64,
    suspensions: u64,
    /// Suspended calls that went on in another store.
    through_files: u64,
    /// Suspended calls that a file could not keep.
    refused: u64,
    /// Calls that could not be suspended, since the state must stay where the code has no frame maps.
    not_suspended: u64,
}

/// The command line.
struct Args {
    seed: u64,
    count: u64,
    module: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = match parse(env::args().skip(1)) {
        Ok(args) => args,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    let runner = thread::Builder::new().stack_size(STACK).spawn(move || run(&args));
    match runner.expect("a thread").join() {
        Ok(true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { seed: 0, count: 1000, module: None };
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || value.parse().map_err(|e| format!("{option} {value}: {e}"));
        match option.as_str() {
            "--seed" => args.seed = number()?,
            "--count" => args.count = number()?,
            "--module" => args.module = Some(value.into()),
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(args)
}

/// Whether the engines agreed on everything.
fn run(args: &Args) -> bool {
    let mut tally = Tally::default();
    let compiler = NativeCompiler::new().expect("a processor that code can be compiled for");
    let engines = Engines { theirs: theirs::engine(), compiler: Arc::new(compiler) };
    let mut agreed = |seed, wasm: &[u8], path: &Path| {
        let outcome = catch_unwind(AssertUnwindSafe(|| compare(seed, wasm, &engines, &mut tally)));
        let outcome = outcome.unwrap_or_else(|_| Err("an engine panicked".to_owned()));
        if let Err(difference) = &outcome {
            println!("seed {seed}: {difference}\nthe module is {}", path.display());
        }
        outcome.is_ok()
    };
    if let Some(path) = &args.module {
        return agreed(args.seed, &fs::read(path).expect("the module"), path);
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/differential");
    fs::create_dir_all(&dir).expect("a directory for modules");
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let wasm = generate::module(seed);
        let path = dir.join(format!("{seed}.wasm"));
        fs::write(&path, &wasm).expect("a file for the module");
        if !agreed(seed, &wasm, &path) {
            return false;
        }
        fs::remove_file(&path).expect("the file just written");
    }
    println!("no difference: {tally:?}");
    true
}

/// The engines of all tests.
struct Engines {
    theirs: wasmtime::Engine,
    compiler: Arc<dyn Compiler>,
}

/// Runs one module in both engines.
fn compare(seed: u64, wasm: &[u8], engines: &Engines, tally: &mut Tally) -> Result<(), String> {
    tally.modules += 1;
    let mut rng = generate::arguments(seed);
    let relay = relay::module(&mut rng);
    let wasms: Vec<&[u8]> = relay.as_deref().into_iter().chain([wasm]).collect();
    let mut codes = Codes::new(&engines.compiler, &wasms)?;
    let log = [HostLog::default(), HostLog::default(), HostLog::default()];
    let kind = Kind { ensure_termination: rng.bool(), ..Kind::default() };
    let mut config = || ours::config(*rng.choice(&[0, 1, 3]).expect("some"));
    let configs = [config(), config()];
    let ours = Ours::new(&mut codes, kind, configs[0].clone(), &log[0])?;
    let suspended = Suspended::new(&mut codes, rng.fork(), configs[1].clone(), &log[1])?;
    let theirs = match checkpoints::has_legacy_try(wasm) {
        true => None,
        false => Some(Theirs::new(&engines.theirs, &codes.modules, ours.as_ref().ok(), &log[2])?),
    };
    tally.ours_alone += u64::from(theirs.is_none());
    let (ours, suspended, theirs) = match (ours, suspended, theirs.transpose()) {
        (Ok(ours), Ok(suspended), Ok(theirs)) => (ours, suspended, theirs),
        (Err(a @ (End::Trap(_) | End::Exception)), Err(b), c)
            if a == b && c.as_ref().err().is_none_or(|c| a == *c) && !matches!(c, Ok(Some(_))) =>
        {
            tally.not_instantiated += 1;
            return Ok(());
        }
        (a, b, c) => {
            let (a, b, c) = (a.map(drop), b.map(drop), c.map(drop));
            return Err(format!("instantiation: ours {a:?}, suspended {b:?}, Wasmtime's {c:?}"));
        }
    };
    let mut runs = Runs { codes, ours, suspended, theirs, log };
    runs.same_calls("instantiation", tally)?;
    runs.same_state("instantiation")?;
    let module = runs.codes.modules.last().expect("there is one").clone();
    let calls = calls(&module);
    let mut host_values = 0;
    for (i, &(name, func)) in calls.iter().enumerate() {
        let after = i * 2 >= calls.len();
        if i == calls.len() / 2 {
            let kind = Kind { ensure_termination: rng.bool(), ..kind };
            let kept = runs.ours.through_a_file(rng.bool(), || runs.codes.new_code(kind))?;
            runs.same_state("the snapshot")?;
            tally.snapshots += u64::from(kept);
        }
        // Host values cannot be kept in a snapshot: they come after it.
        let ty = module.info.func_type(func);
        let host_values = after.then_some(&mut host_values);
        let Some(params) = arguments(&mut rng, &ty.params, &mut runs, host_values) else {
            continue;
        };
        let keep = rng.bool().then(|| keep(&mut rng, &module, &ty.results)).flatten();
        let what = format!("call {i}, of {name:?} (function {func}) with {params:?}");
        if !runs.call(&what, (name, &params, keep), tally)? {
            tally.exhausted += 1;
            break;
        }
    }
    tally.collections +=
        runs.ours.store.collections().count + runs.suspended.ours.store.collections().count;
    Ok(())
}

/// The calls of a module, in order.
fn calls(module: &Module) -> Vec<(&str, FuncIndex)> {
    let exports = module.info.exports.iter();
    let functions = exports.filter(|e| e.kind == ExternKind::Func);
    let round: Vec<_> = functions.map(|e| (e.name.as_str(), e.index)).collect();
    let count = (round.len() * ROUNDS).min(MAX_CALLS.max(round.len()));
    round.iter().copied().cycle().take(count).collect()
}

/// Arguments, often at a limit; `None` where there is no value of a type. The host's values are numbered in
/// `host_values`, if there are any.
fn arguments(
    rng: &mut fastrand::Rng,
    types: &[ValType],
    runs: &mut Runs,
    mut host_values: Option<&mut u64>,
) -> Option<Vec<Given>> {
    let argument = |ty: &ValType| match *ty {
        ValType::Ref(ty) => {
            let held = held(rng, runs, ty);
            let made = made(rng, runs, ty, &mut host_values).map(Given::Val);
            if rng.bool() { held.or(made) } else { made.or(held) }
        }
        ty => Some(Given::Val(generate::number(rng, ty))),
    };
    types.iter().map(argument).collect()
}

/// A global of the module whose value is of a reference type.
fn held(rng: &mut fastrand::Rng, runs: &mut Runs, ty: RefType) -> Option<Given> {
    let at = runs.codes.modules.len() - 1;
    let globals = runs.codes.modules[at].info.globals.iter().zip(0..);
    let fits = |of: ValType| matches!(of, ValType::Ref(of) if of.heap == ty.heap);
    let globals = globals.filter(|(global, _)| fits(global.ty.value)).map(|(_, index)| index);
    let mut globals: Vec<u32> = globals.collect();
    if !ty.nullable {
        globals.retain(|index| !runs.ours.is_null(at, *index));
    }
    rng.choice(globals).map(Given::Global)
}

/// A value of a reference type that the host makes.
fn made(
    rng: &mut fastrand::Rng,
    runs: &Runs,
    ty: RefType,
    host_values: &mut Option<&mut u64>,
) -> Option<Val> {
    let (at, module) = (runs.codes.modules.len() - 1, runs.codes.modules.last()?);
    let null = ty.nullable.then(|| Val::default_of(ValType::Ref(ty)));
    let mut host_value = || {
        let last = host_values.as_mut()?;
        **last += 1;
        NonZeroU64::new(**last)
    };
    let value = match ty.heap {
        HeapType::Func | HeapType::ConcreteFunc(_) => {
            let is = |func: &FuncIndex| {
                let index = module.info.functions[*func as usize];
                ty.heap == HeapType::Func || ty.heap == HeapType::ConcreteFunc(index)
            };
            let all: Vec<u32> = (0..module.info.functions.len() as u32).filter(is).collect();
            let func = rng.choice(all);
            func.map(|func| Val::FuncRef(Some(runs.ours.func(at, func))))
        }
        HeapType::Extern => {
            host_value().map(|number| Val::ExternRef(Some(ExternRef::Host(number))))
        }
        HeapType::Any if rng.u8(..4) == 0 => {
            host_value().map(|number| Val::AnyRef(Some(AnyRef::Host(number))))
        }
        HeapType::Any | HeapType::Eq | HeapType::I31 => {
            Some(Val::AnyRef(Some(AnyRef::I31(rng.i32(..) >> rng.u32(1..31)))))
        }
        // The host makes no exceptions, and no objects.
        _ => None,
    };
    if rng.bool() { value.or(null) } else { null.or(value) }
}

/// A result that a global of the module can hold, and the global.
fn keep(rng: &mut fastrand::Rng, module: &Module, results: &[ValType]) -> Option<Keep> {
    let globals = module.info.globals.iter().zip(0..).filter(|(global, _)| global.ty.mutable);
    let fits = |result: ValType, global: ValType| match (result, global) {
        (ValType::Ref(result), ValType::Ref(global)) => {
            result.heap.hierarchy() == Hierarchy::Any
                && result.heap == global.heap
                && (global.nullable || !result.nullable)
        }
        _ => false,
    };
    let pairs = globals.flat_map(|(global, index)| {
        let results = results.iter().enumerate();
        let results = results.filter(move |(_, result)| fits(**result, global.ty.value));
        results.map(move |(result, _)| Keep { result, global: index })
    });
    rng.choice(pairs.collect::<Vec<_>>())
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Trap(trap) => Self::trap(trap.code),
            CallError::Exception(_) => Self::Exception,
            other => Self::Other(other.to_string()),
        }
    }
}
