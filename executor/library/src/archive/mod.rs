//! Functions as archives, to be carried to other machines: an OCI image layout in a tar file, compressed by
//! Zstandard.
//!
//! Invariant: of one function and one release there is one archive, byte for byte. What is in one that comes in is
//! believed only after it was checked against its digests, and then like any snapshot from elsewhere; nothing
//! of an archive that is refused is kept. Machine code is in one only where it was asked for, and is taken in only where
//! the user trusts who made it.
//!
//! ```text
//! oci-layout                  the version of the layout
//! index.json                  the manifest's descriptor, with the name of the function
//! blobs/sha256/DIGEST         the manifest: an artifact whose layers are the snapshot, the snapshots that it has
//!                             pages of, the modules, and perhaps their code files with the keys that they are found
//!                             by; an empty configuration; the layers
//! ```

mod code;
mod export;
mod import;
mod layout;

pub use export::{Export, Exported};
pub use import::{Import, Imported};

use std::io;

/// The longest archive that is taken in where nothing is said, in bytes that are not compressed.
const MAX_LEN: u64 = 8 << 30;

/// An archive that is not one of a function, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no compressed tar file, or not whole.
    #[error("it is not an archive of a function, or not all of one ({0}): copy it again")]
    NotWhole(String),
    /// Something in it is not what the layout has there.
    #[error("it is not an archive of a function: {0}")]
    Layout(String),
    /// A blob is not what its digest says.
    #[error("the blob {0} does not match its digest: copy the archive again")]
    Digest(String),
    /// Machine code in it is not whole, or not what it is said to be.
    #[error(
        "the machine code of module {module} in it cannot be used ({reason}): export it again, or leave out \
         --trust-code to compile it here"
    )]
    Code {
        /// The hash of the module.
        module: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is larger than is taken in.
    #[error("it holds more than {0} bytes: if that is meant, allow more (--max-size)")]
    TooLarge(u64),
    /// It names no function, and neither does the user.
    #[error("it names no function: say what it is to be called (--name)")]
    NoName,
    /// There is no store to take it in.
    #[error("functions are taken in by a store only")]
    NoStore,
}
