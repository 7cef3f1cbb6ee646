//! Directories that only this user could have written to, and what is in them.
//!
//! Invariant: a [`PrivateDir`] was this user's alone when it was opened, and so was every file that it
//! hands out; or the user vouches for them, and nothing is written. Names are looked up in the open directory and are never followed: neither another
//! directory put in its place nor a link, pipe or device put in a file's place is opened as one.

use crate::{
    FileError, Lock,
    private::{Trust, ensure_trusted, not_a_file, refused},
    publish::{Draft, publish_in, publish_link_in, publish_new_in},
};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat},
    sys::stat::{Mode, fstatat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::{DirBuilder, File, Metadata},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, FileExt},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// Without waiting for the other end, should it be a pipe.
const FILE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
/// The file that is locked on behalf of its directory.
const LOCK: &str = "lock";

/// An open directory that only this user could have written to.
#[derive(Debug)]
pub struct PrivateDir {
    dir: File,
    path: PathBuf,
    trust: Trust,
}

/// What has a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A symbolic link, and where it leads.
    Link(PathBuf),
    /// Anything else.
    NoLink,
}

/// What a name in a directory shows of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its length, in bytes.
    pub len: u64,
    /// When it was last written to, or [noted](PrivateDir::note_use) to be used.
    pub written: SystemTime,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    UNIX_EPOCH.checked_add(seconds + nanoseconds).unwrap_or(UNIX_EPOCH)
}

impl PrivateDir {
    /// Opens a directory, if it is there. Its own path may lead through symbolic links: where it lies
    /// is for the user to say.
    ///
    /// # Errors
    /// When it is not this user's alone, or cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Option<Self>, FileError> {
        Self::open_with(path, Trust::Own)
    }

    /// As [`Self::open`], of a directory that the user may vouch for: then it may be anyone's, and is only read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: impl Into<PathBuf>, trust: Trust) -> Result<Option<Self>, FileError> {
        let path = path.into();
        let opened = openat(AT_FDCWD, &path, DIRECTORY, Mode::empty());
        Self::checked(opened, path, trust)
    }

    /// Whether the user vouches for it.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Refuses to write to what is only read.
    fn ensure_writable(&self) -> Result<(), FileError> {
        match self.trust {
            Trust::Own => Ok(()),
            Trust::Vouched => Err(FileError::at(&self.path)(refused(
                "it is trusted as it is, and not written to (leave --trust-store out)",
            ))),
        }
    }

    /// Makes a directory, and those above it, for this user alone, and opens it.
    ///
    /// # Errors
    /// When it cannot be made, or is not this user's alone.
    pub fn make(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        if let Some(dir) = Self::open(&path)? {
            return Ok(dir);
        }
        make_all(&path).map_err(FileError::at(&path))?;
        Self::open(&path)?.ok_or_else(|| gone(&path))
    }

    /// Opens a directory in it, if it is there.
    ///
    /// # Errors
    /// As [`Self::open`]; and when there is something else.
    pub fn sub(&self, name: &str) -> Result<Option<Self>, FileError> {
        let opened = openat(&self.dir, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty());
        let path = self.path.join(name);
        match opened {
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                Err(FileError::at(&path)(refused("it is not a directory (remove it)")))
            }
            opened => Self::checked(opened, path, self.trust),
        }
    }

    /// Opens a directory in it, which is made for this user alone where it is not there.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_sub(&self, name: &str) -> Result<Self, FileError> {
        if let Some(dir) = self.sub(name)? {
            return Ok(dir);
        }
        self.ensure_writable()?;
        let path = self.path.join(name);
        match mkdirat(&self.dir, name, Mode::S_IRWXU) {
            // What is published in it is not to be lost with it.
            Ok(()) => self.sync()?,
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(FileError::at(&path)(error.into())),
        }
        self.sub(name)?.ok_or_else(|| gone(&path))
    }

    fn checked(
        opened: nix::Result<OwnedFd>,
        path: PathBuf,
        trust: Trust,
    ) -> Result<Option<Self>, FileError> {
        let dir = match opened {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(FileError::at(&path)(error.into())),
        };
        ensure_trusted(&dir, trust).map_err(FileError::at(&path))?;
        Ok(Some(Self { dir, path, trust }))
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in it for reading, if it is there.
    ///
    /// # Errors
    /// When it is not a regular file of this user alone, or cannot be opened.
    pub fn file(&self, name: impl AsRef<OsStr>) -> Result<Option<File>, FileError> {
        Ok(self.file_and_metadata(name)?.map(|(file, _)| file))
    }

    /// As [`Self::file`], with its metadata.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn file_and_metadata(
        &self,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<(File, Metadata)>, FileError> {
        self.open_file(name.as_ref(), OFlag::O_RDONLY)
    }

    /// Reads a file in it, if it is there.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn read(&self, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.read_file(name.as_ref())?.map(|(bytes, ..)| bytes))
    }

    /// As [`Self::read`], and [notes](Self::note_use) that the file was used.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn read_and_note(&self, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>, FileError> {
        let read = self.read_file(name.as_ref())?;
        Ok(read.map(|(bytes, file, metadata)| {
            self.note_use(&file, &metadata);
            bytes
        }))
    }

    fn read_file(&self, name: &OsStr) -> Result<Option<(Vec<u8>, File, Metadata)>, FileError> {
        let Some((mut file, metadata)) = self.file_and_metadata(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.at(name))?;
        Ok(Some((bytes, file, metadata)))
    }

    /// Reads a file in it of `N` bytes, if it is there and has so many.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn read_array<const N: usize>(
        &self,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<[u8; N]>, FileError> {
        let name = name.as_ref();
        let Some((file, metadata)) = self.file_and_metadata(name)? else { return Ok(None) };
        if metadata.len() != N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Some(bytes)),
            // Cut since.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.at(name)(error)),
        }
    }

    /// What has a name in it, if anything has.
    ///
    /// # Errors
    /// When a link cannot be read.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> Result<Option<Entry>, FileError> {
        match readlinkat(&self.dir, name.as_ref()) {
            Ok(target) => Ok(Some(Entry::Link(target.into()))),
            Err(Errno::EINVAL) => Ok(Some(Entry::NoLink)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.at(name.as_ref())(error.into())),
        }
    }

    /// The names of what is in it, in no order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> Result<Vec<OsString>, FileError> {
        // A place of its own in the list: `self.dir` has one that all its users share.
        let list = openat(&self.dir, ".", DIRECTORY, Mode::empty()).and_then(Dir::from_fd);
        let name = |name: &[u8]| OsStr::from_bytes(name).to_owned();
        let names = list.and_then(|mut list| {
            list.iter().map(|entry| Ok(name(entry?.file_name().to_bytes()))).collect()
        });
        let mut names: Vec<OsString> =
            names.map_err(|e: Errno| FileError::at(&self.path)(e.into()))?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Sets the time at which a file in it was last written to, if that is a day ago: such times tell to a day
    /// when files were last used, on file systems that keep no time of reading. Where it cannot be set, and where
    /// nothing is written, it stays.
    pub fn note_use(&self, file: &File, metadata: &Metadata) {
        let now = SystemTime::now();
        let age = metadata.modified().ok().and_then(|last| now.duration_since(last).ok());
        if self.trust == Trust::Own && age.is_some_and(|age| age >= DAY) {
            let _ = file.set_modified(now);
        }
    }

    /// The length of what has a name in it and when it was last written to, without following links; `None`
    /// where there is nothing.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn look(&self, name: impl AsRef<OsStr>) -> Result<Option<Look>, FileError> {
        let name = name.as_ref();
        match fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Look {
                len: stat.st_size.cast_unsigned(),
                written: time(stat.st_mtime, stat.st_mtime_nsec),
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.at(name)(error.into())),
        }
    }

    /// Writes a file in it, whole or not at all, and returns it open for reading. What has the name is
    /// replaced.
    ///
    /// # Errors
    /// Those of `write` and of the operating system; no temporary file is left then.
    pub fn publish(
        &self,
        name: impl AsRef<OsStr>,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<File, FileError> {
        self.ensure_writable()?;
        publish_in(&self.dir, name.as_ref(), write).map_err(self.at(name.as_ref()))
    }

    /// Writes a file in it, whole or not at all, unless something has the name already; returns
    /// whether it did.
    ///
    /// # Errors
    /// Those of the operating system; no temporary file is left then.
    pub fn publish_new(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<bool, FileError> {
        self.ensure_writable()?;
        publish_new_in(&self.dir, name.as_ref(), bytes).map_err(self.at(name.as_ref()))
    }

    /// Makes a file in it that gets its name later.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn draft(&self) -> Result<Draft<'_>, FileError> {
        self.ensure_writable()?;
        Draft::new(&self.dir).map_err(FileError::at(&self.path))
    }

    /// Makes or replaces a symbolic link in it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn publish_link(&self, name: impl AsRef<OsStr>, target: &Path) -> Result<(), FileError> {
        self.ensure_writable()?;
        publish_link_in(&self.dir, name.as_ref(), target).map_err(self.at(name.as_ref()))
    }

    /// Removes what has a name and is no directory; returns its length, or `None` where there is
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<Option<u64>, FileError> {
        self.ensure_writable()?;
        let name = name.as_ref();
        let len = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_or(0, |s| s.st_size);
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(Some(len.cast_unsigned())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.at(name)(error.into())),
        }
    }

    /// Makes what was removed stay so after a crash.
    ///
    /// # Errors
    /// Those of `fsync`.
    pub fn sync(&self) -> Result<(), FileError> {
        self.dir.sync_all().map_err(FileError::at(&self.path))
    }

    /// Waits until nobody has it [exclusively](Self::lock_exclusively), in any process.
    ///
    /// # Errors
    /// When its file `lock` cannot be made, opened or locked.
    pub fn lock_shared(&self) -> Result<Lock, FileError> {
        Lock::shared(self.lock_file(LOCK)?).map_err(self.at(LOCK.as_ref()))
    }

    /// Waits until nobody else has it locked, in any process.
    ///
    /// # Errors
    /// As [`Self::lock_shared`].
    pub fn lock_exclusively(&self) -> Result<Lock, FileError> {
        Lock::exclusive(self.lock_file(LOCK)?).map_err(self.at(LOCK.as_ref()))
    }

    /// Waits until nobody else has locked this number in the file `name`, in any process.
    ///
    /// # Errors
    /// When the file cannot be made, opened or locked.
    pub fn lock_number(&self, name: &str, number: u64) -> Result<Lock, FileError> {
        Lock::byte(self.lock_file(name)?, number).map_err(self.at(name.as_ref()))
    }

    fn lock_file(&self, name: &str) -> Result<File, FileError> {
        self.ensure_writable()?;
        let opened = self.open_file(name.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT)?;
        opened.map(|(file, _)| file).ok_or_else(|| gone(&self.path))
    }

    fn open_file(&self, name: &OsStr, flags: OFlag) -> Result<Option<(File, Metadata)>, FileError> {
        let file = match openat(&self.dir, name, flags | FILE, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                let link = "it is a symbolic link, not a regular file (remove it)";
                return Err(self.at(name)(refused(link)));
            }
            // A socket, or a device without a driver.
            Err(Errno::ENXIO) => {
                return Err(self.at(name)(refused("it is not a regular file (remove it)")));
            }
            Err(error) => return Err(self.at(name)(error.into())),
        };
        let meta = ensure_trusted(&file, self.trust).map_err(self.at(name))?;
        match meta.is_file() {
            true => Ok(Some((file, meta))),
            false => Err(self.at(name)(not_a_file(meta.file_type()))),
        }
    }

    fn at(&self, name: &OsStr) -> impl FnOnce(io::Error) -> FileError {
        let path = self.path.join(name);
        move |error| FileError::at(&path)(error)
    }
}

/// Makes a directory, and those above it, for this user alone, so that a crash keeps them.
fn make_all(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let make = || DirBuilder::new().mode(0o700).create(path);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && above != Path::new(".") => {
            make_all(above)?;
            make()
        }
        made => made,
    };
    match made {
        // One that cannot be read can be written to all the same.
        Ok(()) => File::open(above).map_or(Ok(()), |dir| dir.sync_all()),
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Another process removes what is being made.
fn gone(path: &Path) -> FileError {
    FileError::at(path)(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, Permissions},
        io::Write,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn private() -> (tempfile::TempDir, PrivateDir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open(temporary.path()).unwrap().unwrap();
        (temporary, dir)
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, FileError>) -> (PathBuf, String) {
        match result {
            Err(FileError::Untrusted { path, reason }) => (path, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_there_is_none_and_is_not_made() {
        let (temporary, dir) = private();
        assert!(PrivateDir::open(temporary.path().join("absent")).unwrap().is_none());
        assert!(dir.sub("absent").unwrap().is_none());
        assert!(dir.file("absent").unwrap().is_none());
        assert!(dir.read("absent").unwrap().is_none());
        assert!(dir.entry("absent").unwrap().is_none());
        assert!(dir.remove("absent").unwrap().is_none());
        assert!(dir.names().unwrap().is_empty());
    }

    #[test]
    fn what_is_published_is_read_listed_and_removed() {
        let (_temporary, dir) = private();
        let sub = dir.make_sub("sub").unwrap();
        sub.publish("f", |f| f.write_all(b"bytes")).unwrap();
        sub.publish_link("l", Path::new("f")).unwrap();
        assert_eq!(sub.read("f").unwrap().unwrap(), b"bytes");
        assert_eq!(sub.read_array("f").unwrap(), Some(*b"bytes"));
        assert_eq!(sub.read_array::<4>("f").unwrap(), None);
        assert_eq!(sub.read_array::<6>("f").unwrap(), None);
        assert_eq!(sub.look("f").unwrap().unwrap().len, 5);
        assert_eq!(sub.look("l").unwrap().unwrap().len, 1);
        assert_eq!(sub.look("absent").unwrap(), None);
        assert_eq!(sub.entry("l").unwrap(), Some(Entry::Link("f".into())));
        assert_eq!(sub.entry("f").unwrap(), Some(Entry::NoLink));
        for _ in 0..2 {
            let mut names = sub.names().unwrap();
            names.sort();
            assert_eq!(names, ["f", "l"]);
        }
        assert_eq!(sub.remove("f").unwrap(), Some(5));
        assert_eq!(sub.remove("l").unwrap(), Some(1));
        assert!(sub.names().unwrap().is_empty());
    }

    #[test]
    fn nothing_but_a_regular_file_is_opened_as_one_and_nothing_is_waited_for() {
        let (temporary, dir) = private();
        let at = |name: &str| temporary.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("dir")).unwrap();
        symlink("file", at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::set_permissions(at("socket"), Permissions::from_mode(0o600)).unwrap();
        for name in ["dir", "link", "pipe", "socket"] {
            let (path, reason) = refusal(dir.file(name));
            assert_eq!(path, at(name));
            assert!(reason.contains("not a regular file (remove it)"), "{name}: {reason}");
            assert!(dir.lock_number(name, 0).is_err(), "{name}");
        }
        for name in ["file", "link", "pipe", "socket"] {
            assert!(refusal(dir.sub(name)).1.contains("not a directory"), "{name}");
            assert!(refusal(dir.make_sub(name)).1.contains("not a directory"), "{name}");
        }
    }

    #[test]
    fn what_others_may_write_to_is_refused_by_name_with_what_mends_it() {
        let (temporary, dir) = private();
        let chmod = |name: &str, mode| {
            fs::set_permissions(temporary.path().join(name), Permissions::from_mode(mode)).unwrap();
        };
        dir.make_sub("sub").unwrap();
        dir.publish("f", |_| Ok(())).unwrap();
        chmod("sub", 0o777);
        chmod("f", 0o666);
        for (path, reason) in [refusal(dir.sub("sub")), refusal(dir.file("f"))] {
            assert!(
                path.starts_with(temporary.path()) && reason.contains("chmod go-w"),
                "{reason}"
            );
        }
        chmod("", 0o777);
        assert_eq!(refusal(PrivateDir::open(temporary.path())).0, temporary.path());
        assert_eq!(refusal(PrivateDir::make(temporary.path())).0, temporary.path());
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let (_temporary, dir) = private();
        let file = dir.publish("f", |_| Ok(())).unwrap();
        let written = || dir.look("f").unwrap().unwrap().written;
        let now = SystemTime::now();
        for (age, noted) in [(DAY - DAY / 24, false), (DAY * 2, true)] {
            file.set_modified(now - age).unwrap();
            let (file, metadata) = dir.file_and_metadata("f").unwrap().unwrap();
            dir.note_use(&file, &metadata);
            assert_eq!(written() >= now, noted, "{age:?}");
        }
    }

    #[test]
    fn a_number_is_held_by_one_and_others_are_free() {
        let (temporary, dir) = private();
        let one = dir.lock_number("numbers", 1 << 60).unwrap();
        drop(dir.lock_number("numbers", 1 << 61).unwrap());
        let path = temporary.path().to_owned();
        let (waiting, waits) = std::sync::mpsc::channel();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let dir = PrivateDir::open(path).unwrap().unwrap();
            waiting.send(()).unwrap();
            let lock = dir.lock_number("numbers", 1 << 60).unwrap();
            locked.send(()).unwrap();
            drop(lock);
        });
        waits.recv().unwrap();
        let early = is_locked.recv_timeout(std::time::Duration::from_millis(50));
        assert!(early.is_err(), "two have one lock");
        drop(one);
        is_locked.recv().unwrap();
        waiter.join().unwrap();
    }
}
