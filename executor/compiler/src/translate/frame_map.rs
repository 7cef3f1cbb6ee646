//! Frame maps: before each call that can reach the host, what the frame goes on with is stored to a
//! slot of the frame, and a table says what is there.
//!
//! Invariant: at such a call the slot holds `vmctx`, every local that lives on, every operand below
//! the arguments, and what the handlers around may throw again; the list of the call names them with
//! their types. A value that the slot is known to hold is not stored again.

use super::{Translator, control::Kind, liveness::Liveness};
use crate::{signature::WORD, types::BodyTypes};
use cranelift_codegen::ir::{InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value};
use executor_code::file::{FrameValue, Place};
use executor_model::ValType;
use std::collections::HashMap;

/// What the frame map of a function becomes once its code is made.
#[derive(Debug)]
pub(crate) struct FrameMap {
    /// Where the values are.
    pub(crate) slot: StackSlot,
    /// The offset of each call's operator, ascending, and its values.
    pub(crate) calls: Vec<(u32, Vec<FrameValue>)>,
}

/// The frame map of the function being translated.
pub(super) struct Frames {
    slot: StackSlot,
    /// How much of the slot is taken.
    len: u32,
    /// Of values of 8 bytes or less and of 16 bytes, which one place may have in turn.
    places: HashMap<(Place, u32), u32>,
    /// What the slot is known to hold in the block being translated.
    held: HashMap<u32, Value>,
    calls: Vec<(u32, Vec<FrameValue>)>,
    /// How many values these have in all.
    listed: u64,
}

impl Frames {
    /// How many bytes of memory the lists of calls take.
    pub(super) fn memory(&self) -> u64 {
        self.listed.saturating_mul(size_of::<FrameValue>() as u64)
    }

    /// Where a value goes.
    fn place(&mut self, place: Place, ty: ValType) -> u32 {
        let size = if ty == ValType::V128 { 16 } else { 8 };
        let len = &mut self.len;
        *self.places.entry((place, size)).or_insert_with(|| {
            let at = *len;
            *len += size;
            at
        })
    }
}

impl Translator<'_> {
    /// Begins the frame map: the slot holds `vmctx`.
    pub(super) fn begin_frames(&mut self) {
        // Its length is known in the end.
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let slot = self.emitter.builder.create_sized_stack_slot(slot);
        let vmctx = self.emitter.vmctx;
        self.ins().stack_store(WORD, vmctx, slot, 0);
        let (places, held) = (HashMap::new(), HashMap::new());
        self.map = Some(Frames { slot, len: 8, places, held, calls: Vec::new(), listed: 0 });
    }

    /// The frame map of the whole function.
    pub(super) fn finish_frames(&mut self) -> Option<FrameMap> {
        let Frames { slot, len, mut calls, .. } = self.map.take()?;
        self.emitter.builder.func.sized_stack_slots[slot].size = len;
        // A call and the one that stands for it in a continuation have one list.
        calls.dedup_by_key(|(offset, _)| *offset);
        Some(FrameMap { slot, calls })
    }

    /// In another block nothing is known of what the slot holds.
    pub(super) fn forget_held(&mut self) {
        if let Some(map) = &mut self.map {
            map.held.clear();
        }
    }

    /// Before the call at `offset`, whose arguments are popped.
    pub(super) fn save_frame(&mut self, offset: u32) {
        let Some(mut map) = self.map.take() else { return };
        let values = self.frame_values(offset);
        let mut list = Vec::with_capacity(values.len());
        for (place, ty, value) in values {
            let at = map.place(place, ty);
            // A collection changes what the slot holds.
            let moves = self.is_noted(ty);
            if map.held.insert(at, value) != Some(value) || moves {
                self.ins().stack_store(WORD, value, map.slot, at as i32);
            }
            list.push(FrameValue { place, ty, at });
        }
        map.listed += list.len() as u64;
        map.calls.push((offset, list));
        self.map = Some(map);
    }

    /// What the frame goes on with after the call at `offset`, whose arguments are popped.
    fn frame_values(&mut self, offset: u32) -> Vec<(Place, ValType, Value)> {
        let places = self.frame_places(offset);
        let value = |(place, ty)| {
            let value = match place {
                Place::Local(index) => self.read(self.locals[index as usize]),
                Place::Operand(height) => self.stack[height as usize],
                Place::Caught(at) => match &self.frames[at as usize].kind {
                    Kind::Catch { exception: Some(exception), .. } => self.read(*exception),
                    _ => unreachable!("one of `frame_places`"),
                },
            };
            (place, ty, value)
        };
        places.into_iter().map(value).collect()
    }

    /// The places of those values, and their types.
    pub(super) fn frame_places(&self, offset: u32) -> Vec<(Place, ValType)> {
        let types: &BodyTypes<'_> = self.types.as_ref().expect("asked for with frames");
        let live: &Liveness = &self.liveness;
        let locals =
            live.after(offset).iter().map(|local| (Place::Local(*local), types.local(*local)));
        let operands = (0..self.stack.len())
            .map(|height| (Place::Operand(height as u32), types.operand(height)));
        let caught = self.frames.iter().enumerate().filter_map(|(at, frame)| match frame.kind {
            Kind::Catch { exception: Some(_), .. } => {
                Some((Place::Caught(at as u32), ValType::EXNREF))
            }
            _ => None,
        });
        locals.chain(operands).chain(caught).collect()
    }
}
