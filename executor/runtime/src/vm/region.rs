//! A memory or table of some instance: where it begins and where its size is kept.
//!
//! Invariant: a [`Region`] is made only from a live slot whose size word never exceeds what is
//! accessible from the base on, so every method checks against that word and then may touch
//! memory. Sizes never shrink.
//!
//! Bytes of a shared memory may change under the host's hands, so no Rust reference to them is ever
//! made; they are moved by `rep movsb` and `rep stosb`, which to Rust are what machine code does to
//! memory anyway: accesses outside its view, byte by byte and without an order between threads.

use executor_model::TrapCode;
use std::{
    arch::asm,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release, Ordering::SeqCst},
};

/// Which memory or table a link or an address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    /// The address of the first byte.
    pub(crate) base: usize,
    /// The address of the size word.
    pub(crate) size: usize,
}

/// Copies bytes that other threads may use meanwhile.
///
/// # Safety
/// Both ranges are accessible, and no Rust reference to a byte of `to` exists.
unsafe fn copy_shared(to: usize, from: usize, len: usize) {
    // Backwards when the beginning of `to` lies inside `from`.
    if to.wrapping_sub(from) < len {
        // SAFETY: the caller's promise; the direction flag is cleared again, as the ABI asks.
        unsafe {
            asm!(
                "std", "rep movsb", "cld",
                inout("rcx") len => _,
                inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _,
                inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
                options(nostack),
            );
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl Region {
    /// How many elements (bytes of a memory, references of a table) there are.
    pub(crate) fn len(self) -> usize {
        // SAFETY: the address of an aligned size word of a live slot, which is only ever accessed
        // atomically where another thread may.
        unsafe { AtomicU64::from_ptr(self.size as *mut u64).load(Acquire) as usize }
    }

    /// Changes the size; what it adds must be committed already.
    pub(crate) fn set_len(self, len: u64) {
        // SAFETY: as in `len`.
        unsafe { AtomicU64::from_ptr(self.size as *mut u64).store(len, Release) }
    }

    /// The address of `len` bytes of a memory, if all are inside.
    pub(crate) fn address(self, at: u64, len: u64) -> Option<usize> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len() as u64);
        inside.then(|| self.base + at as usize)
    }

    /// Copies from a memory that may be shared.
    pub(crate) fn read(self, at: u64, to: &mut [u8]) -> Option<()> {
        let from = self.address(at, to.len() as u64)?;
        // SAFETY: inside the memory (checked) and inside the slice, which is exclusively borrowed
        // and no part of a memory that is shared.
        unsafe { copy_shared(to.as_mut_ptr() as usize, from, to.len()) };
        Some(())
    }

    /// Copies to a memory that may be shared.
    pub(crate) fn write(self, at: u64, from: &[u8]) -> Option<()> {
        let to = self.address(at, from.len() as u64)?;
        // SAFETY: as in `read`, the other way round.
        unsafe { copy_shared(to, from.as_ptr() as usize, from.len()) };
        Some(())
    }

    /// Fills a part of a memory that may be shared.
    pub(crate) fn fill(self, at: u64, value: u8, len: u64) -> Option<()> {
        let to = self.address(at, len)?;
        // SAFETY: inside the memory (checked).
        unsafe {
            asm!(
                "rep stosb",
                inout("rcx") len => _, inout("rdi") to => _, in("al") value,
                options(nostack, preserves_flags),
            );
        }
        Some(())
    }

    /// Loads 4 or 8 bytes of a memory that may be shared, at a multiple of their number.
    pub(crate) fn load(self, at: u64, width: u64) -> Result<u64, TrapCode> {
        let address = self.address(at, width).ok_or(TrapCode::MemoryOutOfBounds)?;
        if !at.is_multiple_of(width) {
            return Err(TrapCode::UnalignedAtomic);
        }
        // SAFETY: inside the memory and aligned (checked; memories begin at page boundaries), and
        // atomic, as other threads' accesses to where threads wait are.
        Ok(unsafe {
            match width {
                4 => AtomicU32::from_ptr(address as *mut u32).load(SeqCst).into(),
                _ => AtomicU64::from_ptr(address as *mut u64).load(SeqCst),
            }
        })
    }
}

/// Copies between two memories, or parts of one, of which either may be shared.
pub(super) fn copy_bytes_shared(
    to: Option<Region>,
    from: Option<Region>,
    (dst, src, len): (u64, u64, u64),
) -> Option<()> {
    let (to, from) = (to?.address(dst, len)?, from?.address(src, len)?);
    // SAFETY: both ranges lie within their memories (checked).
    unsafe { copy_shared(to, from, len as usize) };
    Some(())
}

/// Copies between two memories or tables of elements `T`, or parts of one, that nobody shares.
pub(super) fn copy<T: Copy>(
    to: Option<Region>,
    from: Option<Region>,
    (dst, src, len): (u64, u64, u64),
) -> Option<()> {
    let (to, from) = (to?, from?);
    let fits = |start: u64, region: Region| {
        start.checked_add(len).is_some_and(|end| end <= region.len() as u64)
    };
    if !fits(dst, to) || !fits(src, from) {
        return None;
    }
    // SAFETY: both ranges lie within their regions (checked), and `copy` allows overlap.
    unsafe {
        std::ptr::copy(
            (from.base as *const T).add(src as usize),
            (to.base as *mut T).add(dst as usize),
            len as usize,
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_copies_behave_as_if_through_a_buffer() {
        let mut words = [0_u64; 4];
        let region = Region { base: words.as_mut_ptr() as usize, size: &raw mut words[3] as usize };
        region.set_len(24);
        let bytes: Vec<u8> = (0..24).collect();
        for (dst, src, len) in [(0, 8, 16), (8, 0, 16), (3, 3, 5), (1, 0, 23), (0, 24, 0)] {
            region.write(0, &bytes).expect("inside");
            copy_bytes_shared(Some(region), Some(region), (dst, src, len)).expect("inside");
            let mut expected = bytes.clone();
            expected.copy_within(src as usize..(src + len) as usize, dst as usize);
            let mut found = vec![0; 24];
            region.read(0, &mut found).expect("inside");
            assert_eq!(found, expected, "{dst} {src} {len}");
        }
        region.fill(20, 7, 4).expect("inside");
        let mut end = [0; 5];
        region.read(19, &mut end).expect("inside");
        assert_eq!(end[1..], [7; 4]);
        assert_eq!(region.fill(20, 7, 5), None);
        assert_eq!(region.write(u64::MAX, &[1]), None);
        assert_eq!(region.load(22, 4), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(region.load(18, 4), Err(TrapCode::UnalignedAtomic));
        assert_eq!(region.load(20, 4), Ok(0x0707_0707));
    }
}
