//! Locals, globals, and the operators that only move operands.

use super::Translator;
use crate::signature::{V128, clif_type};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use executor_model::{ConstOp, GlobalIndex};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn variable(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::LocalGet { local_index } => {
                let local = self.locals[local_index as usize];
                let value = self.read(local);
                self.push(value);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                self.write(self.locals[local_index as usize], value);
            }
            Operator::LocalTee { local_index } => {
                let value = self.top(1)[0];
                self.write(self.locals[local_index as usize], value);
            }
            Operator::GlobalGet { global_index } => {
                let value = self.global_get(global_index);
                self.push(value);
            }
            Operator::GlobalSet { global_index } => {
                let value = self.pop();
                let (access, base, offset) = self.global(global_index);
                self.ins().store(access, value, base, offset);
            }
            Operator::Drop => {
                self.pop();
            }
            Operator::Select | Operator::TypedSelect { .. } => {
                let [first, second, condition] = self.pop3();
                let value = self.ins().select(condition, first, second);
                self.push(value);
            }
            _ => return false,
        }
        true
    }

    fn global_get(&mut self, index: GlobalIndex) -> Value {
        let global = &self.emitter.context.info().globals[index as usize];
        if let (false, Some([op])) = (global.ty.mutable, global.init.as_deref()) {
            match *op {
                ConstOp::I32Const(n) => return self.i32_const(n),
                ConstOp::I64Const(n) => return self.i64_const(n),
                ConstOp::F32Const(bits) => return self.f32_const(bits),
                ConstOp::F64Const(bits) => return self.f64_const(bits),
                ConstOp::V128Const(bits) => return self.vconst(V128, bits),
                _ => {}
            }
        }
        let (access, base, offset) = self.global(index);
        self.ins().load(clif_type(global.ty.value), access, base, offset)
    }

    /// Where a global is, and how to access it.
    fn global(&mut self, index: GlobalIndex) -> (MemFlagsData, Value, i32) {
        let ty = self.emitter.context.info().globals[index as usize].ty;
        let access = self.emitter.access;
        // An immutable global has its value before any code of the instance runs. A collection may move what it
        // refers to.
        let access =
            if ty.mutable || self.is_noted(ty.value) { access.state } else { access.fixed };
        let counts = self.emitter.counts();
        let (base, offset) = match index.checked_sub(counts.imported_globals) {
            Some(owned) => self.emitter.at(counts.from_vmctx(counts.global(owned))),
            None => (self.emitter.linked(counts.global_link(index)), 0),
        };
        (access, base, offset)
    }
}
