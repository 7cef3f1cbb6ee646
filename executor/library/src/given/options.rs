//! What an instance is to be given, as it is said before the instance is made.
//!
//! Invariant: what is not said stays unsaid until [`GivenOptions::settle`], so that each thing that is said
//! overrides by itself what a function was made with.

use super::{Dir, DirAccess, Given, Stdin, Stdout};
use crate::{Cancellation, Error, Limits, event::Listener};
use executor_snapshot::{Defaults, GivenDirectory};
use executor_wasi::{Environment, WasiError};
use std::{
    env::{self, VarError},
    net::TcpListener,
    time::Duration,
};

/// What an instance is to be given.
#[derive(Debug, Default)]
pub(crate) struct GivenOptions {
    pub(crate) arg0: Option<String>,
    /// The arguments after it.
    pub(crate) args: Option<Vec<String>>,
    /// Variables that are laid out already.
    pub(crate) environment: Environment,
    /// Other variables, each name once; without a value, that of this process. They are stronger.
    pub(crate) env: Vec<(String, Option<String>)>,
    pub(crate) env_given: bool,
    pub(crate) inherit_env: bool,
    pub(crate) dirs: Vec<Dir>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) deterministic: bool,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stdout,
    pub(crate) max_memory: Option<u64>,
    pub(crate) max_table: Option<u64>,
    pub(crate) max_heap: Option<u64>,
    pub(crate) max_stack: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancellation: Option<Cancellation>,
}

impl GivenOptions {
    pub(crate) fn set_env(&mut self, name: String, value: Option<String>) {
        self.env_given = true;
        self.env.retain(|(earlier, _)| *earlier != name);
        self.env.push((name, value));
    }

    /// What an instance of a guest with this name is given: what is said here, and else what its function
    /// was made with, and else what `limits` says and nothing.
    ///
    /// # Errors
    /// When a variable is to have the value that it has in this process's environment, and has none there.
    pub(crate) fn settle(
        self,
        name: &str,
        defaults: &Defaults,
        limits: Limits,
        listener: &Listener,
    ) -> Result<Given, Error> {
        let args_given = self.arg0.is_some() || self.args.is_some();
        let env_given = self.env_given
            || defaults.inherit_env
            || defaults.env.iter().any(|(_, value)| value.is_none());
        let kept = defaults.env.iter().filter(|(name, _)| self.environment.get(name).is_none());
        let said = over(self.env, kept, |(name, _)| name);
        let inherit = self.inherit_env || defaults.inherit_env;
        let env = environment(self.environment, said, inherit, listener)?;
        let arg0 = self.arg0.as_ref().or(defaults.arg0.as_ref()).map_or(name, String::as_str);
        let rest = self.args.as_ref().or(defaults.args.as_ref());
        let args = [arg0.to_owned()].into_iter().chain(rest.into_iter().flatten().cloned());
        let kept: Vec<Dir> = defaults.directories.iter().map(Dir::from).collect();
        let stack = defaults.max_stack.and_then(|bytes| bytes.try_into().ok());
        Ok(Given {
            args: args.collect(),
            args_given,
            env,
            env_given,
            dirs: over(self.dirs, &kept, |dir| &dir.guest),
            listeners: self.listeners,
            deterministic: self.deterministic || defaults.deterministic,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            limits: Limits {
                memory: self.max_memory.or(defaults.max_memory).unwrap_or(limits.memory),
                table: self.max_table.or(defaults.max_table).unwrap_or(limits.table),
                heap: self.max_heap.or(defaults.max_heap).unwrap_or(limits.heap),
                stack: self.max_stack.or(stack).unwrap_or(limits.stack),
            },
            timeout: self.timeout.or(defaults.timeout),
            cancellation: self.cancellation,
            attribute: false,
        })
    }

    /// What a function keeps that is made with these options from one that was made with `base`.
    ///
    /// # Errors
    /// When a directory cannot be found, or has a name that is not UTF-8.
    pub(crate) fn defaults(&self, base: &Defaults) -> Result<Defaults, Error> {
        let directory = |Dir { host, guest, access }: &Dir| {
            let path = host.canonicalize().map_err(|source| WasiError::Preopen {
                host: host.clone(),
                guest: guest.clone(),
                source,
            })?;
            let name = path.to_str().map(str::to_owned);
            Ok(GivenDirectory {
                host: name.ok_or(Error::DirectoryName { path })?,
                guest: guest.clone(),
                read_only: *access == DirAccess::ReadOnly,
            })
        };
        let directories: Vec<_> = self.dirs.iter().map(directory).collect::<Result<_, Error>>()?;
        let laid_out = self.environment.iter();
        let laid_out = laid_out.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        let env = over(self.env.clone(), &laid_out.collect::<Vec<_>>(), |(name, _)| name);
        Ok(Defaults {
            invoke: base.invoke.clone(),
            arg0: self.arg0.clone().or_else(|| base.arg0.clone()),
            args: self.args.clone().or_else(|| base.args.clone()),
            env: over(env, &base.env, |(name, _)| name),
            inherit_env: self.inherit_env || base.inherit_env,
            directories: over(directories, &base.directories, |dir| &dir.guest),
            deterministic: self.deterministic || base.deterministic,
            max_memory: self.max_memory.or(base.max_memory),
            max_table: self.max_table.or(base.max_table),
            max_stack: self.max_stack.map(|bytes| bytes as u64).or(base.max_stack),
            timeout: self.timeout.or(base.timeout),
            max_heap: self.max_heap.or(base.max_heap),
        })
    }
}

impl From<&GivenDirectory> for Dir {
    fn from(GivenDirectory { host, guest, read_only }: &GivenDirectory) -> Self {
        let access = if *read_only { DirAccess::ReadOnly } else { DirAccess::ReadWrite };
        Self { host: host.into(), guest: guest.clone(), access }
    }
}

/// `items`, and those of `base` whose name none of `items` has.
fn over<'a, T: Clone + 'a>(
    mut items: Vec<T>,
    base: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    let said = items.len();
    for item in base {
        if items[..said].iter().all(|over| name(over) != name(item)) {
            items.push(item.clone());
        }
    }
    items
}

/// Variables that are laid out and others, which are stronger, and where asked for the rest of this process's
/// environment.
pub(crate) fn environment(
    laid_out: Environment,
    others: Vec<(String, Option<String>)>,
    inherit: bool,
    listener: &Listener,
) -> Result<Environment, Error> {
    let mut all = match inherit {
        false => laid_out,
        true => inherited(&laid_out, &others, listener)?,
    };
    for (name, value) in others {
        match value.map_or_else(|| env::var(&name), Ok) {
            Ok(value) => all.set(&name, &value)?,
            Err(error) => {
                return Err(Error::Variable { name, unset: error == VarError::NotPresent });
            }
        }
    }
    Ok(all)
}

/// This process's environment but for `others`, and then what is laid out.
fn inherited(
    laid_out: &Environment,
    others: &[(String, Option<String>)],
    listener: &Listener,
) -> Result<Environment, Error> {
    let (mut own, mut odd) = (Vec::new(), Vec::new());
    for (name, value) in env::vars_os() {
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) if others.iter().all(|(over, _)| over != name) => {
                own.push((name.to_owned(), value.to_owned()));
            }
            (Some(_), Some(_)) => {}
            _ => odd.push(format!("`{}`", name.display())),
        }
    }
    if !odd.is_empty() {
        listener.warn(format_args!(
            "variables of this process that are not UTF-8 are not given to the guest: {}",
            odd.join(", ")
        ));
    }
    let mut all = Environment::of(own)?;
    all.set_all(laid_out)?;
    Ok(all)
}

/// The methods by which a builder with a field `given` of [`GivenOptions`] is told what an instance is given.
macro_rules! given_methods {
    () => {
        /// Adds an argument; argument 0, the name of the program, is there already.
        pub fn arg(self, arg: impl Into<String>) -> Self {
            self.args([arg])
        }

        /// Adds arguments. They take the place of those that a function was made with, also where they
        /// are none.
        pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.given.args.get_or_insert_default().extend(args.into_iter().map(Into::into));
            self
        }

        /// Sets argument 0, the name of the program.
        pub fn arg0(mut self, name: impl Into<String>) -> Self {
            self.given.arg0 = Some(name.into());
            self
        }

        /// Sets a variable of the environment; an earlier one of that name is replaced.
        pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.given.set_env(name.into(), Some(value.into()));
            self
        }

        /// Sets a variable of the environment to its value in this process's environment, when the instance
        /// is made. A function that is made with one keeps its name only: its instances have
        /// the value of their own process.
        pub fn env_of_process(mut self, name: impl Into<String>) -> Self {
            self.given.set_env(name.into(), None);
            self
        }

        /// Gives this process's whole environment; variables that are set are stronger. What is not UTF-8
        /// is left out, with a warning.
        pub fn inherit_env(mut self) -> Self {
            self.given.inherit_env = true;
            self.given.env_given = true;
            self
        }

        /// Sets variables of the environment. A guest that has read its environment before its snapshot
        /// goes on with what it has read, unless variables are given, be they none.
        pub fn envs(
            mut self,
            variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
        ) -> Self {
            self.given.env_given = true;
            variables.into_iter().fold(self, |builder, (name, value)| builder.env(name, value))
        }

        /// Sets variables of the environment that are laid out already; those that are set one by one are stronger.
        pub fn environment(mut self, variables: $crate::Environment) -> Self {
            self.given.env_given = true;
            self.given.environment = variables;
            self
        }

        /// Gives a directory of the host, which the guest finds at `guest`.
        pub fn dir(
            mut self,
            host: impl Into<std::path::PathBuf>,
            guest: impl Into<String>,
            access: $crate::DirAccess,
        ) -> Self {
            let (host, guest) = (host.into(), guest.into());
            self.given.dirs.push($crate::given::Dir { host, guest, access });
            self
        }

        /// Gives a socket that listens, to accept connections from.
        pub fn listener(mut self, listener: std::net::TcpListener) -> Self {
            self.given.listeners.push(listener);
            self
        }

        /// Gives clocks and randomness that are the same each time, for tests.
        pub fn deterministic(mut self) -> Self {
            self.given.deterministic = true;
            self
        }

        /// Sets where standard input comes from.
        pub fn stdin(mut self, stdin: $crate::Stdin) -> Self {
            self.given.stdin = stdin;
            self
        }

        /// Sets where standard output goes.
        pub fn stdout(mut self, stdout: $crate::Stdout) -> Self {
            self.given.stdout = stdout;
            self
        }

        /// Sets where standard error goes.
        pub fn stderr(mut self, stderr: $crate::Stdout) -> Self {
            self.given.stderr = stderr;
            self
        }

        /// Gives the process's own three streams.
        pub fn inherit_stdio(mut self) -> Self {
            self.given.stdin = $crate::Stdin::Inherit;
            self.given.stdout = $crate::Stdout::Inherit;
            self.given.stderr = $crate::Stdout::Inherit;
            self
        }

        /// Sets all limits.
        pub fn limits(mut self, limits: $crate::Limits) -> Self {
            let $crate::Limits { memory, table, heap, stack } = limits;
            self.given.max_memory = Some(memory);
            self.given.max_table = Some(table);
            self.given.max_heap = Some(heap);
            self.given.max_stack = Some(stack);
            self
        }

        /// Sets [`Limits::memory`](crate::Limits::memory).
        pub fn max_memory(mut self, bytes: u64) -> Self {
            self.given.max_memory = Some(bytes);
            self
        }

        /// Sets [`Limits::table`](crate::Limits::table).
        pub fn max_table(mut self, elements: u64) -> Self {
            self.given.max_table = Some(elements);
            self
        }

        /// Sets [`Limits::heap`](crate::Limits::heap). A function does not keep it.
        pub fn max_heap(mut self, bytes: u64) -> Self {
            self.given.max_heap = Some(bytes);
            self
        }

        /// Sets [`Limits::stack`](crate::Limits::stack).
        pub fn max_stack(mut self, bytes: usize) -> Self {
            self.given.max_stack = Some(bytes);
            self
        }

        /// Sets how much time the guest has: its own, all calls and its initialisation together. When
        /// it is up, the call ends with [`Error::TimedOut`](crate::Error::TimedOut) and so does
        /// every later one.
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.given.timeout = Some(limit);
            self
        }

        /// Sets with what its calls are cancelled.
        pub fn cancellation(mut self, cancellation: &$crate::Cancellation) -> Self {
            self.given.cancellation = Some(cancellation.clone());
            self
        }
    };
}

pub(crate) use given_methods;
