//! Loads and stores of vectors and of single lanes.

use super::Translator;
use crate::signature::V128;
use cranelift_codegen::ir::{
    InstBuilder, Opcode, Type,
    types::{I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2},
};
use wasmparser::{MemArg, Operator};

impl Translator<'_> {
    pub(super) fn simd_memory(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match *operator {
            V128Load { memarg } => self.load(Opcode::Load, V128, 16, memarg),
            V128Store { memarg } => self.store(Opcode::Store, 16, memarg),
            V128Load8x8S { memarg } => self.load_extended(Opcode::Sload8x8, I16X8, memarg),
            V128Load8x8U { memarg } => self.load_extended(Opcode::Uload8x8, I16X8, memarg),
            V128Load16x4S { memarg } => self.load_extended(Opcode::Sload16x4, I32X4, memarg),
            V128Load16x4U { memarg } => self.load_extended(Opcode::Uload16x4, I32X4, memarg),
            V128Load32x2S { memarg } => self.load_extended(Opcode::Sload32x2, I64X2, memarg),
            V128Load32x2U { memarg } => self.load_extended(Opcode::Uload32x2, I64X2, memarg),
            V128Load8Splat { memarg } => self.load_splat(I8, I8X16, memarg),
            V128Load16Splat { memarg } => self.load_splat(I16, I16X8, memarg),
            V128Load32Splat { memarg } => self.load_splat(I32, I32X4, memarg),
            V128Load64Splat { memarg } => self.load_splat(I64, I64X2, memarg),
            V128Load32Zero { memarg } => self.load_zero(I32, I32X4, memarg),
            V128Load64Zero { memarg } => self.load_zero(I64, I64X2, memarg),
            V128Load8Lane { memarg, lane } => self.load_lane(I8, I8X16, memarg, lane),
            V128Load16Lane { memarg, lane } => self.load_lane(I16, I16X8, memarg, lane),
            V128Load32Lane { memarg, lane } => self.load_lane(I32, I32X4, memarg, lane),
            V128Load64Lane { memarg, lane } => self.load_lane(I64, I64X2, memarg, lane),
            V128Store8Lane { memarg, lane } => self.store_lane(I8X16, memarg, lane),
            V128Store16Lane { memarg, lane } => self.store_lane(I16X8, memarg, lane),
            V128Store32Lane { memarg, lane } => self.store_lane(I32X4, memarg, lane),
            V128Store64Lane { memarg, lane } => self.store_lane(I64X2, memarg, lane),
            _ => return false,
        }
        true
    }

    /// Loads 8 bytes as lanes of half the width of those of `ty`.
    fn load_extended(&mut self, opcode: Opcode, ty: Type, memarg: MemArg) {
        self.load(opcode, ty, 8, memarg);
        let vector = self.pop();
        self.push_lanes(vector);
    }

    /// Loads a lane and repeats it.
    fn load_splat(&mut self, lane: Type, ty: Type, memarg: MemArg) {
        self.load(Opcode::Load, lane, lane.bytes().into(), memarg);
        self.splat(ty);
    }

    /// Loads lane 0; the others are zero.
    fn load_zero(&mut self, lane: Type, ty: Type, memarg: MemArg) {
        self.load(Opcode::Load, lane, lane.bytes().into(), memarg);
        let value = self.pop();
        let vector = self.ins().scalar_to_vector(ty, value);
        self.push_lanes(vector);
    }

    /// Loads one lane of a vector.
    fn load_lane(&mut self, lane: Type, ty: Type, memarg: MemArg, index: u8) {
        let vector = self.pop_lanes(ty);
        self.load(Opcode::Load, lane, lane.bytes().into(), memarg);
        let value = self.pop();
        let vector = self.ins().insertlane(vector, value, index);
        self.push_lanes(vector);
    }

    /// Stores one lane of a vector.
    fn store_lane(&mut self, ty: Type, memarg: MemArg, index: u8) {
        let vector = self.pop_lanes(ty);
        let lane = self.ins().extractlane(vector, index);
        self.push(lane);
        self.store(Opcode::Store, ty.lane_type().bytes().into(), memarg);
    }
}
