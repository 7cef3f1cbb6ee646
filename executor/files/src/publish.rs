//! Atomic publication of files.
//!
//! Invariant: a crash at any point leaves the old file or the new one, whole; and writers of one
//! directory never share a temporary file. Temporary names are random and created exclusively: a
//! process id would not tell apart two containers that share a directory.

use crate::private::kind;
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

/// What temporary names end in.
const SUFFIX: &str = ".tmp";

/// Whether a name is that of a temporary file, which is a crash's unless its writer is alive.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    // Names that begin with a dot were given to temporary links.
    name.starts_with(b".") || name.ends_with(SUFFIX.as_bytes())
}

/// Checks that a file can be published at `path`: nothing is there yet, or a regular file; and its
/// directory is there. Anything else would be replaced by a regular file, which nobody means who
/// names a device or a link.
///
/// # Errors
/// `InvalidInput`, saying what is there; `NotFound` for the directory; or the operating system's.
pub fn check_output(path: &Path) -> io::Result<()> {
    let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(meta) => refuse(format!(
            "it is {}: only a new file or a regular one can be written",
            kind(meta.file_type())
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let (dir, _) = split(path)?;
            match fs::metadata(dir)?.is_dir() {
                true => Ok(()),
                false => Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        Err(e) => Err(e),
    }
}

/// Writes a file through a temporary one beside it, whose name ends in `.tmp`: write, fsync, rename,
/// fsync the directory. The file is readable and writable by this user only. A failed write leaves
/// no temporary file; a crash may.
///
/// # Errors
/// Those of [`check_output`], of `write` and of the operating system.
pub fn publish(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    check_output(path)?;
    let (dir, name) = split(path)?;
    let dir =
        fs::OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(dir)?;
    publish_in(&dir, name, write).map(drop)
}

/// As [`publish`], in an open directory; what has the name is replaced, whatever it is but a
/// directory. Returns the file, open for reading.
pub(crate) fn publish_in(
    dir: &File,
    name: &OsStr,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let (temporary, mut file) = Temporary::file(dir)?;
    write(&mut file)?;
    file.sync_all()?;
    temporary.rename(name)?;
    Ok(file)
}

/// As [`publish_in`], but leaves what has the name already; returns whether it was published.
pub(crate) fn publish_new_in(dir: &File, name: &OsStr, bytes: &[u8]) -> io::Result<bool> {
    let (temporary, mut file) = Temporary::file(dir)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    match linkat(dir, temporary.name.as_str(), dir, name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(false),
        // The file system has no links.
        Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            temporary.rename(name)?;
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    }
    drop(temporary);
    dir.sync_all()?;
    Ok(true)
}

/// A file that has no name yet, beside those it will be among.
#[derive(Debug)]
pub struct Draft<'a> {
    temporary: Temporary<'a>,
    file: File,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(dir: &'a File) -> io::Result<Self> {
        let (temporary, file) = Temporary::file(dir)?;
        Ok(Self { temporary, file })
    }

    /// When it was made, by the clock of its file system.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn made(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// The file, without a name for good: it is gone when it is closed.
    #[must_use]
    pub fn unnamed(self) -> File {
        self.file
    }

    /// Writes all of it and gives it its name. A crash of the *system* soon after may leave an empty or a damaged
    /// file: it is for what can be told from such a one, and be done without.
    ///
    /// # Errors
    /// Those of the operating system; nothing is left then.
    pub fn publish(mut self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.temporary.give(name.as_ref())?;
        Ok(())
    }
}

/// Makes or replaces a symbolic link through a temporary one beside it.
pub(crate) fn publish_link_in(dir: &File, name: &OsStr, target: &Path) -> io::Result<()> {
    let (temporary, ()) = Temporary::make(dir, |name| symlinkat(target, dir, name))?;
    temporary.rename(name)
}

/// The directory of a file and its name there.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?;
    Ok((dir, name))
}

/// A name that is removed when it is dropped.
#[derive(Debug)]
struct Temporary<'a> {
    dir: &'a File,
    name: String,
}

impl<'a> Temporary<'a> {
    /// Makes something under a new name. It begins with a dot, and so is no function's.
    fn make<T>(dir: &'a File, make: impl Fn(&str) -> nix::Result<T>) -> io::Result<(Self, T)> {
        loop {
            // The standard library's hasher is keyed with random numbers.
            let name = format!(".{:016x}{SUFFIX}", RandomState::new().hash_one(()));
            match make(&name) {
                Ok(made) => return Ok((Self { dir, name }, made)),
                Err(Errno::EEXIST | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a file, for this user alone.
    fn file(dir: &'a File) -> io::Result<(Self, File)> {
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let create = |name: &str| openat(dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let (temporary, fd) = Self::make(dir, create)?;
        Ok((temporary, fd.into()))
    }

    /// Gives it its name for good.
    fn rename(self, name: &OsStr) -> io::Result<()> {
        self.give(name)?.sync_all()
    }

    /// Gives it its name, for as long as the system runs; returns the directory.
    fn give(self, name: &OsStr) -> io::Result<&'a File> {
        renameat(self.dir, self.name.as_str(), self.dir, name)?;
        let dir = self.dir;
        std::mem::forget(self);
        Ok(dir)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Best effort: a sweep takes what stays.
        let _ = unlinkat(self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        fs::DirEntry,
        os::unix::fs::{MetadataExt, symlink},
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
    fn a_temporary_name_is_never_used_again_and_has_no_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut seen = HashSet::new();
        for _ in 0..8 {
            publish(&path, |_| {
                let name = names(dir.path()).into_iter().find(|n| n.ends_with(".tmp")).unwrap();
                assert!(is_temporary(OsStr::new(&name)) && name.len() == 21, "{name}");
                assert!(seen.insert(name));
                Ok(())
            })
            .unwrap();
        }
    }

    #[test]
    fn what_is_new_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = File::open(dir.path()).unwrap();
        let name = OsStr::new("f");
        assert!(publish_new_in(&open, name, b"one").unwrap());
        assert!(!publish_new_in(&open, name, b"two").unwrap());
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"one");
        assert_eq!(fs::metadata(dir.path().join("f")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_draft_that_gets_no_name_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = File::open(dir.path()).unwrap();
        drop(Draft::new(&open).unwrap());
        assert!(names(dir.path()).is_empty());
        let draft = Draft::new(&open).unwrap();
        assert!(draft.made().unwrap() > SystemTime::UNIX_EPOCH);
        draft.publish("f", b"bytes").unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"bytes");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_link_replaces_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (open, name) = (File::open(dir.path()).unwrap(), OsStr::new("l"));
        for target in ["one", "two"] {
            publish_link_in(&open, name, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(dir.path().join(name)).unwrap(), Path::new(target));
        }
        assert_eq!(names(dir.path()), ["l"]);
    }

    #[test]
    fn only_a_regular_file_is_replaced_where_a_user_says_where_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "old").unwrap();
        fs::create_dir(at("dir")).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("absent", at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, word) in [
            ("dir", "a directory"),
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("pipe", "a pipe"),
            ("socket", "a socket"),
        ] {
            let kind = fs::symlink_metadata(at(name)).unwrap().file_type();
            let error = publish(&at(name), |_| panic!("nothing is written")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(error.to_string().contains(word), "{name}: {error}");
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), kind);
        }
        let device = check_output(Path::new("/dev/null")).unwrap_err();
        assert!(device.to_string().contains("a device"), "{device}");
        let nowhere = check_output(&at("absent/f")).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
        publish(&at("file"), |f| f.write_all(b"new")).unwrap();
        publish(&at("new"), |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
    }
}
