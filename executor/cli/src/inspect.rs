//! What `executor snapshot inspect` shows of a snapshot, as text and as JSON.
//!
//! Invariant: all of it is read from the file's records and manifest; neither the module nor its code
//! is needed, and no state is read.

use crate::{capture, error::Failure, units};
use executor_snapshot::{GivenDirectory, SnapshotFile};
use executor_wasi::{DescriptorState, DirectoryState, Draw, FileState, Ledger, Target, WasiState};
use serde::Serialize;

/// What `inspect` shows.
#[derive(Debug, Serialize)]
pub struct Inspection<'a> {
    snapshot: String,
    path: String,
    file_bytes: u64,
    created_unix: u64,
    engine: &'a str,
    kind: String,
    main: u32,
    init: &'a [String],
    observations: &'a [String],
    warnings: &'a [String],
    /// The point that it was taken at, inside a call.
    at: Option<&'a str>,
    /// How many frames that call has, the host function's included.
    frames: usize,
    /// Their bytes in the file.
    frame_bytes: u64,
    /// Where the call is.
    backtrace: &'a str,
    /// The directories that a run is given where it gives none of that name.
    directories: Vec<String>,
    wasi: Option<InspectedWasi>,
    instances: Vec<InspectedInstance<'a>>,
}

/// The host's side of WASI.
#[derive(Debug, Serialize)]
struct InspectedWasi {
    /// The arguments that the initialisation read, if it did.
    arguments_read: Option<Vec<String>>,
    /// The environment that it read, if it did.
    environment_read: Option<Vec<String>>,
    /// The guest's paths of the directories that a run has to give.
    directories: Vec<String>,
    /// The files and directories that are open.
    open: Vec<InspectedOpen>,
    /// How many listening sockets a run has to give.
    listeners: u32,
    /// What random bytes were drawn.
    entropy: Vec<InspectedDraw>,
    /// How many more draws there were than the ledger has room for.
    more_draws: u64,
}

/// An open file or directory.
#[derive(Debug, Serialize)]
struct InspectedOpen {
    descriptor: u32,
    path: String,
    /// Of a file: where the next read or write is.
    offset: Option<u64>,
    readable: bool,
    writable: bool,
}

/// Random bytes that were drawn.
#[derive(Debug, Serialize)]
struct InspectedDraw {
    instance: u32,
    address: u32,
    bytes: u32,
    /// Whether they are in the snapshot as they were drawn.
    unchanged: bool,
    /// Whether every restore draws them anew.
    refilled: bool,
    backtrace: String,
}

/// One instance.
#[derive(Debug, Serialize)]
struct InspectedInstance<'a> {
    id: usize,
    module: String,
    module_name: Option<&'a str>,
    registered_as: Option<&'a str>,
    instantiated: bool,
    memories: Vec<InspectedArea>,
    tables: Vec<InspectedArea>,
}

/// A memory or a table: its size, and how much of it the file holds.
#[derive(Debug, Serialize)]
struct InspectedArea {
    bytes: u64,
    stored_bytes: u64,
}

impl<'a> Inspection<'a> {
    /// What there is to say of a snapshot.
    ///
    /// # Errors
    /// When its WASI state cannot be read.
    pub fn of(file: &'a SnapshotFile) -> Result<Self, Failure> {
        let manifest = file.manifest();
        let wasi = capture::wasi_state(manifest)?.map(InspectedWasi::of).transpose()?;
        let areas = |areas: &[executor_snapshot::format::Area]| -> Vec<InspectedArea> {
            let stored =
                |a: &executor_snapshot::format::Area| a.extents.iter().map(|e| e.len).sum();
            areas.iter().map(|a| InspectedArea { bytes: a.len, stored_bytes: stored(a) }).collect()
        };
        let directory = |GivenDirectory { host, guest, read_only }: &GivenDirectory| {
            format!("{host}::{guest}{}", if *read_only { ":ro" } else { "" })
        };
        let instance = |(i, instance): (usize, &executor_snapshot::format::Instance)| {
            let names = manifest.instances.get(i);
            InspectedInstance {
                id: i + 1,
                module: instance.module.to_string(),
                module_name: names.and_then(|n| n.module.as_deref()),
                registered_as: names.and_then(|n| n.registered.as_deref()),
                instantiated: instance.instantiated,
                memories: areas(&instance.memories),
                tables: areas(&instance.tables),
            }
        };
        Ok(Self {
            snapshot: file.id().to_string(),
            path: file.path().display().to_string(),
            file_bytes: file.file_len(),
            created_unix: manifest.created,
            engine: &manifest.engine,
            kind: manifest.entry.to_string(),
            main: manifest.main,
            init: &manifest.inits,
            observations: &manifest.observations,
            warnings: &manifest.warnings,
            at: manifest.at.as_deref(),
            frames: file.call().map_or(0, |call| call.frames.len()),
            frame_bytes: file.call_len(),
            backtrace: &manifest.backtrace,
            directories: manifest.directories.iter().map(directory).collect(),
            wasi,
            instances: file.instances().iter().enumerate().map(instance).collect(),
        })
    }

    /// It as lines for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "snapshot     {}\nfile         {} ({})\ncreated      {} by {}\nkind         {}\n\
             main         instance {}\ninit         {}\nobservations {}\nwarnings     {}\n",
            self.snapshot,
            self.path,
            units::show_size(self.file_bytes),
            units::show_time(self.created_unix),
            self.engine,
            self.kind.clone() + &self.at.map(|at| format!(", before {at}")).unwrap_or_default(),
            self.main,
            list(self.init),
            list(self.observations),
            list(self.warnings),
        );
        text += &format!("given        {}\n", list(&self.directories));
        if let Some(wasi) = &self.wasi {
            text += &wasi.text();
        }
        if self.frames > 0 {
            let size = units::show_size(self.frame_bytes);
            text += &format!("call         {} frames ({size})\n{}\n", self.frames, self.backtrace);
        }
        for instance in &self.instances {
            let name = instance.module_name.map(|n| format!(" ({n})")).unwrap_or_default();
            let registered =
                instance.registered_as.map(|n| format!(", imported as `{n}`")).unwrap_or_default();
            let failed = if instance.instantiated { "" } else { ", not instantiated" };
            text += &format!(
                "instance {:<3} module {}{name}{registered}{failed}\n",
                instance.id, instance.module
            );
            for (what, areas) in [("memory", &instance.memories), ("table", &instance.tables)] {
                for (i, InspectedArea { bytes, stored_bytes }) in areas.iter().enumerate() {
                    let (bytes, stored) =
                        (units::show_size(*bytes), units::show_size(*stored_bytes));
                    text += &format!("  {what} {i}: {bytes}, of which {stored} in the file\n");
                }
            }
        }
        text
    }
}

/// Items as one line.
fn list(items: &[String]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.join("; "),
    }
}

impl InspectedWasi {
    fn of(state: WasiState) -> Result<Self, Failure> {
        let Ledger { draws, more } = state.entropy().map_err(Failure::new)?;
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
            let path = path.to_string();
            open.push(InspectedOpen { descriptor, path, offset, readable, writable });
        }
        Ok(Self {
            arguments_read: state.args,
            environment_read: state.env,
            directories,
            open,
            listeners: state.listeners,
            entropy,
            more_draws: more,
        })
    }

    fn text(&self) -> String {
        let read = |items: &Option<Vec<String>>| match items {
            None => "not read".to_owned(),
            Some(items) => format!("read: {}", list(items)),
        };
        let open =
            |InspectedOpen { descriptor, path, offset, readable, writable }: &InspectedOpen| {
                let offset = offset.map(|at| format!(" at {at}")).unwrap_or_default();
                let access = match (readable, writable) {
                    (true, true) => "reading and writing",
                    (_, true) => "writing",
                    _ => "reading",
                };
                format!("`{path}`{offset} for {access} (descriptor {descriptor})")
            };
        let mut text = format!(
            "arguments    {}\nenvironment  {}\ndirectories  {}\nopen         {}\nlisteners    {}\n",
            read(&self.arguments_read),
            read(&self.environment_read),
            list(&self.directories),
            list(&self.open.iter().map(open).collect::<Vec<_>>()),
            self.listeners,
        );
        let draws = self.entropy.len() as u64 + self.more_draws;
        text += &match draws {
            0 => "entropy      none drawn\n".to_owned(),
            1 => "entropy      drawn once\n".to_owned(),
            n => format!("entropy      drawn {n} times\n"),
        };
        for draw in &self.entropy {
            let fate = match (draw.refilled, draw.unchanged) {
                (true, _) => "drawn anew at each restore",
                (_, true) => "unchanged, the same in every restore",
                _ => "no longer there as they were drawn",
            };
            text += &format!(
                "  {} bytes at {:#x} of instance {}, {fate}\n{}\n",
                draw.bytes, draw.address, draw.instance, draw.backtrace
            );
        }
        if self.more_draws > 0 {
            text += &format!("  and {} more times, which were not noted\n", self.more_draws);
        }
        text
    }
}
