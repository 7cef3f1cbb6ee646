//! `executor compile`: fills the code cache.
//!
//! Invariant: afterwards a run of the modules and functions on this machine compiles nothing.

use crate::{
    args::CompileArgs,
    engine::{self, Talk},
    error::Failure,
    out,
    snapshot_cmd::named,
    units,
};
use executor::{Base, CodeOrigin, Runtime};
use std::ffi::OsStr;

/// Compiles modules, and what runs of stored functions need, unless the cache has the code already, undamaged.
///
/// # Errors
/// When a file is not a valid module, there is no such function, or the store cannot be used.
pub fn compile(args: &CompileArgs) -> Result<i32, Failure> {
    let runtime = engine::with_store(&args.store, &args.code, &Talk::default())?;
    args.targets.iter().try_for_each(|target| compile_one(&runtime, args, target))?;
    Ok(0)
}

fn compile_one(runtime: &Runtime, args: &CompileArgs, target: &OsStr) -> Result<(), Failure> {
    let function = match named(&args.store, target)? {
        Base::Module(module) => runtime.compile_checked(module)?,
        // Its code is found or made, that which goes on from a call too.
        Base::Function(name) => runtime.function(&name)?,
        Base::Snapshot(_) => {
            return Err(Failure::new(format_args!(
                "{} is not a WebAssembly module: it is a snapshot (to keep it in the store: executor snapshot create \
                 --name NAME {0})",
                target.display()
            )));
        }
    };
    if !runtime.has_store() {
        return Err(Failure::new(format_args!(
            "{} is valid, but its code cannot be kept",
            target.display()
        )));
    }
    let compiled = function.code().iter().any(|code| code.origin == CodeOrigin::Compiled);
    let what = if compiled { "compiled" } else { "already compiled" };
    let (functions, len) = (function.function_count(), units::show_size(function.code_len()));
    out(format_args!(
        "{}: {what}, {functions} functions, {len} of code, module {}\n",
        target.display(),
        function.module()
    ))
}
