//! A suspended call in the snapshot file: its frames, and their values.
//!
//! Invariant: what [`decode`] returns names instances that the file has, and ends with the frame of an
//! imported function. Whether frames fit the functions, the runtime checks when they are resumed.

use crate::FormatError::{self, Damaged};
use executor_code::file::{CallSite, Place, type_of_word, type_word};
use executor_model::{InstanceId, RawValue};
use executor_runtime::{CallState, FrameState, StateValue};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64, U128},
};

/// A frame, outermost first.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrameRecord {
    /// The number of its instance.
    pub instance: U32,
    /// The index of its function.
    pub func: U32,
    /// The offset in the module's bytes of the call that it waits for; all ones for an imported function.
    pub offset: U32,
    /// How many values it has.
    pub values: U32,
}

/// A value of a frame, in the order of the frames.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ValueRecord {
    /// Which local, operand or exception it is (see `executor_code::file::Place`).
    pub place: U64,
    /// Its type (see `executor_code::file::type_word`).
    pub ty: U32,
    /// Its bits.
    pub value: U128,
}

/// The records of a call.
pub(crate) fn encode(call: &CallState) -> (Vec<FrameRecord>, Vec<ValueRecord>) {
    let frame = |frame: &FrameState| FrameRecord {
        instance: U32::new(frame.instance.get()),
        func: U32::new(frame.site.func),
        offset: U32::new(frame.site.offset),
        values: U32::new(frame.values.len() as u32),
    };
    let value = |value: &StateValue| ValueRecord {
        place: U64::new(value.place.to_number()),
        ty: U32::new(type_word(value.ty)),
        value: U128::new(value.value.0),
    };
    let frames = call.frames.iter().map(frame).collect();
    (frames, call.frames.iter().flat_map(|frame| &frame.values).map(value).collect())
}

/// The call of these records, in a file of so many instances; none where there are no frames.
pub(crate) fn decode(
    frames: &[FrameRecord],
    values: &[ValueRecord],
    instances: usize,
) -> Result<Option<CallState>, FormatError> {
    let mut left = values;
    let mut call = CallState { frames: Vec::with_capacity(frames.len()) };
    for (at, record) in frames.iter().enumerate() {
        let (of_frame, rest) = left
            .split_at_checked(record.values.get() as usize)
            .ok_or(Damaged("a frame has values without records"))?;
        left = rest;
        let instance = InstanceId::new(record.instance.get());
        let instance = instance
            .filter(|id| id.position() < instances)
            .ok_or(Damaged("a frame is of an instance that is not there"))?;
        let site = CallSite { func: record.func.get(), offset: record.offset.get() };
        if (site.offset == CallSite::IMPORT) != (at + 1 == frames.len()) {
            return Err(Damaged("a call does not end with an imported function"));
        }
        let values = of_frame.iter().map(value).collect::<Option<_>>();
        let values = values.ok_or(Damaged("a frame has a value of no known kind"))?;
        call.frames.push(FrameState { instance, site, values });
    }
    match (left, frames) {
        ([], []) => Ok(None),
        ([], _) => Ok(Some(call)),
        _ => Err(Damaged("some values belong to no frame")),
    }
}

fn value(record: &ValueRecord) -> Option<StateValue> {
    let place = Place::from_number(record.place.get())?;
    let ty = type_of_word(record.ty.get())?;
    let value = RawValue(record.value.get());
    (value == value.truncated(ty)).then_some(StateValue { place, ty, value })
}
