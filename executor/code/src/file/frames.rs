//! Frame maps and continuations: how the frames of a call in progress become typed values, and how
//! machine code goes on from them.
//!
//! Invariant: what [`encode`] was given, [`decode`] returns; malformed bytes are `None`, never a panic.
//!
//! Code with *frame maps* stores, before each call that can reach the host, the locals that live on
//! after it and the operands below its arguments into a slot of the frame. [`FrameUnitRecord`] says
//! where the slot is, [`FrameCallRecord`] finds the values of a call by the offset of its operator.
//! A *continuation* is the code of a function from behind one of its calls. It takes the same
//! values from an array.
//!
//! A list of values is a run of unsigned LEB128 numbers: how many values, then of each its place
//! ([`Place`]), its type word (see [`super::type_word`]) and where it is, in units of 8 bytes.

use super::{leb128, type_of_word, type_word};
use executor_model::{FuncIndex, ValType};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A call in progress: which function made it, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallSite {
    /// The function's index.
    pub func: FuncIndex,
    /// The offset in the module's bytes of the call's operator; [`CallSite::IMPORT`] when `func` is
    /// an imported function, which is about to be called.
    pub offset: u32,
}

impl CallSite {
    /// Stands for the offset where the function is an import, and so has no operators.
    pub const IMPORT: u32 = u32::MAX;
}

/// What a value of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A local, parameters first.
    Local(u32),
    /// An operand, by its height on the stack; of an imported function, an argument.
    Operand(u32),
    /// The exception of the `catch` that is so many blocks deep, which `rethrow` throws.
    Caught(u32),
}

impl Place {
    /// The number that stands for it in files.
    #[must_use]
    pub fn to_number(self) -> u64 {
        let (kind, index) = match self {
            Self::Local(index) => (0, index),
            Self::Operand(index) => (1, index),
            Self::Caught(index) => (2, index),
        };
        u64::from(index) << 2 | kind
    }

    /// The place that a number stands for.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let index = u32::try_from(number >> 2).ok()?;
        match number & 3 {
            0 => Some(Self::Local(index)),
            1 => Some(Self::Operand(index)),
            2 => Some(Self::Caught(index)),
            _ => None,
        }
    }
}

/// A value of a frame, and where machine code has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameValue {
    /// What it is.
    pub place: Place,
    /// Its type, as the function's module has it.
    pub ty: ValType,
    /// Where it is in the slot, or in the array that a continuation takes; in bytes, a multiple of 8.
    pub at: u32,
}

/// One function or continuation with calls that can reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameUnitRecord {
    /// Where its code begins, as an offset in the text.
    pub code: u32,
    /// How far below the frame pointer its slot begins. The slot's first word is `vmctx`.
    pub slot: u32,
    /// The first of its calls.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameCallRecord {
    /// The offset in the module's bytes of its operator; ascending among the calls of a unit.
    pub offset: u32,
    /// Where the list of values begins in [`super::Section::FrameValues`].
    pub values: u32,
}

/// One continuation, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ContinuationRecord {
    /// The function that goes on.
    pub func: u32,
    /// As in [`CallSite`]; ascending by function and offset.
    pub offset: u32,
    /// Where the list of values begins in [`super::Section::FrameValues`].
    pub values: u32,
    /// The canonical index of the type of the call: what comes back from it. Of an imported
    /// function, its own.
    pub callee: u32,
}

/// A continuation, as the runtime uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    /// Its position among the continuations of the file.
    pub at: u32,
    /// Where its code begins, as an offset in the text.
    pub code: u32,
    /// The canonical index of the type of the call.
    pub callee: u32,
    /// The values that it takes.
    pub values: Vec<FrameValue>,
}

impl ContinuationRecord {
    /// The call that it goes on from.
    #[must_use]
    pub fn site(&self) -> CallSite {
        CallSite { func: self.func, offset: self.offset }
    }
}

/// The run of a list of values.
#[must_use]
pub fn encode(values: &[FrameValue]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + values.len() * 3);
    leb128::write(&mut bytes, values.len() as u64);
    for value in values {
        leb128::write(&mut bytes, value.place.to_number());
        leb128::write(&mut bytes, type_word(value.ty).into());
        leb128::write(&mut bytes, u64::from(value.at / 8));
    }
    bytes
}

/// The list of values whose run begins where `bytes` does.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<FrameValue>> {
    let mut bytes = bytes.iter();
    let count = leb128::read(&mut bytes)?;
    // Collecting stops at the first that is missing, whatever the count promises.
    (0..count)
        .map(|_| {
            let place = Place::from_number(leb128::read(&mut bytes)?)?;
            let ty = type_of_word(u32::try_from(leb128::read(&mut bytes)?).ok()?)?;
            let at = u32::try_from(leb128::read(&mut bytes)?.checked_mul(8)?).ok()?;
            Some(FrameValue { place, ty, at })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_model::{HeapType, RefType};

    #[test]
    fn what_was_encoded_is_decoded() {
        let typed = RefType { nullable: false, heap: HeapType::ConcreteStruct(1 << 19) };
        let values = [
            FrameValue { place: Place::Local(0), ty: ValType::I32, at: 8 },
            FrameValue { place: Place::Local(70_000), ty: ValType::V128, at: 1 << 20 },
            FrameValue { place: Place::Operand(3), ty: ValType::Ref(typed), at: 0 },
            FrameValue { place: Place::Caught(1), ty: ValType::EXNREF, at: 1 << 31 },
        ];
        assert_eq!(decode(&encode(&values)), Some(values.to_vec()));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn malformed_runs_are_nothing() {
        let mut bytes = encode(&[FrameValue { place: Place::Local(9), ty: ValType::I64, at: 8 }]);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None);
        }
        bytes[1] |= 3;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(&[0xff; 40]), None);
    }
}
