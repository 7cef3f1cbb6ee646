//! Checked access to guest memory.
//!
//! Invariant: every address and length comes from the guest, is 32 bits, and is checked against
//! the memory's present size before use; nothing here allocates.

use crate::Errno;
use std::io::IoSlice;

/// The largest number of buffers that one call may name, as on Linux.
const IOV_MAX: u32 = 1024;
/// The size of an `iovec` in guest memory: address and length.
const IOVEC_SIZE: u32 = 8;
/// How many buffers are passed to the host at a time.
const BATCH: usize = 16;

/// The memory of the calling instance.
#[derive(Debug)]
pub struct Memory<'a>(&'a mut [u8]);

impl<'a> Memory<'a> {
    /// A view of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// The `len` bytes at `at`.
    ///
    /// # Errors
    /// `FAULT` when they are not all in memory.
    pub fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        let (at, len) = (at as usize, len as usize);
        self.0.get(at..).and_then(|rest| rest.get(..len)).ok_or(Errno::FAULT)
    }

    /// The `len` bytes at `at`, to be written.
    ///
    /// # Errors
    /// `FAULT` when they are not all in memory.
    pub fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        let (at, len) = (at as usize, len as usize);
        self.0.get_mut(at..).and_then(|rest| rest.get_mut(..len)).ok_or(Errno::FAULT)
    }

    /// The `N` bytes at `at`.
    ///
    /// # Errors
    /// `FAULT` when they are not all in memory.
    pub fn array<const N: usize>(&self, at: u32) -> Result<[u8; N], Errno> {
        let rest = self.0.get(at as usize..).ok_or(Errno::FAULT)?;
        rest.first_chunk().copied().ok_or(Errno::FAULT)
    }

    /// Writes `bytes` at `at`.
    ///
    /// # Errors
    /// `FAULT`, with nothing written, when they do not fit.
    pub fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let rest = self.0.get_mut(at as usize..).ok_or(Errno::FAULT)?;
        rest.get_mut(..bytes.len()).ok_or(Errno::FAULT)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a 32-bit number.
    ///
    /// # Errors
    /// `FAULT` when it does not fit.
    pub fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes a 64-bit number.
    ///
    /// # Errors
    /// `FAULT` when it does not fit.
    pub fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// The string of `len` bytes at `at`.
    ///
    /// # Errors
    /// `FAULT` when it is not all in memory, `ILSEQ` when it is not UTF-8.
    pub fn str(&self, at: u32, len: u32) -> Result<&str, Errno> {
        std::str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::ILSEQ)
    }

    /// Passes the buffers that `count` iovecs at `iovs` name to `sink`, some at a time and in
    /// order, with the number of bytes taken so far, until it takes less than it was given.
    /// Returns the number of bytes taken.
    ///
    /// # Errors
    /// `FAULT` or `INVAL` before anything is taken, when a buffer is not in memory or there are too
    /// many; the error of `sink` if nothing was taken before it.
    pub fn gather(
        &self,
        iovs: u32,
        count: u32,
        mut sink: impl FnMut(&[IoSlice<'_>], u32) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        self.check_iovecs(iovs, count)?;
        let (mut next, mut taken) = (0, 0);
        while next < count {
            let mut batch = [IoSlice::new(&[]); BATCH];
            let (mut used, mut len) = (0, 0);
            while next < count && used < BATCH {
                let (at, size) = self.iovec(iovs, next)?;
                next += 1;
                if size > 0 {
                    batch[used] = IoSlice::new(self.bytes(at, size)?);
                    used += 1;
                    len += size as usize;
                }
            }
            if used == 0 {
                break;
            }
            match sink(&batch[..used], taken) {
                Ok(n) => {
                    taken += n as u32;
                    if n < len {
                        break;
                    }
                }
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// Has `source` fill the buffers that `count` iovecs at `iovs` name, in order, given the
    /// number of bytes filled so far, until it fills less than the whole of one. With `eager`
    /// unset it is asked once at most: asking again could wait although there is something to
    /// return. Returns the number of bytes filled.
    ///
    /// # Errors
    /// `FAULT` or `INVAL` before anything is filled, when a buffer is not in memory or there are
    /// too many; the error of `source` if nothing was filled before it.
    pub fn scatter(
        &mut self,
        iovs: u32,
        count: u32,
        eager: bool,
        mut source: impl FnMut(&mut [u8], u32) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        self.check_iovecs(iovs, count)?;
        let mut filled = 0;
        for i in 0..count {
            // Looked up afresh, since the guest may have its iovecs overwritten by the data.
            let buffer = self.iovec(iovs, i).and_then(|(at, len)| self.bytes_mut(at, len));
            let result = match buffer {
                Ok([]) => continue,
                Ok(buffer) => source(buffer, filled).map(|n| (n, n < buffer.len())),
                Err(error) => Err(error),
            };
            match result {
                Ok((n, short)) => {
                    filled = filled.checked_add(n as u32).ok_or(Errno::OVERFLOW)?;
                    if short || !eager {
                        break;
                    }
                }
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    /// Checks the number of iovecs, that each buffer is in memory, and that their lengths add up
    /// to no more than a result can say.
    fn check_iovecs(&self, iovs: u32, count: u32) -> Result<(), Errno> {
        if count > IOV_MAX {
            return Err(Errno::INVAL);
        }
        let mut total = 0u32;
        for i in 0..count {
            let (at, len) = self.iovec(iovs, i)?;
            self.bytes(at, len)?;
            total = total.checked_add(len).ok_or(Errno::INVAL)?;
        }
        Ok(())
    }

    /// Address and length of buffer `i`, below [`IOV_MAX`].
    fn iovec(&self, iovs: u32, i: u32) -> Result<(u32, u32), Errno> {
        let at = iovs.checked_add(i * IOVEC_SIZE).ok_or(Errno::FAULT)?;
        let raw = u64::from_le_bytes(self.array(at)?);
        Ok((raw as u32, (raw >> 32) as u32))
    }
}
