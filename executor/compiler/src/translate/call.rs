//! Calls and tail calls, direct, through tables and through references.

use super::{Translator, exception::Callee};
use crate::signature::WORD;
use cranelift_codegen::ir::{InstBuilder, SigRef, Value, condcodes::IntCC, types};
use executor_code::abi::{Builtin, CallTarget};
use executor_model::{FuncIndex, FuncRef, TableIndex, TrapCode, TypeIndex};
use std::mem::offset_of;
use wasmparser::Operator;

/// What validation says of a reference that is called.
#[derive(Clone, Copy)]
enum Known {
    /// That it is one to a function.
    Nothing,
    /// That it is null or of the type that it is called with.
    Type,
}

impl Translator<'_> {
    pub(super) fn call(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::Call { function_index } => {
                let ty = self.emitter.context.info().functions[function_index as usize];
                let params = self.emitter.context.info().func_type_at(ty).params.len();
                let args = self.args(self.emitter.vmctx, params);
                let callee = self.direct(function_index);
                self.call_and_push(callee, ty, &args);
            }
            Operator::CallIndirect { type_index, table_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let reference = self.element(table_index);
                let (code, args, signature) = self.callee(reference, ty, Known::Nothing);
                self.call_and_push(Callee::Indirect(signature, code), ty, &args);
            }
            Operator::CallRef { type_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let reference = self.pop();
                let (code, args, signature) = self.callee(reference, ty, Known::Type);
                self.call_and_push(Callee::Indirect(signature, code), ty, &args);
            }
            Operator::ReturnCall { function_index } => {
                let params = self.emitter.context.info().func_type(function_index).params.len();
                let args = self.args(self.emitter.vmctx, params);
                match self.direct(function_index) {
                    Callee::Direct(function) => self.ins().return_call(function, &args),
                    Callee::Indirect(signature, code) => {
                        self.ins().return_call_indirect(signature, code, &args)
                    }
                };
                self.reachable = false;
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let reference = self.element(table_index);
                let (code, args, signature) = self.callee(reference, ty, Known::Nothing);
                self.ins().return_call_indirect(signature, code, &args);
                self.reachable = false;
            }
            Operator::ReturnCallRef { type_index } => {
                let ty = self.emitter.context.info().canonical[type_index as usize];
                let reference = self.pop();
                let (code, args, signature) = self.callee(reference, ty, Known::Type);
                self.ins().return_call_indirect(signature, code, &args);
                self.reachable = false;
            }
            _ => return false,
        }
        true
    }

    /// What stands at a function's index.
    fn direct(&mut self, func: FuncIndex) -> Callee {
        match self.resume {
            None => Callee::Direct(self.emitter.function(func)),
            // A continuation is not in the text that the function is in.
            Some(_) => {
                let (signature, code) = self.emitter.far_function(func);
                Callee::Indirect(signature, code)
            }
        }
    }

    /// Calls a function of type `ty` and pushes its results.
    fn call_and_push(&mut self, callee: Callee, ty: TypeIndex, args: &[Value]) {
        let results = self.invoke(callee, args);
        let results = match self.call_offset {
            Some(offset) => self.join(offset, ty, results),
            None => results,
        };
        self.stack.extend(results);
    }

    /// Pops an index: the reference that a table of functions holds there.
    fn element(&mut self, table: TableIndex) -> Value {
        let index = self.pop();
        let trap = TrapCode::UndefinedElement;
        let (base, offset) = self.emitter.table_address(table, index, trap);
        let access = self.emitter.access.table;
        self.ins().load(WORD, access, base, offset)
    }

    /// Pops the arguments for a function of type `ty`: its code, what to call it with, and its
    /// signature. Traps when the reference is null or of another type.
    fn callee(
        &mut self,
        reference: Value,
        ty: TypeIndex,
        known: Known,
    ) -> (Value, Vec<Value>, SigRef) {
        let access = self.emitter.access;
        let fast = self.emitter.builder.create_block();
        let slow = self.emitter.builder.create_block();
        let call = self.emitter.builder.create_block();
        self.emitter.builder.set_cold_block(slow);
        let code = self.emitter.builder.append_block_param(call, WORD);
        let vmctx = self.emitter.builder.append_block_param(call, WORD);

        // What is left without the instance and the type is the function, if they are this instance
        // and the type expected; null and anything else leave something above the function.
        let key = self.emitter.instance_key();
        // Of the reference to a function of a type that is known already, the type says nothing.
        let (expected, bits) = match known {
            Known::Nothing => (u64::from(ty) << FuncRef::TYPE_SHIFT, FuncRef::TYPE_SHIFT),
            Known::Type => (0, FuncRef::INSTANCE_SHIFT),
        };
        let expected = self.ins().iadd_imm_u(key, expected.cast_signed());
        let rest = self.ins().isub(reference, expected);
        let last = (1i64 << bits) - 1;
        let matches = self.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, rest, last);
        self.ins().brif(matches, fast, &[], slow, &[]);

        self.switch_to(fast);
        // For a processor that guesses the check wrong: nothing far from the table is read.
        let func = self.ins().band_imm_u(rest, FuncRef::FUNC_MASK.cast_signed());
        let functions = self.function_table();
        let at = self.ins().ishl_imm_u(func, 2);
        let at = self.ins().iadd(functions, at);
        // Not `fixed`: it must not move to before the check that `func` is one of ours.
        let distance = self.ins().load(types::I32, access.other, at, 0);
        let distance = self.ins().sextend(WORD, distance);
        let own_code = self.ins().iadd(functions, distance);
        let own = self.emitter.vmctx;
        self.ins().jump(call, &[own_code.into(), own.into()]);

        self.switch_to(slow);
        if let Known::Type = known {
            self.trap_if_null(reference, TrapCode::NullFunctionReference);
        }
        let expected = self.emitter.word(u64::from(ty));
        let target = self.emitter.call_builtin(Builtin::ResolveFuncRef, &[reference, expected]);
        let at = offset_of!(CallTarget, code) as i32;
        let other_code = self.ins().load(WORD, access.other, target, at);
        let at = offset_of!(CallTarget, vmctx) as i32;
        let other = self.ins().load(WORD, access.other, target, at);
        self.ins().jump(call, &[other_code.into(), other.into()]);

        self.switch_to(call);
        let params = self.emitter.context.info().func_type_at(ty).params.len();
        let args = self.args(vmctx, params);
        (code, args, self.emitter.signature(ty))
    }

    fn function_table(&mut self) -> Value {
        match self.resume {
            None => self.emitter.function_table(),
            Some(_) => self.emitter.far_function_table(),
        }
    }

    /// Pops the arguments of a call and puts the callee's `vmctx` before them.
    fn args(&mut self, vmctx: Value, params: usize) -> Vec<Value> {
        let mut args = vec![vmctx];
        args.extend(self.stack.drain(self.stack.len() - params..));
        args
    }
}
