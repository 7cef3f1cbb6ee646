//! References without addresses: a funcref is 8 bytes of plain numbers.
//!
//! Invariant: 0 is null; every other value has a non-zero instance id, so zeroed memory is a table
//! of nulls and a table is captured and restored by copying or mapping its bytes.
//!
//! Layout, from the most significant bit: instance id (24), canonical type index within that
//! instance's module (20), function index within that instance (20). A reference to an imported
//! function names the importing instance: its import thunk forwards the call.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity of an instance within its store: 1 and up, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId(u32);

impl InstanceId {
    /// The largest id that fits a reference.
    pub const MAX: u32 = (1 << 24) - 1;

    /// The id of number `n`, if `1 <= n <= MAX`.
    #[must_use]
    pub const fn new(n: u32) -> Option<Self> {
        if n == 0 || n > Self::MAX { None } else { Some(Self(n)) }
    }

    /// The id of the instance at position `i`, counted from 0.
    ///
    /// # Panics
    /// When `i` is not below [`Self::MAX`].
    #[must_use]
    pub const fn from_position(i: usize) -> Self {
        assert!(i < Self::MAX as usize, "more instances than a reference can name");
        Self(i as u32 + 1)
    }

    /// The number: 1 and up.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The position in the store, counted from 0.
    #[must_use]
    pub const fn position(self) -> usize {
        self.0 as usize - 1
    }

    /// This id where a reference holds it; compiled code compares with this.
    #[must_use]
    pub const fn key(self) -> u64 {
        (self.0 as u64) << FuncRef::INSTANCE_SHIFT
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reference to a function, never null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncRef(u64);

impl FuncRef {
    /// The bit at which the instance id begins.
    pub const INSTANCE_SHIFT: u32 = 40;
    /// The bit at which the type index begins.
    pub const TYPE_SHIFT: u32 = 20;
    /// The bits that hold the function index.
    pub const FUNC_MASK: u64 = (1 << Self::TYPE_SHIFT) - 1;
    /// Modules with more functions or types than this are refused by the decoder.
    pub const MAX_INDEX: u32 = Self::FUNC_MASK as u32;

    /// The reference to `func`, whose canonical type is `ty`, in `instance`.
    ///
    /// # Panics
    /// When an index is larger than [`Self::MAX_INDEX`].
    #[must_use]
    pub const fn new(instance: InstanceId, ty: u32, func: u32) -> Self {
        assert!(ty <= Self::MAX_INDEX && func <= Self::MAX_INDEX);
        Self(instance.key() | (ty as u64) << Self::TYPE_SHIFT | func as u64)
    }

    /// Reads a reference from its 8 bytes; `None` is null or has no instance.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits >> Self::INSTANCE_SHIFT == 0 { None } else { Some(Self(bits)) }
    }

    /// The 8 bytes that a table or global holds.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The instance.
    #[must_use]
    pub const fn instance(self) -> InstanceId {
        InstanceId((self.0 >> Self::INSTANCE_SHIFT) as u32)
    }

    /// The canonical type index within the instance's module.
    #[must_use]
    pub const fn ty(self) -> u32 {
        ((self.0 >> Self::TYPE_SHIFT) & Self::FUNC_MASK) as u32
    }

    /// The function index within the instance.
    #[must_use]
    pub const fn func(self) -> u32 {
        (self.0 & Self::FUNC_MASK) as u32
    }
}

impl fmt::Display for FuncRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {} of instance {}", self.func(), self.instance())
    }
}
