//! What a run gives its guest of the world: arguments, environment, directories, sockets, clocks.
//!
//! Invariant: everything that the options ask for is there before the guest is; what cannot be had
//! ends the command and is named.

use crate::{
    args::{Dir, GuestArgs, Variable},
    error::{Context, Failure},
    warn,
};
use executor_snapshot::GivenDirectory;
use executor_wasi::{WasiCtxBuilder, WasiState};
use std::{env, ffi::OsStr, net::TcpListener, path::Path};

/// The arguments and the environment.
#[derive(Debug, Default)]
pub struct World {
    /// The arguments, `argv[0]` first.
    pub args: Vec<String>,
    /// The environment, each name once.
    pub env: Vec<(String, String)>,
    /// Whether the command line says what the arguments are.
    pub args_given: bool,
    /// Whether it says what is in the environment.
    pub env_given: bool,
}

impl World {
    /// The world that the options and the arguments after the target ask for. `argv[0]` is what the
    /// target is called, unless another is given.
    ///
    /// # Errors
    /// When a variable to be taken from this process is not there, or not UTF-8.
    pub fn of(options: &GuestArgs, target: &OsStr, rest: &[String]) -> Result<Self, Failure> {
        let name =
            || Path::new(target).file_name().unwrap_or(target).to_string_lossy().into_owned();
        let argv0 = options.argv0.clone().unwrap_or_else(name);
        let args = std::iter::once(argv0).chain(rest.iter().cloned()).collect();
        let args_given = options.argv0.is_some() || !rest.is_empty();
        let env_given = options.inherit_env || !options.env.is_empty();
        Ok(Self { args, env: environment(options)?, args_given, env_given })
    }

    /// What a guest that has read its arguments and environment goes on with, where the command line
    /// says nothing of them: what it has read.
    pub fn adopt(&self, state: &WasiState, builder: &mut WasiCtxBuilder) {
        if let (false, Some(args)) = (self.args_given, &state.args) {
            builder.args(args.clone());
        }
        if let (false, Some(env)) = (self.env_given, &state.env) {
            let variable = |text: &String| {
                text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            };
            builder.env(env.iter().filter_map(variable).collect());
        }
    }

    /// The guest's view of it. `kept` are directories that it is given as well, where the options
    /// give none of that name.
    ///
    /// # Errors
    /// When a directory cannot be opened, or an address not be listened at.
    pub fn wasi(
        &self,
        options: &GuestArgs,
        kept: &[GivenDirectory],
    ) -> Result<WasiCtxBuilder, Failure> {
        let mut builder = WasiCtxBuilder::new();
        builder.args(self.args.clone()).env(self.env.clone());
        let kept = kept.iter().map(|GivenDirectory { host, guest, read_only }| Dir {
            host: host.into(),
            guest: guest.clone(),
            read_only: *read_only,
        });
        let kept = kept.filter(|kept| options.dirs.iter().all(|dir| dir.guest != kept.guest));
        for Dir { host, guest, read_only } in options.dirs.iter().cloned().chain(kept) {
            match read_only {
                true => builder.preopen_read_only(host, guest),
                false => builder.preopen(host, guest),
            }
            .map_err(Failure::new)?;
        }
        for address in &options.listen {
            let listener = TcpListener::bind(address);
            builder.listener(listener.context(format_args!("cannot listen at {address}"))?);
        }
        if options.deterministic {
            builder.deterministic();
        }
        Ok(builder)
    }
}

/// The directories that options give, as a snapshot keeps them for later runs.
///
/// # Errors
/// When one has no absolute path, or one that is not UTF-8.
pub fn given_directories(options: &GuestArgs) -> Result<Vec<GivenDirectory>, Failure> {
    let given = |Dir { host, guest, read_only }: &Dir| {
        let path = host.canonicalize().context(host.display())?;
        let path = path.to_str().ok_or_else(|| {
            Failure::new(format_args!("{}: a snapshot keeps only paths in UTF-8", path.display()))
        })?;
        let (host, guest) = (path.to_owned(), guest.clone());
        Ok(GivenDirectory { host, guest, read_only: *read_only })
    };
    options.dirs.iter().map(given).collect()
}

/// The guest's environment. A later `--env` of a name is stronger than an earlier one, and any than
/// what is inherited.
fn environment(options: &GuestArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    if options.inherit_env {
        for (name, value) in env::vars_os() {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => variables.push((name.to_owned(), value.to_owned())),
                _ => warn(format_args!(
                    "--inherit-env leaves out `{}`, which is not UTF-8",
                    name.display()
                )),
            }
        }
    }
    for variable in &options.env {
        let (name, value) = match variable {
            Variable::Set(name, value) => (name.clone(), value.clone()),
            Variable::Inherited(name) => (name.clone(), inherited(name)?),
        };
        variables.retain(|(earlier, _)| *earlier != name);
        variables.push((name, value));
    }
    Ok(variables)
}

fn inherited(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|error| {
        let what = match error {
            env::VarError::NotPresent => "is not in this process's environment",
            env::VarError::NotUnicode(_) => "has a value that is not UTF-8",
        };
        Failure::usage(format_args!("--env {name}: {name} {what} (to set it: --env {name}=VALUE)"))
    })
}
