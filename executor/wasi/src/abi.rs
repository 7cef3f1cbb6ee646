//! What the guest and the host agree on: the numbers and structures of WASI preview 1.
//!
//! Invariant: a structure here has the layout that the witx gives it: every field at its offset,
//! little-endian, and nothing in between that is not written.

use cap_std::fs::{FileType, FileTypeExt, Metadata, MetadataExt};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Flags of descriptors (`fdflags`).
pub(crate) mod fdflags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const DSYNC: u16 = 1 << 1;
    pub(crate) const NONBLOCK: u16 = 1 << 2;
    pub(crate) const RSYNC: u16 = 1 << 3;
    pub(crate) const SYNC: u16 = 1 << 4;
    pub(crate) const ALL: u16 = APPEND | DSYNC | NONBLOCK | RSYNC | SYNC;
}

/// Flags of `path_open` (`oflags`).
pub(crate) mod oflags {
    pub(crate) const CREAT: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 1 << 1;
    pub(crate) const EXCL: u32 = 1 << 2;
    pub(crate) const TRUNC: u32 = 1 << 3;
    pub(crate) const ALL: u32 = CREAT | DIRECTORY | EXCL | TRUNC;
}

/// The one flag of a look-up (`lookupflags`): a symbolic link at the end of a path is followed.
pub(crate) const SYMLINK_FOLLOW: u32 = 1;

/// What a descriptor may be used for (`rights`), by the functions that need each.
pub(crate) mod rights {
    pub(crate) const FD_DATASYNC: u64 = 1;
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub(crate) const FD_SYNC: u64 = 1 << 4;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_ADVISE: u64 = 1 << 7;
    pub(crate) const FD_ALLOCATE: u64 = 1 << 8;
    pub(crate) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub(crate) const PATH_CREATE_FILE: u64 = 1 << 10;
    pub(crate) const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub(crate) const PATH_LINK_TARGET: u64 = 1 << 12;
    pub(crate) const PATH_OPEN: u64 = 1 << 13;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_READLINK: u64 = 1 << 15;
    pub(crate) const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub(crate) const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub(crate) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub(crate) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub(crate) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(crate) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(crate) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub(crate) const PATH_SYMLINK: u64 = 1 << 24;
    pub(crate) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub(crate) const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;
    pub(crate) const SOCK_SHUTDOWN: u64 = 1 << 28;
    pub(crate) const SOCK_ACCEPT: u64 = 1 << 29;

    /// What every descriptor can have.
    const ANY: u64 =
        FD_DATASYNC | FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_FILESTAT_GET | POLL_FD_READWRITE;
    /// What a standard stream has beside its direction. Guests take a stream that can seek for
    /// anything but a terminal.
    pub(crate) const STREAM: u64 = ANY;
    /// What a file can have.
    pub(crate) const FILE: u64 = ANY
        | FD_READ
        | FD_SEEK
        | FD_TELL
        | FD_WRITE
        | FD_ADVISE
        | FD_ALLOCATE
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES;
    /// What a directory can have.
    pub(crate) const DIRECTORY: u64 = ANY
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_OPEN
        | FD_READDIR
        | PATH_READLINK
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_GET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE;
    /// What a listening socket has.
    pub(crate) const LISTENER: u64 = ANY | SOCK_ACCEPT;
    /// What a connection has.
    pub(crate) const CONNECTION: u64 = ANY | FD_READ | FD_WRITE | SOCK_SHUTDOWN;
    /// What changes files or directories: refused where the host gave a directory to read only.
    pub(crate) const CHANGING: u64 = FD_WRITE
        | FD_ALLOCATE
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE;
}

/// Types of files (`filetype`).
pub(crate) mod filetype {
    pub(crate) const UNKNOWN: u8 = 0;
    pub(crate) const BLOCK_DEVICE: u8 = 1;
    pub(crate) const CHARACTER_DEVICE: u8 = 2;
    pub(crate) const DIRECTORY: u8 = 3;
    pub(crate) const REGULAR_FILE: u8 = 4;
    pub(crate) const SOCKET_STREAM: u8 = 6;
    pub(crate) const SYMBOLIC_LINK: u8 = 7;
}

/// The number of a file's type.
pub(crate) fn filetype_of(ty: FileType) -> u8 {
    if ty.is_file() {
        filetype::REGULAR_FILE
    } else if ty.is_dir() {
        filetype::DIRECTORY
    } else if ty.is_symlink() {
        filetype::SYMBOLIC_LINK
    } else if ty.is_char_device() {
        filetype::CHARACTER_DEVICE
    } else if ty.is_block_device() {
        filetype::BLOCK_DEVICE
    } else if ty.is_socket() {
        filetype::SOCKET_STREAM
    } else {
        filetype::UNKNOWN
    }
}

macro_rules! structures {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $ty,)* }
    )*};
}

pub(crate) use structures;

structures! {
    /// Address and length of a buffer (`iovec`, `ciovec`).
    struct Iovec {
        buf: U32,
        len: U32,
    }
    /// A preopened directory: its tag is 0.
    struct Prestat {
        tag: u8,
        padding: [u8; 3],
        name_len: U32,
    }
    /// What a descriptor is.
    struct Fdstat {
        filetype: u8,
        padding: u8,
        flags: U16,
        padding_2: [u8; 4],
        rights_base: U64,
        rights_inheriting: U64,
    }
    /// What a file is.
    struct Filestat {
        dev: U64,
        ino: U64,
        filetype: u8,
        padding: [u8; 7],
        nlink: U64,
        size: U64,
        atim: U64,
        mtim: U64,
        ctim: U64,
    }
    /// An entry of a directory, before its name.
    struct Dirent {
        next: U64,
        ino: U64,
        namlen: U32,
        filetype: u8,
        padding: [u8; 3],
    }
    /// What is waited for. The fields after the tag are a clock's, or the first of them is a
    /// descriptor.
    struct Subscription {
        userdata: U64,
        tag: u8,
        padding: [u8; 7],
        id: U32,
        padding_2: [u8; 4],
        timeout: U64,
        precision: U64,
        flags: U16,
        padding_3: [u8; 6],
    }
    /// What has happened.
    struct Event {
        userdata: U64,
        error: U16,
        tag: u8,
        padding: [u8; 5],
        nbytes: U64,
        flags: U16,
        padding_2: [u8; 6],
    }
}

impl From<&Metadata> for Filestat {
    fn from(metadata: &Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            // A time before 1970 cannot be said.
            let seconds = u64::try_from(seconds).unwrap_or(0);
            let nanoseconds = nanoseconds.cast_unsigned();
            U64::new(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
        };
        Self {
            dev: metadata.dev().into(),
            ino: metadata.ino().into(),
            filetype: filetype_of(metadata.file_type()),
            padding: [0; 7],
            nlink: metadata.nlink().into(),
            size: metadata.size().into(),
            atim: time(metadata.atime(), metadata.atime_nsec()),
            mtim: time(metadata.mtime(), metadata.mtime_nsec()),
            ctim: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_witx() {
        let sizes = [
            size_of::<Iovec>(),
            size_of::<Prestat>(),
            size_of::<Fdstat>(),
            size_of::<Filestat>(),
            size_of::<Dirent>(),
            size_of::<Subscription>(),
            size_of::<Event>(),
        ];
        assert_eq!(sizes, [8, 8, 24, 64, 24, 48, 32]);
    }
}
