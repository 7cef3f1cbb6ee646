//! `memory.copy`, `memory.fill` and what they are for arrays without the host: functions that all code of a module
//! shares.
//!
//! Invariant: such a function either does all that the operator asks for and returns 1, or does
//! nothing and returns 0; the operator's builtin then does it, or traps. It is told indices of memory, and compares
//! them with its size; of arrays addresses that are inside already.

use crate::{context::ModuleContext, emit::Emitter, signature, signature::V128};
use cranelift_codegen::ir::{
    Block, Function, InstBuilder, MemFlagsData, Type, Value,
    condcodes::IntCC,
    types::{I8, I16, I32, I64, I64X2},
};
use cranelift_frontend::FunctionBuilderContext;

/// The longest range of memory, and the longest of an array that is copied: from about this length on the host's own
/// instructions make up for the way there.
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

/// A function that copies or fills a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    /// `memory.copy` within owned memory 0, if it is short: `(vmctx, dst, src, len)`.
    CopyMemory,
    /// `memory.fill` of owned memory 0, if it is short: `(vmctx, dst, value, len)`.
    FillMemory,
    /// Copies elements of arrays, if they are few: the same with addresses, and the length in bytes.
    CopyElements,
    /// Fills elements of an array with what repeats each 8 bytes, be they as many as they may:
    /// `(vmctx, address, 8 bytes, length in bytes)`.
    FillElements,
}

impl RangeFunction {
    /// All, in order of their numbers.
    pub(crate) const ALL: [Self; 4] =
        [Self::CopyMemory, Self::FillMemory, Self::CopyElements, Self::FillElements];

    /// Its IR.
    pub(crate) fn build(
        self,
        context: &ModuleContext<'_>,
        function: &mut Function,
        builder: &mut FunctionBuilderContext,
    ) {
        let (mut e, params) = Emitter::new(context, signature::range(), 0, function, builder);
        let [dst, what, len] = [params[1], params[2], params[3]];
        match self {
            Self::CopyMemory => {
                let addresses = enter(&mut e, [dst, what], len);
                let access = e.access.memory;
                copy(&mut e, access, addresses, len);
            }
            Self::FillMemory => {
                let [dst] = enter(&mut e, [dst], len);
                let byte = e.builder.ins().band_imm_u(what, 0xff);
                let bytes = e.builder.ins().imul_imm_u(byte, 0x0101_0101_0101_0101);
                let access = e.access.memory;
                fill(&mut e, access, dst, bytes, len);
            }
            Self::CopyElements => {
                let longest = LONGEST.cast_signed();
                let short =
                    e.builder.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, len, longest);
                refuse_unless(&mut e, short);
                let access = e.access.heap;
                copy(&mut e, access, [dst, what], len);
            }
            Self::FillElements => {
                let access = e.access.heap;
                fill(&mut e, access, dst, what, len);
            }
        }
        e.finish();
    }
}

/// Copies `len` bytes. Where there is no loop, all is loaded before anything is stored, so the ranges may overlap.
/// The loop goes forwards, and refuses what begins inside the source.
fn copy(e: &mut Emitter<'_>, access: MemFlagsData, [dst, src]: [Value; 2], len: Value) {
    let long = begin_long(e, len);
    let apart = e.builder.ins().isub(dst, src);
    let forwards = e.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, apart, len);
    refuse_unless(e, forwards);
    let end = e.builder.ins().iadd(src, len);
    let last = load_chunk(e, access, end, -CHUNK);
    chunks(e, len, |e, at| {
        let from = e.builder.ins().iadd(src, at);
        let chunk = load_chunk(e, access, from, 0);
        let to = e.builder.ins().iadd(dst, at);
        store_chunk(e, access, chunk, to, 0);
    });
    let end = e.builder.ins().iadd(dst, len);
    store_chunk(e, access, last, end, -CHUNK);
    end_long(e, long);
    steps(e, len, |e, ty, offsets| {
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
}

/// Fills `len` bytes with copies of the 8 in `bytes`. What these repeat is a power of two, of which `len` is a
/// multiple: so what is stored up to the end is the same as what is stored from the beginning.
fn fill(e: &mut Emitter<'_>, access: MemFlagsData, dst: Value, bytes: Value, len: Value) {
    let long = begin_long(e, len);
    let chunk = [e.builder.ins().splat(I64X2, bytes); 4];
    chunks(e, len, |e, at| {
        let to = e.builder.ins().iadd(dst, at);
        store_chunk(e, access, chunk, to, 0);
    });
    let end = e.builder.ins().iadd(dst, len);
    store_chunk(e, access, chunk, end, -CHUNK);
    end_long(e, long);
    steps(e, len, |e, ty, offsets| {
        let value = match ty {
            V128 => e.builder.ins().splat(I64X2, bytes),
            I64 => bytes,
            ty => e.builder.ins().ireduce(ty, bytes),
        };
        for offset in offsets {
            let at = e.builder.ins().iadd(dst, *offset);
            e.builder.ins().store(access, value, at, 0);
        }
    });
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

fn load_chunk(e: &mut Emitter<'_>, access: MemFlagsData, base: Value, offset: i32) -> [Value; 4] {
    [0, 16, 32, 48].map(|i| e.builder.ins().load(V128, access, base, offset + i))
}

fn store_chunk(
    e: &mut Emitter<'_>,
    access: MemFlagsData,
    chunk: [Value; 4],
    base: Value,
    offset: i32,
) {
    for (i, value) in (0..).zip(chunk) {
        e.builder.ins().store(access, value, base, offset + 16 * i);
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
