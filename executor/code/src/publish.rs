//! Atomic publication of files.
//!
//! Invariant: a crash at any point leaves the old file or the new one, whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// Writes a file through a temporary one beside it: write, fsync, rename, fsync the directory.
/// The file is readable and writable by this user only. A failed write leaves no temporary file.
///
/// # Errors
/// Those of `write` and of the operating system.
pub fn publish<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?;
    let mut temporary = name.to_owned();
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}.{n}.tmp", std::process::id()));
    let temporary = dir.join(temporary);

    let publish = || {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let value = write(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()?;
        Ok(value)
    };
    let result = publish();
    if result.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        publish(&path, |f| f.write_all(b"old")).unwrap();
        let failed: io::Result<()> = publish(&path, |f| {
            f.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
