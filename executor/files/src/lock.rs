//! Locks on open files.
//!
//! Invariant: a lock belongs to an open file and to no process id, so it is free again when its
//! holder ends, however that happens, and it holds between containers that share a directory.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use std::{fs::File, io};

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the file gives the lock back.
    _file: File,
}

impl Lock {
    /// Waits until nobody holds the file exclusively.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        file.lock_shared()?;
        Ok(Self { _file: file })
    }

    /// Waits until nobody else holds the file.
    pub(crate) fn exclusive(file: File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// Waits until nobody else holds the byte at `offset` of the file, which need not have one
    /// there: a file has as many locks as there are numbers.
    pub(crate) fn byte(file: File, offset: u64) -> io::Result<Self> {
        let range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            // The ends of ranges are signed.
            l_start: (offset >> 2).cast_signed(),
            l_len: 1,
            l_pid: 0,
        };
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&range)) {
                Ok(_) => return Ok(Self { _file: file }),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
