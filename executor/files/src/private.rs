//! Which files are trusted.
//!
//! Invariant: a file or directory that passes could have been written by this user alone.

use std::{
    fs::{File, FileType, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

/// Whose files are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those that only this user could have written.
    #[default]
    Own,
    /// Whatever files there are: the user vouches for them. They are only read.
    Vouched,
}

/// Checks that a file is a regular file or a directory and, unless the user vouches for it, that only this user
/// could have written it.
///
/// # Errors
/// As [`ensure_private`].
pub fn ensure_trusted(file: &File, trust: Trust) -> io::Result<Metadata> {
    match trust {
        Trust::Own => ensure_private(file),
        Trust::Vouched => ensure_file(file),
    }
}

/// Checks that `file` is a regular file or directory.
fn ensure_file(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    match meta.is_file() || meta.is_dir() {
        true => Ok(meta),
        false => Err(not_a_file(meta.file_type())),
    }
}

/// Checks that only this user could have written `file`: it is a regular file or directory, owned
/// by the effective user, and not writable by group or others.
///
/// # Errors
/// `PermissionDenied` without an error number, saying which condition failed and what mends it; or
/// the error of `fstat`.
pub fn ensure_private(file: &File) -> io::Result<Metadata> {
    let meta = ensure_file(file)?;
    let user = nix::unistd::geteuid().as_raw();
    if meta.uid() != user {
        let owner = meta.uid();
        return Err(refused(&format!(
            "it is owned by another user: {owner}, not {user} (remove it, or chown {user})"
        )));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refused("its group or others may write to it (chmod go-w)"));
    }
    Ok(meta)
}

/// What was found in place of a file or a directory.
pub(crate) fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

pub(crate) fn not_a_file(found: FileType) -> io::Error {
    refused(&format!("it is {}, not a regular file (remove it)", kind(found)))
}

/// The kind of a file, in words.
pub(crate) fn kind(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_file() => "a regular file",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    #[test]
    fn what_others_may_write_to_is_refused() {
        let file = tempfile::tempfile().unwrap();
        for (mode, private) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            match ensure_private(&file) {
                Ok(_) => assert!(private, "{mode:o}"),
                Err(e) => {
                    assert!(!private, "{mode:o}: {e}");
                    assert_eq!(
                        (e.kind(), e.raw_os_error()),
                        (io::ErrorKind::PermissionDenied, None)
                    );
                }
            }
        }
    }

    #[test]
    fn a_device_is_refused() {
        let error = ensure_private(&File::open("/dev/null").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "it is a device, not a regular file (remove it)");
    }
}
