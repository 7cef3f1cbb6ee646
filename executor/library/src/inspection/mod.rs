//! What there is to say of a snapshot.
//!
//! Invariant: nothing of the snapshot is run, and its file is enough: a module that is not at hand is said to be
//! so, and leaves what it declares untold. The names of fields are those of the JSON, and stay.

mod instances;

pub use instances::{
    InspectedElement, InspectedExtent, InspectedFrame, InspectedGlobal, InspectedInstance,
    InspectedMemory, InspectedRange, InspectedTable, InspectedValue,
};

use crate::{Error, Runtime, Snapshot, contents::Contents};
use executor_snapshot::{Defaults, GivenDirectory};
use executor_wasi::{DescriptorState, DirectoryState, Draw, FileState, Ledger, Target, WasiState};
use serde::Serialize;

/// What there is to say of a snapshot, also as JSON.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The identity of the snapshot.
    pub snapshot: String,
    /// Where it was opened.
    pub path: String,
    /// The length of its file.
    pub file_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix: u64,
    /// The release that made it.
    pub engine: String,
    /// What its making took, phase by phase; what came after it was written is not known.
    pub timeline: Vec<InspectedPhase>,
    /// The snapshots that it has pages of, which stay in their own files.
    pub bases: Vec<InspectedBase>,
    /// How it is meant to be called: `command`, `reactor` or `call`.
    pub kind: String,
    /// The number of the instance that calls go to.
    pub main: u32,
    /// The exports that were called to initialise it.
    pub init: Vec<String>,
    /// The exports that are called after each restore.
    pub after_restore: Vec<String>,
    /// What the initialisation observed of the world outside.
    pub observations: Vec<String>,
    /// What its maker was warned of.
    pub warnings: Vec<String>,
    /// The point that it was taken at, inside a call.
    pub at: Option<String>,
    /// How many frames that call has, the host function's included.
    pub frames: usize,
    /// Their bytes in the file.
    pub frame_bytes: u64,
    /// Where the call is.
    pub backtrace: String,
    /// Its frames, outermost first.
    pub stack: Vec<InspectedFrame>,
    /// What a run is given where it says nothing else.
    pub defaults: InspectedDefaults,
    /// The host's side of WASI, where it has one.
    pub wasi: Option<InspectedWasi>,
    /// The instances, in order of their numbers.
    pub instances: Vec<InspectedInstance>,
}

/// A phase of the making of a snapshot.
#[derive(Debug, Serialize)]
pub struct InspectedPhase {
    /// Which.
    pub phase: String,
    /// How long it took.
    pub seconds: f64,
}

/// A snapshot that another has pages of.
#[derive(Debug, Serialize)]
pub struct InspectedBase {
    /// Its identity.
    pub snapshot: String,
    /// What its file was called.
    pub file_name: Option<String>,
}

/// What a run is given where it says nothing else.
#[derive(Debug, Serialize)]
pub struct InspectedDefaults {
    /// The export that is called.
    pub invoke: Option<String>,
    /// Argument 0.
    pub arg0: Option<String>,
    /// The arguments after it.
    pub arguments: Option<Vec<String>>,
    /// The variables as `NAME=VALUE`; `NAME` where the value is that of the running process.
    pub environment: Vec<String>,
    /// Whether all of the running process's environment is given.
    pub inherit_environment: bool,
    /// The directories as `HOST::GUEST`, with `:ro` where nothing in them can be changed.
    pub directories: Vec<String>,
    /// Whether clocks and randomness are the same in every run.
    pub deterministic: bool,
    /// The most memory, in bytes.
    pub max_memory: Option<u64>,
    /// The most elements of a table.
    pub max_table: Option<u64>,
    /// The most bytes of objects.
    pub max_heap: Option<u64>,
    /// The size of the stack, in bytes.
    pub max_stack: Option<u64>,
    /// How much time a guest has, in seconds.
    pub timeout_seconds: Option<f64>,
}

/// The host's side of WASI.
#[derive(Debug, Serialize)]
pub struct InspectedWasi {
    /// The arguments that the initialisation read, if it did.
    pub arguments_read: Option<Vec<String>>,
    /// The environment that it read, if it did.
    pub environment_read: Option<Vec<String>>,
    /// The guest's paths of the directories that a run has to give.
    pub directories: Vec<String>,
    /// The files and directories that are open.
    pub open: Vec<InspectedOpen>,
    /// The guest's paths of the given directories that it closed.
    pub closed_directories: Vec<String>,
    /// What it last saw of the monotonic clock and of the clocks of processor time, of the process and the
    /// thread, in nanoseconds; 0 if it never looked.
    pub clocks: [u64; 3],
    /// How many listening sockets a run has to give.
    pub listeners: u32,
    /// What random bytes were drawn.
    pub entropy: Vec<InspectedDraw>,
    /// How many more draws there were than the ledger has room for.
    pub more_draws: u64,
}

/// An open file or directory.
#[derive(Debug, Serialize)]
pub struct InspectedOpen {
    /// The number of its descriptor.
    pub descriptor: u32,
    /// The guest's path of it.
    pub path: String,
    /// Of a file: where the next read or write is.
    pub offset: Option<u64>,
    /// Whether it is open for reading.
    pub readable: bool,
    /// Whether it is open for writing.
    pub writable: bool,
}

/// Random bytes that were drawn.
#[derive(Debug, Serialize)]
pub struct InspectedDraw {
    /// The number of the instance.
    pub instance: u32,
    /// Where in its memory.
    pub address: u32,
    /// How many bytes.
    pub bytes: u32,
    /// Whether they are in the snapshot as they were drawn.
    pub unchanged: bool,
    /// Whether every restore draws them anew.
    pub refilled: bool,
    /// The guest's functions at the draw, innermost first, one a line.
    pub backtrace: String,
}

/// How much an inspection tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Sizes and counts where there may be many: pages, elements of tables.
    Summary,
    /// Also which pages are not zero, and every element that is not null.
    Full,
}

impl Inspection {
    /// What there is to say of a snapshot. Its modules, or their code, are looked for in the runtime's store.
    ///
    /// # Errors
    /// When it cannot be read, or does not fit its modules.
    pub fn of(runtime: &Runtime, snapshot: &Snapshot, detail: Detail) -> Result<Self, Error> {
        let contents = Contents::of(runtime, snapshot)?;
        let names = &snapshot.file().manifest().instances;
        let instance = |position: usize| {
            InspectedInstance::of(&contents, position, names.get(position), detail)
        };
        let instances = (0..contents.instances.len()).map(instance).collect::<Result<_, _>>()?;
        Ok(Self { instances, stack: instances::frames(&contents), ..Self::facts(snapshot)? })
    }

    /// What there is to say of a snapshot without looking at its state.
    pub(crate) fn facts(snapshot: &Snapshot) -> Result<Self, Error> {
        let file = snapshot.file();
        let manifest = file.manifest();
        let wasi = manifest.wasi.as_deref().map(WasiState::decode).transpose()?;
        let wasi = wasi.map(InspectedWasi::of).transpose()?;
        Ok(Self {
            snapshot: file.id().to_string(),
            path: file.path().display().to_string(),
            file_bytes: file.file_len(),
            created_unix: manifest.created,
            engine: manifest.engine.clone(),
            timeline: manifest
                .timeline
                .iter()
                .map(|(phase, time)| InspectedPhase {
                    phase: phase.clone(),
                    seconds: time.as_secs_f64(),
                })
                .collect(),
            bases: file
                .bases()
                .iter()
                .map(|base| InspectedBase {
                    snapshot: base.id.to_string(),
                    file_name: base.file_name.clone(),
                })
                .collect(),
            kind: manifest.entry.to_string(),
            main: manifest.main,
            init: manifest.inits.clone(),
            after_restore: manifest.after_restore.clone(),
            observations: manifest.observations.clone(),
            warnings: manifest.warnings.clone(),
            at: manifest.at.clone(),
            frames: file.call().map_or(0, |call| call.frames.len()),
            frame_bytes: file.call_len(),
            backtrace: manifest.backtrace.clone(),
            defaults: InspectedDefaults::of(&manifest.defaults),
            wasi,
            stack: Vec::new(),
            instances: Vec::new(),
        })
    }
}

impl InspectedDefaults {
    fn of(defaults: &Defaults) -> Self {
        let directory = |GivenDirectory { host, guest, read_only }: &GivenDirectory| {
            format!("{host}::{guest}{}", if *read_only { ":ro" } else { "" })
        };
        let variable = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        Self {
            invoke: defaults.invoke.clone(),
            arg0: defaults.arg0.clone(),
            arguments: defaults.args.clone(),
            environment: defaults.env.iter().map(variable).collect(),
            inherit_environment: defaults.inherit_env,
            directories: defaults.directories.iter().map(directory).collect(),
            deterministic: defaults.deterministic,
            max_memory: defaults.max_memory,
            max_table: defaults.max_table,
            max_heap: defaults.max_heap,
            max_stack: defaults.max_stack,
            timeout_seconds: defaults.timeout.map(|limit| limit.as_secs_f64()),
        }
    }
}

impl InspectedWasi {
    fn of(state: WasiState) -> Result<Self, Error> {
        let Ledger { draws, more } = state.entropy()?;
        let draw = |draw: Draw| InspectedDraw {
            instance: draw.range.instance,
            address: draw.range.address,
            bytes: draw.range.len,
            unchanged: draw.intact,
            refilled: state.refill.contains(&draw.range),
            backtrace: draw.backtrace,
        };
        let entropy = draws.into_iter().map(draw).collect();
        let (mut directories, mut open) = (Vec::new(), Vec::new());
        for (descriptor, DescriptorState { target, .. }) in state.descriptors {
            let (path, offset, readable, writable) = match target {
                Target::Stream(_) | Target::Listener(_) => continue,
                Target::Preopen { guest, .. } => {
                    directories.push(guest);
                    continue;
                }
                Target::File(FileState { path, offset, readable, writable, .. }) => {
                    (path, Some(offset), readable, writable)
                }
                Target::Directory(DirectoryState { path, .. }) => (path, None, true, false),
            };
            let path = path.text();
            open.push(InspectedOpen { descriptor, path, offset, readable, writable });
        }
        Ok(Self {
            arguments_read: state.args,
            environment_read: state.env,
            directories,
            open,
            closed_directories: state.closed_preopens,
            clocks: state.clocks,
            listeners: state.listeners,
            entropy,
            more_draws: more,
        })
    }
}
