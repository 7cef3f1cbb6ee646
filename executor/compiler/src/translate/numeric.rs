//! Integer operators.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC::{self, *},
    types::{I8, I16, I32, I64},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn numeric(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            I32Const { value } => {
                let value = self.i32_const(value);
                self.push(value);
            }
            I64Const { value } => {
                let value = self.i64_const(value);
                self.push(value);
            }
            I32Eqz | I64Eqz => {
                let x = self.pop();
                let zero = self.ins().icmp_imm_u(Equal, x, 0);
                self.push_bool(zero);
            }
            I32Eq | I64Eq => self.compare(Equal),
            I32Ne | I64Ne => self.compare(NotEqual),
            I32LtS | I64LtS => self.compare(SignedLessThan),
            I32LtU | I64LtU => self.compare(UnsignedLessThan),
            I32GtS | I64GtS => self.compare(SignedGreaterThan),
            I32GtU | I64GtU => self.compare(UnsignedGreaterThan),
            I32LeS | I64LeS => self.compare(SignedLessThanOrEqual),
            I32LeU | I64LeU => self.compare(UnsignedLessThanOrEqual),
            I32GeS | I64GeS => self.compare(SignedGreaterThanOrEqual),
            I32GeU | I64GeU => self.compare(UnsignedGreaterThanOrEqual),
            I32Clz | I64Clz => self.unary(|i, x| i.clz(x)),
            I32Ctz | I64Ctz => self.unary(|i, x| i.ctz(x)),
            I32Popcnt | I64Popcnt => self.unary(|i, x| i.popcnt(x)),
            I32Add | I64Add => self.binary(|i, x, y| i.iadd(x, y)),
            I32Sub | I64Sub => self.binary(|i, x, y| i.isub(x, y)),
            I32Mul | I64Mul => self.binary(|i, x, y| i.imul(x, y)),
            // Division traps by itself, with the trap codes that the specification asks for.
            I32DivS | I64DivS => self.binary(|i, x, y| i.sdiv(x, y)),
            I32DivU | I64DivU => self.binary(|i, x, y| i.udiv(x, y)),
            I32RemS | I64RemS => self.binary(|i, x, y| i.srem(x, y)),
            I32RemU | I64RemU => self.binary(|i, x, y| i.urem(x, y)),
            I32And | I64And => self.binary(|i, x, y| i.band(x, y)),
            I32Or | I64Or => self.binary(|i, x, y| i.bor(x, y)),
            I32Xor | I64Xor => self.binary(|i, x, y| i.bxor(x, y)),
            // Shifts and rotations take the count modulo the width, as WebAssembly does.
            I32Shl | I64Shl => self.binary(|i, x, y| i.ishl(x, y)),
            I32ShrS | I64ShrS => self.binary(|i, x, y| i.sshr(x, y)),
            I32ShrU | I64ShrU => self.binary(|i, x, y| i.ushr(x, y)),
            I32Rotl | I64Rotl => self.binary(|i, x, y| i.rotl(x, y)),
            I32Rotr | I64Rotr => self.binary(|i, x, y| i.rotr(x, y)),
            I32WrapI64 => self.unary(|i, x| i.ireduce(I32, x)),
            I64ExtendI32S => self.unary(|i, x| i.sextend(I64, x)),
            I64ExtendI32U => self.unary(|i, x| i.uextend(I64, x)),
            I32Extend8S => self.extend_low(I8, I32),
            I32Extend16S => self.extend_low(I16, I32),
            I64Extend8S => self.extend_low(I8, I64),
            I64Extend16S => self.extend_low(I16, I64),
            I64Extend32S => self.extend_low(I32, I64),
            _ => return false,
        }
        true
    }

    pub(super) fn i32_const(&mut self, value: i32) -> Value {
        // The immediate of a narrow constant is zero-extended.
        self.ins().iconst(I32, i64::from(value.cast_unsigned()))
    }

    pub(super) fn i64_const(&mut self, value: i64) -> Value {
        self.ins().iconst(I64, value)
    }

    fn compare(&mut self, condition: IntCC) {
        let [x, y] = self.pop2();
        let result = self.ins().icmp(condition, x, y);
        self.push_bool(result);
    }

    /// Sign-extends the low bits of an operand.
    fn extend_low(&mut self, from: cranelift_codegen::ir::Type, to: cranelift_codegen::ir::Type) {
        self.unary(|i, x| i.ireduce(from, x));
        self.unary(|i, x| i.sextend(to, x));
    }
}
