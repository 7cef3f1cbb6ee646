//! Short `memory.copy` and `memory.fill` without the host: functions that all code of a module shares.
//!
//! Invariant: such a function either does all that the operator asks for and returns 1, or does
//! nothing and returns 0; the operator's builtin then does it, or traps.

use crate::{context::ModuleContext, emit::Emitter, signature, signature::V128};
use cranelift_codegen::ir::{
    Function, InstBuilder, Type, Value,
    condcodes::IntCC,
    types::{I8, I16, I32, I64},
};
use cranelift_frontend::FunctionBuilderContext;

/// The longest range.
pub(crate) const LONGEST: u64 = 128;

/// From which length on a range is taken how: this many values of this type from its beginning and
/// as many up to its end, which overlap as need be.
const STEPS: [(u64, Type, u64); 7] = [
    (64, V128, 4),
    (32, V128, 2),
    (16, V128, 1),
    (8, I64, 1),
    (4, I32, 1),
    (2, I16, 1),
    (1, I8, 1),
];

/// `memory.copy` within owned memory 0: `(vmctx, dst, src, len)`. All is loaded before anything is
/// stored, so the ranges may overlap.
pub(crate) fn copy(
    context: &ModuleContext<'_>,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let (mut e, params) = Emitter::new(context, signature::short(), 0, function, builder);
    let (starts, len) = ([params[1], params[2]], params[3]);
    let [dst, src] = enter(&mut e, starts, len);
    steps(&mut e, len, |e, ty, offsets| {
        let access = e.access.memory;
        let load = |offset: &Value| {
            let at = e.builder.ins().iadd(src, *offset);
            e.builder.ins().load(ty, access, at, 0)
        };
        let values: Vec<Value> = offsets.iter().map(load).collect();
        for (offset, value) in offsets.iter().zip(values) {
            let at = e.builder.ins().iadd(dst, *offset);
            e.builder.ins().store(access, value, at, 0);
        }
    });
    e.finish();
}

/// `memory.fill` of owned memory 0: `(vmctx, dst, value, len)`.
pub(crate) fn fill(
    context: &ModuleContext<'_>,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let (mut e, params) = Emitter::new(context, signature::short(), 0, function, builder);
    let len = params[3];
    let [dst] = enter(&mut e, [params[1]], len);
    let byte = e.builder.ins().ireduce(I8, params[2]);
    steps(&mut e, len, |e, ty, offsets| {
        let value = match ty {
            V128 => e.builder.ins().splat(V128, byte),
            I8 => byte,
            ty => {
                let byte = e.builder.ins().uextend(ty, byte);
                let ones = (u64::MAX / 0xff) >> (64 - ty.bits());
                e.builder.ins().imul_imm_u(byte, ones.cast_signed())
            }
        };
        for offset in offsets {
            let at = e.builder.ins().iadd(dst, *offset);
            e.builder.ins().store(e.access.memory, value, at, 0);
        }
    });
    e.finish();
}

/// Refuses what is too long or not all in memory; the addresses of the ranges otherwise.
fn enter<const N: usize>(e: &mut Emitter<'_>, starts: [Value; N], len: Value) -> [Value; N] {
    let (inside, addresses) = e.short_ranges(starts, len);
    let (accept, refuse) = (e.builder.create_block(), e.builder.create_block());
    e.builder.ins().brif(inside, accept, &[], refuse, &[]);
    e.builder.seal_block(accept);
    e.builder.seal_block(refuse);
    e.builder.switch_to_block(refuse);
    e.builder.set_cold_block(refuse);
    return_(e, 0);
    e.builder.switch_to_block(accept);
    addresses
}

/// Calls `step` for each of [`STEPS`], with the offsets in the range to take, in blocks of which
/// one runs.
fn steps(e: &mut Emitter<'_>, len: Value, mut step: impl FnMut(&mut Emitter<'_>, Type, &[Value])) {
    for (least, ty, count) in STEPS {
        let (take, next) = (e.builder.create_block(), e.builder.create_block());
        let least = least.cast_signed();
        let long = e.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, len, least);
        e.builder.ins().brif(long, take, &[], next, &[]);
        e.builder.seal_block(take);
        e.builder.seal_block(next);
        e.builder.switch_to_block(take);
        let width = u64::from(ty.bytes());
        let from_start = (0..count).map(|i| e.word(i * width)).collect::<Vec<_>>();
        let back = |i: u64| e.builder.ins().iadd_imm_s(len, -(((i + 1) * width).cast_signed()));
        let from_end = (0..count).map(back).collect::<Vec<_>>();
        step(e, ty, &[from_start, from_end].concat());
        return_(e, 1);
        e.builder.switch_to_block(next);
    }
    return_(e, 1);
}

fn return_(e: &mut Emitter<'_>, done: u64) {
    let done = e.word(done);
    e.builder.ins().return_(&[done]);
}
