//! What a run gives its guest of the world: arguments, environment, directories, sockets, clocks.
//!
//! Invariant: everything that the options ask for is there before the guest is; what cannot be had
//! ends the command and is named.

use crate::{
    args::{Dir, GuestArgs, Variable},
    error::{Context, Failure},
    timeout::Timeout,
    warn,
};
use executor_wasi::WasiCtxBuilder;
use std::{env, ffi::OsStr, net::TcpListener, path::Path};

/// The arguments and the environment.
#[derive(Debug)]
pub struct World {
    /// The arguments, `argv[0]` first.
    pub args: Vec<String>,
    /// The environment, each name once.
    pub env: Vec<(String, String)>,
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
        Ok(Self { args, env: environment(options)? })
    }

    /// The guest's view of it.
    ///
    /// # Errors
    /// When a directory cannot be opened, or an address not be listened at.
    pub fn wasi(&self, options: &GuestArgs, timeout: &Timeout) -> Result<WasiCtxBuilder, Failure> {
        let mut builder = WasiCtxBuilder::new();
        builder.args(self.args.clone()).env(self.env.clone());
        for Dir { host, guest, read_only } in &options.dirs {
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
        if let Some(canceller) = timeout.canceller() {
            builder.canceller(canceller);
        }
        Ok(builder)
    }
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
