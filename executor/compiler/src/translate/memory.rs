//! Loads, stores, `memory.size` and `memory.grow`.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, MemFlags, Opcode, Type, Value,
    immediates::Offset32,
    types::{F32, F64, I32, I64},
};
use executor_code::abi::Builtin;
use executor_model::{MemoryIndex, MemoryType};
use wasmparser::{MemArg, MemArgTarget, Operator};

/// Whether an operator is a loop, or calls a function or the host: see `Emitter::loads_base`.
pub(super) fn is_worth_a_base(operator: Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Loop { .. }
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::MemoryGrow { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableGrow { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. }
    )
}

impl Translator<'_> {
    pub(super) fn memory(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::I32Load { memarg } => self.load(Opcode::Load, I32, 4, memarg),
            Operator::I64Load { memarg } => self.load(Opcode::Load, I64, 8, memarg),
            Operator::F32Load { memarg } => self.load(Opcode::Load, F32, 4, memarg),
            Operator::F64Load { memarg } => self.load(Opcode::Load, F64, 8, memarg),
            Operator::I32Load8S { memarg } => self.load(Opcode::Sload8, I32, 1, memarg),
            Operator::I32Load8U { memarg } => self.load(Opcode::Uload8, I32, 1, memarg),
            Operator::I32Load16S { memarg } => self.load(Opcode::Sload16, I32, 2, memarg),
            Operator::I32Load16U { memarg } => self.load(Opcode::Uload16, I32, 2, memarg),
            Operator::I64Load8S { memarg } => self.load(Opcode::Sload8, I64, 1, memarg),
            Operator::I64Load8U { memarg } => self.load(Opcode::Uload8, I64, 1, memarg),
            Operator::I64Load16S { memarg } => self.load(Opcode::Sload16, I64, 2, memarg),
            Operator::I64Load16U { memarg } => self.load(Opcode::Uload16, I64, 2, memarg),
            Operator::I64Load32S { memarg } => self.load(Opcode::Sload32, I64, 4, memarg),
            Operator::I64Load32U { memarg } => self.load(Opcode::Uload32, I64, 4, memarg),
            Operator::I32Store { memarg } => self.store(Opcode::Store, 4, memarg),
            Operator::I64Store { memarg } => self.store(Opcode::Store, 8, memarg),
            Operator::F32Store { memarg } => self.store(Opcode::Store, 4, memarg),
            Operator::F64Store { memarg } => self.store(Opcode::Store, 8, memarg),
            Operator::I32Store8 { memarg } => self.store(Opcode::Istore8, 1, memarg),
            Operator::I32Store16 { memarg } => self.store(Opcode::Istore16, 2, memarg),
            Operator::I64Store8 { memarg } => self.store(Opcode::Istore8, 1, memarg),
            Operator::I64Store16 { memarg } => self.store(Opcode::Istore16, 2, memarg),
            Operator::I64Store32 { memarg } => self.store(Opcode::Istore32, 4, memarg),
            Operator::MemorySize { mem } => {
                let ty = self.memory_type(mem);
                let bytes = self.emitter.memory_size(mem);
                let pages = self.ins().ushr_imm_u(bytes, i64::from(ty.page_size_log2));
                self.push_index(pages, ty.memory64);
            }
            Operator::MemoryGrow { mem } => {
                let is_64 = self.memory_type(mem).memory64;
                let delta = self.pop_index(is_64);
                let memory = self.index(mem);
                let before = self.emitter.call_builtin(Builtin::MemoryGrow, &[memory, delta]);
                self.push_index(before, is_64);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn load(&mut self, opcode: Opcode, ty: Type, size: u64, memarg: MemArg) {
        let index = self.pop();
        let (flags, base, offset) = self.address(index, size, memarg);
        let (inst, dfg) = self.ins().Load(opcode, ty, flags, offset, base);
        let value = dfg.first_result(inst);
        self.push(value);
    }

    pub(super) fn store(&mut self, opcode: Opcode, size: u64, memarg: MemArg) {
        let [index, value] = self.pop2();
        let (flags, base, offset) = self.address(index, size, memarg);
        let ty = self.emitter.builder.func.dfg.value_type(value);
        self.ins().Store(opcode, ty, flags, offset, value, base);
    }

    fn address(&mut self, index: Value, size: u64, memarg: MemArg) -> (MemFlags, Value, Offset32) {
        let memory = target(memarg);
        let (base, offset) = self.emitter.memory_address(memory, index, memarg.offset, size);
        let flags = self.emitter.access.memory;
        let flags = self.emitter.builder.func.dfg.mem_flags.insert_unchecked(flags);
        (flags, base, offset.into())
    }

    pub(super) fn memory_type(&self, memory: MemoryIndex) -> MemoryType {
        self.emitter.context.info().memories[memory as usize]
    }

    /// Pops an address, index or length of 64 or 32 bits for a builtin.
    pub(super) fn pop_index(&mut self, is_64: bool) -> Value {
        let value = self.pop();
        self.emitter.extend_index(value, is_64)
    }

    /// Pushes a size, of 64 or its low 32 bits.
    pub(super) fn push_index(&mut self, value: Value, is_64: bool) {
        let value = if is_64 { value } else { self.ins().ireduce(I32, value) };
        self.push(value);
    }

    /// An index for a builtin.
    pub(super) fn index(&mut self, index: MemoryIndex) -> Value {
        self.emitter.word(u64::from(index))
    }
}

/// The memory that an access names.
pub(super) fn target(memarg: MemArg) -> MemoryIndex {
    match memarg.target {
        MemArgTarget::Memory(memory) => memory,
        other => unreachable!("refused by validation: {other:?}"),
    }
}
