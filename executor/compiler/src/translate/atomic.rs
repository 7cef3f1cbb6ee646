//! Atomic operators. All are sequentially consistent.
//!
//! Invariant: an atomic access is to a multiple of its width, or it traps; like every other access
//! its address comes from `bounds`.

use super::{Translator, memory::target};
use crate::signature::WORD;
use cranelift_codegen::ir::{
    AtomicRmwOp::{self, Add, And, Or, Sub, Xchg, Xor},
    InstBuilder, MemFlagsData, Type, Value,
    types::{I8, I16, I32, I64},
};
use executor_code::abi::Builtin;
use executor_model::TrapCode;
use wasmparser::{MemArg, Operator};

impl Translator<'_> {
    pub(super) fn atomic(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            I32AtomicLoad { memarg } => self.atomic_load(I32, I32, memarg),
            I32AtomicLoad8U { memarg } => self.atomic_load(I32, I8, memarg),
            I32AtomicLoad16U { memarg } => self.atomic_load(I32, I16, memarg),
            I64AtomicLoad { memarg } => self.atomic_load(I64, I64, memarg),
            I64AtomicLoad8U { memarg } => self.atomic_load(I64, I8, memarg),
            I64AtomicLoad16U { memarg } => self.atomic_load(I64, I16, memarg),
            I64AtomicLoad32U { memarg } => self.atomic_load(I64, I32, memarg),
            I32AtomicStore { memarg } => self.atomic_store(I32, memarg),
            I32AtomicStore8 { memarg } => self.atomic_store(I8, memarg),
            I32AtomicStore16 { memarg } => self.atomic_store(I16, memarg),
            I64AtomicStore { memarg } => self.atomic_store(I64, memarg),
            I64AtomicStore8 { memarg } => self.atomic_store(I8, memarg),
            I64AtomicStore16 { memarg } => self.atomic_store(I16, memarg),
            I64AtomicStore32 { memarg } => self.atomic_store(I32, memarg),
            I32AtomicRmwAdd { memarg } => self.atomic_rmw(Add, I32, I32, memarg),
            I32AtomicRmw8AddU { memarg } => self.atomic_rmw(Add, I32, I8, memarg),
            I32AtomicRmw16AddU { memarg } => self.atomic_rmw(Add, I32, I16, memarg),
            I64AtomicRmwAdd { memarg } => self.atomic_rmw(Add, I64, I64, memarg),
            I64AtomicRmw8AddU { memarg } => self.atomic_rmw(Add, I64, I8, memarg),
            I64AtomicRmw16AddU { memarg } => self.atomic_rmw(Add, I64, I16, memarg),
            I64AtomicRmw32AddU { memarg } => self.atomic_rmw(Add, I64, I32, memarg),
            I32AtomicRmwSub { memarg } => self.atomic_rmw(Sub, I32, I32, memarg),
            I32AtomicRmw8SubU { memarg } => self.atomic_rmw(Sub, I32, I8, memarg),
            I32AtomicRmw16SubU { memarg } => self.atomic_rmw(Sub, I32, I16, memarg),
            I64AtomicRmwSub { memarg } => self.atomic_rmw(Sub, I64, I64, memarg),
            I64AtomicRmw8SubU { memarg } => self.atomic_rmw(Sub, I64, I8, memarg),
            I64AtomicRmw16SubU { memarg } => self.atomic_rmw(Sub, I64, I16, memarg),
            I64AtomicRmw32SubU { memarg } => self.atomic_rmw(Sub, I64, I32, memarg),
            I32AtomicRmwAnd { memarg } => self.atomic_rmw(And, I32, I32, memarg),
            I32AtomicRmw8AndU { memarg } => self.atomic_rmw(And, I32, I8, memarg),
            I32AtomicRmw16AndU { memarg } => self.atomic_rmw(And, I32, I16, memarg),
            I64AtomicRmwAnd { memarg } => self.atomic_rmw(And, I64, I64, memarg),
            I64AtomicRmw8AndU { memarg } => self.atomic_rmw(And, I64, I8, memarg),
            I64AtomicRmw16AndU { memarg } => self.atomic_rmw(And, I64, I16, memarg),
            I64AtomicRmw32AndU { memarg } => self.atomic_rmw(And, I64, I32, memarg),
            I32AtomicRmwOr { memarg } => self.atomic_rmw(Or, I32, I32, memarg),
            I32AtomicRmw8OrU { memarg } => self.atomic_rmw(Or, I32, I8, memarg),
            I32AtomicRmw16OrU { memarg } => self.atomic_rmw(Or, I32, I16, memarg),
            I64AtomicRmwOr { memarg } => self.atomic_rmw(Or, I64, I64, memarg),
            I64AtomicRmw8OrU { memarg } => self.atomic_rmw(Or, I64, I8, memarg),
            I64AtomicRmw16OrU { memarg } => self.atomic_rmw(Or, I64, I16, memarg),
            I64AtomicRmw32OrU { memarg } => self.atomic_rmw(Or, I64, I32, memarg),
            I32AtomicRmwXor { memarg } => self.atomic_rmw(Xor, I32, I32, memarg),
            I32AtomicRmw8XorU { memarg } => self.atomic_rmw(Xor, I32, I8, memarg),
            I32AtomicRmw16XorU { memarg } => self.atomic_rmw(Xor, I32, I16, memarg),
            I64AtomicRmwXor { memarg } => self.atomic_rmw(Xor, I64, I64, memarg),
            I64AtomicRmw8XorU { memarg } => self.atomic_rmw(Xor, I64, I8, memarg),
            I64AtomicRmw16XorU { memarg } => self.atomic_rmw(Xor, I64, I16, memarg),
            I64AtomicRmw32XorU { memarg } => self.atomic_rmw(Xor, I64, I32, memarg),
            I32AtomicRmwXchg { memarg } => self.atomic_rmw(Xchg, I32, I32, memarg),
            I32AtomicRmw8XchgU { memarg } => self.atomic_rmw(Xchg, I32, I8, memarg),
            I32AtomicRmw16XchgU { memarg } => self.atomic_rmw(Xchg, I32, I16, memarg),
            I64AtomicRmwXchg { memarg } => self.atomic_rmw(Xchg, I64, I64, memarg),
            I64AtomicRmw8XchgU { memarg } => self.atomic_rmw(Xchg, I64, I8, memarg),
            I64AtomicRmw16XchgU { memarg } => self.atomic_rmw(Xchg, I64, I16, memarg),
            I64AtomicRmw32XchgU { memarg } => self.atomic_rmw(Xchg, I64, I32, memarg),
            I32AtomicRmwCmpxchg { memarg } => self.atomic_cmpxchg(I32, I32, memarg),
            I32AtomicRmw8CmpxchgU { memarg } => self.atomic_cmpxchg(I32, I8, memarg),
            I32AtomicRmw16CmpxchgU { memarg } => self.atomic_cmpxchg(I32, I16, memarg),
            I64AtomicRmwCmpxchg { memarg } => self.atomic_cmpxchg(I64, I64, memarg),
            I64AtomicRmw8CmpxchgU { memarg } => self.atomic_cmpxchg(I64, I8, memarg),
            I64AtomicRmw16CmpxchgU { memarg } => self.atomic_cmpxchg(I64, I16, memarg),
            I64AtomicRmw32CmpxchgU { memarg } => self.atomic_cmpxchg(I64, I32, memarg),
            AtomicFence { .. } => {
                self.ins().fence();
            }
            MemoryAtomicWait32 { memarg } => self.wait(Builtin::MemoryAtomicWait32, memarg),
            MemoryAtomicWait64 { memarg } => self.wait(Builtin::MemoryAtomicWait64, memarg),
            MemoryAtomicNotify { memarg } => {
                let count = self.pop_index(false);
                let [memory, index, offset] = self.place(memarg);
                let args = [memory, index, offset, count];
                let woken = self.emitter.call_builtin(Builtin::MemoryAtomicNotify, &args);
                self.push_index(woken, false);
            }
            _ => return false,
        }
        true
    }

    fn atomic_load(&mut self, ty: Type, access: Type, memarg: MemArg) {
        let address = self.atomic_address(access, memarg);
        let flags = self.atomic_flags();
        let value = self.ins().atomic_load(access, flags, address);
        self.push_unsigned(value, ty);
    }

    fn atomic_store(&mut self, access: Type, memarg: MemArg) {
        let value = self.pop();
        let value = self.narrow(value, access);
        let address = self.atomic_address(access, memarg);
        let flags = self.atomic_flags();
        self.ins().atomic_store(flags, value, address);
    }

    fn atomic_rmw(&mut self, op: AtomicRmwOp, ty: Type, access: Type, memarg: MemArg) {
        let value = self.pop();
        let value = self.narrow(value, access);
        let address = self.atomic_address(access, memarg);
        let flags = self.atomic_flags();
        let before = self.ins().atomic_rmw(access, flags, op, address, value);
        self.push_unsigned(before, ty);
    }

    fn atomic_cmpxchg(&mut self, ty: Type, access: Type, memarg: MemArg) {
        let [expected, replacement] = self.pop2();
        let replacement = self.narrow(replacement, access);
        let expected = self.narrow(expected, access);
        let address = self.atomic_address(access, memarg);
        let flags = self.atomic_flags();
        let before = self.ins().atomic_cas(flags, address, expected, replacement);
        self.push_unsigned(before, ty);
    }

    /// Pops an index: the address of an access, checked.
    fn atomic_address(&mut self, access: Type, memarg: MemArg) -> Value {
        let index = self.pop();
        let size = u64::from(access.bytes());
        let (base, offset) =
            self.emitter.memory_address(target(memarg), index, memarg.offset, size);
        let address = self.ins().iadd_imm_s(base, i64::from(offset));
        // Memories begin at multiples of the host's page size.
        if size > 1 {
            let odd = self.ins().band_imm_u(address, (size - 1).cast_signed());
            self.emitter.trap_if(odd, TrapCode::UnalignedAtomic);
        }
        address
    }

    fn atomic_flags(&self) -> MemFlagsData {
        self.emitter.access.memory.with_aligned()
    }

    /// The low bits of a value.
    fn narrow(&mut self, value: Value, access: Type) -> Value {
        match self.emitter.builder.func.dfg.value_type(value) == access {
            true => value,
            false => self.ins().ireduce(access, value),
        }
    }

    /// Pushes a value, zero-extended.
    fn push_unsigned(&mut self, value: Value, ty: Type) {
        let value = match self.emitter.builder.func.dfg.value_type(value) == ty {
            true => value,
            false => self.ins().uextend(ty, value),
        };
        self.push(value);
    }

    fn wait(&mut self, builtin: Builtin, memarg: MemArg) {
        if !self.memory_type(target(memarg)).shared {
            self.emitter.trap(TrapCode::ExpectedSharedMemory);
            self.reachable = false;
            return;
        }
        let [expected, timeout] = self.pop2();
        let expected = match builtin {
            Builtin::MemoryAtomicWait32 => self.emitter.extend(expected),
            _ => expected,
        };
        let [memory, index, offset] = self.place(memarg);
        let args = [memory, index, offset, expected, timeout];
        let result = self.emitter.call_builtin(builtin, &args);
        self.push_index(result, false);
    }

    /// Pops an index: the place of an access, for a builtin, which checks it.
    fn place(&mut self, memarg: MemArg) -> [Value; 3] {
        let memory = target(memarg);
        let is_64 = self.memory_type(memory).memory64;
        let index = self.pop_index(is_64);
        let offset = self.ins().iconst(WORD, memarg.offset.cast_signed());
        [self.index(memory), index, offset]
    }
}
