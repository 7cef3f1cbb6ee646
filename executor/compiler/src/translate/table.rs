//! Single elements of tables, `table.size` and `table.grow`.

use super::Translator;
use crate::signature::WORD;
use cranelift_codegen::ir::{InstBuilder, types};
use executor_code::abi::Builtin;
use executor_model::TrapCode;
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
                let size = self.ins().ireduce(types::I32, size);
                self.push(size);
            }
            Operator::TableGrow { table } => {
                let delta = self.pop_extended();
                let init = self.pop();
                let table = self.index(table);
                self.push_builtin_i32(Builtin::TableGrow, &[table, delta, init]);
            }
            _ => return false,
        }
        true
    }
}
