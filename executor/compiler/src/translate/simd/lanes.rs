//! Making vectors of lanes and taking them apart; moving lanes about.

use super::Translator;
use cranelift_codegen::ir::{
    ConstantData, InstBuilder, Type,
    types::{F32X4, F64X2, I8, I8X16, I16, I16X8, I32, I32X4, I64X2},
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd_lanes(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            // An `i32` stands for a narrower lane, with its high bits ignored.
            I8x16Splat => {
                self.unary(|i, x| i.ireduce(I8, x));
                self.splat(I8X16);
            }
            I16x8Splat => {
                self.unary(|i, x| i.ireduce(I16, x));
                self.splat(I16X8);
            }
            I32x4Splat => self.splat(I32X4),
            I64x2Splat => self.splat(I64X2),
            F32x4Splat => self.splat(F32X4),
            F64x2Splat => self.splat(F64X2),
            I8x16ExtractLaneS { lane } => {
                self.extract(I8X16, lane);
                self.unary(|i, x| i.sextend(I32, x));
            }
            I8x16ExtractLaneU { lane } => {
                self.extract(I8X16, lane);
                self.unary(|i, x| i.uextend(I32, x));
            }
            I16x8ExtractLaneS { lane } => {
                self.extract(I16X8, lane);
                self.unary(|i, x| i.sextend(I32, x));
            }
            I16x8ExtractLaneU { lane } => {
                self.extract(I16X8, lane);
                self.unary(|i, x| i.uextend(I32, x));
            }
            I32x4ExtractLane { lane } => self.extract(I32X4, lane),
            I64x2ExtractLane { lane } => self.extract(I64X2, lane),
            F32x4ExtractLane { lane } => self.extract(F32X4, lane),
            F64x2ExtractLane { lane } => self.extract(F64X2, lane),
            I8x16ReplaceLane { lane } => {
                self.unary(|i, x| i.ireduce(I8, x));
                self.replace(I8X16, lane);
            }
            I16x8ReplaceLane { lane } => {
                self.unary(|i, x| i.ireduce(I16, x));
                self.replace(I16X8, lane);
            }
            I32x4ReplaceLane { lane } => self.replace(I32X4, lane),
            I64x2ReplaceLane { lane } => self.replace(I64X2, lane),
            F32x4ReplaceLane { lane } => self.replace(F32X4, lane),
            F64x2ReplaceLane { lane } => self.replace(F64X2, lane),
            I8x16Swizzle => self.swizzle(),
            I8x16Shuffle { lanes } => {
                let lanes = ConstantData::from(&lanes[..]);
                let mask = self.emitter.builder.func.dfg.immediates.push(lanes);
                self.lanes2(I8X16, |i, x, y| i.shuffle(x, y, mask));
            }
            _ => return false,
        }
        true
    }

    /// Repeats a scalar in every lane.
    pub(super) fn splat(&mut self, ty: Type) {
        let lane = self.pop();
        let vector = self.ins().splat(ty, lane);
        self.push_lanes(vector);
    }

    /// Picks bytes by their indices; an index out of range picks 0.
    pub(super) fn swizzle(&mut self) {
        self.lanes2(I8X16, |i, x, indices| i.swizzle(x, indices));
    }

    fn extract(&mut self, ty: Type, lane: u8) {
        let vector = self.pop_lanes(ty);
        let value = self.ins().extractlane(vector, lane);
        self.push(value);
    }

    fn replace(&mut self, ty: Type, lane: u8) {
        let value = self.pop();
        self.lanes1(ty, |i, vector| i.insertlane(vector, value, lane));
    }
}
