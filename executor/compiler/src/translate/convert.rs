//! Conversions between integers and floats, and between floats.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type,
    types::{F32, F64, I32, I64},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn convert(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            // Without saturation, what has no integer traps: NaN and what is out of range.
            I32TruncF32S | I32TruncF64S => self.unary(|i, x| i.fcvt_to_sint(I32, x)),
            I32TruncF32U | I32TruncF64U => self.unary(|i, x| i.fcvt_to_uint(I32, x)),
            I64TruncF32S | I64TruncF64S => self.unary(|i, x| i.fcvt_to_sint(I64, x)),
            I64TruncF32U | I64TruncF64U => self.unary(|i, x| i.fcvt_to_uint(I64, x)),
            I32TruncSatF32S | I32TruncSatF64S => self.unary(|i, x| i.fcvt_to_sint_sat(I32, x)),
            I32TruncSatF32U | I32TruncSatF64U => self.unary(|i, x| i.fcvt_to_uint_sat(I32, x)),
            I64TruncSatF32S | I64TruncSatF64S => self.unary(|i, x| i.fcvt_to_sint_sat(I64, x)),
            I64TruncSatF32U | I64TruncSatF64U => self.unary(|i, x| i.fcvt_to_uint_sat(I64, x)),
            F32ConvertI32S | F32ConvertI64S => self.unary(|i, x| i.fcvt_from_sint(F32, x)),
            F32ConvertI32U | F32ConvertI64U => self.unary(|i, x| i.fcvt_from_uint(F32, x)),
            F64ConvertI32S | F64ConvertI64S => self.unary(|i, x| i.fcvt_from_sint(F64, x)),
            F64ConvertI32U | F64ConvertI64U => self.unary(|i, x| i.fcvt_from_uint(F64, x)),
            F32DemoteF64 => self.unary(|i, x| i.fdemote(F32, x)),
            F64PromoteF32 => self.unary(|i, x| i.fpromote(F64, x)),
            I32ReinterpretF32 => self.reinterpret(I32),
            I64ReinterpretF64 => self.reinterpret(I64),
            F32ReinterpretI32 => self.reinterpret(F32),
            F64ReinterpretI64 => self.reinterpret(F64),
            _ => return false,
        }
        true
    }

    fn reinterpret(&mut self, to: Type) {
        self.unary(|i, x| i.bitcast(to, MemFlagsData::new(), x));
    }
}
