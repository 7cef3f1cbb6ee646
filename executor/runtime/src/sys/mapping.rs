//! Reserved address space and mapped code files.

use super::lost::{Kind, Registered};
use executor_code::{file::Section, layout::PAGE};
use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap},
};
use std::{
    ffi::{CStr, c_void},
    fs::File,
    io,
    num::NonZeroUsize,
    ops::Range,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    sync::OnceLock,
};

/// What may be done with a range of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: an access faults.
    None,
    /// To read: a write faults.
    Read,
    /// To read and write.
    Write,
}

impl Access {
    fn flags(self) -> ProtFlags {
        match self {
            Self::None => ProtFlags::PROT_NONE,
            Self::Read => ProtFlags::PROT_READ,
            Self::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// Reserved, inaccessible addresses, parts of which are made accessible or replaced by mapped
/// files. Given back to the system when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<c_void>,
    len: usize,
    /// Once a file is mapped in it.
    files: OnceLock<Registered>,
}

// SAFETY: the struct is an address and a length; the memory behind it is reached only through raw
// pointers whose users state their own reasons.
unsafe impl Send for Reservation {}
// SAFETY: as above; the methods only make system calls, which the kernel serialises.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `len` bytes, a multiple of the page size.
    pub(crate) fn new(len: u64) -> io::Result<Self> {
        let len = NonZeroUsize::new(len as usize)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice affects no other.
        let base = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, flags) };
        let base = base.map_err(|error| match error {
            Errno::ENOMEM => io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("no room for {len} bytes of addresses (is `ulimit -v` set?)"),
            ),
            error => error.into(),
        })?;
        Ok(Self { base, len: len.get(), files: OnceLock::new() })
    }

    /// The address of an offset, which may be one past the end.
    pub(crate) fn at(&self, offset: u64) -> *mut u8 {
        assert!(offset <= self.len as u64);
        self.base.as_ptr().cast::<u8>().wrapping_add(offset as usize)
    }

    fn range(&self, offset: u64, len: u64) -> io::Result<NonNull<c_void>> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len as u64);
        if !inside || !offset.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "range outside its slot"));
        }
        Ok(NonNull::new(self.at(offset).cast()).unwrap_or(self.base))
    }

    /// All of its addresses.
    pub(crate) fn addresses(&self) -> Range<usize> {
        let start = self.base.as_ptr() as usize;
        start..start + self.len
    }

    /// The offset of an address, if it is one of the reservation's.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        let offset = address.wrapping_sub(self.base.as_ptr() as usize);
        (offset < self.len).then_some(offset as u64)
    }

    /// Makes a range readable and writable; it is zero unless it was accessible before.
    pub(crate) fn commit(&self, offset: u64, len: u64) -> io::Result<()> {
        self.protect(offset, len, Access::Write)
    }

    /// Changes what may be done with a range; its contents stay. Async-signal-safe.
    pub(crate) fn protect(&self, offset: u64, len: u64, access: Access) -> io::Result<()> {
        let start = self.range(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the range is inside this reservation. Gaining access breaks no reference, and
        // callers take access away only where no reference leads.
        let _: () = unsafe { mprotect(start, len as usize, access.flags())? };
        Ok(())
    }

    /// Gives the memory of a range back to the system: what a file is mapped to is as in the file
    /// again, other pages are zero. Access to it stays. Nothing refers to the range meanwhile.
    pub(crate) fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = self.range(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the range is inside this reservation, and callers see to it that no reference
        // leads there.
        match unsafe { libc::madvise(start.as_ptr(), len as usize, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Makes the pages of a range new ones: zero, readable and writable, whatever was there. Nothing refers to the range
    /// meanwhile.
    pub(crate) fn renew(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = self.range(offset, len)?;
        let (Some(address), Some(len)) =
            (NonZeroUsize::new(start.as_ptr() as usize), NonZeroUsize::new(len as usize))
        else {
            return Ok(());
        };
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        // SAFETY: the range is inside this reservation, and callers see to it that no reference leads there.
        unsafe { mmap_anonymous(Some(address), len, Access::Write.flags(), flags)? };
        Ok(())
    }

    /// Maps part of a file copy-on-write over a range. The file must be private to this user, or the user vouches
    /// for it (`executor_files::ensure_trusted`), which callers check: another user's later change to it
    /// would be seen here.
    pub(crate) fn map_file(
        &self,
        offset: u64,
        len: u64,
        (file, file_offset): (&File, u64),
        access: Access,
    ) -> io::Result<()> {
        let start = self.range(offset, len)?;
        let (Some(address), Some(len)) =
            (NonZeroUsize::new(start.as_ptr() as usize), NonZeroUsize::new(len as usize))
        else {
            return Ok(());
        };
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let file_offset =
            i64::try_from(file_offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.files
            .get_or_init(|| Registered::new(self.base.as_ptr() as usize, self.len, Kind::State));
        // SAFETY: the range is inside this reservation, and callers map before any instance runs
        // or any slice of it exists.
        unsafe { mmap(Some(address), len, access.flags(), flags, file.as_fd(), file_offset)? };
        Ok(())
    }

    /// Whether a page of a file that is mapped in it was lost: what was read there since may be zeroes.
    pub(crate) fn lost(&self) -> bool {
        self.files.get().is_some_and(Registered::lost)
    }

    /// Makes private copies of the pages of a range that are about to be written to. It only saves
    /// faults, so a kernel that cannot (before Linux 5.14) or will not is no error.
    pub(crate) fn populate(&self, offset: u64, len: u64) {
        let Ok(start) = self.range(offset, len) else { return };
        // SAFETY: the range is inside this reservation; what can be read there stays the same.
        unsafe { libc::madvise(start.as_ptr(), len as usize, libc::MADV_POPULATE_WRITE) };
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        drop(self.files.take());
        // SAFETY: the range is this reservation's own, and owners drop it last.
        let result = unsafe { munmap(self.base, self.len) };
        debug_assert!(result.is_ok());
    }
}

/// An empty file in memory that no path leads to. The name is for `/proc`.
pub(crate) fn anonymous_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a C string; the call makes a new descriptor, owned below.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A code file mapped read-only, its text executable. Never writable: W^X holds at all times.
#[derive(Debug)]
pub struct Mapping {
    // Dropped first: a mapping is in the registry only while it is there.
    // Anonymous memory loses no page.
    registered: Option<Registered>,
    bytes: memmap2::Mmap,
}

impl Mapping {
    /// Maps a code file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the file is private to this user (the cache checks) and immutable once
        // published: it is replaced by rename, never rewritten.
        let bytes = unsafe { memmap2::Mmap::map(file)? };
        let registered = Registered::new(bytes.as_ptr() as usize, bytes.len(), Kind::Code);
        Ok(Self { registered: Some(registered), bytes })
    }

    /// Whether a page of the file was lost: what was read of it since may be zeroes, and its text cannot be
    /// run any more.
    pub(crate) fn lost(&self) -> bool {
        self.registered.as_ref().is_some_and(Registered::lost)
    }

    /// Takes a copy of code that no file is to be mapped for into anonymous memory, which can be written
    /// to until it returns and never again.
    pub(crate) fn anonymous(bytes: &[u8]) -> io::Result<Self> {
        let mut copy = memmap2::MmapMut::map_anon(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(Self { registered: None, bytes: copy.make_read_only()? })
    }

    /// Makes the text of a checked code file executable.
    pub(crate) fn make_executable(file: &executor_code::file::CodeFile<Self>) -> io::Result<()> {
        let text = file.section(Section::Text);
        let Some(start) = NonNull::new(text.as_ptr().cast_mut().cast::<c_void>()) else {
            return Ok(());
        };
        if text.is_empty() {
            return Ok(());
        }
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
        // SAFETY: the section lies within the mapping and begins on a page (`CodeFile` checked);
        // the rest of its last page is padding. The pages stay read-only.
        let _: () = unsafe { mprotect(start, text.len().next_multiple_of(PAGE as usize), prot)? };
        Ok(())
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
