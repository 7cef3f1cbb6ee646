//! What the options give a guest, and how they have it initialised, told to the library's builders.
//!
//! Invariant: every option is told to every builder that has a use for it.

use crate::{
    args::GuestArgs,
    error::{Context, Failure},
};
use std::net::TcpListener;

/// What options give that has to be looked for.
pub struct Given<'a> {
    /// The options.
    pub options: &'a GuestArgs,
    /// The arguments after the target.
    pub args: &'a [String],
    /// The sockets.
    pub listeners: Vec<TcpListener>,
    /// The size of the stack.
    pub max_stack: Option<usize>,
}

impl<'a> Given<'a> {
    /// What options and arguments give.
    ///
    /// # Errors
    /// When an address cannot be listened at, or a limit is beyond what this machine can address.
    pub fn of(options: &'a GuestArgs, args: &'a [String]) -> Result<Self, Failure> {
        let listen = |address: &String| {
            TcpListener::bind(address).context(format_args!("cannot listen at {address}"))
        };
        let listeners = options.listen.iter().map(listen).collect::<Result<_, _>>()?;
        let max_stack = options.max_stack.map(usize::try_from).transpose();
        let max_stack = max_stack.map_err(|e| Failure::usage(format_args!("--max-stack: {e}")))?;
        Ok(Self { options, args, listeners, max_stack })
    }
}

/// Tells a builder of the library what a guest is given. What is not said is not told, so that a stored
/// function's own defaults hold.
macro_rules! give {
    ($builder:expr, $given:expr) => {{
        let $crate::given::Given { options, args, listeners, max_stack } = $given;
        let mut builder = $builder.inherit_stdio();
        if !args.is_empty() {
            builder = builder.args(args);
        }
        if let Some(name) = &options.argv0 {
            builder = builder.arg0(name);
        }
        if options.inherit_env {
            builder = builder.inherit_env();
        }
        for variable in &options.env {
            builder = match variable {
                $crate::args::Variable::Set(name, value) => builder.env(name, value),
                $crate::args::Variable::Inherited(name) => builder.env_of_process(name),
            };
        }
        for executor::settings::Directory { host, guest, access } in &options.dirs {
            builder = builder.dir(host, guest, *access);
        }
        for listener in listeners {
            builder = builder.listener(listener);
        }
        if options.deterministic {
            builder = builder.deterministic();
        }
        if let Some(bytes) = options.max_memory {
            builder = builder.max_memory(bytes);
        }
        if let Some(bytes) = options.max_gc_heap {
            builder = builder.max_heap(bytes);
        }
        if let Some(bytes) = max_stack {
            builder = builder.max_stack(bytes);
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
        let $crate::args::GuestArgs { init, after_restore, preload, .. } = $guest;
        let $crate::args::CaptureArgs { strict, entropy, at } = $capture;
        let mut builder = $builder.entropy(entropy.clone());
        for export in init {
            builder = builder.init(export);
        }
        for export in after_restore {
            builder = builder.after_restore(export);
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
