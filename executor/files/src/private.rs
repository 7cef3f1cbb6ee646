//! Which files are trusted.
//!
//! Invariant: a file or directory that passes could have been written by this user alone.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
};

/// Checks that only this user could have written `file`: it is a regular file or directory, owned
/// by the effective user, and not writable by group or others.
///
/// # Errors
/// `PermissionDenied` without an error number, saying which condition failed; or the error of
/// `fstat`.
pub fn ensure_private(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if !meta.is_file() && !meta.is_dir() {
        return refuse("it is not a regular file");
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return refuse("it is owned by another user");
    }
    if meta.mode() & 0o022 != 0 {
        return refuse("its group or others may write to it (chmod go-w)");
    }
    Ok(meta)
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
        assert_eq!(error.to_string(), "it is not a regular file");
    }
}
