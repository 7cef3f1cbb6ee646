//! References without addresses: a funcref is 8 bytes of plain numbers.
//!
//! Invariant: 0 is null; every other value has a non-zero instance id, so zeroed memory is a table
//! of nulls and a table is captured and restored by copying or mapping its bytes.
//!
//! Layout, from the most significant bit: instance id (24), canonical type index within that
//! instance's module (20), function index within that instance (20). A reference to an imported
//! function names the importing instance: its import thunk forwards the call.
//!
//! Guests see the numbers alone. On the host's side what a store gives out also says which store that
//! was, so another takes it for nothing of its own; see [`StoreId`].

use serde::{Deserialize, Serialize};
use std::{
    cell::Cell,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    num::NonZeroU64,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Which store of the process an [`InstanceId`] or a [`FuncRef`] is of. A restored store is another than
/// the one that was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(NonZeroU64);

impl StoreId {
    /// The identity of a new store.
    #[must_use]
    pub fn unique() -> Self {
        // Each thread takes many at once, so threads that make many stores rarely meet here.
        const BLOCK: u64 = 1 << 16;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        thread_local!(static LEFT: Cell<Range<u64>> = const { Cell::new(0..0) });
        LEFT.with(|left| {
            let mut range = left.take();
            if range.is_empty() {
                let start = NEXT.fetch_add(BLOCK, Relaxed);
                range = start..start + BLOCK;
            }
            let id = NonZeroU64::MIN.saturating_add(range.start);
            range.start += 1;
            left.set(range);
            Self(id)
        })
    }
}

/// The identity of an instance within its store: 1 and up, in the order of creation.
///
/// One that a store gave out is of that store. One that is made of a number is of any, and names the
/// instance of that number wherever it is used. Equality and order are those of the numbers, so ids
/// of a captured store can be compared with those of a restored one.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct InstanceId {
    number: u32,
    #[serde(skip)]
    store: Option<StoreId>,
}

impl InstanceId {
    /// The largest id that fits a reference.
    pub const MAX: u32 = (1 << 24) - 1;

    /// The id of number `n`, if `1 <= n <= MAX`.
    #[must_use]
    pub const fn new(n: u32) -> Option<Self> {
        if n == 0 || n > Self::MAX { None } else { Some(Self { number: n, store: None }) }
    }

    /// The id of the instance at position `i`, counted from 0.
    ///
    /// # Panics
    /// When `i` is not below [`Self::MAX`].
    #[must_use]
    pub const fn from_position(i: usize) -> Self {
        assert!(i < Self::MAX as usize, "more instances than a reference can name");
        Self { number: i as u32 + 1, store: None }
    }

    /// The number: 1 and up.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.number
    }

    /// The position in the store, counted from 0.
    #[must_use]
    pub const fn position(self) -> usize {
        self.number as usize - 1
    }

    /// This id, of a store.
    #[must_use]
    pub const fn of(self, store: StoreId) -> Self {
        Self { store: Some(store), ..self }
    }

    /// This id, of any store.
    #[must_use]
    pub const fn of_any(self) -> Self {
        Self { store: None, ..self }
    }

    /// Whether it may be used with a store: it is of that store, or of any.
    #[must_use]
    pub fn fits(self, store: StoreId) -> bool {
        self.store.is_none_or(|own| own == store)
    }

    /// This id where a reference holds it; compiled code compares with this.
    #[must_use]
    pub const fn key(self) -> u64 {
        (self.number as u64) << FuncRef::INSTANCE_SHIFT
    }
}

impl PartialEq for InstanceId {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for InstanceId {}

impl Ord for InstanceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

impl PartialOrd for InstanceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for InstanceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InstanceId").field(&self.number).finish()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// A reference to a function, never null. Whose store's it is, and what is equal, are as of the
/// [`InstanceId`] in it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct FuncRef {
    bits: u64,
    #[serde(skip)]
    store: Option<StoreId>,
}

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
        let bits = instance.key() | (ty as u64) << Self::TYPE_SHIFT | func as u64;
        Self { bits, store: instance.store }
    }

    /// Reads a reference from its 8 bytes; `None` is null or has no instance.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits >> Self::INSTANCE_SHIFT == 0 { None } else { Some(Self { bits, store: None }) }
    }

    /// The 8 bytes that a table or global holds.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.bits
    }

    /// This reference, of a store.
    #[must_use]
    pub const fn of(self, store: StoreId) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The instance.
    #[must_use]
    pub const fn instance(self) -> InstanceId {
        InstanceId { number: (self.bits >> Self::INSTANCE_SHIFT) as u32, store: self.store }
    }

    /// The canonical type index within the instance's module.
    #[must_use]
    pub const fn ty(self) -> u32 {
        ((self.bits >> Self::TYPE_SHIFT) & Self::FUNC_MASK) as u32
    }

    /// The function index within the instance.
    #[must_use]
    pub const fn func(self) -> u32 {
        (self.bits & Self::FUNC_MASK) as u32
    }
}

impl PartialEq for FuncRef {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl Eq for FuncRef {}

impl Hash for FuncRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl fmt::Debug for FuncRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FuncRef").field(&self.bits).finish()
    }
}

impl fmt::Display for FuncRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {} of instance {}", self.func(), self.instance())
    }
}
