//! Differential test against Wasmtime: modules that wasm-smith generates, and modules of single
//! operators, run in both engines, and everything that can be seen of them must be the same.
//!
//! ```text
//! differential [--seed N] [--count N]    generates modules from the seeds N, N + 1, ...
//! differential --module FILE [--seed N]  runs one file, with arguments from the seed
//! ```
//!
//! A seed gives the module, the arguments of its calls and how it is compiled. Every exported
//! function is called several times; after each call the results or the trap, the calls of host
//! functions, all globals, tables and memories are compared, bit for bit. (wasm-smith makes NaNs
//! canonical; for single operators both engines' Cranelift is the same.) After half of the calls our
//! store goes through a snapshot file and is restored in a fresh engine, with the module compiled
//! again, while Wasmtime's goes on. Both engines have the same limits; where either exhausts its
//! stack the module is left, since the depth differs.
//!
//! Invariant: a module is on disk, under `target/differential`, while it runs, and is removed only
//! when the engines agreed on it, so a crash leaves what crashed. The program stops at the first
//! difference, with exit code 1.

mod generate;
mod operators;
mod ours;
mod shared;
mod theirs;

use executor_model::{
    CallError, ExternKind, FuncIndex, FuncRef, Hierarchy, InstanceId, Module, TrapCode, Val,
    ValType,
};
use ours::Ours;
use shared::{End, FUEL, HostLog};
use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};
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
    traps: u64,
    exceptions: u64,
    host_calls: u64,
    snapshots: u64,
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
    let theirs = theirs::engine();
    let mut agreed = |seed, wasm: &[u8], path: &Path| {
        let outcome = catch_unwind(AssertUnwindSafe(|| compare(seed, wasm, &theirs, &mut tally)));
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

/// Runs one module in both engines.
fn compare(
    seed: u64,
    wasm: &[u8],
    theirs: &wasmtime::Engine,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.modules += 1;
    let mut rng = generate::arguments(seed);
    let mut log = [HostLog::default(), HostLog::default()];
    let (module, ours) = Ours::new(wasm, rng.bool(), &log[0])?;
    let theirs = Theirs::new(theirs, wasm, &module, &log[1])?;
    let (mut ours, mut theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(a @ (End::Trap(_) | End::Exception)), Err(b)) if a == b => {
            tally.not_instantiated += 1;
            return Ok(());
        }
        (ours, theirs) => {
            let (ours, theirs) = (ours.map(drop), theirs.map(drop));
            return Err(format!("instantiation: ours {ours:?}, Wasmtime's {theirs:?}"));
        }
    };
    same_state(&module, &mut ours, &mut theirs, "instantiation")?;
    let calls = calls(&module);
    for (i, &(name, func)) in calls.iter().enumerate() {
        let after = i * 2 >= calls.len();
        if i == calls.len() / 2 {
            let kept;
            (ours, kept) = ours.through_a_snapshot(wasm, rng.bool())?;
            same_state(&module, &mut ours, &mut theirs, "the snapshot")?;
            tally.snapshots += u64::from(kept);
        }
        // Host values cannot be kept in a snapshot: they come after it.
        let params = module.info.func_type(func).params.iter();
        if !params.clone().all(has_value) {
            continue;
        }
        let params: Vec<_> =
            params.map(|ty| argument(&mut rng, *ty, &module, &mut ours, after)).collect();
        ours.refuel(FUEL);
        theirs.refuel(FUEL);
        let what = format!("call {i}, of {name:?} (function {func}) with {params:?}");
        let (a, b) = (ours.call(name, &params), theirs.call(name, &params));
        tally.calls += 1;
        tally.traps += u64::from(matches!(a, Err(End::Trap(_))));
        tally.exceptions += u64::from(a == Err(End::Exception));
        let exhausted = Err(End::Trap(TrapCode::StackOverflow));
        if a == exhausted || b == exhausted {
            tally.exhausted += 1;
            return Ok(());
        }
        if a != b {
            return Err(format!("{what}: ours {a:x?}, Wasmtime's {b:x?}"));
        }
        let [a, b] = log.each_mut().map(HostLog::take);
        tally.host_calls += a.len() as u64;
        if a != b {
            return Err(format!("{what} called the host: ours {a:x?}, Wasmtime's {b:x?}"));
        }
        same_state(&module, &mut ours, &mut theirs, &what)?;
    }
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

/// An argument, often one at a limit.
fn argument(
    rng: &mut fastrand::Rng,
    ty: ValType,
    module: &Module,
    ours: &mut Ours,
    host_values: bool,
) -> Val {
    match ty {
        ValType::FUNCREF => {
            let func = rng.u32(0..module.info.functions.len() as u32);
            Val::FuncRef(rng.bool().then(|| func_ref(module, func)))
        }
        ValType::EXTERNREF => {
            let given = host_values && rng.bool();
            Val::ExternRef(given.then(|| ours.new_extern()))
        }
        // The host makes no exceptions.
        ValType::EXNREF => Val::ExnRef(None),
        _ => generate::number(rng, ty),
    }
}

/// Whether the host has a value of a type.
fn has_value(ty: &ValType) -> bool {
    !matches!(ty, ValType::Ref(ty) if !ty.nullable && ty.heap.hierarchy() == Hierarchy::Exn)
}

/// Our reference to a function of the module's instance, the only one of its store.
fn func_ref(module: &Module, func: FuncIndex) -> FuncRef {
    FuncRef::new(InstanceId::from_position(0), module.info.functions[func as usize], func)
}

/// Compares all that is exported, which is everything.
fn same_state(
    module: &Module,
    ours: &mut Ours,
    theirs: &mut Theirs,
    when: &str,
) -> Result<(), String> {
    for export in &module.info.exports {
        let name = export.name.as_str();
        let differs = |what: String| Err(format!("after {when}: {what} of {name:?}"));
        match export.kind {
            ExternKind::Func | ExternKind::Tag => {}
            ExternKind::Global => {
                let (a, b) = (ours.global(export.index), theirs.global(name));
                if a != b {
                    return differs(format!("value {a:x?} against {b:x?}"));
                }
            }
            ExternKind::Table => {
                let (a, b) = (ours.table(export.index), theirs.table(name));
                if a.len() != b.len() {
                    return differs(format!("size {} against {}", a.len(), b.len()));
                }
                if let Some(i) = (0..a.len()).find(|&i| a[i] != b[i]) {
                    return differs(format!("element {i}, {:?} against {:?},", a[i], b[i]));
                }
            }
            ExternKind::Memory => {
                let (a, b) = (ours.memory(export.index), theirs.memory(name));
                if a.len() != b.len() {
                    return differs(format!("size {} against {}", a.len(), b.len()));
                }
                if a != b {
                    let at = (0..a.len()).find(|&i| a[i] != b[i]).unwrap_or_default();
                    return differs(format!("byte {at:#x}, {} against {},", a[at], b[at]));
                }
            }
        }
    }
    Ok(())
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
