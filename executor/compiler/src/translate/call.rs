//! Calls and tail calls, direct and through tables.

use super::Translator;
use crate::signature::WORD;
use cranelift_codegen::ir::{Inst, InstBuilder, SigRef, Value, condcodes::IntCC, types};
use executor_code::abi::{Builtin, CallTarget};
use executor_model::{FuncRef, TableIndex, TrapCode, TypeIndex};
use std::mem::offset_of;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn call(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::Call { function_index } => {
                let params = self.emitter.context.info().func_type(function_index).params.len();
                let args = self.args(self.emitter.vmctx, params);
                let function = self.emitter.function(function_index);
                let call = self.ins().call(function, &args);
                self.push_results(call);
            }
            Operator::CallIndirect { type_index, table_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let (code, args, signature) = self.callee(ty, table_index);
                let call = self.ins().call_indirect(signature, code, &args);
                self.push_results(call);
            }
            Operator::ReturnCall { function_index } => {
                let params = self.emitter.context.info().func_type(function_index).params.len();
                let args = self.args(self.emitter.vmctx, params);
                let function = self.emitter.function(function_index);
                self.ins().return_call(function, &args);
                self.reachable = false;
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let (code, args, signature) = self.callee(ty, table_index);
                self.ins().return_call_indirect(signature, code, &args);
                self.reachable = false;
            }
            _ => return false,
        }
        true
    }

    /// Pops an index and arguments: the code of the table's function of type `ty`, what to call it
    /// with, and its signature.
    fn callee(&mut self, ty: TypeIndex, table: TableIndex) -> (Value, Vec<Value>, SigRef) {
        let index = self.pop();
        let trap = TrapCode::UndefinedElement;
        let (base, offset) = self.emitter.table_address(table, index, trap);
        let access = self.emitter.access;
        let reference = self.ins().load(WORD, access.table, base, offset);

        let fast = self.emitter.builder.create_block();
        let slow = self.emitter.builder.create_block();
        let call = self.emitter.builder.create_block();
        self.emitter.builder.set_cold_block(slow);
        let code = self.emitter.builder.append_block_param(call, WORD);
        let vmctx = self.emitter.builder.append_block_param(call, WORD);

        // What is left without the instance and the type is the function, if they are this instance
        // and the type expected; null and anything else leave something above the function.
        let key = self.emitter.instance_key();
        let expected = u64::from(ty) << FuncRef::TYPE_SHIFT;
        let expected = self.ins().iadd_imm_u(key, expected.cast_signed());
        let func = self.ins().isub(reference, expected);
        let last = FuncRef::FUNC_MASK.cast_signed();
        let matches = self.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, func, last);
        self.ins().brif(matches, fast, &[], slow, &[]);

        self.switch_to(fast);
        // For a processor that guesses the check wrong: nothing far from the table is read.
        let func = self.ins().band_imm_u(func, last);
        let functions = self.emitter.function_table();
        let at = self.ins().ishl_imm_u(func, 2);
        let at = self.ins().iadd(functions, at);
        // Not `fixed`: it must not move to before the check that `func` is one of ours.
        let distance = self.ins().load(types::I32, access.other, at, 0);
        let distance = self.ins().sextend(WORD, distance);
        let own_code = self.ins().iadd(functions, distance);
        let own = self.emitter.vmctx;
        self.ins().jump(call, &[own_code.into(), own.into()]);

        self.switch_to(slow);
        let expected = self.emitter.word(u64::from(ty));
        let target = self.emitter.call_builtin(Builtin::ResolveFuncRef, &[reference, expected]);
        let at = offset_of!(CallTarget, code) as i32;
        let other_code = self.ins().load(WORD, access.other, target, at);
        let at = offset_of!(CallTarget, vmctx) as i32;
        let other = self.ins().load(WORD, access.other, target, at);
        self.ins().jump(call, &[other_code.into(), other.into()]);

        self.switch_to(call);
        let params = self.emitter.context.info().types[ty as usize].params.len();
        let args = self.args(vmctx, params);
        (code, args, self.emitter.signature(ty))
    }

    /// Pops the arguments of a call and puts the callee's `vmctx` before them.
    fn args(&mut self, vmctx: Value, params: usize) -> Vec<Value> {
        let mut args = vec![vmctx];
        args.extend(self.stack.drain(self.stack.len() - params..));
        args
    }

    fn push_results(&mut self, call: Inst) {
        self.stack.extend_from_slice(self.emitter.builder.inst_results(call));
    }
}
