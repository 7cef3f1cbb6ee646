//! References: 8 bytes without an address, 0 for null.

use super::Translator;
use crate::signature::WORD;
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use executor_model::{FuncRef, TrapCode};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn reference(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::RefNull { .. } => {
                let null = self.zero(WORD);
                self.push(null);
            }
            Operator::RefIsNull => {
                let reference = self.pop();
                let null = self.ins().icmp_imm_u(IntCC::Equal, reference, 0);
                self.push_bool(null);
            }
            Operator::RefAsNonNull => {
                let reference = self.pop();
                self.trap_if_null(reference, TrapCode::NullReference);
                self.push(reference);
            }
            Operator::RefFunc { function_index } => {
                // The parts of a reference do not overlap, so adding them is joining them.
                let ty = self.emitter.context.info().functions[function_index as usize];
                let local = u64::from(ty) << FuncRef::TYPE_SHIFT | u64::from(function_index);
                let key = self.emitter.instance_key();
                let reference = self.ins().iadd_imm_u(key, local.cast_signed());
                self.push(reference);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn trap_if_null(&mut self, reference: Value, code: TrapCode) {
        let null = self.ins().icmp_imm_u(IntCC::Equal, reference, 0);
        self.emitter.trap_if(null, code);
    }
}
