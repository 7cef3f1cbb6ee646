//! `executor compile`: fills the code cache.
//!
//! Invariant: afterwards a run of the module on this machine compiles nothing.

use crate::{
    args::CompileArgs, engine::Host, error::Failure, out, report::Phases, source::Source,
    store_dir, units,
};

/// Compiles the module, unless the cache has its code already.
///
/// # Errors
/// When the file is not a valid module, or the store cannot be used.
pub fn compile(args: &CompileArgs) -> Result<i32, Failure> {
    let catalogue = store_dir::open(&args.store)?;
    let source = Source::open(&args.file, Some(&catalogue))?;
    let mut host = Host::new(Some(catalogue), &args.code, false, Phases::begin())?;
    let module = host.code_of(&source)?;
    if host.catalogue.is_none() {
        return Err(Failure::new(format_args!(
            "{} is valid, but its code cannot be kept",
            args.file.display()
        )));
    }
    let code = module.code();
    let what = if host.code.outcome == Some("compiled") { "compiled" } else { "already compiled" };
    let (functions, len) = (code.function_count(), units::show_size(code.header().file_len));
    out(format_args!(
        "{}: {what}, {functions} functions, {len} of code, module {}\n",
        args.file.display(),
        module.hash()
    ))?;
    Ok(0)
}
