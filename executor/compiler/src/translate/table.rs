//! Single elements of tables, `table.size` and `table.grow`.

use super::Translator;
use crate::signature::WORD;
use cranelift_codegen::ir::InstBuilder;
use executor_code::abi::Builtin;
use executor_model::{TableIndex, TrapCode};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn table(&mut self, operator: &Operator<'_>) -> bool {
        let trap = TrapCode::TableOutOfBounds;
        match *operator {
            Operator::TableGet { table } => {
                let index = self.pop();
                let (base, offset) = self.emitter.table_address(table, index, trap);
                let access = self.emitter.access.table;
                let value = self.ins().load(WORD, access, base, offset);
                self.push(value);
            }
            Operator::TableSet { table } => {
                let [index, value] = self.pop2();
                let (base, offset) = self.emitter.table_address(table, index, trap);
                let access = self.emitter.access.table;
                self.ins().store(access, value, base, offset);
            }
            Operator::TableSize { table } => {
                let size = self.emitter.table_size(table);
                let is_64 = self.table64(table);
                self.push_index(size, is_64);
            }
            Operator::TableGrow { table } => {
                let is_64 = self.table64(table);
                let delta = self.pop_index(is_64);
                let init = self.pop();
                let table = self.index(table);
                let args = [table, delta, init];
                let before = self.emitter.call_builtin(Builtin::TableGrow, &args);
                self.push_index(before, is_64);
            }
            _ => return false,
        }
        true
    }

    /// Whether indices of a table are 64-bit.
    pub(super) fn table64(&self, table: TableIndex) -> bool {
        self.emitter.context.info().tables[table as usize].ty.table64
    }
}
