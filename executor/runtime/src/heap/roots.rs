//! The roots: all places outside the heap that may refer to an object.
//!
//! Invariant: every such place is visited, and written to only if what it holds changes, so a page that no moved
//! object is referred to from is not touched.

use crate::{store::StoreInner, vm};
use executor_code::{
    file::{CodeFile, type_of_word},
    layout::TablePlan,
};
use executor_model::{RawValue, ValType};
use std::{ops::ControlFlow, sync::Arc};

/// Gives the reference in a place, and takes what it becomes.
pub(super) type Visit<'a> = &'a mut dyn FnMut(u64) -> u64;

fn holds_objects(ty: ValType) -> bool {
    matches!(ty, ValType::Ref(ty) if ty.heap.hierarchy().holds_objects())
}

/// Visits the values of a list whose types say that they may be references to objects.
fn visit_values(values: &mut [RawValue], words: &[u32], visit: Visit<'_>) {
    for (value, word) in values.iter_mut().zip(words) {
        if type_of_word(*word).is_some_and(holds_objects) {
            *value = RawValue(u128::from(visit(value.0 as u64)));
        }
    }
}

impl StoreInner {
    /// Visits every root, and those in `extra`.
    pub(super) fn each_root(&mut self, extra: &mut [u64], visit: Visit<'_>) {
        extra.iter_mut().for_each(|bits| *bits = visit(*bits));
        self.objects.visit(visit);
        self.each_root_of_frames(visit);
        self.each_root_of_instances(visit);
        self.each_root_of_exceptions(visit);
        self.each_root_of_suspended_call(visit);
    }

    /// Frames that wait for a call: what their stack maps list, and what their frame maps do.
    fn each_root_of_frames(&mut self, visit: Visit<'_>) {
        let Some(stack) = self.calls.stack.clone() else { return };
        for fp in self.header.outer_stub_frames() {
            let mut places = Vec::new();
            vm::walk_frames(&self.header.code, &stack, fp, |call| {
                let file = &call.entry.file;
                let slots = file.stack_map_at(call.returns).iter();
                places.extend(slots.filter_map(|slot| call.fp.checked_sub(*slot as usize)));
                places.extend(frame_map_places(file, &call));
                ControlFlow::Continue(())
            });
            // A place can be in both maps.
            places.sort_unstable();
            places.dedup();
            for at in places {
                let Some(word) = vm::stack_word(&stack, at) else { continue };
                let moved = visit(word as u64);
                if moved != word as u64 {
                    self.header.set_stack_word(&stack, at, moved);
                }
            }
        }
    }

    /// Globals, tables, and the items of element segments.
    fn each_root_of_instances(&mut self, visit: Visit<'_>) {
        for instance in &mut self.instances {
            let vm = &mut instance.vm;
            let (module, counts) = (Arc::clone(vm.module()), *vm.counts());
            for position in module.code().object_globals() {
                let index = counts.imported_globals + position;
                let Some(RawValue(value)) = vm.global(index) else { continue };
                let moved = visit(value as u64);
                if moved != value as u64 {
                    vm.set_global(index, RawValue(u128::from(moved)));
                }
            }
            for i in 0..counts.item_segments {
                let items = vm.word(counts.items(i));
                let moved = visit(items);
                if moved != items {
                    vm.set_word(counts.items(i), moved);
                }
            }
            for owned in 0..counts.owned_tables {
                if vm.table_plan(owned).is_none_or(|plan| plan.elements != TablePlan::OBJECTS) {
                    continue;
                }
                let table = counts.imported_tables + owned;
                for element in 0..vm.table(table).map_or(0, <[u64]>::len) {
                    let bits = vm.table(table).map_or(0, |table| table[element]);
                    let moved = visit(bits);
                    if moved != bits
                        && let Some(table) = vm.table_mut(table, element..element + 1)
                    {
                        table[element] = moved;
                    }
                }
            }
        }
    }

    fn each_root_of_exceptions(&mut self, visit: Visit<'_>) {
        let instances = &self.instances;
        for exception in self.exceptions.kept_mut() {
            let owner = instances.get(exception.tag.owner.position());
            let code = owner.map(|owner| owner.vm.module().code());
            let words = code.and_then(|code| code.type_words(code.tag_type(exception.tag.index)?));
            if let Some((params, _)) = words {
                visit_values(&mut exception.payload, params, visit);
            }
        }
    }

    fn each_root_of_suspended_call(&mut self, visit: Visit<'_>) {
        let Some(call) = &mut self.suspension.call else { return };
        let frames = call.frames.iter().enumerate();
        let values = frames.flat_map(|(f, frame)| {
            frame.values.iter().enumerate().map(move |(v, value)| (f, v, *value))
        });
        let mut moved = Vec::new();
        for (frame, place, value) in values.filter(|(.., value)| holds_objects(value.ty)) {
            let bits = value.value.0 as u64;
            let to = visit(bits);
            if to != bits {
                moved.push((frame, place, to));
            }
        }
        if !moved.is_empty() {
            // The image may have it too.
            let call = Arc::make_mut(call);
            for (frame, place, to) in moved {
                call.frames[frame].values[place].value = RawValue(u128::from(to));
            }
        }
    }
}

/// Where the frame map of a call says that references to objects are.
fn frame_map_places<B: AsRef<[u8]>>(file: &CodeFile<B>, call: &vm::Call<'_>) -> Vec<usize> {
    if !file.has_frame_maps() {
        return Vec::new();
    }
    let values = file.wasm_offset_at(call.returns - 1);
    let values = values.and_then(|offset| file.frame_at(call.returns, offset));
    let Some((slot, values)) = values else { return Vec::new() };
    let place = |at: u32| call.fp.checked_sub(slot as usize)?.checked_add(at as usize);
    let objects = values.into_iter().filter(|value| holds_objects(value.ty));
    objects.filter_map(|value| place(value.at)).collect()
}
