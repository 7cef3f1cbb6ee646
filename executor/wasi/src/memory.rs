//! Checked access to guest memory: the one place where a guest's addresses become bytes.
//!
//! Invariant: every address and length comes from the guest, is 32 bits, and is checked against
//! the memory's present size before use; nothing here allocates.

use crate::{Errno, abi::Iovec};
use executor_runtime::MemoryMut;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The length that no path has, as on Linux, where it includes a zero at the end.
const PATH_MAX: u32 = 4096;
/// The largest number of buffers that one call may name, as on Linux.
const IOV_MAX: u32 = 1024;
/// How many buffers are passed to the host at a time.
const BATCH: usize = 8;

/// An address and a length, as a guest gives them for a string or a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Where it begins.
    pub at: u32,
    /// How many bytes it has.
    pub len: u32,
}

impl Span {
    /// The `len` bytes at `at`.
    #[must_use]
    pub const fn new(at: u32, len: u32) -> Self {
        Self { at, len }
    }
}

/// An array of buffers, as a guest gives it to read into or to write from.
#[derive(Debug, Clone, Copy)]
pub struct Iovecs {
    /// Where the array begins.
    pub at: u32,
    /// How many buffers it names.
    pub count: u32,
}

impl Iovecs {
    /// The `count` buffers that are named at `at`.
    #[must_use]
    pub const fn new(at: u32, count: u32) -> Self {
        Self { at, count }
    }
}

/// The memory of the calling instance.
#[derive(Debug)]
pub struct Memory<'a>(MemoryMut<'a>);

impl<'a> Memory<'a> {
    /// A view of `bytes`.
    #[must_use]
    pub fn new(bytes: impl Into<MemoryMut<'a>>) -> Self {
        Self(bytes.into())
    }

    fn range(&self, Span { at, len }: Span) -> Result<Range<usize>, Errno> {
        let range = at as usize..at as usize + len as usize;
        if range.end <= self.0.len() { Ok(range) } else { Err(Errno::FAULT) }
    }

    /// The bytes of a span.
    ///
    /// # Errors
    /// `FAULT` when they are not all in memory.
    pub fn bytes(&self, span: Span) -> Result<&[u8], Errno> {
        Ok(&self.0[self.range(span)?])
    }

    /// The bytes of a span, to be written.
    ///
    /// # Errors
    /// `FAULT` when they are not all in memory.
    pub fn bytes_mut(&mut self, span: Span) -> Result<&mut [u8], Errno> {
        let range = self.range(span)?;
        self.0.get_mut(range).ok_or(Errno::FAULT)
    }

    /// The path of a span: a string that is no longer than the host takes. A longer one is refused before
    /// anybody looks at it.
    ///
    /// # Errors
    /// `FAULT` when it is not all in memory, `NAMETOOLONG`, and `ILSEQ` when it is not UTF-8.
    pub fn path(&self, span: Span) -> Result<&str, Errno> {
        self.range(span)?;
        if span.len >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        std::str::from_utf8(self.bytes(span)?).map_err(|_| Errno::ILSEQ)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `FAULT` when it is not all in memory.
    pub fn read<T: FromBytes>(&self, at: u32) -> Result<T, Errno> {
        let bytes = self.bytes(Span::new(at, size_of::<T>() as u32))?;
        T::read_from_bytes(bytes).map_err(|_| Errno::FAULT)
    }

    /// Checks that a value can be written, before there is one.
    ///
    /// # Errors
    /// `FAULT` when it would not fit.
    pub fn check<T>(&self, at: u32) -> Result<(), Errno> {
        self.range(Span::new(at, size_of::<T>() as u32)).map(drop)
    }

    /// Writes a value: a number, a structure or bytes.
    ///
    /// # Errors
    /// `FAULT`, with nothing written, when it does not fit.
    pub fn write<T: IntoBytes + Immutable + ?Sized>(
        &mut self,
        at: u32,
        value: &T,
    ) -> Result<(), Errno> {
        let bytes = value.as_bytes();
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?;
        self.bytes_mut(Span::new(at, len))?.copy_from_slice(bytes);
        Ok(())
    }

    /// Passes the bytes of buffers to `sink`, some buffers at a time and in order, with the number
    /// of bytes taken so far, until it takes less than it was given. Returns the number of bytes
    /// taken.
    ///
    /// # Errors
    /// `FAULT` or `INVAL` before anything is taken, when a buffer is not in memory or there are too
    /// many; the error of `sink` if nothing was taken before it.
    pub fn gather(
        &self,
        iovecs: Iovecs,
        mut sink: impl FnMut(&[IoSlice<'_>], u32) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        self.check_iovecs(iovecs)?;
        let (mut next, mut taken) = (0, 0);
        loop {
            let batch = self.batch(iovecs, &mut next)?;
            if batch.used == 0 {
                return Ok(taken);
            }
            let slices = batch.ranges.map(|range| IoSlice::new(&self.0[range]));
            let result = sink(&slices[..batch.used], taken);
            slices.iter().for_each(|slice| notice_loss(&result, slice));
            match result {
                Ok(n) => {
                    taken += n as u32;
                    if n < batch.len || next == iovecs.count {
                        return Ok(taken);
                    }
                }
                Err(error) if taken == 0 => return Err(error),
                Err(_) => return Ok(taken),
            }
        }
    }

    /// Has `source` fill buffers, some at a time and in order, given the number of bytes filled so
    /// far, until it fills less than it was given. With `eager` unset it is asked once: asking again
    /// could wait although there is something to return. Returns the number of bytes filled.
    ///
    /// # Errors
    /// `FAULT` or `INVAL` before anything is filled, when a buffer is not in memory or there are
    /// too many; the error of `source` if nothing was filled before it.
    pub fn scatter(
        &mut self,
        iovecs: Iovecs,
        eager: bool,
        mut source: impl FnMut(&mut [IoSliceMut<'_>], u32) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        self.check_iovecs(iovecs)?;
        let (mut next, mut filled) = (0, 0);
        loop {
            // Looked up afresh, since the guest may have its array overwritten by the data.
            let batch = match self.batch(iovecs, &mut next) {
                Ok(batch) => batch,
                Err(_) if filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            };
            if batch.used == 0 {
                return Ok(filled);
            }
            let (first, used) = (batch.ranges[0].clone(), batch.used);
            let result = match self.0.get_disjoint_mut(batch.ranges) {
                Some(slices) => {
                    let mut slices = slices.map(IoSliceMut::new);
                    let result = source(&mut slices[..used], filled);
                    slices.iter().for_each(|slice| notice_loss(&result, slice));
                    result
                }
                // Buffers that overlap: the first alone, which is a short read.
                None => {
                    let first = self.0.get_mut(first).ok_or(Errno::FAULT)?;
                    let result = source(&mut [IoSliceMut::new(first)], filled);
                    notice_loss(&result, first);
                    result
                }
            };
            match result {
                Ok(n) => {
                    filled = filled.checked_add(n as u32).ok_or(Errno::OVERFLOW)?;
                    if n < batch.len || !eager || next == iovecs.count {
                        return Ok(filled);
                    }
                }
                Err(error) if filled == 0 => return Err(error),
                Err(_) => return Ok(filled),
            }
        }
    }

    /// The next buffers from `next` on that are not empty.
    fn batch(&self, iovecs: Iovecs, next: &mut u32) -> Result<Batch, Errno> {
        let mut batch = Batch { ranges: [const { 0..0 }; BATCH], used: 0, len: 0 };
        while *next < iovecs.count && batch.used < BATCH {
            let range = self.range(self.iovec(iovecs.at, *next)?)?;
            *next += 1;
            if !range.is_empty() {
                batch.len += range.len();
                batch.ranges[batch.used] = range;
                batch.used += 1;
            }
        }
        Ok(batch)
    }

    /// Checks the number of buffers, that each is in memory, and that their lengths add up to no
    /// more than a result can say.
    fn check_iovecs(&self, iovecs: Iovecs) -> Result<(), Errno> {
        if iovecs.count > IOV_MAX {
            return Err(Errno::INVAL);
        }
        let mut total = 0u32;
        for i in 0..iovecs.count {
            let span = self.iovec(iovecs.at, i)?;
            self.range(span)?;
            total = total.checked_add(span.len).ok_or(Errno::INVAL)?;
        }
        Ok(())
    }

    /// Buffer `i`, below [`IOV_MAX`], of the array at `at`.
    fn iovec(&self, at: u32, i: u32) -> Result<Span, Errno> {
        let at = at.checked_add(i * size_of::<Iovec>() as u32).ok_or(Errno::FAULT)?;
        let Iovec { buf, len } = self.read(at)?;
        Ok(Span::new(buf.get(), len.get()))
    }
}

/// Looks for a lost page in bytes that the kernel would not use. They are in the guest's memory, so what
/// the kernel could not reach is a page of a file that is gone; the kernel says so with an error, and to us
/// with a signal, of which the runtime makes a trap.
pub(crate) fn notice_loss<T>(result: &Result<T, Errno>, bytes: &[u8]) {
    const PAGE: usize = 4096;
    if matches!(result, Err(Errno::FAULT)) {
        let of_pages = bytes.iter().step_by(PAGE).chain(bytes.last());
        of_pages.for_each(|byte| _ = std::hint::black_box(*byte));
    }
}

/// Buffers that are passed to the host together.
struct Batch {
    ranges: [Range<usize>; BATCH],
    /// How many there are.
    used: usize,
    /// How many bytes they have together.
    len: usize,
}
