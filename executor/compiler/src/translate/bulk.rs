//! Bulk operators of memories and tables: each is a builtin.

use super::Translator;
use cranelift_codegen::ir::Value;
use executor_code::abi::Builtin;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn bulk(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => {
                self.transfer(Builtin::MemoryCopy, dst_mem, src_mem);
            }
            Operator::MemoryInit { data_index, mem } => {
                self.transfer(Builtin::MemoryInit, mem, data_index);
            }
            Operator::TableCopy { dst_table, src_table } => {
                self.transfer(Builtin::TableCopy, dst_table, src_table);
            }
            Operator::TableInit { elem_index, table } => {
                self.transfer(Builtin::TableInit, table, elem_index);
            }
            Operator::MemoryFill { mem } => {
                let len = self.pop_extended();
                let value = self.pop_extended();
                self.fill(Builtin::MemoryFill, mem, value, len);
            }
            Operator::TableFill { table } => {
                let len = self.pop_extended();
                let value = self.pop();
                self.fill(Builtin::TableFill, table, value, len);
            }
            Operator::DataDrop { data_index } => self.discard(Builtin::DataDrop, data_index),
            Operator::ElemDrop { elem_index } => self.discard(Builtin::ElemDrop, elem_index),
            _ => return false,
        }
        true
    }

    /// From a memory, table or segment to a memory or table.
    fn transfer(&mut self, builtin: Builtin, to: u32, from: u32) {
        let [dst, src, len] = self.pop3().map(|value| self.emitter.extend(value));
        let (to, from) = (self.index(to), self.index(from));
        self.emitter.call_builtin(builtin, &[to, from, dst, src, len]);
    }

    fn fill(&mut self, builtin: Builtin, to: u32, value: Value, len: Value) {
        let dst = self.pop_extended();
        let to = self.index(to);
        self.emitter.call_builtin(builtin, &[to, dst, value, len]);
    }

    fn discard(&mut self, builtin: Builtin, segment: u32) {
        let segment = self.index(segment);
        self.emitter.call_builtin(builtin, &[segment]);
    }
}
