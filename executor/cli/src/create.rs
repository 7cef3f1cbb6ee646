//! `executor snapshot create`: a guest is initialised, or called up to a point, and kept.

use crate::{
    args::{CreateArgs, HowArgs},
    engine::{self, Talk},
    error::{Context, Failure},
    given::{Given, give, plan},
    out,
    outputs::{Named, refuse_inputs},
    target::{self, inputs},
    units, warn,
};
use executor::{Base, Created, Creation};
use std::{ffi::OsStr, path::Path};

/// Makes a snapshot.
///
/// # Errors
/// When there is none to make, or it cannot be written.
pub fn create(args: &CreateArgs) -> Result<i32, Failure> {
    let CreateArgs { output, name, how, .. } = args;
    if name.is_none() && output.is_none() {
        return Err(Failure::usage(
            "say where the snapshot goes, before the module: --name NAME, -o FILE.snap or both",
        ));
    }
    let target_and_args = args.split()?;
    let creation = creation(output.as_deref(), name.as_deref(), how, target_and_args)?;
    let Created { id, len, warnings } = creation.save()?;
    warnings.iter().for_each(warn);
    out(format_args!("{id} {}\n", units::show_size(len)))?;
    Ok(0)
}

/// What the options say of how an instance is made and where its snapshot goes.
///
/// # Errors
/// When something of it cannot be had.
pub fn creation(
    output: Option<&Path>,
    name: Option<&str>,
    how: &HowArgs,
    (target, rest): (&OsStr, Vec<String>),
) -> Result<Creation, Failure> {
    let HowArgs { base: over, invoke, record, guest, capture, store, code } = how;
    let base = target::named(target, |name| engine::has_function(store, name))?;
    let over = over.as_ref().map(|word| {
        let found = target::named(word, |name| engine::has_function(store, name))?;
        Ok::<_, Failure>((word, found))
    });
    let over = over.transpose()?;
    let talk = Talk { verbose: guest.verbose, report: None };
    if let Some(path) = output {
        let output = Named { option: Some("--output"), path };
        let record = record.iter().map(|path| Named { option: Some("--record"), path });
        let over = over.iter().filter(|(_, found)| !matches!(found, Base::Function(_)));
        let over = over.map(|(word, _)| Named { option: Some("--base"), path: Path::new(word) });
        refuse_inputs(output, inputs(&base, target, guest).chain(record).chain(over))?;
    }
    let runtime = match name {
        // A file can be written without a store.
        None => engine::with_store_if_usable(store, code, &talk)?,
        Some(_) => engine::with_store(store, code, &talk)?,
    };
    let creation = match name {
        Some(name) => runtime.create(name, base),
        None => runtime.snapshot(base),
    };
    let given = Given::of(guest, &rest)?;
    let creation = plan!(creation, guest, capture, invoke, rest.iter());
    let mut creation = give!(creation, given);
    if let Some(path) = output {
        creation = creation.output(path);
    }
    if let Some(path) = record {
        let what = format_args!("--record {}", path.display());
        creation = creation.record(std::fs::read(path).context(what)?);
    }
    if let Some((_, over)) = over {
        creation = creation.over(over);
    }
    Ok(creation)
}
