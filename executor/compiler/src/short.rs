//! Short `memory.copy` and `memory.fill` without the host: functions that all code of a module shares.
//!
//! Invariant: such a function either does all that the operator asks for and returns 1, or does
//! nothing and returns 0; the operator's builtin then does it, or traps.

use crate::{context::ModuleContext, emit::Emitter, signature, signature::V128};
use cranelift_codegen::ir::{
    Block, Function, InstBuilder, Type, Value,
    condcodes::IntCC,
    types::{I8, I16, I32, I64},
};
use cranelift_frontend::FunctionBuilderContext;

/// The longest range: from about this length on the host's own instructions make up for the way there.
pub(crate) const LONGEST: u64 = 2048;

/// From which length on a range is taken how: this many values of this type from its beginning and
/// as many up to its end, which overlap as need be. Beyond twice the first length there is a loop.
const STEPS: [(u64, Type, u64); 7] = [
    (64, V128, 4),
    (32, V128, 2),
    (16, V128, 1),
    (8, I64, 1),
    (4, I32, 1),
    (2, I16, 1),
    (1, I8, 1),
];

/// What the loop copies or fills at a time, in bytes.
const CHUNK: i32 = 64;

/// `memory.copy` within owned memory 0: `(vmctx, dst, src, len)`. Where there is no loop, all is loaded
/// before anything is stored, so the ranges may overlap. The loop goes forwards, and refuses what begins
/// inside the source.
pub(crate) fn copy(
    context: &ModuleContext<'_>,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let (mut e, params) = Emitter::new(context, signature::short(), 0, function, builder);
    let (starts, len) = ([params[1], params[2]], params[3]);
    let [dst, src] = enter(&mut e, starts, len);
    let long = begin_long(&mut e, len);
    let apart = e.builder.ins().isub(dst, src);
    let forwards = e.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, apart, len);
    refuse_unless(&mut e, forwards);
    let end = e.builder.ins().iadd(src, len);
    let last = load_chunk(&mut e, end, -CHUNK);
    chunks(&mut e, len, |e, at| {
        let from = e.builder.ins().iadd(src, at);
        let chunk = load_chunk(e, from, 0);
        let to = e.builder.ins().iadd(dst, at);
        store_chunk(e, chunk, to, 0);
    });
    let end = e.builder.ins().iadd(dst, len);
    store_chunk(&mut e, last, end, -CHUNK);
    end_long(&mut e, long);
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
    let long = begin_long(&mut e, len);
    let value = e.builder.ins().splat(V128, byte);
    let chunk = [value; 4];
    chunks(&mut e, len, |e, at| {
        let to = e.builder.ins().iadd(dst, at);
        store_chunk(e, chunk, to, 0);
    });
    let end = e.builder.ins().iadd(dst, len);
    store_chunk(&mut e, chunk, end, -CHUNK);
    end_long(&mut e, long);
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
    refuse_unless(e, inside);
    addresses
}

fn refuse_unless(e: &mut Emitter<'_>, condition: Value) {
    let (accept, refuse) = (e.builder.create_block(), e.builder.create_block());
    e.builder.ins().brif(condition, accept, &[], refuse, &[]);
    e.builder.seal_block(accept);
    e.builder.seal_block(refuse);
    e.builder.switch_to_block(refuse);
    e.builder.set_cold_block(refuse);
    return_(e, 0);
    e.builder.switch_to_block(accept);
}

/// Begins what is done where there is a loop; returns the block for what is shorter.
fn begin_long(e: &mut Emitter<'_>, len: Value) -> Block {
    let (long, rest) = (e.builder.create_block(), e.builder.create_block());
    let most = (2 * STEPS[0].0).cast_signed();
    let condition = e.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, len, most);
    e.builder.ins().brif(condition, long, &[], rest, &[]);
    e.builder.seal_block(long);
    e.builder.seal_block(rest);
    e.builder.switch_to_block(long);
    rest
}

fn end_long(e: &mut Emitter<'_>, rest: Block) {
    return_(e, 1);
    e.builder.switch_to_block(rest);
}

/// Calls `chunk` once for a loop, with the offset of each chunk but what is left at the end, which is no
/// more than one.
fn chunks(e: &mut Emitter<'_>, len: Value, chunk: impl FnOnce(&mut Emitter<'_>, Value)) {
    let (next, done) = (e.builder.create_block(), e.builder.create_block());
    let at = e.builder.append_block_param(next, I64);
    let last = e.builder.ins().iadd_imm_s(len, -i64::from(CHUNK));
    let zero = e.word(0);
    e.builder.ins().jump(next, &[zero.into()]);
    e.builder.switch_to_block(next);
    chunk(e, at);
    let at = e.builder.ins().iadd_imm_s(at, i64::from(CHUNK));
    let more = e.builder.ins().icmp(IntCC::UnsignedLessThan, at, last);
    e.builder.ins().brif(more, next, &[at.into()], done, &[]);
    e.builder.seal_block(next);
    e.builder.seal_block(done);
    e.builder.switch_to_block(done);
}

fn load_chunk(e: &mut Emitter<'_>, base: Value, offset: i32) -> [Value; 4] {
    let access = e.access.memory;
    [0, 16, 32, 48].map(|i| e.builder.ins().load(V128, access, base, offset + i))
}

fn store_chunk(e: &mut Emitter<'_>, chunk: [Value; 4], base: Value, offset: i32) {
    for (i, value) in (0..).zip(chunk) {
        e.builder.ins().store(e.access.memory, value, base, offset + 16 * i);
    }
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
