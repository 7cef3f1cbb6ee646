//! Lanes of one width or kind to lanes of another, and the arithmetic that widens as it goes.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2},
};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::Operator;

impl<'a> Translator<'a> {
    pub(super) fn simd_convert(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            I16x8ExtendLowI8x16S => self.lanes1(I8X16, |i, x| i.swiden_low(x)),
            I32x4ExtendLowI16x8S => self.lanes1(I16X8, |i, x| i.swiden_low(x)),
            I64x2ExtendLowI32x4S => self.lanes1(I32X4, |i, x| i.swiden_low(x)),
            I16x8ExtendLowI8x16U => self.lanes1(I8X16, |i, x| i.uwiden_low(x)),
            I32x4ExtendLowI16x8U => self.lanes1(I16X8, |i, x| i.uwiden_low(x)),
            I64x2ExtendLowI32x4U => self.lanes1(I32X4, |i, x| i.uwiden_low(x)),
            I16x8ExtendHighI8x16S => self.lanes1(I8X16, |i, x| i.swiden_high(x)),
            I32x4ExtendHighI16x8S => self.lanes1(I16X8, |i, x| i.swiden_high(x)),
            I64x2ExtendHighI32x4S => self.lanes1(I32X4, |i, x| i.swiden_high(x)),
            I16x8ExtendHighI8x16U => self.lanes1(I8X16, |i, x| i.uwiden_high(x)),
            I32x4ExtendHighI16x8U => self.lanes1(I16X8, |i, x| i.uwiden_high(x)),
            I64x2ExtendHighI32x4U => self.lanes1(I32X4, |i, x| i.uwiden_high(x)),
            I16x8ExtMulLowI8x16S => self.extmul(I8X16, |i, x| i.swiden_low(x)),
            I32x4ExtMulLowI16x8S => self.extmul(I16X8, |i, x| i.swiden_low(x)),
            I64x2ExtMulLowI32x4S => self.extmul(I32X4, |i, x| i.swiden_low(x)),
            I16x8ExtMulLowI8x16U => self.extmul(I8X16, |i, x| i.uwiden_low(x)),
            I32x4ExtMulLowI16x8U => self.extmul(I16X8, |i, x| i.uwiden_low(x)),
            I64x2ExtMulLowI32x4U => self.extmul(I32X4, |i, x| i.uwiden_low(x)),
            I16x8ExtMulHighI8x16S => self.extmul(I8X16, |i, x| i.swiden_high(x)),
            I32x4ExtMulHighI16x8S => self.extmul(I16X8, |i, x| i.swiden_high(x)),
            I64x2ExtMulHighI32x4S => self.extmul(I32X4, |i, x| i.swiden_high(x)),
            I16x8ExtMulHighI8x16U => self.extmul(I8X16, |i, x| i.uwiden_high(x)),
            I32x4ExtMulHighI16x8U => self.extmul(I16X8, |i, x| i.uwiden_high(x)),
            I64x2ExtMulHighI32x4U => self.extmul(I32X4, |i, x| i.uwiden_high(x)),
            I16x8ExtAddPairwiseI8x16S => self.extadd_pairwise_s(I8X16),
            I16x8ExtAddPairwiseI8x16U => self.extadd_pairwise_u(I8X16),
            I32x4ExtAddPairwiseI16x8S => self.extadd_pairwise_s(I16X8),
            I32x4ExtAddPairwiseI16x8U => self.extadd_pairwise_u(I16X8),
            I32x4DotI16x8S => self.dot(),
            I8x16NarrowI16x8S => self.lanes2(I16X8, |i, x, y| i.snarrow(x, y)),
            I8x16NarrowI16x8U => self.lanes2(I16X8, |i, x, y| i.unarrow(x, y)),
            I16x8NarrowI32x4S => self.lanes2(I32X4, |i, x, y| i.snarrow(x, y)),
            I16x8NarrowI32x4U => self.lanes2(I32X4, |i, x, y| i.unarrow(x, y)),
            I32x4TruncSatF32x4S => self.trunc_sat_f32x4_s(),
            I32x4TruncSatF32x4U => self.trunc_sat_f32x4_u(),
            I32x4TruncSatF64x2SZero => self.trunc_sat_f64x2_s_zero(),
            I32x4TruncSatF64x2UZero => self.trunc_sat_f64x2_u_zero(),
            F32x4ConvertI32x4S => self.lanes1(I32X4, |i, x| i.fcvt_from_sint(F32X4, x)),
            F32x4ConvertI32x4U => self.lanes1(I32X4, |i, x| i.fcvt_from_uint(F32X4, x)),
            F64x2ConvertLowI32x4S => {
                self.lanes1(I32X4, |i, x| i.swiden_low(x));
                self.lanes1(I64X2, |i, x| i.fcvt_from_sint(F64X2, x));
            }
            F64x2ConvertLowI32x4U => {
                self.lanes1(I32X4, |i, x| i.uwiden_low(x));
                self.lanes1(I64X2, |i, x| i.fcvt_from_uint(F64X2, x));
            }
            F32x4DemoteF64x2Zero => self.lanes1(F64X2, |i, x| i.fvdemote(x)),
            F64x2PromoteLowF32x4 => self.lanes1(F32X4, |i, x| i.fvpromote_low(x)),
            _ => return false,
        }
        true
    }

    /// Multiplies halves of two vectors that `widen` widens, so that no product overflows.
    fn extmul(&mut self, ty: Type, widen: impl Fn(FuncInstBuilder<'_, 'a>, Value) -> Value) {
        let [x, y] = self.pop_lanes2(ty);
        let x = widen(self.ins(), x);
        let y = widen(self.ins(), y);
        let product = self.ins().imul(x, y);
        self.push_lanes(product);
    }

    /// Sums of neighbours, widened with their signs.
    pub(super) fn extadd_pairwise_s(&mut self, ty: Type) {
        let x = self.pop_lanes(ty);
        let low = self.ins().swiden_low(x);
        let high = self.ins().swiden_high(x);
        let sums = self.ins().iadd_pairwise(low, high);
        self.push_lanes(sums);
    }

    /// Sums of neighbours, widened without signs.
    fn extadd_pairwise_u(&mut self, ty: Type) {
        let x = self.pop_lanes(ty);
        let low = self.ins().uwiden_low(x);
        let high = self.ins().uwiden_high(x);
        let sums = self.ins().iadd_pairwise(low, high);
        self.push_lanes(sums);
    }

    /// Sums of neighbouring products.
    fn dot(&mut self) {
        let [x, y] = self.pop_lanes2(I16X8);
        let (x_low, y_low) = (self.ins().swiden_low(x), self.ins().swiden_low(y));
        let (x_high, y_high) = (self.ins().swiden_high(x), self.ins().swiden_high(y));
        let low = self.ins().imul(x_low, y_low);
        let high = self.ins().imul(x_high, y_high);
        let sums = self.ins().iadd_pairwise(low, high);
        self.push_lanes(sums);
    }

    pub(super) fn trunc_sat_f32x4_s(&mut self) {
        self.lanes1(F32X4, |i, x| i.fcvt_to_sint_sat(I32X4, x));
    }

    pub(super) fn trunc_sat_f32x4_u(&mut self) {
        self.lanes1(F32X4, |i, x| i.fcvt_to_uint_sat(I32X4, x));
    }

    // Cranelift knows the next two only as a whole: a conversion that saturates at 64 bits, then a
    // narrowing with zero that saturates at 32.

    pub(super) fn trunc_sat_f64x2_s_zero(&mut self) {
        let x = self.pop_lanes(F64X2);
        let wide = self.ins().fcvt_to_sint_sat(I64X2, x);
        let zero = self.vconst(I64X2, 0);
        let narrow = self.ins().snarrow(wide, zero);
        self.push_lanes(narrow);
    }

    pub(super) fn trunc_sat_f64x2_u_zero(&mut self) {
        let x = self.pop_lanes(F64X2);
        let wide = self.ins().fcvt_to_uint_sat(I64X2, x);
        let zero = self.vconst(I64X2, 0);
        let narrow = self.ins().uunarrow(wide, zero);
        self.push_lanes(narrow);
    }
}
