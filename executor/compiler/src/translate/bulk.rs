//! Bulk operators of memories and tables: each is a builtin, but for short ranges of memory.

use super::Translator;
use crate::ranges::RangeFunction;
use cranelift_codegen::ir::{InstBuilder, Value};
use executor_code::abi::Builtin;
use executor_model::MemoryIndex;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn bulk(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let widths = [dst_mem, src_mem].map(|m| self.memory_type(m).memory64);
                let range = self.range(widths);
                let [dst, src, len] = range;
                let short = (dst_mem == src_mem).then_some((RangeFunction::CopyMemory, range));
                self.short_or(dst_mem, short, |this| {
                    let (to, from) = (this.index(dst_mem), this.index(src_mem));
                    this.emitter.call_builtin(Builtin::MemoryCopy, &[to, from, dst, src, len]);
                });
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
                let dst = self.pop_index(is_64);
                let short = (RangeFunction::FillMemory, [dst, value, len]);
                self.short_or(mem, Some(short), |this| {
                    let to = this.index(mem);
                    this.emitter.call_builtin(Builtin::MemoryFill, &[to, dst, value, len]);
                });
            }
            Operator::TableFill { table } => {
                let is_64 = self.table64(table);
                let len = self.pop_index(is_64);
                let value = self.pop();
                let dst = self.pop_index(is_64);
                let to = self.index(table);
                self.emitter.call_builtin(Builtin::TableFill, &[to, dst, value, len]);
            }
            Operator::DataDrop { data_index } => self.discard(Builtin::DataDrop, data_index),
            Operator::ElemDrop { elem_index } => self.discard(Builtin::ElemDrop, elem_index),
            _ => return false,
        }
        true
    }

    /// Pops where to, where from and how many, given which of the two have 64-bit indices. The
    /// length has the width of the smaller.
    fn range(&mut self, [to_64, from_64]: [bool; 2]) -> [Value; 3] {
        let len = self.pop_index(to_64 && from_64);
        let src = self.pop_index(from_64);
        [self.pop_index(to_64), src, len]
    }

    /// From a memory, table or segment to a memory or table.
    fn transfer(&mut self, builtin: Builtin, (to, from): (u32, u32), widths: [bool; 2]) {
        let [dst, src, len] = self.range(widths);
        let (to, from) = (self.index(to), self.index(from));
        self.emitter.call_builtin(builtin, &[to, from, dst, src, len]);
    }

    /// Does with a range of a memory what `short` does, if it will, and else what `long` does.
    fn short_or(
        &mut self,
        memory: MemoryIndex,
        short: Option<(RangeFunction, [Value; 3])>,
        long: impl FnOnce(&mut Self),
    ) {
        let Some((range, args)) = short.filter(|_| self.emitter.has_short_ranges(memory)) else {
            return long(self);
        };
        self.range_or(range, args, long);
    }

    /// Calls `range`, and does what `long` does where that refuses.
    pub(super) fn range_or(
        &mut self,
        range: RangeFunction,
        args: [Value; 3],
        long: impl FnOnce(&mut Self),
    ) {
        let done = self.emitter.call_range(range, args);
        let [next, rest] = [(); 2].map(|()| self.emitter.builder.create_block());
        self.emitter.builder.set_cold_block(rest);
        self.ins().brif(done, next, &[], rest, &[]);
        self.switch_to(rest);
        long(self);
        self.ins().jump(next, &[]);
        self.switch_to(next);
    }

    fn discard(&mut self, builtin: Builtin, segment: u32) {
        let segment = self.index(segment);
        self.emitter.call_builtin(builtin, &[segment]);
    }
}
