//! Floating-point operators. NaNs are whatever the processor makes them, which the specification
//! allows.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::FloatCC::{self, *},
    immediates::{Ieee32, Ieee64},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn float(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            F32Const { value } => {
                let value = self.f32_const(value.bits());
                self.push(value);
            }
            F64Const { value } => {
                let value = self.f64_const(value.bits());
                self.push(value);
            }
            F32Eq | F64Eq => self.compare_float(Equal),
            F32Ne | F64Ne => self.compare_float(NotEqual),
            F32Lt | F64Lt => self.compare_float(LessThan),
            F32Gt | F64Gt => self.compare_float(GreaterThan),
            F32Le | F64Le => self.compare_float(LessThanOrEqual),
            F32Ge | F64Ge => self.compare_float(GreaterThanOrEqual),
            F32Abs | F64Abs => self.unary(|i, x| i.fabs(x)),
            F32Neg | F64Neg => self.unary(|i, x| i.fneg(x)),
            F32Ceil | F64Ceil => self.unary(|i, x| i.ceil(x)),
            F32Floor | F64Floor => self.unary(|i, x| i.floor(x)),
            F32Trunc | F64Trunc => self.unary(|i, x| i.trunc(x)),
            F32Nearest | F64Nearest => self.unary(|i, x| i.nearest(x)),
            F32Sqrt | F64Sqrt => self.unary(|i, x| i.sqrt(x)),
            F32Add | F64Add => self.binary(|i, x, y| i.fadd(x, y)),
            F32Sub | F64Sub => self.binary(|i, x, y| i.fsub(x, y)),
            F32Mul | F64Mul => self.binary(|i, x, y| i.fmul(x, y)),
            F32Div | F64Div => self.binary(|i, x, y| i.fdiv(x, y)),
            F32Min | F64Min => self.binary(|i, x, y| i.fmin(x, y)),
            F32Max | F64Max => self.binary(|i, x, y| i.fmax(x, y)),
            F32Copysign | F64Copysign => self.binary(|i, x, y| i.fcopysign(x, y)),
            _ => return false,
        }
        true
    }

    pub(super) fn f32_const(&mut self, bits: u32) -> Value {
        self.ins().f32const(Ieee32::with_bits(bits))
    }

    pub(super) fn f64_const(&mut self, bits: u64) -> Value {
        self.ins().f64const(Ieee64::with_bits(bits))
    }

    fn compare_float(&mut self, condition: FloatCC) {
        let [x, y] = self.pop2();
        let result = self.ins().fcmp(condition, x, y);
        self.push_bool(result);
    }
}
