//! `executor compile`: fills the code cache.
//!
//! Invariant: afterwards a run of the module on this machine compiles nothing.

use crate::{
    args::CompileArgs,
    engine::{self, Talk},
    error::Failure,
    out, target, units,
};
use executor::CodeOrigin;

/// Compiles the module, unless the cache has its code already, undamaged.
///
/// # Errors
/// When the file is not a valid module, or the store cannot be used.
pub fn compile(args: &CompileArgs) -> Result<i32, Failure> {
    let runtime = engine::with_store(&args.store, &args.code, &Talk::default())?;
    let function = runtime.compile_checked(target::module(&args.file)?)?;
    if !runtime.has_store() {
        return Err(Failure::new(format_args!(
            "{} is valid, but its code cannot be kept",
            args.file.display()
        )));
    }
    let compiled = function.code().iter().any(|code| code.origin == CodeOrigin::Compiled);
    let what = if compiled { "compiled" } else { "already compiled" };
    let (functions, len) = (function.function_count(), units::show_size(function.code_len()));
    out(format_args!(
        "{}: {what}, {functions} functions, {len} of code, module {}\n",
        args.file.display(),
        function.module()
    ))?;
    Ok(0)
}
