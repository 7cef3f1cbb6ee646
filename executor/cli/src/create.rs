//! `executor snapshot create`: a guest is initialised, or called up to a point, and kept.
//!
//! Invariant: nothing is written before the guest is where it is to be kept; a guest that does not get
//! there is an error that says what it did instead.

use crate::{
    args::CreateArgs,
    capture::{self, Place, Written},
    engine::Host,
    error::{EXIT_TRAP, Failure},
    guest::{self, Entry, Guest, Modules, Stop},
    out,
    record::Recorder,
    report::Phases,
    restore::{Trust, restore},
    source::{Sources, Target},
    store_dir,
    timeout::Timeout,
    units, warn,
    world::{self, World},
};
use executor_model::CallError;
use executor_runtime::Reached;
use executor_snapshot::{EntryKind, Hook, InstanceNames, SnapshotFile};
use executor_wasi::{CHECKPOINT, Point};
use std::path::Path;

/// A guest that can be kept.
struct Ready {
    guest: Guest,
    /// The names of its instances.
    names: Vec<InstanceNames>,
    /// What is called up to the point, if there is one.
    entry: Entry,
    /// The files of its modules, where they are not in the store already.
    sources: Option<Sources>,
    /// What it is kept with from the snapshot that it goes on from.
    base: Option<SnapshotFile>,
}

struct Create<'a> {
    args: &'a CreateArgs,
    rest: Vec<String>,
    world: World,
    timeout: Timeout,
    /// The engine that runs have.
    plain: Host,
    /// The engine that gets to a point, where there is one.
    mapped: Option<Host>,
}

/// Makes a snapshot.
///
/// # Errors
/// When there is none to make, or it cannot be written.
pub fn create(args: &CreateArgs) -> Result<i32, Failure> {
    let CreateArgs { output, name, guest: options, capture: captured, store, code, .. } = args;
    let (target, rest) = args.split()?;
    let target_name = target;
    let target = Target::classify(target)?;
    let catalogue = match name {
        None if output.is_none() => {
            return Err(Failure::usage(
                "say where the snapshot goes, before the module: --name NAME, -o FILE.snap or both",
            ));
        }
        // A file can be written without a store.
        None => store_dir::open_if_usable(store),
        Some(name) => {
            let catalogue = store_dir::open(store)?;
            catalogue.function(name).map_err(Failure::new)?;
            Some(catalogue)
        }
    };
    let mut plain = Host::new(catalogue.clone(), code, options.verbose, Phases::begin())?;
    let at = point(args, &target, &mut plain)?;
    let mapped = at.as_ref().map(|_| plain.with_frame_maps()).transpose()?;
    let world = World::of(options, target_name, &rest)?;
    let timeout = Timeout::new(options.timeout);
    let mut create = Create { args, rest, world, timeout, plain, mapped };
    let ready = match target {
        Target::Module(path) => create.fresh(path),
        Target::Function(name) => {
            let catalogue = catalogue.clone().map_or_else(|| store_dir::open(store), Ok)?;
            create.base(catalogue.open_function(name).map_err(Failure::new)?, Trust::Own)
        }
        Target::Snapshot(path) => {
            create.base(SnapshotFile::open(path).map_err(Failure::new)?, Trust::Nobody)
        }
    };
    let Create { mut timeout, world, mut plain, .. } = create;
    let Ready { mut guest, names, entry, sources, base } =
        ready.map_err(|stop| not_ready(stop, &timeout, "the initialisation"))?;
    if let Some(point) = &at {
        let reached = guest.call_until(&entry, point.clone(), &mut timeout);
        let what = format!("the call that was to reach {point}");
        match reached.map_err(|stop| not_ready(stop, &timeout, &what))? {
            Reached::Point => {}
            Reached::End(_) => {
                return Err(Failure::new(format_args!(
                    "the call returned before it reached {point}; there is nothing to capture"
                )));
            }
        }
    }

    guest.run_hook(Hook::BeforeSnapshot, &mut timeout)?;
    let observations = guest.take_observations();
    let mut inits = options.init.clone();
    if let Some(base) = &base {
        inits.splice(0..0, base.manifest().inits.iter().cloned());
    }
    let mut manifest =
        capture::manifest(&guest, names, &inits, captured, at.as_ref(), observations)?;
    manifest.directories = world::given_directories(options)?;
    if let Some(base) = &base {
        let given = &manifest.directories;
        let kept = base.manifest().directories.iter();
        let kept = kept.filter(|kept| given.iter().all(|dir| dir.guest != kept.guest));
        let kept: Vec<_> = kept.cloned().collect();
        manifest.directories.extend(kept);
    }
    let warnings = manifest.warnings.clone();

    let sources_at_hand = sources.as_ref();
    if let (true, Some(sources)) = (name.is_some() && at.is_some(), sources_at_hand) {
        // The code that every run needs, so that the first is as quick as the others.
        Modules::compile(&mut plain, sources)?;
    }
    let working_set = match &args.record {
        None => Vec::new(),
        Some(input) => {
            let recorder = Recorder { host: &mut plain, world: &world, options, sources_at_hand };
            recorder.record(&guest, manifest.clone(), input)?
        }
    };

    let adding = match (name, &catalogue) {
        (Some(_), Some(catalogue)) => Some(catalogue.add().map_err(Failure::new)?),
        _ => None,
    };
    let file = output.as_deref().map(Place::File);
    let stored = adding.as_ref().map(|adding| Place::Store(adding, sources.as_ref()));
    let places: Vec<Place<'_>> = file.into_iter().chain(stored).collect();
    let Written { id, len } = capture::write(&guest, manifest, &working_set, &places)?;
    if let (Some(name), Some(adding)) = (name, &adding) {
        adding.set_function(name, id).map_err(Failure::new)?;
    }
    drop(adding);
    if name.is_some() && at.is_some() {
        plain.continuations(&guest.store)?;
    }
    // The process ends soon: unmapping gigabytes piece by piece would only take time.
    std::mem::forget(guest);
    for warning in warnings {
        warn(warning);
    }
    out(format_args!("{id} {}\n", units::show_size(len)))?;
    Ok(0)
}

/// Where the snapshot is to be taken, if that is inside a call: where the command line says, or where a
/// command says that imports the checkpoint.
fn point(
    args: &CreateArgs,
    target: &Target<'_>,
    plain: &mut Host,
) -> Result<Option<Point>, Failure> {
    let (Target::Module(path), None) = (target, &args.capture.at) else {
        return Ok(args.capture.at.clone());
    };
    let sources = Sources::open(plain.catalogue.as_ref(), &[], path)?;
    let main = plain.code_of(&sources.main)?;
    let code = main.code();
    let mut imports = (0..code.counts().imported_functions).map(|func| code.import(func));
    let says = imports.any(|import| import == Some(CHECKPOINT));
    Ok((says && guest::kind(&main) == EntryKind::Command).then_some(Point::Checkpoint))
}

impl Create<'_> {
    /// What runs the guest.
    fn host(&mut self) -> &mut Host {
        self.mapped.as_mut().unwrap_or(&mut self.plain)
    }

    /// A guest of a module's file.
    fn fresh(&mut self, path: &Path) -> Result<Ready, Stop> {
        let options = &self.args.guest;
        let sources = Sources::open(self.plain.catalogue.as_ref(), &options.preload, path)?;
        let modules = Modules::compile(self.host(), &sources)?;
        modules.check_hooks()?;
        let entry = Entry::plan(&modules.main, self.args.invoke.as_deref(), &self.rest)?;
        let wasi = self.world.wasi(options, &[])?.build().map_err(Failure::new)?;
        let (engine, config) = (self.host().engine.clone(), guest::config(options)?);
        let timeout = &mut self.timeout;
        let guest = Guest::instantiate(&engine, &modules, &options.init, config, wasi, timeout)?;
        Ok(Ready { guest, names: modules.names(), entry, sources: Some(sources), base: None })
    }

    /// A guest that goes on from a snapshot.
    fn base(&mut self, file: SnapshotFile, trust: Trust) -> Result<Ready, Stop> {
        let options = &self.args.guest;
        if !options.preload.is_empty() {
            let why = "--preload: the instances of a snapshot are linked already";
            return Err(Failure::usage(why).into());
        }
        let kept = match trust {
            Trust::Own => &file.manifest().directories[..],
            Trust::Nobody => &[],
        };
        let wasi = self.world.wasi(options, kept)?;
        let host = self.mapped.as_mut().unwrap_or(&mut self.plain);
        let mut guest = restore(host, &self.world, options, &file, wasi, trust)?;
        guest.run_hook(Hook::AfterRestore, &mut self.timeout)?;
        let names = file.manifest().instances.clone();
        let module = guest.store.module(guest.main).ok_or_else(|| {
            Failure::new("the snapshot names a main instance that it does not have")
        })?;
        let entry = match guest.store.suspended() {
            None => Entry::plan(module, self.args.invoke.as_deref(), &self.rest)?,
            Some(_) if self.args.capture.at.is_none() => {
                let why = "the snapshot is inside a call: say with --at how far it goes on";
                return Err(Failure::usage(why).into());
            }
            Some(_) => Entry::Suspended(self.host().continuations(&guest.store)?),
        };
        guest.initialise(&options.init, &mut self.timeout)?;
        Ok(Ready { guest, names, entry, sources: None, base: Some(file) })
    }
}

/// Why there is nothing to make a snapshot of.
fn not_ready(stop: Stop, timeout: &Timeout, what: &str) -> Failure {
    match stop {
        Stop::Failure(failure) => failure,
        Stop::Ended(CallError::Exit(code)) => Failure::new(format_args!(
            "{what} ended by exiting with code {code}; there is no instance to capture"
        )),
        Stop::Ended(CallError::Trap(trap)) => {
            let time = timeout.passed().map(|line| line + ": ").unwrap_or_default();
            Failure { message: format!("{what}: {time}{trap}"), code: EXIT_TRAP }
        }
        Stop::Ended(error @ CallError::Exception(_)) => {
            Failure { message: format!("{what}: {error}"), code: EXIT_TRAP }
        }
        Stop::Ended(error) => Failure::new(format_args!("{what}: {error}")),
    }
}
