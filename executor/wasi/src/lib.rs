//! WASI preview 1: what a guest is given of the host, over cap-std.
//!
//! Invariant: a guest reaches only what its [`WasiCtx`] holds. Every pointer and length it gives is
//! checked before use, and whatever it does is an answer, an error number or the end of its call,
//! never a panic of the host. What it observes of the world, or changes in it, is recorded.
//!
//! The module is `wasi_snapshot_preview1`. Its forerunner `wasi_unstable` is defined too, by the same
//! functions but for a few (`preview0`).
//!
//! This is an internal of the crate `executor`, which is what programs embed.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod abi;
mod args_environ;
mod clock;
mod ctx;
mod descriptor;
mod dormant;
mod entropy;
mod environment;
mod errno;
mod fd;
mod io;
mod memory;
mod observe;
mod open;
mod path;
mod point;
mod poll;
mod preview0;
mod process;
mod random;
mod readdir;
mod rights;
mod sock;
mod state;
mod stream;

pub use ctx::{WasiCtx, WasiCtxBuilder, WasiError};
pub use descriptor::{Entry, StdStream};
pub use dormant::{DirectoryState, FileState};
pub use entropy::{Draw, Entropy, Ledger, MemoryRange};
pub use environment::Environment;
pub use errno::Errno;
pub use memory::{Iovecs, Memory, Span};
pub use observe::{DigestError, FileDigest, FileRead, GuestPath, Observations, Stamp};
pub use point::{CHECKPOINT, NotAPoint, Point, add_checkpoint_to_linker};
pub use rights::Rights;
pub use state::{
    CaptureOptions, DescriptorState, InvalidWasiState, Target, WasiState, WasiStateError,
};
pub use stream::{Input, Output, OutputStream};

use executor_model::TrapCode;
use executor_runtime::{Caller, HostError, Linker};
use stream::Canceller;
use zerocopy::little_endian::{U32, U64};

/// The name under which guests import WASI preview 1.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Runs a function with the caller's memory and the store's [`WasiCtx`].
#[inline]
fn serve(
    caller: &mut Caller<'_>,
    function: impl FnOnce(&mut WasiCtx, &mut Memory<'_>) -> Result<(), Errno>,
) -> Result<i32, HostError> {
    // Nearly every call finds both as they are to be.
    let (first, holds) = match caller.data::<WasiCtx>() {
        Some(ctx) => (ctx.canceller.is_none(), ctx.holds()),
        None => (false, false),
    };
    let canceller = first.then(|| Canceller::new(caller.interrupts()));
    let room = if holds { caller.room() } else { u64::MAX };
    let Some((bytes, ctx)) = caller.memory_and_data::<WasiCtx>() else {
        let reason = "a WASI function was called by an instance without a memory (or with one that another thread holds), or in a store without a WASI context";
        return Err(HostError::new(reason));
    };
    if canceller.is_some() {
        ctx.canceller = canceller;
    }
    ctx.room = room;
    match function(ctx, &mut Memory::new(bytes)) {
        Ok(()) => Ok(0),
        Err(Errno::INTR) if ctx.cancelled() => Err(HostError::Trap(TrapCode::Interrupted)),
        Err(errno) => Ok(i32::from(errno.raw())),
    }
}

/// Defines functions by group, name, parameters and what they write to the address that is their
/// last parameter, if they do. That it can be written there is known before they run.
macro_rules! functions {
    ($linker:ident, $module:expr; $($group:ident::$name:ident($($arg:ident: $ty:tt),*) $(-> $out:ty)?;)*) => {
        $(function!($linker, $module, $group, $name, [] [] [$($arg: $ty,)*] [$($out)?]);)*
    };
}

/// Defines one function: takes parameters one by one from the third list to the first, which has
/// what the guest passes, and the second, which has what that stands for.
macro_rules! function {
    ($linker:ident, $module:expr, $group:ident, $name:ident,
        [$($raw:tt)*] [$($pass:tt)*] [$arg:ident: Span, $($rest:tt)*] $out:tt
    ) => {
        function!($linker, $module, $group, $name,
            [$($raw)* $arg: u32, len: u32,] [$($pass)* Span::new($arg, len),] [$($rest)*] $out)
    };
    ($linker:ident, $module:expr, $group:ident, $name:ident,
        [$($raw:tt)*] [$($pass:tt)*] [$arg:ident: Iovecs, $($rest:tt)*] $out:tt
    ) => {
        function!($linker, $module, $group, $name,
            [$($raw)* $arg: u32, count: u32,] [$($pass)* Iovecs::new($arg, count),] [$($rest)*] $out)
    };
    ($linker:ident, $module:expr, $group:ident, $name:ident,
        [$($raw:tt)*] [$($pass:tt)*] [$arg:ident: $ty:ident, $($rest:tt)*] $out:tt
    ) => {
        function!($linker, $module, $group, $name, [$($raw)* $arg: $ty,] [$($pass)* $arg,] [$($rest)*] $out)
    };
    ($linker:ident, $module:expr, $group:ident, $name:ident, [$($raw:tt)*] [$($pass:tt)*] [] []) => {
        $linker.func($module, stringify!($name), |caller: &mut Caller<'_>, $($raw)*| {
            serve(caller, |ctx, memory| $group::$name(ctx, memory, $($pass)*))
        })
    };
    ($linker:ident, $module:expr, $group:ident, $name:ident, [$($raw:tt)*] [$($pass:tt)*] [] [$out:ty]) => {
        $linker.func($module, stringify!($name), |caller: &mut Caller<'_>, $($raw)* out: u32| {
            serve(caller, |ctx, memory| {
                memory.check::<$out>(out)?;
                let result = $group::$name(ctx, memory, $($pass)*)?;
                memory.write(out, &<$out>::from(result))
            })
        })
    };
}

/// Defines all functions of WASI preview 1, and those of preview 0. They work on the [`WasiCtx`] that
/// is the data of the caller's store, and on the memory that the calling instance exports as `memory`.
pub fn add_to_linker(linker: &mut Linker) {
    functions! { linker, MODULE;
        args_environ::args_get(pointers: u32, buffer: u32);
        args_environ::args_sizes_get(count: u32, size: u32);
        args_environ::environ_get(pointers: u32, buffer: u32);
        args_environ::environ_sizes_get(count: u32, size: u32);
        clock::clock_res_get(id: u32) -> U64;
        clock::clock_time_get(id: u32, precision: u64) -> U64;
        fd::fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
        fd::fd_allocate(fd: u32, offset: u64, len: u64);
        fd::fd_close(fd: u32);
        fd::fd_datasync(fd: u32);
        fd::fd_fdstat_get(fd: u32) -> abi::Fdstat;
        fd::fd_fdstat_set_flags(fd: u32, flags: u32);
        fd::fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
        fd::fd_filestat_get(fd: u32) -> abi::Filestat;
        fd::fd_filestat_set_size(fd: u32, size: u64);
        fd::fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
        fd::fd_prestat_dir_name(fd: u32, name: Span);
        fd::fd_prestat_get(fd: u32) -> abi::Prestat;
        fd::fd_renumber(from: u32, to: u32);
        fd::fd_sync(fd: u32);
        io::fd_pread(fd: u32, iovecs: Iovecs, offset: u64) -> U32;
        io::fd_pwrite(fd: u32, iovecs: Iovecs, offset: u64) -> U32;
        io::fd_read(fd: u32, iovecs: Iovecs) -> U32;
        io::fd_seek(fd: u32, offset: i64, whence: u32) -> U64;
        io::fd_tell(fd: u32) -> U64;
        io::fd_write(fd: u32, iovecs: Iovecs) -> U32;
        open::path_open(
            fd: u32, lookup: u32, path: Span, oflags: u32, base: u64, inheriting: u64, fdflags: u32
        ) -> U32;
        path::path_create_directory(fd: u32, path: Span);
        path::path_filestat_get(fd: u32, lookup: u32, path: Span) -> abi::Filestat;
        path::path_filestat_set_times(
            fd: u32, lookup: u32, path: Span, accessed: u64, modified: u64, which: u32
        );
        path::path_link(fd: u32, lookup: u32, old: Span, new_fd: u32, new: Span);
        path::path_readlink(fd: u32, path: Span, buffer: Span) -> U32;
        path::path_remove_directory(fd: u32, path: Span);
        path::path_rename(fd: u32, old: Span, new_fd: u32, new: Span);
        path::path_symlink(text: Span, fd: u32, path: Span);
        path::path_unlink_file(fd: u32, path: Span);
        poll::poll_oneoff(subscriptions: u32, events: u32, count: u32) -> U32;
        process::sched_yield();
        readdir::fd_readdir(fd: u32, buffer: Span, cookie: u64) -> U32;
        sock::sock_accept(fd: u32, flags: u32) -> U32;
        sock::sock_recv(fd: u32, iovecs: Iovecs, flags: u32, received: u32, received_flags: u32);
        sock::sock_send(fd: u32, iovecs: Iovecs, flags: u32) -> U32;
        sock::sock_shutdown(fd: u32, how: u32);
    }
    linker.func(MODULE, "random_get", |caller: &mut Caller<'_>, at: u32, len: u32| {
        let origin = entropy::Origin::of(caller);
        serve(caller, |ctx, memory| random::random_get(ctx, memory, Span::new(at, len), origin))
    });
    linker.func(MODULE, "proc_exit", |_: &mut Caller<'_>, code: u32| process::proc_exit(code));
    linker
        .func(MODULE, "proc_raise", |_: &mut Caller<'_>, signal: u32| process::proc_raise(signal));
    functions! { linker, preview0::MODULE;
        preview0::fd_filestat_get(fd: u32) -> preview0::Filestat0;
        preview0::fd_seek(fd: u32, offset: i64, whence: u32) -> U64;
        preview0::path_filestat_get(fd: u32, lookup: u32, path: Span) -> preview0::Filestat0;
        preview0::poll_oneoff(subscriptions: u32, events: u32, count: u32) -> U32;
    }
    linker.alias(preview0::MODULE, MODULE);
}
