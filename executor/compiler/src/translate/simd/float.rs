//! Arithmetic and comparisons of floating-point lanes.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::FloatCC::{self, *},
    types::{F32X4, F64X2},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd_float(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            F32x4Abs => self.lanes1(F32X4, |i, x| i.fabs(x)),
            F64x2Abs => self.lanes1(F64X2, |i, x| i.fabs(x)),
            F32x4Neg => self.lanes1(F32X4, |i, x| i.fneg(x)),
            F64x2Neg => self.lanes1(F64X2, |i, x| i.fneg(x)),
            F32x4Sqrt => self.lanes1(F32X4, |i, x| i.sqrt(x)),
            F64x2Sqrt => self.lanes1(F64X2, |i, x| i.sqrt(x)),
            F32x4Ceil => self.lanes1(F32X4, |i, x| i.ceil(x)),
            F64x2Ceil => self.lanes1(F64X2, |i, x| i.ceil(x)),
            F32x4Floor => self.lanes1(F32X4, |i, x| i.floor(x)),
            F64x2Floor => self.lanes1(F64X2, |i, x| i.floor(x)),
            F32x4Trunc => self.lanes1(F32X4, |i, x| i.trunc(x)),
            F64x2Trunc => self.lanes1(F64X2, |i, x| i.trunc(x)),
            F32x4Nearest => self.lanes1(F32X4, |i, x| i.nearest(x)),
            F64x2Nearest => self.lanes1(F64X2, |i, x| i.nearest(x)),
            F32x4Add => self.lanes2(F32X4, |i, x, y| i.fadd(x, y)),
            F64x2Add => self.lanes2(F64X2, |i, x, y| i.fadd(x, y)),
            F32x4Sub => self.lanes2(F32X4, |i, x, y| i.fsub(x, y)),
            F64x2Sub => self.lanes2(F64X2, |i, x, y| i.fsub(x, y)),
            F32x4Mul => self.lanes2(F32X4, |i, x, y| i.fmul(x, y)),
            F64x2Mul => self.lanes2(F64X2, |i, x, y| i.fmul(x, y)),
            F32x4Div => self.lanes2(F32X4, |i, x, y| i.fdiv(x, y)),
            F64x2Div => self.lanes2(F64X2, |i, x, y| i.fdiv(x, y)),
            F32x4Min => self.lanes2(F32X4, |i, x, y| i.fmin(x, y)),
            F64x2Min => self.lanes2(F64X2, |i, x, y| i.fmin(x, y)),
            F32x4Max => self.lanes2(F32X4, |i, x, y| i.fmax(x, y)),
            F64x2Max => self.lanes2(F64X2, |i, x, y| i.fmax(x, y)),
            F32x4PMin => self.pseudo_min(F32X4),
            F64x2PMin => self.pseudo_min(F64X2),
            F32x4PMax => self.pseudo_max(F32X4),
            F64x2PMax => self.pseudo_max(F64X2),
            F32x4Eq => self.compare_floats(F32X4, Equal),
            F64x2Eq => self.compare_floats(F64X2, Equal),
            F32x4Ne => self.compare_floats(F32X4, NotEqual),
            F64x2Ne => self.compare_floats(F64X2, NotEqual),
            F32x4Lt => self.compare_floats(F32X4, LessThan),
            F64x2Lt => self.compare_floats(F64X2, LessThan),
            F32x4Gt => self.compare_floats(F32X4, GreaterThan),
            F64x2Gt => self.compare_floats(F64X2, GreaterThan),
            F32x4Le => self.compare_floats(F32X4, LessThanOrEqual),
            F64x2Le => self.compare_floats(F64X2, LessThanOrEqual),
            F32x4Ge => self.compare_floats(F32X4, GreaterThanOrEqual),
            F64x2Ge => self.compare_floats(F64X2, GreaterThanOrEqual),
            _ => return false,
        }
        true
    }

    /// `y < x ? y : x`, so `x` where either is a NaN.
    fn pseudo_min(&mut self, ty: Type) {
        let [x, y] = self.pop_lanes2(ty);
        self.choose(ty, [y, x], y, x);
    }

    /// `x < y ? y : x`, so `x` where either is a NaN.
    fn pseudo_max(&mut self, ty: Type) {
        let [x, y] = self.pop_lanes2(ty);
        self.choose(ty, [x, y], y, x);
    }

    /// Pushes `less < than ? yes : no`, lane by lane.
    fn choose(&mut self, ty: Type, [less, than]: [Value; 2], yes: Value, no: Value) {
        let mask = self.ins().fcmp(LessThan, less, than);
        let mask = self.cast(mask, ty);
        let result = self.ins().bitselect(mask, yes, no);
        self.push_lanes(result);
    }

    /// Every bit of a lane of the result tells whether the comparison holds.
    fn compare_floats(&mut self, ty: Type, condition: FloatCC) {
        self.lanes2(ty, |i, x, y| i.fcmp(condition, x, y));
    }
}
