//! Atomic publication of files.
//!
//! Invariant: a crash at any point leaves the old file or the new one, whole; and writers of one
//! directory never share a temporary file. Temporary names are random and created exclusively: a
//! process id would not tell apart two containers that share a directory.

use std::{ffi::OsString, fs::File, io, os::unix::fs::symlink, path::Path};
use tempfile::Builder;

/// Writes a file through a temporary one beside it, whose name ends in `.tmp`: write, fsync, rename,
/// fsync the directory. The file is readable and writable by this user only. A failed write leaves
/// no temporary file; a crash may.
///
/// # Errors
/// Those of `write` and of the operating system.
pub fn publish<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let (dir, mut prefix) = split(path)?;
    prefix.push(".");
    let mut temporary = Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(dir)?;
    let value = write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(dir)?.sync_all()?;
    Ok(value)
}

/// Makes or replaces a symbolic link at `path` to `target` through a temporary one beside it, whose
/// name begins with a dot.
///
/// # Errors
/// Those of the operating system.
pub fn publish_link(path: &Path, target: &Path) -> io::Result<()> {
    let (dir, name) = split(path)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let temporary = Builder::new().prefix(&prefix).make_in(dir, |at| symlink(target, at))?;
    temporary.into_temp_path().persist(path)?;
    File::open(dir)?.sync_all()
}

/// The directory of a file and its name there.
fn split(path: &Path) -> io::Result<(&Path, OsString)> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?;
    Ok((dir, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        fs::{self, DirEntry},
        io::Write,
        os::unix::fs::MetadataExt,
    };

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

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
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_published_file_is_this_users_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        publish(&path, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_process_of_the_same_id_left_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let id = std::process::id();
        let left: Vec<String> = (0..64).map(|n| format!("f.{id}.{n}.tmp")).collect();
        for name in &left {
            fs::write(dir.path().join(name), b"theirs").unwrap();
        }
        let path = dir.path().join("f");
        publish(&path, |f| f.write_all(b"ours")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        for name in &left {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"theirs");
        }
    }

    #[test]
    fn a_temporary_name_is_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut seen = HashSet::new();
        for _ in 0..8 {
            publish(&path, |_| {
                let name = names(dir.path()).into_iter().find(|n| n.ends_with(".tmp")).unwrap();
                assert!(seen.insert(name));
                Ok(())
            })
            .unwrap();
        }
    }

    #[test]
    fn a_link_replaces_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        for target in ["one", "two"] {
            publish_link(&path, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
        }
        assert_eq!(names(dir.path()), ["l"]);
    }
}
