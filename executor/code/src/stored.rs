//! Code files of a store, and what is checked before machine code of them runs.
//!
//! Invariant: code that [`StoredCode::check`] passes is, byte for byte, what was published in this store
//! under this key.
//!
//! ```text
//! first page   has a MAC under the store's key                              each time it is opened
//! body         its chunks have their hashes, and those the root in the header
//!                                                 each time, unless a marker says that it was done
//! ```
//!
//! Of a store that the user vouches for the body is not read.
//!
//! The marker `code/KEY.checked` is a MAC over the root, which file it was (device, inode, length, times of
//! modification and change) and the boot of the machine. Whatever writes to the file changes the time, and so
//! does whatever replaces it; a boot may bring other bytes from the disk. So a check is repeated at most once a boot, and
//! opening code costs the same whatever its size. Clocks of file systems tick: a file that changed just
//! before it was checked gets no marker, because a change in the same tick would not be seen.

use crate::{
    CodeKey,
    cache::marker,
    file::{CodeFile, CodeFileError, CodeHeader, MAC_OFFSET, TEXT_OFFSET, chunks},
    store_key::{Purpose, StoreKey},
};
use executor_files::{Draft, PrivateDir, Trust};
use std::{
    fs::{File, Metadata},
    os::unix::fs::{FileExt, MetadataExt},
    sync::OnceLock,
    time::{Duration, UNIX_EPOCH},
};

/// How long before a check a file must have changed last, for a change during it to be seen.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

/// How much of a code file that a store has is read before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// All of it, unless that was done since the machine was started and the file changed.
    Once,
    /// All of it.
    Whole,
}

/// An open code file of a store.
#[derive(Debug)]
pub struct StoredCode {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    /// The directory that it is in.
    pub(crate) dir: PrivateDir,
    pub(crate) key: CodeKey,
    pub(crate) store_key: Option<StoreKey>,
}

impl StoredCode {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Checks that `code`, which this file was mapped or read to, is what the store was given for the key.
    ///
    /// The body is read from the file itself, so that one that was cut or cannot be read is an error.
    ///
    /// # Errors
    /// Which part is wrong.
    pub fn check<B: AsRef<[u8]>>(
        &self,
        code: &CodeFile<B>,
        check: Check,
    ) -> Result<(), CodeFileError> {
        let header = code.header();
        let store_key = self.check_page(code.authenticated(), header)?;
        let marker = self.marker(store_key, &header.root);
        if check == Check::Once
            && (self.dir.trust() == Trust::Vouched || marker.is_some() && marker == self.marked())
        {
            return Ok(());
        }
        // Made before anything is read: its time is that of the beginning.
        let draft = marker.and_then(|_| self.dir.draft().ok());
        let checked =
            chunks::check(header, &|into: &mut [u8], at| self.file.read_exact_at(into, at));
        if let Err(damaged) = checked {
            // It changed without a trace: the marker is wrong. Where it cannot be removed it stays so.
            let _ = self.dir.remove(self::marker(&self.key));
            return Err(damaged);
        }
        if let (Some(marker), Some(draft)) = (marker, draft) {
            self.mark(marker, draft);
        }
        Ok(())
    }

    /// Whether it is, byte for byte, what was published in this store under this key. All of it is read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.check_alone(), Ok(Some(())))
    }

    /// Checks all of a file that nothing is to be made of; `None` where it is of another format.
    pub(crate) fn check_alone(&self) -> Result<Option<()>, CodeFileError> {
        let mut page = [0; TEXT_OFFSET as usize];
        if self.file.read_exact_at(&mut page, 0).is_err() {
            return Err(CodeFileError::NotCode);
        }
        let Some(header) = CodeHeader::of(&self.file) else { return Ok(None) };
        self.check_page(page.split_at(MAC_OFFSET as usize), &header)?;
        let (expected, actual) = (header.file_len, self.metadata.len());
        if expected != actual {
            return Err(CodeFileError::Length { expected, actual });
        }
        if !chunks::fit(&header) {
            return Err(CodeFileError::Hashes);
        }
        let read = |into: &mut [u8], at| self.file.read_exact_at(into, at);
        chunks::check(&header, &read).map(Some)
    }

    /// Checks what the MAC covers; returns the key that it is under.
    fn check_page(
        &self,
        (page, mac): (&[u8], &[u8]),
        header: &CodeHeader,
    ) -> Result<&StoreKey, CodeFileError> {
        let store_key = self.store_key.as_ref().ok_or(CodeFileError::Mac)?;
        if store_key.mac(Purpose::CodeFile, &[page]) != *mac {
            return Err(CodeFileError::Mac);
        }
        match header.key == self.key.0 {
            true => Ok(store_key),
            false => Err(CodeFileError::Misnamed),
        }
    }

    /// What the marker must hold, unless the boot has no name.
    fn marker(&self, store_key: &StoreKey, root: &[u8; 32]) -> Option<[u8; 32]> {
        let mac = store_key.mac(Purpose::Checked, &[root, &identity(&self.metadata), boot()?]);
        Some(*mac.as_bytes())
    }

    /// What the marker holds, if it is there. One that cannot be read says nothing.
    fn marked(&self) -> Option<[u8; 32]> {
        let (file, metadata) = self.dir.file_and_metadata(marker(&self.key)).ok()??;
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, 0).ok()?;
        self.dir.note_use(&file, &metadata);
        Some(bytes)
    }

    /// Says that the file was checked, if nothing can have changed it since the draft was made. Where the
    /// marker cannot be written the next start checks again.
    fn mark(&self, marker: [u8; 32], draft: Draft<'_>) {
        let same = |now: Metadata| identity(&now) == identity(&self.metadata);
        if is_settled(&self.metadata, &draft) && self.file.metadata().is_ok_and(same) {
            let _ = draft.publish(self::marker(&self.key), &marker);
        }
    }
}

/// Whether a file had changed long enough before a draft was made.
fn is_settled(metadata: &Metadata, draft: &Draft<'_>) -> bool {
    let changed =
        u64::try_from(metadata.ctime()).ok().zip(u32::try_from(metadata.ctime_nsec()).ok());
    let changed = changed.and_then(|(s, ns)| UNIX_EPOCH.checked_add(Duration::new(s, ns)));
    let begun = draft.made().ok();
    let age = begun.zip(changed).and_then(|(begun, changed)| begun.duration_since(changed).ok());
    age.is_some_and(|age| age >= SETTLED_AFTER)
}

/// What tells one state of one file from others.
fn identity(metadata: &Metadata) -> [u8; 56] {
    let signed = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    let numbers = [metadata.dev(), metadata.ino(), metadata.size()].into_iter();
    let mut bytes = [0; 56];
    for (at, number) in numbers.chain(signed.map(i64::cast_unsigned)).enumerate() {
        bytes[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// The name of this boot of the machine: random, so it tells machines apart too. `None` without `/proc`.
fn boot() -> Option<&'static [u8]> {
    static BOOT: OnceLock<Option<[u8; 36]>> = OnceLock::new();
    let read = || {
        // A UUID in digits; the newline is left.
        let mut id = [0; 36];
        File::open("/proc/sys/kernel/random/boot_id").ok()?.read_exact_at(&mut id, 0).ok()?;
        Some(id)
    };
    BOOT.get_or_init(read).as_ref().map(|id| &id[..])
}
