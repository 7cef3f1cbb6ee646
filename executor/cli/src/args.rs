//! The command line's grammar.
//!
//! Invariant: parsing has no side effects; it reads neither files nor the environment. What needs
//! them is checked by the command that uses it.

use crate::{
    code_args::CodeArgs,
    deploy::{AliasArgs, DeployArgs, RollbackArgs, VersionsArgs},
    error::Failure,
    serve::ServeArgs,
    store_cmd::StoreCommand,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use executor::{Entropy, NotAPoint, Point, settings::Directory, units};
use std::{
    ffi::{OsStr, OsString},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

/// Runs WebAssembly functions, restoring them from snapshots.
#[derive(Debug, Parser)]
#[command(name = "executor", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a module, a snapshot or a stored function
    Run(Box<RunArgs>),
    /// Compile modules, and what stored functions need, into the code cache
    Compile(CompileArgs),
    /// Make a new version of a stored function, and switch the function to it
    Deploy(Box<DeployArgs>),
    /// Switch a function back to an earlier version
    Rollback(RollbackArgs),
    /// Name a version of a function, or show which version an alias leads to
    Alias(AliasArgs),
    /// List the versions of a function
    Versions(VersionsArgs),
    /// Make, show and remove snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Serve stored functions over HTTP, a fresh instance for each request
    #[command(disable_help_flag = true)]
    Serve(ServeArgs),
    /// Run specification scripts
    Wast(WastArgs),
}

/// `executor run`.
#[derive(Debug, Args)]
#[command(override_usage = "executor run [OPTIONS] <FILE.wasm|FILE.wat|FILE.snap|NAME> [ARGS]...")]
pub struct RunArgs {
    /// Call this export instead of `_start`, with ARGS as its arguments
    #[arg(long, value_name = "EXPORT")]
    pub invoke: Option<String>,
    /// Whether a module's state after initialisation is kept and used again
    ///
    /// With `auto` it is not where the initialisation read a clock, random bytes or standard input,
    /// wrote something, or looked at the world in another way that may differ next time; -v and
    /// --report say what it was. `always` keeps the state all the same, and so does a stored
    /// function: executor snapshot create --name NAME FILE
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = SnapshotPolicy::Auto)]
    pub snapshot: SnapshotPolicy,
    /// Write what happened, and how long it took, as JSON (`-` is standard output)
    #[arg(long, value_name = "FILE|-")]
    pub report: Option<OsString>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub guest: GuestArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub code: CodeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub capture: CaptureArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreArgs,
    /// The name of a stored function, or a file with a module or a snapshot (a path with a slash or one
    /// that ends in .wasm, .wat or .snap), or `-` for a module from standard input; then the guest's
    /// arguments
    // One list, so that everything after the target is the guest's, options too.
    #[arg(trailing_var_arg = true, required = true, value_name = "TARGET")]
    pub target_and_args: Vec<OsString>,
}

impl RunArgs {
    /// What is run, and its arguments.
    ///
    /// # Errors
    /// When an argument is not UTF-8, as WASI wants it.
    pub fn split(&self) -> Result<(&OsStr, Vec<String>), Failure> {
        split(&self.target_and_args)
    }
}

/// A target, and the arguments after it.
///
/// # Errors
/// When an argument is not UTF-8, as WASI wants it.
pub fn split(target_and_args: &[OsString]) -> Result<(&OsStr, Vec<String>), Failure> {
    let [target, args @ ..] = target_and_args else {
        return Err(Failure::usage("nothing to run"));
    };
    let text = |arg: &OsString| match arg.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::usage(format_args!("argument {} is not UTF-8", arg.display()))),
    };
    Ok((target, args.iter().map(text).collect::<Result<_, _>>()?))
}

/// What a guest is given, and how it is initialised.
#[derive(Debug, Args)]
pub struct GuestArgs {
    /// Give the guest a directory, named GUEST to it (HOST where left out); `:ro` to be read only
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    pub dirs: Vec<Directory>,
    /// Set an environment variable of the guest, to this process's own value where V is left out; a stored
    /// function keeps only the name then, and each of its runs has the value of its own process
    #[arg(long = "env", value_name = "N[=V]", value_parser = parse_env)]
    pub env: Vec<Variable>,
    /// Give the guest this process's environment; --env is stronger
    #[arg(long)]
    pub inherit_env: bool,
    /// Give the guest a TCP socket that listens at this address
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<String>,
    /// Give the guest clocks and randomness that are the same in every run, for tests
    #[arg(long)]
    pub deterministic: bool,
    /// Call this export, without arguments, to initialise the module; can be repeated
    #[arg(long = "init", value_name = "EXPORT")]
    pub init: Vec<String>,
    /// Call this export, without arguments, after each restore and before anything else of the guest
    #[arg(long = "after-restore", value_name = "EXPORT")]
    pub after_restore: Vec<String>,
    /// Instantiate another module first, whose exports are imported under NAME
    #[arg(long = "preload", value_name = "NAME=FILE", value_parser = parse_preload)]
    pub preload: Vec<Preload>,
    /// The guest's argument 0 (the target's file name where left out)
    #[arg(long, value_name = "S")]
    pub argv0: Option<String>,
    /// Stop the guest after this time
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// The most that the guest's memories, tables, objects, exceptions and lists of directories take together
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_memory: Option<u64>,
    /// The most that the guest's objects take, at most 4GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_gc_heap: Option<u64>,
    /// The guest's stack, at most 1TiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_stack: Option<u64>,
    /// Say what happens
    #[arg(short, long)]
    pub verbose: bool,
}

/// What is captured of the host's side, and what is refused.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Refuse a snapshot of open files
    #[arg(long)]
    pub strict: bool,
    /// What becomes of random bytes that the initialisation drew: `keep` leaves them to every
    /// restore, `deny` refuses the snapshot, `refill` draws them anew where they are still
    /// unchanged (only those at the addresses, where given)
    #[arg(
        long,
        value_name = "keep|deny|refill[=ADDRESS,...]",
        value_parser = parse_entropy,
        default_value = "keep",
        hide_default_value = true
    )]
    pub entropy: Entropy,
    /// Take the snapshot inside the call of `_start` (or --invoke), before the guest first reads
    /// standard input, uses a path, or calls an import (for the Nth time)
    #[arg(
        long,
        value_name = "stdin|path:GUEST_PATH|import:MODULE.NAME[:N]|checkpoint",
        value_parser = parse_point
    )]
    pub at: Option<Point>,
}

/// Where modules, code, snapshots and functions are kept.
#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub dir: StoreDirArgs,
    /// Keep nothing and use nothing that was kept
    #[arg(long, conflicts_with_all = ["store", "trust_store"])]
    pub no_store: bool,
    /// Check every byte of a snapshot before it is used, which otherwise only those are that come from elsewhere
    #[arg(long)]
    pub verify: bool,
}

/// `executor compile`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub code: CodeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
    /// A file with a module, `-` for standard input, or a stored function
    #[arg(required = true, value_name = "FILE|NAME")]
    pub targets: Vec<OsString>,
}

/// The store, for commands that make no sense without one.
#[derive(Debug, Args)]
pub struct StoreDirArgs {
    /// The store's directory [default: $EXECUTOR_STORE, or `executor` in the XDG data directory]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Use the store whoever owns it and may write to it, and write nothing to it: they can have any code run as you
    /// [default: $EXECUTOR_TRUST_STORE=1]
    #[arg(long)]
    pub trust_store: bool,
}

/// `executor snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Initialise a module and keep its state
    Create(Box<CreateArgs>),
    /// List the stored functions
    List {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// List the automatic snapshots instead, which runs of files have taken
        #[arg(long)]
        auto: bool,
    },
    /// Show what a snapshot holds
    Inspect {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Also list every global, every element of a table, the runs of pages that are not zero (as JSON) and
        /// the values of the frames
        #[arg(long)]
        full: bool,
        /// Write a page for a browser to this file instead: maps of the memories, and all that there is to list
        #[arg(long, value_name = "FILE.html", conflicts_with_all = ["json", "full"])]
        html: Option<PathBuf>,
        /// A stored function or a snapshot file
        #[arg(value_name = "NAME|FILE")]
        target: OsString,
    },
    /// Show what differs between two snapshots; exits with 0 if nothing does, 1 if something does
    Diff {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Print JSON, which holds all that differs
        #[arg(long)]
        json: bool,
        /// Show all that differs
        #[arg(long)]
        full: bool,
        /// A stored function or a snapshot file
        #[arg(value_name = "NAME|FILE")]
        a: OsString,
        /// What to compare it with
        #[arg(value_name = "NAME|FILE")]
        b: OsString,
    },
    /// Show which functions wrote the pages that a snapshot holds
    Explain(Box<ExplainArgs>),
    /// Check every byte of a snapshot, or of all stored functions
    Verify {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Also make the stored function's instance again, as its snapshot says that it was made, and show what
        /// differs. Its directories are read only then
        #[arg(long, requires = "target")]
        deep: bool,
        /// A stored function or a snapshot file (all functions where left out)
        #[arg(value_name = "NAME|FILE")]
        target: Option<OsString>,
    },
    /// Make one file of a snapshot that shares pages with others (see create --base)
    ///
    /// A stored function is replaced, unless --name gives the result another name or -o writes it to a file.
    Flatten {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE.snap", conflicts_with = "name")]
        output: Option<PathBuf>,
        /// Keep it in the store as the function NAME
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A stored function or a snapshot file
        #[arg(value_name = "NAME|FILE")]
        target: OsString,
    },
    /// Write a snapshot and all that running it needs to an archive, for another machine
    ///
    /// The archive is an OCI image layout: modules, the snapshot, and the snapshots that it shares pages with. It
    /// holds the guest's memory, and the environment and directories that the function was made with.
    Export {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// The archive
        #[arg(short, long, value_name = "FILE.tar.zst")]
        output: PathBuf,
        /// Put the machine code in too, for machines with this build and a processor like this one
        #[arg(long)]
        code: bool,
        /// A stored function or a snapshot file
        #[arg(value_name = "NAME|FILE")]
        target: OsString,
    },
    /// Take a function in from an archive, which anyone may have made: all of it is checked first
    Import {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// What the function is to be called [default: as in the archive]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The most that the archive may hold, not compressed
        #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "8GiB")]
        max_size: u64,
        /// Take in the machine code of the archive instead of compiling: whoever made it can have any code run as you
        #[arg(long)]
        trust_code: bool,
        /// The archive
        #[arg(value_name = "FILE.tar.zst")]
        file: PathBuf,
    },
    /// Remove stored functions, or automatic snapshots, and every file that nothing else uses
    Rm {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Remove automatic snapshots: those of each KEY, or all where none is named
        #[arg(long)]
        auto: bool,
        /// A stored function; with --auto a key, or how it begins
        #[arg(value_name = "NAME|KEY", required_unless_present = "auto")]
        names: Vec<String>,
    },
}

/// `executor snapshot create`.
#[derive(Debug, Args)]
#[command(
    override_usage = "executor snapshot create [OPTIONS] <FILE.wasm|FILE.wat|FILE.snap|NAME> [ARGS]..."
)]
pub struct CreateArgs {
    /// Write the snapshot to this file
    #[arg(short, long, value_name = "FILE.snap")]
    pub output: Option<PathBuf>,
    /// Keep it in the store as the function NAME
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub how: HowArgs,
    /// A file with a module, or `-` for standard input, or what is to go on from: a file with a snapshot or
    /// a stored function; then the guest's arguments, which its runs have too where they give none
    #[arg(trailing_var_arg = true, required = true, value_name = "TARGET")]
    pub target_and_args: Vec<OsString>,
}

impl CreateArgs {
    /// What a snapshot is made of, and its arguments.
    ///
    /// # Errors
    /// As [`RunArgs::split`].
    pub fn split(&self) -> Result<(&OsStr, Vec<String>), Failure> {
        split(&self.target_and_args)
    }
}

/// How a snapshot is made.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// Store only the pages that differ from this snapshot's, in the same place of instances of the same modules;
    /// runs map the others from its file
    #[arg(long, value_name = "NAME|FILE.snap")]
    pub base: Option<OsString>,
    /// What runs call instead of `_start`, with ARGS as its arguments; with --at, what is called now
    #[arg(long, value_name = "EXPORT")]
    pub invoke: Option<String>,
    /// With --at: run it once with this file as its standard input, and keep which pages it wrote to,
    /// which later runs then have at once
    #[arg(long, value_name = "FILE", requires = "at")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub guest: GuestArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub code: CodeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub capture: CaptureArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
}

/// `executor snapshot explain`.
#[derive(Debug, Args)]
#[command(
    override_usage = "executor snapshot explain [OPTIONS] <NAME|FILE.wasm|FILE.wat> [ARGS]..."
)]
pub struct ExplainArgs {
    /// Print JSON, which holds the pages too
    #[arg(long)]
    pub json: bool,
    /// Also list the pages
    #[arg(long)]
    pub pages: bool,
    /// Show all functions
    #[arg(long)]
    pub full: bool,
    /// With --at: what is called instead of `_start`, with ARGS as its arguments
    #[arg(long, value_name = "EXPORT")]
    pub invoke: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub guest: GuestArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub code: CodeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub capture: CaptureArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
    /// A stored function, which is made again as its snapshot says that it was made; or a file with a module,
    /// then the guest's arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "TARGET")]
    pub target_and_args: Vec<OsString>,
}

impl ExplainArgs {
    /// What is explained, and its arguments.
    ///
    /// # Errors
    /// As [`RunArgs::split`].
    pub fn split(&self) -> Result<(&OsStr, Vec<String>), Failure> {
        split(&self.target_and_args)
    }
}

/// `executor wast`.
#[derive(Debug, Args)]
pub struct WastArgs {
    /// Which WebAssembly features scripts may use
    #[arg(long, value_enum, default_value_t = Features::All)]
    pub features: Features,
    /// Capture and restore the store after every instantiation
    #[arg(long)]
    pub through_snapshots: bool,
    /// Collect objects at every so many allocations, and not only when it is time
    #[arg(long, value_name = "N")]
    pub collect_every: Option<NonZeroU32>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub code: CodeArgs,
    /// The scripts (.wast)
    #[arg(required = true, value_name = "FILE.wast")]
    pub files: Vec<PathBuf>,
}

/// When a run takes and uses automatic snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SnapshotPolicy {
    /// Where that cannot change a run's results
    Auto,
    /// Whatever initialisation observed
    Always,
    /// Not at all
    Never,
}

/// A set of WebAssembly features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Features {
    /// All that the engine has
    All,
}

/// A variable of the guest's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// With this value.
    Set(String, String),
    /// With the value that this process has.
    Inherited(String),
}

/// A module to instantiate first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// The name under which its exports are imported.
    pub name: String,
    /// The module's file.
    pub file: PathBuf,
}

fn parse_env(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Variable::Set(name.to_owned(), value.to_owned()))
        }
        None if !text.is_empty() => Ok(Variable::Inherited(text.to_owned())),
        _ => Err("expected NAME=VALUE or NAME".to_owned()),
    }
}

fn parse_entropy(text: &str) -> Result<Entropy, String> {
    let address = |text: &str| {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| format!("`{text}` is no address: expected a number such as 0x1000"))
    };
    match text.split_once('=') {
        None if text == "keep" => Ok(Entropy::Keep),
        None if text == "deny" => Ok(Entropy::Deny),
        None if text == "refill" => Ok(Entropy::Refill(None)),
        Some(("refill", list)) => list
            .split(',')
            .map(address)
            .collect::<Result<_, _>>()
            .map(|at| Entropy::Refill(Some(at))),
        _ => Err("expected keep, deny, refill or refill=ADDRESS,...".to_owned()),
    }
}

fn parse_point(text: &str) -> Result<Point, String> {
    text.parse().map_err(|error: NotAPoint| error.to_string())
}

fn parse_preload(text: &str) -> Result<Preload, String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok(Preload { name: name.to_owned(), file: file.into() })
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run_args(line: &[&str]) -> RunArgs {
        let line = ["executor", "run"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_target_is_the_guests() {
        let args = run_args(&["--env", "A=b=c", "-v", "x.wasm", "--dir", "-v", "--", "y"]);
        let (target, rest) = args.split().unwrap();
        assert_eq!(target, "x.wasm");
        assert_eq!(rest, ["--dir", "-v", "--", "y"]);
        assert_eq!(args.guest.env, [Variable::Set("A".to_owned(), "b=c".to_owned())]);
        assert!(args.guest.verbose && args.guest.dirs.is_empty());
    }

    #[test]
    fn negative_numbers_are_arguments() {
        let args = run_args(&["--invoke", "add", "x.wasm", "-1", "2"]);
        assert_eq!(args.split().unwrap().1, ["-1", "2"]);
    }

    #[test]
    fn randomness_is_kept_unless_told() {
        assert_eq!(run_args(&["x.wasm"]).capture.entropy, Entropy::Keep);
        assert_eq!(parse_entropy("refill"), Ok(Entropy::Refill(None)));
        assert_eq!(parse_entropy("refill=0x10,32"), Ok(Entropy::Refill(Some(vec![16, 32]))));
        for bad in ["", "refill=", "refill=1,", "refill=x", "keep=1", "drop"] {
            assert!(parse_entropy(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for bad in [&["--env", "=A"][..], &["--preload", "x"], &["--timeout", "5"], &["--nonsense"]]
        {
            let line = ["executor", "run"].iter().chain(bad).chain(&["x.wasm"]);
            assert!(Cli::try_parse_from(line).is_err(), "{bad:?}");
        }
    }
}
