//! WASI's error numbers, and how the host's errors become them.
//!
//! Invariant: an [`Errno`] is never zero: success is `Ok`.

use std::io;

macro_rules! errnos {
    ($($name:ident = $number:literal from $host:ident;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`.")]
            pub const $name: Self = Self($number);)*

            fn from_host(errno: rustix::io::Errno) -> Self {
                match errno {
                    $(rustix::io::Errno::$host => Self::$name,)*
                    _ => Self::IO,
                }
            }
        }
    };
}

/// A WASI error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

errnos! {
    TOOBIG = 1 from TOOBIG;
    ACCES = 2 from ACCESS;
    AGAIN = 6 from AGAIN;
    BADF = 8 from BADF;
    BUSY = 10 from BUSY;
    CANCELED = 11 from CANCELED;
    CONNRESET = 15 from CONNRESET;
    DEADLK = 16 from DEADLK;
    DQUOT = 19 from DQUOT;
    EXIST = 20 from EXIST;
    FAULT = 21 from FAULT;
    FBIG = 22 from FBIG;
    ILSEQ = 25 from ILSEQ;
    INTR = 27 from INTR;
    INVAL = 28 from INVAL;
    IO = 29 from IO;
    ISDIR = 31 from ISDIR;
    LOOP = 32 from LOOP;
    MFILE = 33 from MFILE;
    MLINK = 34 from MLINK;
    NAMETOOLONG = 37 from NAMETOOLONG;
    NFILE = 41 from NFILE;
    NODEV = 43 from NODEV;
    NOENT = 44 from NOENT;
    NOLCK = 46 from NOLCK;
    NOMEM = 48 from NOMEM;
    NOSPC = 51 from NOSPC;
    NOSYS = 52 from NOSYS;
    NOTDIR = 54 from NOTDIR;
    NOTEMPTY = 55 from NOTEMPTY;
    NOTSUP = 58 from NOTSUP;
    NOTTY = 59 from NOTTY;
    NXIO = 60 from NXIO;
    OVERFLOW = 61 from OVERFLOW;
    PERM = 63 from PERM;
    PIPE = 64 from PIPE;
    RANGE = 68 from RANGE;
    ROFS = 69 from ROFS;
    SPIPE = 70 from SPIPE;
    STALE = 72 from STALE;
    TIMEDOUT = 73 from TIMEDOUT;
    TXTBSY = 74 from TXTBSY;
    XDEV = 75 from XDEV;
}

impl Errno {
    /// The number that the guest sees.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_host(errno)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        if let Some(errno) = rustix::io::Errno::from_io_error(&error) {
            return Self::from_host(errno);
        }
        match error.kind() {
            // How cap-std says that a path leads out of its directory.
            io::ErrorKind::PermissionDenied => Self::PERM,
            io::ErrorKind::InvalidInput => Self::INVAL,
            io::ErrorKind::NotFound => Self::NOENT,
            _ => Self::IO,
        }
    }
}
