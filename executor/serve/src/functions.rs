//! The functions that are served, and where.
//!
//! Invariant: a request that has found its function keeps it, with its version and settings as they were then. A route
//! has one function.

use crate::{
    admission::{Admission, All, Needs},
    config::Config,
    http,
    observe::Stats,
    wire::{self, Callee, Directory},
};
use executor::{
    EntryKind, Environment, Function, Runtime,
    settings::{Directory as Given, Protocol, Route, Settings},
};
use serde_bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, btree_map},
    sync::Arc,
    time::Duration,
};

/// How long a call may take where nothing is said.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most bytes of a body where nothing is said.
const BODY: u64 = 1 << 20;
/// The most bytes of output where nothing is said.
const OUTPUT: u64 = 64 << 20;

/// A function as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Arc<str>,
    /// The snapshot that its calls begin from.
    pub(crate) snapshot: [u8; 32],
    pub(crate) route: Route,
    pub(crate) protocol: Protocol,
    pub(crate) settings: Settings,
    /// What all its calls have in common, encoded for workers.
    callee: Vec<u8>,
    /// The variables that it has from the server's environment and from its settings. A worker has none itself.
    pub(crate) env: Environment,
    /// All directories that it is given, those that it was made with too.
    pub(crate) all_directories: Vec<Directory>,
    pub(crate) deadline: Duration,
    pub(crate) body: u64,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<Stats>,
}

/// Why a function is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotServed {
    #[error(transparent)]
    Open(#[from] executor::Error),
    #[error(
        "there is nothing to run: it is a reactor (deploy it with `--protocol export:NAME` to serve one of its exports)"
    )]
    NothingToRun,
    #[error("it is inside a call, so its protocol is stdio, and not {0}")]
    InsideCall(Protocol),
    #[error(
        "the memory of all calls is limited, so say how much a call of it may have at most: `memory` in [defaults] or in \
         [functions.NAME]"
    )]
    NoMemory,
    #[error(
        "a call of it may have {0} bytes of memory (`memory`), and all calls together only {1}"
    )]
    Memory(u64, u64),
    #[error(
        "the output of a call of it may take {0} bytes on its way, and that of all calls together only {1} (`output`)"
    )]
    Output(u64, u64),
    #[error("its arguments and directories: {0}")]
    Callee(std::io::Error),
    #[error("/{0} is no route: say one")]
    NoRoute(String),
}

impl Served {
    /// Reads what the store has of a function. `before` is what was served under its name so far.
    pub(crate) fn load(
        runtime: &Runtime,
        name: &str,
        config: &Config,
        all: &Arc<All>,
        before: Option<&Served>,
    ) -> Result<Self, NotServed> {
        let function = runtime.function(name)?;
        // They go with the name, for all its versions.
        let of = name.split('@').next().unwrap_or(name);
        let settings = config.settings(name, &runtime.settings(of)?);
        let protocol = protocol(&function, &settings)?;
        let route = match &settings.route {
            Some(route) => route.clone(),
            None => format!("/{name}").parse().map_err(|_| NotServed::NoRoute(name.to_owned()))?,
        };
        let of = |given: &Given| Directory {
            host: given.host.clone(),
            guest: given.guest.clone(),
            read_only: given.access == executor::DirAccess::ReadOnly,
        };
        let directories: Vec<Directory> = settings.dirs.iter().map(of).collect();
        let mut all_directories = directories.clone();
        all_directories.extend(function.directories().iter().map(of));
        let mut env = function.variables_of_process()?;
        for (name, value) in &settings.env {
            env.set(name, value).map_err(executor::Error::from)?;
        }
        let memory = settings.memory.map(|size| size.0).or(function.max_memory());
        let memory = match (all.memory(), memory) {
            (None, _) => 0,
            (Some(_), None) => return Err(NotServed::NoMemory),
            (Some(all), Some(bytes)) if !all.has(bytes) => {
                return Err(NotServed::Memory(bytes, all.limit()));
            }
            (Some(_), Some(bytes)) => bytes,
        };
        let output = settings.output.map_or(OUTPUT, |size| size.0);
        let on_its_way = output.min(http::most_on_its_way(config));
        if let Some(all) = all.output()
            && !all.has(on_its_way)
        {
            return Err(NotServed::Output(on_its_way, all.limit()));
        }
        let needs = Needs { memory, output: on_its_way };
        let admission = before.map(|before| &before.admission);
        let admission =
            admission.filter(|admission| admission.fits(&settings, all, needs)).cloned();
        let deadline = settings.deadline.map(|time| time.0).or(function.timeout());
        let callee = Callee {
            snapshot: function.snapshot().map(|snapshot| snapshot.id().0).unwrap_or_default(),
            entry: match &protocol {
                Protocol::Export(name) => wire::Entry::Export(name.clone()),
                Protocol::Cgi | Protocol::Stdio => wire::Entry::Run,
            },
            arg0: function.arg0().to_owned(),
            args: settings.args.clone(),
            directories,
            deadline: deadline.unwrap_or(DEADLINE),
            memory: settings.memory.map(|size| size.0),
            table: settings.table,
            output,
        };
        let mut encoded = Vec::new();
        wire::encode(&callee, &mut encoded).map_err(NotServed::Callee)?;
        Ok(Self {
            name: name.into(),
            snapshot: callee.snapshot,
            route,
            protocol,
            callee: encoded,
            env,
            all_directories,
            deadline: callee.deadline,
            body: settings.body.map_or(BODY, |size| size.0),
            admission: admission.unwrap_or_else(|| Arc::new(Admission::new(&settings, all, needs))),
            stats: before.map(|before| Arc::clone(&before.stats)).unwrap_or_default(),
            settings,
        })
    }

    /// A call of it; `sample` asks for the pages that it writes to.
    pub(crate) fn call<'a>(
        &'a self,
        env: &'a Environment,
        body: wire::Body<'a>,
        sample: bool,
    ) -> wire::Call<'a> {
        let callee = Bytes::new(&self.callee);
        wire::Call { number: 0, sample, callee, env: env.as_str(), body }
    }
}

/// The protocol of a function.
fn protocol(function: &Function, settings: &Settings) -> Result<Protocol, NotServed> {
    match (&settings.protocol, function.kind()) {
        (None, EntryKind::Command) => Ok(Protocol::Cgi),
        (None | Some(Protocol::Stdio), EntryKind::Call) => Ok(Protocol::Stdio),
        (Some(protocol), EntryKind::Call) => Err(NotServed::InsideCall(protocol.clone())),
        (Some(Protocol::Export(name)), _) => {
            function.function_type(name)?;
            Ok(Protocol::Export(name.clone()))
        }
        (Some(protocol), EntryKind::Command) => Ok(protocol.clone()),
        (_, EntryKind::Reactor) => Err(NotServed::NothingToRun),
    }
}

/// What is served where.
#[derive(Debug, Default)]
pub(crate) struct Table {
    functions: BTreeMap<Arc<str>, Arc<Served>>,
    routes: HashMap<Route, Arc<Served>>,
}

impl Table {
    /// The table of some functions, and of what is not served because another has its route.
    pub(crate) fn new(served: impl IntoIterator<Item = Arc<Served>>) -> (Self, Vec<String>) {
        let mut table = Self::default();
        let mut conflicts = Vec::new();
        for served in served {
            match table.routes.entry(served.route.clone()) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Arc::clone(&served));
                    table.functions.insert(Arc::clone(&served.name), served);
                }
                std::collections::hash_map::Entry::Occupied(other) => conflicts.push(format!(
                    "`{}` is not served: `{}` has its route {} already",
                    served.name,
                    other.get().name,
                    served.route
                )),
            }
        }
        (table, conflicts)
    }

    /// The function that a path belongs to, and what of the path lies below its route: of the longest route.
    pub(crate) fn find<'a>(&self, path: &'a str) -> Option<(&Arc<Served>, &'a str)> {
        let mut end = path.len();
        loop {
            let prefix = if end == 0 { "/" } else { &path[..end] };
            if let Some(served) = self.routes.get(prefix) {
                let below = served.route.below(path)?;
                return Some((served, below));
            }
            match end {
                0 => return None,
                _ => end = path[..end].rfind('/')?,
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Served>> {
        self.functions.get(name)
    }

    /// All functions, by name.
    pub(crate) fn iter(&self) -> btree_map::Values<'_, Arc<str>, Arc<Served>> {
        self.functions.values()
    }
}
