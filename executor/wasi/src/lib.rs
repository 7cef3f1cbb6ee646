//! WASI preview 1: what a guest is given of the host, over cap-std.
//!
//! Invariant: a guest reaches only what its [`WasiCtx`] holds. Every pointer and length it gives is
//! checked before use, and whatever it does is an answer, an error number or the end of its call,
//! never a panic of the host. What it observes of the world, or changes in it, is recorded.
//!
//! The module is `wasi_snapshot_preview1`. Its forerunner `wasi_unstable` is not defined: other
//! layouts of the file status and other numbers of `fd_seek` hide under the same function names.
#![forbid(unsafe_code)]

mod args_environ;
mod clock;
mod ctx;
mod descriptor;
mod errno;
mod fd;
mod io;
mod memory;
mod observe;
mod path;
mod poll;
mod process;
mod random;
mod readdir;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub use ctx::{WasiCtx, WasiCtxBuilder, WasiError};
pub use descriptor::StdStream;
pub use errno::Errno;
pub use memory::Memory;
pub use observe::{DigestError, FileDigest, FileRead, GuestPath, Observations};
pub use state::{DescriptorState, WasiState, WasiStateError};
pub use stream::{Canceller, Input, Output};

use executor_model::TrapCode;
use executor_runtime::{Caller, HostError, Linker};

/// The name under which guests import WASI preview 1.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Runs a function with the caller's memory and the store's [`WasiCtx`].
fn serve(
    caller: &mut Caller<'_>,
    function: impl FnOnce(&mut WasiCtx, &mut Memory<'_>) -> Result<(), Errno>,
) -> Result<i32, HostError> {
    let Some((bytes, ctx)) = caller.memory_and_data::<WasiCtx>() else {
        let reason = "a WASI function was called by an instance without a memory, or in a store without a WASI context";
        return Err(HostError::Error(reason.to_owned()));
    };
    match function(ctx, &mut Memory::new(bytes)) {
        Ok(()) => Ok(0),
        Err(Errno::INTR) if ctx.cancelled() => Err(HostError::Trap(TrapCode::Interrupted)),
        Err(errno) => Ok(i32::from(errno.raw())),
    }
}

/// Defines functions by group, name and parameters.
macro_rules! functions {
    ($linker:ident: $($group:ident::$name:ident($($arg:ident: $ty:ty),*);)*) => {
        $($linker.func(
            MODULE,
            stringify!($name),
            |caller: &mut Caller<'_>, $($arg: $ty),*| -> Result<i32, HostError> {
                serve(caller, |ctx, memory| $group::$name(ctx, memory, $($arg),*))
            },
        );)*
    };
}

/// Defines functions that answer `NOSYS`, by name and parameters.
macro_rules! unsupported {
    ($linker:ident: $($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $($linker.func(
            MODULE,
            stringify!($name),
            |_: &mut Caller<'_>, $($arg: $ty),*| -> Result<i32, HostError> {
                let _ = ($($arg,)*);
                Ok(i32::from(Errno::NOSYS.raw()))
            },
        );)*
    };
}

/// Defines all functions of WASI preview 1. They work on the [`WasiCtx`] that is the data of the
/// caller's store, and on memory 0 of the calling instance.
pub fn add_to_linker(linker: &mut Linker) {
    functions! { linker:
        args_environ::args_get(pointers: u32, buffer: u32);
        args_environ::args_sizes_get(count: u32, size: u32);
        args_environ::environ_get(pointers: u32, buffer: u32);
        args_environ::environ_sizes_get(count: u32, size: u32);
        clock::clock_res_get(id: u32, resolution: u32);
        clock::clock_time_get(id: u32, precision: u64, time: u32);
        fd::fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
        fd::fd_allocate(fd: u32, offset: u64, len: u64);
        fd::fd_close(fd: u32);
        fd::fd_datasync(fd: u32);
        fd::fd_fdstat_get(fd: u32, fdstat: u32);
        fd::fd_fdstat_set_flags(fd: u32, flags: u32);
        fd::fd_filestat_get(fd: u32, stat: u32);
        fd::fd_filestat_set_size(fd: u32, size: u64);
        fd::fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
        fd::fd_prestat_dir_name(fd: u32, path: u32, len: u32);
        fd::fd_prestat_get(fd: u32, prestat: u32);
        fd::fd_renumber(from: u32, to: u32);
        fd::fd_sync(fd: u32);
        io::fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, read: u32);
        io::fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, written: u32);
        io::fd_read(fd: u32, iovs: u32, count: u32, read: u32);
        io::fd_seek(fd: u32, offset: i64, whence: u32, position: u32);
        io::fd_tell(fd: u32, position: u32);
        io::fd_write(fd: u32, iovs: u32, count: u32, written: u32);
        path::path_create_directory(fd: u32, path: u32, len: u32);
        path::path_filestat_get(fd: u32, lookup: u32, path: u32, len: u32, stat: u32);
        path::path_filestat_set_times(
            fd: u32, lookup: u32, path: u32, len: u32, accessed: u64, modified: u64, which: u32
        );
        path::path_link(
            fd: u32, lookup: u32, old: u32, old_len: u32, new_fd: u32, new: u32, new_len: u32
        );
        path::path_open(
            fd: u32, lookup: u32, path: u32, len: u32, oflags: u32, rights: u64,
            inheriting: u64, fdflags: u32, opened: u32
        );
        path::path_readlink(fd: u32, path: u32, len: u32, buffer: u32, size: u32, used: u32);
        path::path_remove_directory(fd: u32, path: u32, len: u32);
        path::path_rename(fd: u32, old: u32, old_len: u32, new_fd: u32, new: u32, new_len: u32);
        path::path_symlink(text: u32, text_len: u32, fd: u32, path: u32, len: u32);
        path::path_unlink_file(fd: u32, path: u32, len: u32);
        poll::poll_oneoff(subscriptions: u32, events: u32, count: u32, reported: u32);
        random::random_get(buffer: u32, len: u32);
        readdir::fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, used: u32);
    }
    unsupported! { linker:
        fd_fdstat_set_rights(_fd: u32, _base: u64, _inheriting: u64);
        proc_raise(_signal: u32);
        sock_accept(_fd: u32, _flags: u32, _accepted: u32);
        sock_recv(_fd: u32, _iovs: u32, _count: u32, _flags: u32, _received: u32, _out: u32);
        sock_send(_fd: u32, _iovs: u32, _count: u32, _flags: u32, _sent: u32);
        sock_shutdown(_fd: u32, _how: u32);
    }
    linker.func(MODULE, "proc_exit", |_: &mut Caller<'_>, code: u32| process::proc_exit(code));
    linker.func(MODULE, "sched_yield", |_: &mut Caller<'_>| -> Result<i32, HostError> {
        process::sched_yield();
        Ok(0)
    });
}
