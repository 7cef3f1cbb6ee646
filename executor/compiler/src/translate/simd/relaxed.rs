//! Relaxed operators, whose results the specification lets an implementation choose.
//!
//! Invariant: the choice is that of the specification's deterministic profile, on every processor:
//! but for the bits of a NaN, which no operator fixes, results depend on the operands alone, and
//! what ran before a snapshot agrees with what runs after it, wherever each of them ran. So
//!
//! - a multiplication and an addition are rounded one after the other, never fused;
//! - minimum, maximum, truncation, swizzle and the multiplication of fractions are what they are
//!   without being relaxed;
//! - lane selection selects bit by bit;
//! - dot products take both operands with their signs, and saturate.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    types::{F32X4, F64X2, I16X8, I32X4},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd_relaxed(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            I8x16RelaxedSwizzle => self.swizzle(),
            I32x4RelaxedTruncF32x4S => self.trunc_sat_f32x4_s(),
            I32x4RelaxedTruncF32x4U => self.trunc_sat_f32x4_u(),
            I32x4RelaxedTruncF64x2SZero => self.trunc_sat_f64x2_s_zero(),
            I32x4RelaxedTruncF64x2UZero => self.trunc_sat_f64x2_u_zero(),
            F32x4RelaxedMadd => self.madd(F32X4),
            F64x2RelaxedMadd => self.madd(F64X2),
            F32x4RelaxedNmadd => self.nmadd(F32X4),
            F64x2RelaxedNmadd => self.nmadd(F64X2),
            I8x16RelaxedLaneselect
            | I16x8RelaxedLaneselect
            | I32x4RelaxedLaneselect
            | I64x2RelaxedLaneselect => self.bitselect(),
            F32x4RelaxedMin => self.lanes2(F32X4, |i, x, y| i.fmin(x, y)),
            F64x2RelaxedMin => self.lanes2(F64X2, |i, x, y| i.fmin(x, y)),
            F32x4RelaxedMax => self.lanes2(F32X4, |i, x, y| i.fmax(x, y)),
            F64x2RelaxedMax => self.lanes2(F64X2, |i, x, y| i.fmax(x, y)),
            I16x8RelaxedQ15mulrS => self.q15mulr_sat(),
            I16x8RelaxedDotI8x16I7x16S => self.dot_i8x16(),
            I32x4RelaxedDotI8x16I7x16AddS => {
                let sum = self.pop_lanes(I32X4);
                self.dot_i8x16();
                self.extadd_pairwise_s(I16X8);
                self.lanes1(I32X4, |i, x| i.iadd(x, sum));
            }
            _ => return false,
        }
        true
    }

    /// `x * y + z`.
    fn madd(&mut self, ty: Type) {
        let z = self.pop_lanes(ty);
        self.lanes2(ty, |i, x, y| i.fmul(x, y));
        self.lanes1(ty, |i, product| i.fadd(product, z));
    }

    /// `-x * y + z`.
    fn nmadd(&mut self, ty: Type) {
        let [y, z] = self.pop_lanes2(ty);
        self.lanes1(ty, |i, x| i.fneg(x));
        self.push(y);
        self.push(z);
        self.madd(ty);
    }

    /// Sums of neighbouring products of bytes. A product of two bytes fits 16 bits; the sum of two
    /// does not when all four bytes are -128.
    fn dot_i8x16(&mut self) {
        let [x, y] = self.pop_lanes2(I16X8);
        let (x_even, y_even) = (self.even_bytes(x), self.even_bytes(y));
        let (x_odd, y_odd) = (self.ins().sshr_imm_u(x, 8), self.ins().sshr_imm_u(y, 8));
        let even = self.ins().imul(x_even, y_even);
        let odd = self.ins().imul(x_odd, y_odd);
        let sums = self.ins().sadd_sat(even, odd);
        self.push_lanes(sums);
    }

    /// The low byte of each lane, sign-extended.
    fn even_bytes(&mut self, x: Value) -> Value {
        let high = self.ins().ishl_imm_u(x, 8);
        self.ins().sshr_imm_u(high, 8)
    }
}
