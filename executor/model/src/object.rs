//! References of the hierarchies `any` and `extern` as guests hold them, and as a host is given them.
//!
//! Invariant: the low three bits say what the rest is, so a collection tells an object from what is none
//! without its type; 0 is null. All fit 32 bits, which is what a field of an object holds; tables, globals and
//! registers hold them zero-extended to 64.
//!
//! ```text
//! ...000  an object, by its offset in the store's heap
//! ......1 a small integer (i31), above the lowest bit
//! ...010  a host value, by its handle in the store
//! ```

use crate::StoreId;
use std::num::NonZeroU64;

/// What the bits of a reference other than null stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectBits {
    /// The object that lies at an offset of the heap, a multiple of 8.
    Object(u32),
    /// The low 31 bits of an integer.
    I31(u32),
    /// A host value, by its handle: below 2^29.
    Host(u32),
}

impl ObjectBits {
    /// What stands before the handle of a host value.
    const HOST: u32 = 0b010;
    /// The largest handle of a host value that a reference holds.
    pub const MAX_HOST: u64 = (1 << 29) - 1;

    /// What bits stand for; `None` for null, and for what is no such reference.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        let bits = u32::try_from(bits).ok().filter(|bits| *bits != 0)?;
        match bits & 0b111 {
            0 => Some(Self::Object(bits)),
            Self::HOST => Some(Self::Host(bits >> 3)),
            low if low & 1 == 1 => Some(Self::I31(bits >> 1)),
            _ => None,
        }
    }

    /// The bits.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(match self {
            Self::Object(offset) => offset,
            Self::I31(value) => value << 1 | 1,
            Self::Host(handle) => handle << 3 | Self::HOST,
        })
    }
}

/// An object of a store, as a host holds it: a handle that follows the object when it is moved, and keeps it.
/// No handle ever stands for a second object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    handle: NonZeroU64,
    store: StoreId,
}

impl ObjectRef {
    /// The handle of a number in a store.
    #[must_use]
    pub const fn new(handle: NonZeroU64, store: StoreId) -> Self {
        Self { handle, store }
    }

    /// The number, which is the store's.
    #[must_use]
    pub const fn handle(self) -> NonZeroU64 {
        self.handle
    }

    /// The store.
    #[must_use]
    pub const fn store(self) -> StoreId {
        self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_say_what_they_stand_for() {
        for bits in [
            ObjectBits::Object(64),
            ObjectBits::Object(!7),
            ObjectBits::I31(0),
            ObjectBits::I31((1 << 31) - 1),
            ObjectBits::Host(1),
            ObjectBits::Host(ObjectBits::MAX_HOST as u32),
        ] {
            assert_eq!(ObjectBits::from_bits(bits.to_bits()), Some(bits));
        }
        for none in [0, 4, 6, 1 << 32, u64::MAX] {
            assert_eq!(ObjectBits::from_bits(none), None, "{none:#x}");
        }
    }
}
