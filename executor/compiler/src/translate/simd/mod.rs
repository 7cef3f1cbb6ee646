//! Vectors: the 236 operators on 128-bit values, and the relaxed ones.
//!
//! Invariant: wherever a vector is held (operand stack, locals, blocks, calls, globals) it has the
//! type [`V128`]. An operator casts its operands to the lanes it works on and its result back;
//! casts move no bits and cost nothing.
//!
//! Every operator here becomes instructions that the required processor features include; none
//! becomes a call of a library.

mod convert;
mod float;
mod integer;
mod lanes;
mod memory;
mod relaxed;
#[cfg(test)]
mod tests;

use super::Translator;
use crate::signature::V128;
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::Operator;

impl<'a> Translator<'a> {
    pub(super) fn simd(&mut self, operator: &Operator<'_>) -> bool {
        self.simd_memory(operator)
            || self.simd_bits(operator)
            || self.simd_lanes(operator)
            || self.simd_integer(operator)
            || self.simd_float(operator)
            || self.simd_convert(operator)
            || self.simd_relaxed(operator)
    }

    /// Constants, and operators that see no lanes.
    fn simd_bits(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            V128Const { value } => {
                let value = self.vconst(V128, u128::from_le_bytes(*value.bytes()));
                self.push(value);
            }
            V128Not => self.unary(|i, x| i.bnot(x)),
            V128And => self.binary(|i, x, y| i.band(x, y)),
            V128AndNot => self.binary(|i, x, y| i.band_not(x, y)),
            V128Or => self.binary(|i, x, y| i.bor(x, y)),
            V128Xor => self.binary(|i, x, y| i.bxor(x, y)),
            V128Bitselect => self.bitselect(),
            V128AnyTrue => {
                let x = self.pop();
                let any = self.ins().vany_true(x);
                self.push_bool(any);
            }
            _ => return false,
        }
        true
    }

    /// A constant held as `ty`; lane 0 is in the low bits.
    pub(super) fn vconst(&mut self, ty: Type, bits: u128) -> Value {
        let data = ConstantData::from(&bits.to_le_bytes()[..]);
        let constant = self.emitter.builder.func.dfg.constants.insert(data);
        self.ins().vconst(ty, constant)
    }

    /// Takes each bit from the first vector where the third has a 1, else from the second.
    fn bitselect(&mut self) {
        let [x, y, mask] = self.pop3();
        let result = self.ins().bitselect(mask, x, y);
        self.push(result);
    }

    /// A vector as lanes of `ty`: lane 0 in the low bits, as in memory.
    fn cast(&mut self, value: Value, ty: Type) -> Value {
        if self.emitter.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.ins().bitcast(ty, flags, value)
    }

    fn pop_lanes(&mut self, ty: Type) -> Value {
        let value = self.pop();
        self.cast(value, ty)
    }

    /// Pops two; the second operand is on top.
    fn pop_lanes2(&mut self, ty: Type) -> [Value; 2] {
        let second = self.pop_lanes(ty);
        [self.pop_lanes(ty), second]
    }

    fn push_lanes(&mut self, value: Value) {
        let value = self.cast(value, V128);
        self.push(value);
    }

    /// Replaces the topmost vector by a function of it.
    fn lanes1(&mut self, ty: Type, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value) -> Value) {
        let x = self.pop_lanes(ty);
        let result = f(self.ins(), x);
        self.push_lanes(result);
    }

    /// Replaces the two topmost vectors by a function of them.
    fn lanes2(&mut self, ty: Type, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value, Value) -> Value) {
        let [x, y] = self.pop_lanes2(ty);
        let result = f(self.ins(), x, y);
        self.push_lanes(result);
    }
}
