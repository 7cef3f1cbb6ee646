//! Arithmetic, shifts, comparisons and tests of integer lanes.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::IntCC::{self, *},
    types::{I8X16, I16X8, I32, I32X4, I64X2},
};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::Operator;

impl<'a> Translator<'a> {
    pub(super) fn simd_integer(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            I8x16Abs => self.lanes1(I8X16, |i, x| i.iabs(x)),
            I16x8Abs => self.lanes1(I16X8, |i, x| i.iabs(x)),
            I32x4Abs => self.lanes1(I32X4, |i, x| i.iabs(x)),
            I64x2Abs => self.lanes1(I64X2, |i, x| i.iabs(x)),
            I8x16Neg => self.lanes1(I8X16, |i, x| i.ineg(x)),
            I16x8Neg => self.lanes1(I16X8, |i, x| i.ineg(x)),
            I32x4Neg => self.lanes1(I32X4, |i, x| i.ineg(x)),
            I64x2Neg => self.lanes1(I64X2, |i, x| i.ineg(x)),
            I8x16Popcnt => self.lanes1(I8X16, |i, x| i.popcnt(x)),
            I8x16Add => self.lanes2(I8X16, |i, x, y| i.iadd(x, y)),
            I16x8Add => self.lanes2(I16X8, |i, x, y| i.iadd(x, y)),
            I32x4Add => self.lanes2(I32X4, |i, x, y| i.iadd(x, y)),
            I64x2Add => self.lanes2(I64X2, |i, x, y| i.iadd(x, y)),
            I8x16Sub => self.lanes2(I8X16, |i, x, y| i.isub(x, y)),
            I16x8Sub => self.lanes2(I16X8, |i, x, y| i.isub(x, y)),
            I32x4Sub => self.lanes2(I32X4, |i, x, y| i.isub(x, y)),
            I64x2Sub => self.lanes2(I64X2, |i, x, y| i.isub(x, y)),
            I16x8Mul => self.lanes2(I16X8, |i, x, y| i.imul(x, y)),
            I32x4Mul => self.lanes2(I32X4, |i, x, y| i.imul(x, y)),
            I64x2Mul => self.lanes2(I64X2, |i, x, y| i.imul(x, y)),
            I8x16AddSatS => self.lanes2(I8X16, |i, x, y| i.sadd_sat(x, y)),
            I16x8AddSatS => self.lanes2(I16X8, |i, x, y| i.sadd_sat(x, y)),
            I8x16AddSatU => self.lanes2(I8X16, |i, x, y| i.uadd_sat(x, y)),
            I16x8AddSatU => self.lanes2(I16X8, |i, x, y| i.uadd_sat(x, y)),
            I8x16SubSatS => self.lanes2(I8X16, |i, x, y| i.ssub_sat(x, y)),
            I16x8SubSatS => self.lanes2(I16X8, |i, x, y| i.ssub_sat(x, y)),
            I8x16SubSatU => self.lanes2(I8X16, |i, x, y| i.usub_sat(x, y)),
            I16x8SubSatU => self.lanes2(I16X8, |i, x, y| i.usub_sat(x, y)),
            I8x16MinS => self.lanes2(I8X16, |i, x, y| i.smin(x, y)),
            I16x8MinS => self.lanes2(I16X8, |i, x, y| i.smin(x, y)),
            I32x4MinS => self.lanes2(I32X4, |i, x, y| i.smin(x, y)),
            I8x16MinU => self.lanes2(I8X16, |i, x, y| i.umin(x, y)),
            I16x8MinU => self.lanes2(I16X8, |i, x, y| i.umin(x, y)),
            I32x4MinU => self.lanes2(I32X4, |i, x, y| i.umin(x, y)),
            I8x16MaxS => self.lanes2(I8X16, |i, x, y| i.smax(x, y)),
            I16x8MaxS => self.lanes2(I16X8, |i, x, y| i.smax(x, y)),
            I32x4MaxS => self.lanes2(I32X4, |i, x, y| i.smax(x, y)),
            I8x16MaxU => self.lanes2(I8X16, |i, x, y| i.umax(x, y)),
            I16x8MaxU => self.lanes2(I16X8, |i, x, y| i.umax(x, y)),
            I32x4MaxU => self.lanes2(I32X4, |i, x, y| i.umax(x, y)),
            I8x16AvgrU => self.lanes2(I8X16, |i, x, y| i.avg_round(x, y)),
            I16x8AvgrU => self.lanes2(I16X8, |i, x, y| i.avg_round(x, y)),
            I16x8Q15MulrSatS => self.q15mulr_sat(),
            // The count is taken modulo the width of a lane, as WebAssembly does.
            I8x16Shl => self.shift(I8X16, |i, x, n| i.ishl(x, n)),
            I16x8Shl => self.shift(I16X8, |i, x, n| i.ishl(x, n)),
            I32x4Shl => self.shift(I32X4, |i, x, n| i.ishl(x, n)),
            I64x2Shl => self.shift(I64X2, |i, x, n| i.ishl(x, n)),
            I8x16ShrS => self.shift(I8X16, |i, x, n| i.sshr(x, n)),
            I16x8ShrS => self.shift(I16X8, |i, x, n| i.sshr(x, n)),
            I32x4ShrS => self.shift(I32X4, |i, x, n| i.sshr(x, n)),
            I64x2ShrS => self.shift(I64X2, |i, x, n| i.sshr(x, n)),
            I8x16ShrU => self.shift(I8X16, |i, x, n| i.ushr(x, n)),
            I16x8ShrU => self.shift(I16X8, |i, x, n| i.ushr(x, n)),
            I32x4ShrU => self.shift(I32X4, |i, x, n| i.ushr(x, n)),
            I64x2ShrU => self.shift(I64X2, |i, x, n| i.ushr(x, n)),
            I8x16Eq => self.compare_lanes(I8X16, Equal),
            I16x8Eq => self.compare_lanes(I16X8, Equal),
            I32x4Eq => self.compare_lanes(I32X4, Equal),
            I64x2Eq => self.compare_lanes(I64X2, Equal),
            I8x16Ne => self.compare_lanes(I8X16, NotEqual),
            I16x8Ne => self.compare_lanes(I16X8, NotEqual),
            I32x4Ne => self.compare_lanes(I32X4, NotEqual),
            I64x2Ne => self.compare_lanes(I64X2, NotEqual),
            I8x16LtS => self.compare_lanes(I8X16, SignedLessThan),
            I16x8LtS => self.compare_lanes(I16X8, SignedLessThan),
            I32x4LtS => self.compare_lanes(I32X4, SignedLessThan),
            I64x2LtS => self.compare_lanes(I64X2, SignedLessThan),
            I8x16LtU => self.compare_lanes(I8X16, UnsignedLessThan),
            I16x8LtU => self.compare_lanes(I16X8, UnsignedLessThan),
            I32x4LtU => self.compare_lanes(I32X4, UnsignedLessThan),
            I8x16GtS => self.compare_lanes(I8X16, SignedGreaterThan),
            I16x8GtS => self.compare_lanes(I16X8, SignedGreaterThan),
            I32x4GtS => self.compare_lanes(I32X4, SignedGreaterThan),
            I64x2GtS => self.compare_lanes(I64X2, SignedGreaterThan),
            I8x16GtU => self.compare_lanes(I8X16, UnsignedGreaterThan),
            I16x8GtU => self.compare_lanes(I16X8, UnsignedGreaterThan),
            I32x4GtU => self.compare_lanes(I32X4, UnsignedGreaterThan),
            I8x16LeS => self.compare_lanes(I8X16, SignedLessThanOrEqual),
            I16x8LeS => self.compare_lanes(I16X8, SignedLessThanOrEqual),
            I32x4LeS => self.compare_lanes(I32X4, SignedLessThanOrEqual),
            I64x2LeS => self.compare_lanes(I64X2, SignedLessThanOrEqual),
            I8x16LeU => self.compare_lanes(I8X16, UnsignedLessThanOrEqual),
            I16x8LeU => self.compare_lanes(I16X8, UnsignedLessThanOrEqual),
            I32x4LeU => self.compare_lanes(I32X4, UnsignedLessThanOrEqual),
            I8x16GeS => self.compare_lanes(I8X16, SignedGreaterThanOrEqual),
            I16x8GeS => self.compare_lanes(I16X8, SignedGreaterThanOrEqual),
            I32x4GeS => self.compare_lanes(I32X4, SignedGreaterThanOrEqual),
            I64x2GeS => self.compare_lanes(I64X2, SignedGreaterThanOrEqual),
            I8x16GeU => self.compare_lanes(I8X16, UnsignedGreaterThanOrEqual),
            I16x8GeU => self.compare_lanes(I16X8, UnsignedGreaterThanOrEqual),
            I32x4GeU => self.compare_lanes(I32X4, UnsignedGreaterThanOrEqual),
            I8x16AllTrue => self.all_true(I8X16),
            I16x8AllTrue => self.all_true(I16X8),
            I32x4AllTrue => self.all_true(I32X4),
            I64x2AllTrue => self.all_true(I64X2),
            I8x16Bitmask => self.bitmask(I8X16),
            I16x8Bitmask => self.bitmask(I16X8),
            I32x4Bitmask => self.bitmask(I32X4),
            I64x2Bitmask => self.bitmask(I64X2),
            _ => return false,
        }
        true
    }

    /// Multiplies fractions of 15 bits, with rounding; the one product out of range is the largest.
    pub(super) fn q15mulr_sat(&mut self) {
        self.lanes2(I16X8, |i, x, y| i.sqmul_round_sat(x, y));
    }

    /// Shifts every lane by one count.
    fn shift(&mut self, ty: Type, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value, Value) -> Value) {
        let count = self.pop();
        self.lanes1(ty, |i, x| f(i, x, count));
    }

    /// Every bit of a lane of the result tells whether the comparison holds.
    fn compare_lanes(&mut self, ty: Type, condition: IntCC) {
        self.lanes2(ty, |i, x, y| i.icmp(condition, x, y));
    }

    fn all_true(&mut self, ty: Type) {
        let x = self.pop_lanes(ty);
        let all = self.ins().vall_true(x);
        self.push_bool(all);
    }

    /// The sign bits, that of lane 0 lowest.
    fn bitmask(&mut self, ty: Type) {
        let x = self.pop_lanes(ty);
        let mask = self.ins().vhigh_bits(I32, x);
        self.push(mask);
    }
}
