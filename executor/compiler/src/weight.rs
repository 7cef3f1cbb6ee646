//! How much work a function is for the code generator, by its IR, which can be many times as large as the
//! function: every block may take a thousand values, and every branch to it passes them.
//!
//! Invariant: finding out takes time in proportion to the IR, and no memory.

use cranelift_codegen::ir::{DataFlowGraph, Function};

/// What a value of the IR takes at most while code is made of it, in bytes, and a value that a branch passes:
/// measured, without optimisation.
const BYTES: u64 = 64;

/// How many bytes of memory so much IR takes.
pub(crate) fn memory(values: u64) -> u64 {
    values.saturating_mul(BYTES)
}

/// What a place in the SSA builder's table of a variable takes, in bytes, with what is found for it.
const PLACE_BYTES: u64 = 8;

/// What a handler that a call names takes, in bytes, beside its place in a list of values.
const HANDLER_BYTES: u64 = 256;

/// How many bytes of memory so many handlers of calls take.
pub(crate) fn handlers(handlers: u64) -> u64 {
    handlers.saturating_mul(HANDLER_BYTES)
}

/// What a reference to an object takes for each block that it is alive in, in bytes, and for each call: measured.
const ALIVE_IN_BLOCK: u64 = 20;
const ALIVE_IN_CALL: u64 = 32;

/// How many bytes of memory a reference to an object takes that is alive during so much.
pub(crate) fn alive(blocks: usize, calls: u64) -> u64 {
    (blocks as u64 * ALIVE_IN_BLOCK).saturating_add(calls.saturating_mul(ALIVE_IN_CALL))
}

/// How many values a block is worth, with the branches that lead to it.
const BLOCK: usize = 16;

/// How many bytes of memory so many places take.
pub(crate) fn places(places: u64) -> u64 {
    places.saturating_mul(PLACE_BYTES)
}

/// How much IR there is so far: values, places in lists of them, and blocks.
pub(crate) fn so_far(dfg: &DataFlowGraph) -> u64 {
    (dfg.num_values() + dfg.value_lists.capacity() + dfg.num_blocks() * BLOCK) as u64
}

/// The values that the branches of a function pass to blocks, each counted as often as there are values that
/// its branch passes: values that go on together compete for registers, wherever one of them goes.
pub(crate) fn passed_together(func: &Function) -> u64 {
    let dfg = &func.dfg;
    let last = func.layout.blocks().filter_map(|block| func.layout.last_inst(block));
    let calls = last.flat_map(|branch| {
        dfg.insts[branch].branch_destination(&dfg.jump_tables, &dfg.exception_tables)
    });
    calls.map(|call| (call.len(&dfg.value_lists) as u64).pow(2)).sum()
}
