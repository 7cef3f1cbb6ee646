//! The most bytes that a directory's files may have: the file `quota` in it, a decimal number.
//!
//! Invariant: whoever adds a file first [asks for room](PrivateDir::room_for) and keeps the answer until the file is
//! there, so the limit is kept by any number of processes. Without a quota nobody counts or waits.

use crate::{FileError, Lock, PrivateDir, private::refused};
use std::io::Write;

/// The name of the file.
const QUOTA: &str = "quota";

/// Room for a file: nobody else has any until it is dropped.
#[derive(Debug)]
pub struct Room {
    _turn: Option<Lock>,
}

impl PrivateDir {
    /// The most bytes that its files and those of the directories in it may have together, if that is limited.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no number.
    pub fn quota(&self) -> Result<Option<u64>, FileError> {
        let Some(bytes) = self.read(QUOTA)? else { return Ok(None) };
        let number = str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        let damaged =
            || refused("it is not a number of bytes (set it again: executor store quota)");
        let error = || FileError::at(&self.path().join(QUOTA))(damaged());
        number.map(Some).ok_or_else(error)
    }

    /// Limits its bytes, or no longer. What is there already may be more.
    ///
    /// # Errors
    /// When the file cannot be written or removed.
    pub fn set_quota(&self, quota: Option<u64>) -> Result<(), FileError> {
        match quota {
            Some(bytes) => self.publish(QUOTA, |file| writeln!(file, "{bytes}")).map(drop),
            None => self.remove(QUOTA).map(drop),
        }
    }

    /// How many bytes its files have, and those of the directories in it.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn bytes(&self) -> Result<u64, FileError> {
        let mut bytes = 0;
        for name in self.names()? {
            let sub = match name.to_str() {
                // A file is none, and its length counts.
                Some(name) => self.sub(name).ok().flatten(),
                None => None,
            };
            match sub {
                Some(dir) => {
                    for name in dir.names()? {
                        bytes += dir.look(name)?.map_or(0, |look| look.len);
                    }
                }
                None => bytes += self.look(name)?.map_or(0, |look| look.len),
            }
        }
        Ok(bytes)
    }

    /// Sees to it that a file of so many bytes can be added.
    ///
    /// # Errors
    /// [`FileError::Quota`] when the quota would be exceeded; and as [`Self::quota`] and [`Self::bytes`].
    pub fn room_for(&self, bytes: u64) -> Result<Room, FileError> {
        if self.look(QUOTA)?.is_none() {
            return Ok(Room { _turn: None });
        }
        let turn = self.lock_number(QUOTA, 0)?;
        if let Some(limit) = self.quota()? {
            let used = self.bytes()?;
            if used.checked_add(bytes).is_none_or(|all| all > limit) {
                return Err(FileError::Quota { path: self.path().to_owned(), limit, used, bytes });
            }
        }
        Ok(Room { _turn: Some(turn) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_quota_is_refused_by_its_numbers() -> std::io::Result<()> {
        let temporary = tempfile::tempdir()?;
        let dir = PrivateDir::open(temporary.path()).unwrap().unwrap();
        assert_eq!(dir.quota().unwrap(), None);
        dir.room_for(u64::MAX).unwrap();
        dir.make_sub("sub").unwrap().publish("f", |f| f.write_all(&[0; 100])).unwrap();
        dir.set_quota(Some(200)).unwrap();
        assert_eq!((dir.quota().unwrap(), dir.bytes().unwrap()), (Some(200), 104));
        let room = dir.room_for(96).unwrap();
        drop(room);
        for bytes in [97, u64::MAX] {
            match dir.room_for(bytes) {
                Err(FileError::Quota { limit: 200, used: 104, bytes: b, .. }) if b == bytes => {}
                other => panic!("{other:?}"),
            }
        }
        std::fs::write(temporary.path().join("quota"), "much")?;
        assert!(dir.room_for(1).unwrap_err().to_string().contains("executor store quota"));
        dir.set_quota(None).unwrap();
        dir.room_for(u64::MAX).unwrap();
        Ok(())
    }

    #[test]
    fn those_who_add_at_once_stay_within_it_together() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open(temporary.path()).unwrap().unwrap();
        dir.set_quota(Some(1000)).unwrap();
        let add = |n: usize| {
            let dir = PrivateDir::open(temporary.path()).unwrap().unwrap();
            (0..20).for_each(|i| {
                if let Ok(_room) = dir.room_for(70) {
                    dir.publish(format!("{n}-{i}"), |f| f.write_all(&[0; 70])).unwrap();
                }
            });
        };
        std::thread::scope(|scope| (0..3).for_each(|n| _ = scope.spawn(move || add(n))));
        assert_eq!(dir.bytes().unwrap(), 5 + 14 * 70);
    }
}
