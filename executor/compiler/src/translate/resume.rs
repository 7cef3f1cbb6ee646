//! Continuations: a function translated with a second entry, behind one of its calls.
//!
//! Invariant: whatever the way by which code is reached, through the call or through the second
//! entry, an operand or local has its value. Locals are variables anyway; operands are made
//! variables too, by their height: they are assigned before control leaves a block, and read again
//! where ways come together.
//!
//! ```text
//! entry ──────────────> waiting: load the values, call the next frame ──┐
//! begin (never reached) ─> ... the call ────────────────────────────────┴─> behind the call ─> ...
//! ```
//!
//! Only what can be reached from the entry becomes machine code.

use super::{Translator, control::Kind};
use crate::{emit::block_args, signature, signature::WORD};
use cranelift_codegen::ir::{Block, InstBuilder, Type, Value};
use cranelift_frontend::Variable;
use executor_code::{
    abi::ResumedFrame,
    file::{FrameValue, Place},
};
use executor_model::{RawValue, TypeIndex};
use std::{collections::HashMap, mem::offset_of};

/// What a continuation goes on from.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// The type of the call.
    pub(crate) callee: TypeIndex,
    /// The values that the continuation takes.
    pub(crate) values: Vec<FrameValue>,
}

/// What is known of the continuation being translated.
pub(super) struct Resume {
    /// The offset of the call's operator.
    offset: u32,
    /// The address of the [`ResumedFrame`].
    frame: Value,
    /// Where the second entry leads; `None` once the call has been met.
    waiting: Option<Block>,
    /// The operands' variables, by height, type and whether they are references to objects.
    operands: HashMap<(usize, Type, bool), Variable>,
    /// What they hold in the block being translated, by height.
    assigned: Vec<Option<Value>>,
    /// What the call turned out to be.
    found: Option<Resumed>,
}

impl Translator<'_> {
    /// Begins a continuation, whose parameter is `frame`: nothing but the second entry leads on.
    pub(super) fn begin_resume(&mut self, offset: u32, frame: Value) {
        let builder = &mut self.emitter.builder;
        let (waiting, begin) = (builder.create_block(), builder.create_block());
        builder.ins().jump(waiting, &[]);
        builder.seal_block(waiting);
        builder.switch_to_block(begin);
        builder.seal_block(begin);
        self.resume = Some(Resume {
            offset,
            frame,
            waiting: Some(waiting),
            operands: HashMap::new(),
            assigned: Vec::new(),
            found: None,
        });
    }

    /// What the continuation goes on from, once it is translated; `None` when there is no such call,
    /// or none that can be reached.
    pub(super) fn finish_resume(&mut self) -> Option<Resumed> {
        let resume = self.resume.take()?;
        if let Some(waiting) = resume.waiting {
            // What is half done is thrown away; it must be a function all the same.
            self.emitter.builder.switch_to_block(waiting);
            self.emitter.trap(executor_model::TrapCode::Unreachable);
        }
        resume.found
    }

    fn operand(&mut self, height: usize) -> Option<Variable> {
        let value = self.stack[height];
        let reference = self.references.contains(value);
        let resume = self.resume.as_mut()?;
        let (variables, builder) = (&mut self.variables, &mut self.emitter.builder);
        let ty = builder.func.dfg.value_type(value);
        let variable = resume.operands.entry((height, ty, reference));
        Some(*variable.or_insert_with(|| {
            let variable = variables.declare(builder, ty);
            if reference {
                variables.declare_reference(builder, variable);
            }
            variable
        }))
    }

    /// In another block nothing is known of what the operands' variables hold.
    pub(super) fn forget_assigned(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.assigned.clear();
        }
    }

    /// Before control may leave the block: assigns the operands' variables.
    pub(super) fn assign_operands(&mut self) {
        if self.resume.is_none() {
            return;
        }
        for height in 0..self.stack.len() {
            let value = self.stack[height];
            let Some(variable) = self.operand(height) else { return };
            let assigned = &mut self.resume.as_mut().expect("it is there").assigned;
            if assigned.len() <= height {
                assigned.resize(height + 1, None);
            }
            if assigned[height].replace(value) != Some(value) {
                self.write(variable, value);
            }
        }
    }

    /// Where ways come together: reads the operands' variables. The block's own parameters are taken
    /// before, since variables may become parameters too.
    pub(super) fn read_operands(&mut self) {
        if self.resume.is_none() {
            return;
        }
        for height in 0..self.stack.len() {
            let Some(variable) = self.operand(height) else { return };
            let value = self.read(variable);
            if self.references.contains(self.stack[height]) {
                self.note_reference(value);
            }
            self.stack[height] = value;
        }
    }

    /// Behind the call at `offset`, of a function of type `callee`, whose `results` are not pushed
    /// yet: returns the results as they are when the second entry has joined.
    pub(super) fn join(
        &mut self,
        offset: u32,
        callee: TypeIndex,
        results: Vec<Value>,
    ) -> Vec<Value> {
        let Some(resume) = self.resume.as_mut().filter(|resume| resume.offset == offset) else {
            return results;
        };
        let (frame, Some(waiting)) = (resume.frame, resume.waiting.take()) else { return results };
        let behind = self.block(&self.emitter.context.info().func_type_at(callee).results);
        self.assign_operands();
        self.ins().jump(behind, &block_args(&results));

        self.enter_block(waiting);
        let access = self.emitter.access.other;
        let at = offset_of!(ResumedFrame, values) as i32;
        let array = self.ins().load(WORD, access, frame, at);
        let mut values = Vec::new();
        for (i, (place, ty)) in self.frame_places(offset).into_iter().enumerate() {
            let at = (i * size_of::<RawValue>()) as u32;
            values.push(FrameValue { place, ty, at });
            let value = self.ins().load(signature::clif_type(ty), access, array, at as i32);
            if self.is_noted(ty) {
                self.note_reference(value);
            }
            match place {
                Place::Local(index) => self.write(self.locals[index as usize], value),
                Place::Operand(height) => self.stack[height as usize] = value,
                Place::Caught(at) => match &self.frames[at as usize].kind {
                    Kind::Catch { exception: Some(variable), .. } => self.write(*variable, value),
                    _ => unreachable!("one of `frame_places`"),
                },
            }
        }
        let next = size_of::<ResumedFrame>();
        let at = (next + offset_of!(ResumedFrame, code)) as i32;
        let code = self.ins().load(WORD, access, frame, at);
        let at = (next + offset_of!(ResumedFrame, vmctx)) as i32;
        let vmctx = self.ins().load(WORD, access, frame, at);
        let inner = self.ins().iadd_imm_u(frame, next as i64);
        let results = &self.emitter.context.info().func_type_at(callee).results;
        let signature = signature::continuation(results);
        let signature = self.emitter.builder.import_signature(signature);
        let results =
            self.invoke(super::exception::Callee::Indirect(signature, code), &[vmctx, inner]);
        self.assign_operands();
        self.ins().jump(behind, &block_args(&results));

        self.switch_to(behind);
        // Variables may become parameters too, behind these.
        let results = self.emitter.builder.block_params(behind).to_vec();
        self.read_operands();
        if let Some(resume) = &mut self.resume {
            resume.found = Some(Resumed { callee, values });
        }
        results
    }
}
