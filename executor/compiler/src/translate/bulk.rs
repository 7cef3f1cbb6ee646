//! Bulk operators of memories and tables: each is a builtin.

use super::Translator;
use cranelift_codegen::ir::Value;
use executor_code::abi::Builtin;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn bulk(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let widths = [dst_mem, src_mem].map(|m| self.memory_type(m).memory64);
                self.transfer(Builtin::MemoryCopy, (dst_mem, src_mem), widths);
            }
            Operator::MemoryInit { data_index, mem } => {
                let widths = [self.memory_type(mem).memory64, false];
                self.transfer(Builtin::MemoryInit, (mem, data_index), widths);
            }
            Operator::TableCopy { dst_table, src_table } => {
                let widths = [dst_table, src_table].map(|t| self.table64(t));
                self.transfer(Builtin::TableCopy, (dst_table, src_table), widths);
            }
            Operator::TableInit { elem_index, table } => {
                let widths = [self.table64(table), false];
                self.transfer(Builtin::TableInit, (table, elem_index), widths);
            }
            Operator::MemoryFill { mem } => {
                let is_64 = self.memory_type(mem).memory64;
                let len = self.pop_index(is_64);
                let value = self.pop_index(false);
                self.fill(Builtin::MemoryFill, (mem, is_64), value, len);
            }
            Operator::TableFill { table } => {
                let is_64 = self.table64(table);
                let len = self.pop_index(is_64);
                let value = self.pop();
                self.fill(Builtin::TableFill, (table, is_64), value, len);
            }
            Operator::DataDrop { data_index } => self.discard(Builtin::DataDrop, data_index),
            Operator::ElemDrop { elem_index } => self.discard(Builtin::ElemDrop, elem_index),
            _ => return false,
        }
        true
    }

    /// From a memory, table or segment to a memory or table, given which of the two have 64-bit
    /// indices. The length has the width of the smaller.
    fn transfer(&mut self, builtin: Builtin, (to, from): (u32, u32), [to_64, from_64]: [bool; 2]) {
        let len = self.pop_index(to_64 && from_64);
        let src = self.pop_index(from_64);
        let dst = self.pop_index(to_64);
        let (to, from) = (self.index(to), self.index(from));
        self.emitter.call_builtin(builtin, &[to, from, dst, src, len]);
    }

    fn fill(&mut self, builtin: Builtin, (to, is_64): (u32, bool), value: Value, len: Value) {
        let dst = self.pop_index(is_64);
        let to = self.index(to);
        self.emitter.call_builtin(builtin, &[to, dst, value, len]);
    }

    fn discard(&mut self, builtin: Builtin, segment: u32) {
        let segment = self.index(segment);
        self.emitter.call_builtin(builtin, &[segment]);
    }
}
