//! WASI's error numbers, and how the host's errors become them.
//!
//! Invariant: an [`Errno`] is never zero: success is `Ok`.

use std::{fmt, io};

macro_rules! errnos {
    ($($name:ident = $number:literal from $host:ident;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`.")]
            pub const $name: Self = Self($number);)*

            /// The name that the witx gives it.
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    _ => "NOTCAPABLE",
                }
            }

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
    ADDRINUSE = 3 from ADDRINUSE;
    ADDRNOTAVAIL = 4 from ADDRNOTAVAIL;
    AFNOSUPPORT = 5 from AFNOSUPPORT;
    AGAIN = 6 from AGAIN;
    ALREADY = 7 from ALREADY;
    BADF = 8 from BADF;
    BADMSG = 9 from BADMSG;
    BUSY = 10 from BUSY;
    CANCELED = 11 from CANCELED;
    CHILD = 12 from CHILD;
    CONNABORTED = 13 from CONNABORTED;
    CONNREFUSED = 14 from CONNREFUSED;
    CONNRESET = 15 from CONNRESET;
    DEADLK = 16 from DEADLK;
    DESTADDRREQ = 17 from DESTADDRREQ;
    DOM = 18 from DOM;
    DQUOT = 19 from DQUOT;
    EXIST = 20 from EXIST;
    FAULT = 21 from FAULT;
    FBIG = 22 from FBIG;
    HOSTUNREACH = 23 from HOSTUNREACH;
    IDRM = 24 from IDRM;
    ILSEQ = 25 from ILSEQ;
    INPROGRESS = 26 from INPROGRESS;
    INTR = 27 from INTR;
    INVAL = 28 from INVAL;
    IO = 29 from IO;
    ISCONN = 30 from ISCONN;
    ISDIR = 31 from ISDIR;
    LOOP = 32 from LOOP;
    MFILE = 33 from MFILE;
    MLINK = 34 from MLINK;
    MSGSIZE = 35 from MSGSIZE;
    MULTIHOP = 36 from MULTIHOP;
    NAMETOOLONG = 37 from NAMETOOLONG;
    NETDOWN = 38 from NETDOWN;
    NETRESET = 39 from NETRESET;
    NETUNREACH = 40 from NETUNREACH;
    NFILE = 41 from NFILE;
    NOBUFS = 42 from NOBUFS;
    NODEV = 43 from NODEV;
    NOENT = 44 from NOENT;
    NOEXEC = 45 from NOEXEC;
    NOLCK = 46 from NOLCK;
    NOLINK = 47 from NOLINK;
    NOMEM = 48 from NOMEM;
    NOMSG = 49 from NOMSG;
    NOPROTOOPT = 50 from NOPROTOOPT;
    NOSPC = 51 from NOSPC;
    NOSYS = 52 from NOSYS;
    NOTCONN = 53 from NOTCONN;
    NOTDIR = 54 from NOTDIR;
    NOTEMPTY = 55 from NOTEMPTY;
    NOTRECOVERABLE = 56 from NOTRECOVERABLE;
    NOTSOCK = 57 from NOTSOCK;
    NOTSUP = 58 from NOTSUP;
    NOTTY = 59 from NOTTY;
    NXIO = 60 from NXIO;
    OVERFLOW = 61 from OVERFLOW;
    OWNERDEAD = 62 from OWNERDEAD;
    PERM = 63 from PERM;
    PIPE = 64 from PIPE;
    PROTO = 65 from PROTO;
    PROTONOSUPPORT = 66 from PROTONOSUPPORT;
    PROTOTYPE = 67 from PROTOTYPE;
    RANGE = 68 from RANGE;
    ROFS = 69 from ROFS;
    SPIPE = 70 from SPIPE;
    SRCH = 71 from SRCH;
    STALE = 72 from STALE;
    TIMEDOUT = 73 from TIMEDOUT;
    TXTBSY = 74 from TXTBSY;
    XDEV = 75 from XDEV;
}

impl Errno {
    /// `NOTCAPABLE`: a right is missing. No host has it.
    pub const NOTCAPABLE: Self = Self(76);

    /// The number that the guest sees.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WASI error {} ({})", self.name(), self.0)
    }
}

impl std::error::Error for Errno {}

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
