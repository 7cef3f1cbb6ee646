//! What a descriptor may be used for.
//!
//! Invariant: rights only ever shrink: what is opened below a directory gets no right that the
//! directory does not pass on, and nothing gives one back.

use crate::{Errno, abi::rights};
use serde::{Deserialize, Serialize};

/// The rights of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Those of the descriptor itself, in the bits of WASI.
    pub base: u64,
    /// Those that descriptors opened below it can have.
    pub inheriting: u64,
}

impl Rights {
    /// All that a preopened directory has.
    pub(crate) const PREOPEN: Self =
        Self { base: rights::DIRECTORY, inheriting: rights::DIRECTORY | rights::FILE };

    /// The rights of something that nothing is opened below.
    pub(crate) const fn of(base: u64) -> Self {
        Self { base, inheriting: 0 }
    }

    /// # Errors
    /// `NOTCAPABLE` when one of `needed` is missing.
    pub(crate) fn require(self, needed: u64) -> Result<(), Errno> {
        if self.base & needed == needed { Ok(()) } else { Err(Errno::NOTCAPABLE) }
    }

    /// The rights that are passed on to what is opened below with a wish for `base` and
    /// `inheriting`. Bits that nothing below a directory has mean nothing: some guests set them all.
    ///
    /// # Errors
    /// `NOTCAPABLE` when `base` has one that is not passed on.
    pub(crate) fn pass_on(self, base: u64, inheriting: u64) -> Result<Self, Errno> {
        let base = base & (rights::DIRECTORY | rights::FILE);
        if base & !self.inheriting != 0 {
            return Err(Errno::NOTCAPABLE);
        }
        Ok(Self { base, inheriting: inheriting & self.inheriting })
    }

    /// These rights, as far as something of a kind can have them.
    pub(crate) fn within(self, kind: Self) -> Self {
        Self { base: self.base & kind.base, inheriting: self.inheriting & kind.inheriting }
    }

    /// Gives up what is not in `base` and `inheriting`.
    ///
    /// # Errors
    /// `NOTCAPABLE`, with nothing given up, when one is not there to be kept.
    pub(crate) fn shrink(&mut self, base: u64, inheriting: u64) -> Result<(), Errno> {
        if base & !self.base != 0 || inheriting & !self.inheriting != 0 {
            return Err(Errno::NOTCAPABLE);
        }
        *self = Self { base, inheriting };
        Ok(())
    }
}
