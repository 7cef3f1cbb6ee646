//! Which values are references to objects: those are kept in the frame during calls, where a collection finds and
//! changes them.
//!
//! Invariant: between two operators every operand that validation says may refer to an object, and every variable of
//! a local that may, is declared to Cranelift, which makes the stack maps. Between operators, because nothing that an
//! operator itself makes is used behind a call of its own.

use super::Translator;
use crate::weight;
use cranelift_codegen::ir::Value;
use executor_model::ValType;
use std::collections::HashSet;

/// The values of a function that are references to objects.
#[derive(Debug, Default)]
pub(super) struct References {
    /// All that were declared.
    known: HashSet<Value>,
    /// The operands when they were looked at last.
    operands: Vec<Value>,
    /// How many of the operands up to each were declared.
    noted: Vec<u32>,
    /// How many bytes those operands take while they are alive.
    alive: u64,
}

impl References {
    pub(super) fn contains(&self, value: Value) -> bool {
        self.known.contains(&value)
    }

    /// How many bytes operands take while they are alive.
    pub(super) fn alive(&self) -> u64 {
        self.alive
    }
}

impl Translator<'_> {
    /// Whether values of a type are declared.
    pub(super) fn is_noted(&self, ty: ValType) -> bool {
        self.emitter.context.stack_maps
            && matches!(ty, ValType::Ref(ty) if ty.heap.hierarchy().holds_objects())
    }

    /// Declares a value that may refer to an object.
    pub(super) fn note_reference(&mut self, value: Value) {
        if self.references.known.insert(value) {
            self.emitter.builder.declare_value_needs_stack_map(value);
        }
    }

    /// Declares what the last operator left on the stack. Operators change the top of it only.
    pub(super) fn note_references(&mut self) {
        if !self.emitter.context.stack_maps || !self.reachable {
            return;
        }
        self.count_alive();
        let before = &mut self.references.operands;
        let mut same = before.len().min(self.stack.len());
        while same > 0 && before[same - 1] != self.stack[same - 1] {
            same -= 1;
        }
        before.truncate(same);
        before.extend_from_slice(&self.stack[same..]);
        let types = self.types.as_ref().expect("asked for with stack maps");
        let is_noted = |height: usize| self.is_noted(types.operand(height));
        let noted: Vec<bool> = (same..self.stack.len()).map(is_noted).collect();
        self.references.noted.truncate(same);
        for (height, noted) in (same..).zip(noted) {
            if noted {
                self.note_reference(self.stack[height]);
            }
            let below = self.references.noted.last().copied().unwrap_or(0);
            self.references.noted.push(below + u32::from(noted));
        }
    }

    /// Counts what was alive during the last operator.
    fn count_alive(&mut self) {
        let blocks = self.emitter.builder.func.dfg.num_blocks();
        let position = weight::alive(blocks, self.emitter.calls);
        let since = std::mem::replace(&mut self.variables.position, position);
        let operands = self.references.noted.last().copied().unwrap_or(0);
        let alive = (position - since).saturating_mul(operands.into());
        self.references.alive = self.references.alive.saturating_add(alive);
    }
}
