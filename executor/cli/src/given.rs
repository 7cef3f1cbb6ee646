//! What the options give a guest, and how they have it initialised, told to the library's builders.
//!
//! Invariant: every option is told to every builder that has a use for it.

use crate::{
    args::{GuestArgs, Variable},
    error::{Context, Failure},
    warn,
};
use executor::Limits;
use std::{env, net::TcpListener};

/// What options give that has to be looked for.
pub struct Given<'a> {
    /// The options.
    pub options: &'a GuestArgs,
    /// The arguments after the target.
    pub args: &'a [String],
    /// The environment, where the options say anything of it.
    pub env: Option<Vec<(String, String)>>,
    /// The sockets.
    pub listeners: Vec<TcpListener>,
    /// The limits.
    pub limits: Limits,
}

impl<'a> Given<'a> {
    /// What options and arguments give.
    ///
    /// # Errors
    /// When a variable to be taken from this process is not there, an address cannot be listened at, or a
    /// limit is beyond what this machine can address.
    pub fn of(options: &'a GuestArgs, args: &'a [String]) -> Result<Self, Failure> {
        let listen = |address: &String| {
            TcpListener::bind(address).context(format_args!("cannot listen at {address}"))
        };
        let listeners = options.listen.iter().map(listen).collect::<Result<_, _>>()?;
        let mut limits = Limits::default();
        limits.memory = options.max_memory.unwrap_or(limits.memory);
        if let Some(max) = options.max_stack {
            limits.stack = usize::try_from(max)
                .map_err(|e| Failure::usage(format_args!("--max-stack: {e}")))?;
        }
        Ok(Self { options, args, env: environment(options)?, listeners, limits })
    }
}

/// Tells a builder of the library what a guest is given.
macro_rules! give {
    ($builder:expr, $given:expr) => {{
        let $crate::given::Given { options, args, env, listeners, limits } = $given;
        let mut builder = $builder.inherit_stdio().args(args).limits(limits);
        if let Some(name) = &options.argv0 {
            builder = builder.arg0(name);
        }
        if let Some(env) = env {
            builder = builder.envs(env);
        }
        for $crate::args::Dir { host, guest, access } in &options.dirs {
            builder = builder.dir(host, guest, *access);
        }
        for listener in listeners {
            builder = builder.listener(listener);
        }
        if options.deterministic {
            builder = builder.deterministic();
        }
        if let Some(limit) = options.timeout {
            builder = builder.timeout(limit);
        }
        builder
    }};
}

/// Tells a builder of the library how a guest is initialised, and what of it is captured.
macro_rules! plan {
    ($builder:expr, $guest:expr, $capture:expr, $invoke:expr, $args:expr) => {{
        let $crate::args::GuestArgs { init, preload, .. } = $guest;
        let $crate::args::CaptureArgs { strict, entropy, at } = $capture;
        let mut builder = $builder.entropy(entropy.clone());
        for export in init {
            builder = builder.init(export);
        }
        for $crate::args::Preload { name, file } in preload {
            builder = builder.preload(name, file.as_path());
        }
        if let Some(export) = $invoke {
            builder = builder.call_text(export, $args);
        }
        if let Some(point) = at {
            builder = builder.at(point.clone());
        }
        if *strict {
            builder = builder.strict();
        }
        builder
    }};
}

pub(crate) use {give, plan};

/// The guest's environment. A later `--env` of a name is stronger than an earlier one, and any than
/// what is inherited.
fn environment(options: &GuestArgs) -> Result<Option<Vec<(String, String)>>, Failure> {
    if !options.inherit_env && options.env.is_empty() {
        return Ok(None);
    }
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
        variables.push((name, value));
    }
    Ok(Some(variables))
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
