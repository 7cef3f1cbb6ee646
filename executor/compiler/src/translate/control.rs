//! Blocks, branches, return: the structure of a function.
//!
//! Invariant: a frame is pushed for each block that begins in reachable code, and for no other.

use super::{Translator, exception::Clause};
use crate::{emit::block_args, signature::clif_type};
use cranelift_codegen::ir::{Block, InstBuilder, JumpTableData, Value, types::I32};
use cranelift_frontend::Variable;
use executor_model::{TrapCode, ValType};
use std::collections::BTreeMap;
use wasmparser::{BlockType, BrTable, Operator};

/// The longest table that is one for the code generator has so many bits of an index.
const TABLE_BITS: u32 = 12;

/// After so many nested blocks their ends are separated. Blocks are nested so deep only for the longest tables
/// of branches.
const MAX_JUMPS: usize = 1 << 10;

/// An enclosing block.
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Where a branch to it goes: the start of a loop, the end of anything else.
    label: Block,
    /// How many values such a branch carries.
    arity: usize,
    /// The height of the operand stack below its parameters.
    pub(super) height: usize,
    /// Whether anything reaches its end (which a loop's label is not).
    ends: bool,
    /// How many branches to its label there are, an entry of a table each one.
    branches: u64,
    /// How many loops it is in, itself included.
    loops: usize,
    /// How many bodies with handlers it is in, itself included.
    pub(super) tries: usize,
}

pub(super) enum Kind {
    Block,
    Loop,
    /// The body of a `try_table`.
    TryTable(Vec<Clause>),
    /// The body of a `try`, with the clauses of its handlers.
    Try(Vec<Clause>),
    /// The body of a `try` whose exceptions are those of the block so many blocks further out.
    Delegate(u32),
    /// A handler of a `try`: what it caught, and the clauses of those after it.
    Catch {
        exception: Option<Variable>,
        rest: std::vec::IntoIter<Clause>,
    },
    /// An `if` whose `else` has not been met: where to go when the condition is zero, and the
    /// parameters, which both arms begin with.
    If {
        otherwise: Block,
        params: Vec<Value>,
    },
}

impl<'a> Translator<'a> {
    /// Begins the function: its body is a block that results in the function's results.
    pub(super) fn begin(&mut self, results: &[ValType]) {
        let label = self.block(results);
        let arity = results.len();
        self.enter(Kind::Block, label, arity, 0);
    }

    pub(super) fn control(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::Nop => {}
            Operator::Unreachable => {
                self.emitter.trap(TrapCode::Unreachable);
                self.reachable = false;
            }
            Operator::Block { blockty } => {
                let (params, results) = self.block_type(blockty);
                let label = self.block(results);
                self.enter(Kind::Block, label, results.len(), params.len());
            }
            Operator::Loop { blockty } => {
                let (params, _) = self.block_type(blockty);
                let label = self.block(params);
                self.jump(label, params.len());
                self.stack.truncate(self.stack.len() - params.len());
                self.enter_block(label);
                self.variables.begin_loop(label);
                self.push_params(label);
                self.enter(Kind::Loop, label, params.len(), params.len());
            }
            Operator::If { blockty } => {
                let condition = self.pop();
                let (params, results) = self.block_type(blockty);
                let label = self.block(results);
                let (then, otherwise) = (self.block(&[]), self.block(&[]));
                self.assign_operands();
                self.ins().brif(condition, then, &[], otherwise, &[]);
                self.emitter.builder.seal_block(otherwise);
                self.switch_to(then);
                let kind = Kind::If { otherwise, params: self.top(params.len()).to_vec() };
                self.enter(kind, label, results.len(), params.len());
            }
            Operator::Else => self.otherwise(),
            Operator::End => self.end(),
            Operator::Br { relative_depth } => {
                let (label, arity) = self.target(relative_depth);
                self.jump(label, arity);
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                let (label, arity) = self.target(relative_depth);
                let next = self.block(&[]);
                let args = block_args(self.top(arity));
                self.assign_operands();
                self.ins().brif(condition, label, &args, next, &[]);
                self.switch_to(next);
            }
            Operator::BrOnNull { relative_depth } => {
                let reference = self.pop();
                let (label, arity) = self.target(relative_depth);
                let next = self.block(&[]);
                let args = block_args(self.top(arity));
                self.assign_operands();
                self.ins().brif(reference, next, &[], label, &args);
                self.switch_to(next);
                self.push(reference);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let reference = self.top(1)[0];
                let (label, arity) = self.target(relative_depth);
                let next = self.block(&[]);
                let args = block_args(self.top(arity));
                self.assign_operands();
                self.ins().brif(reference, label, &args, next, &[]);
                self.switch_to(next);
                self.pop();
            }
            Operator::BrTable { ref targets } => self.br_table(targets),
            Operator::Return => {
                let arity = self.frames[0].arity;
                self.return_(arity);
            }
            _ => return false,
        }
        true
    }

    /// Follows the nesting of blocks through code that cannot be reached.
    pub(super) fn skip(&mut self, operator: &Operator<'_>) {
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => self.skipped += 1,
            Operator::Try { .. } => {
                self.tries.next();
                self.skipped += 1;
            }
            Operator::End | Operator::Delegate { .. } if self.skipped > 0 => self.skipped -= 1,
            Operator::End | Operator::Delegate { .. } => self.end(),
            Operator::Catch { .. } | Operator::CatchAll if self.skipped == 0 => self.next_handler(),
            Operator::Else if self.skipped == 0 => self.otherwise(),
            _ => {}
        }
    }

    fn br_table(&mut self, targets: &BrTable<'_>) {
        let index = self.pop();
        // Tables are long and name few labels. Where a label takes values, they are passed from one
        // block between, so that each entry is small.
        let mut blocks = BTreeMap::new();
        let mut between = Vec::new();
        let depths = targets.targets().map(|depth| depth.expect("validated code"));
        let mut entries = Vec::with_capacity(targets.len() as usize + 1);
        for depth in depths.chain([targets.default()]) {
            let at = self.frames.len() - 1 - depth as usize;
            self.frames[at].branches += 1;
            let to = *blocks.entry(depth).or_insert_with(|| {
                let (label, arity) = self.target(depth);
                match arity {
                    0 => label,
                    _ => {
                        let block = self.emitter.builder.create_block();
                        between.push((block, label, arity));
                        block
                    }
                }
            });
            entries.push(to);
        }
        self.assign_operands();
        let default = entries.pop().expect("the default is there");
        self.switch(index, default, &entries);
        for (block, label, arity) in between {
            self.switch_to(block);
            self.jump(label, arity);
        }
        self.reachable = false;
    }

    /// Goes to the block at an index of a list. A long list is divided, since the code generator takes time in
    /// proportion to the square of a table's length.
    fn switch(&mut self, index: Value, default: Block, blocks: &[Block]) {
        if blocks.len() <= 1 << TABLE_BITS {
            return self.jump_table(index, default, blocks);
        }
        let parts: Vec<(Block, &[Block])> = blocks
            .chunks(1 << TABLE_BITS)
            .map(|part| (self.emitter.builder.create_block(), part))
            .collect();
        let bits = self.ins().iconst(I32, i64::from(TABLE_BITS));
        let which = self.ins().ushr(index, bits);
        let blocks: Vec<Block> = parts.iter().map(|(block, _)| *block).collect();
        self.jump_table(which, default, &blocks);
        for (block, part) in parts {
            self.switch_to(block);
            let mask = self.ins().iconst(I32, (1 << TABLE_BITS) - 1);
            let index = self.ins().band(index, mask);
            self.jump_table(index, default, part);
        }
    }

    fn jump_table(&mut self, index: Value, default: Block, blocks: &[Block]) {
        let dfg = &mut self.emitter.builder.func.dfg;
        // Each entry has a list of arguments of its own, which the frontend may add to.
        let default = dfg.block_call(default, &[]);
        let entries: Vec<_> = blocks.iter().map(|block| dfg.block_call(*block, &[])).collect();
        let table = JumpTableData::new(default, &entries);
        let table = self.emitter.builder.create_jump_table(table);
        self.ins().br_table(index, table);
    }

    /// Ends the first arm of an `if` and begins the second.
    fn otherwise(&mut self) {
        self.leave();
        let frame = self.frames.last_mut().expect("validated code");
        if let Kind::If { otherwise, params } = std::mem::replace(&mut frame.kind, Kind::Block) {
            self.stack.truncate(frame.height);
            self.stack.extend(params);
            self.enter_block(otherwise);
            self.read_operands();
            self.reachable = true;
        }
    }

    /// Ends the innermost block.
    pub(super) fn end(&mut self) {
        if matches!(self.frames.last(), Some(Frame { kind: Kind::If { .. }, .. })) {
            // Without an `else`, the second arm passes the parameters on.
            self.otherwise();
        }
        self.leave();
        let frame = self.frames.pop().expect("validated code");
        match frame.kind {
            // The only way to a loop's end is through its body; the results are on the stack.
            Kind::Loop => self.seal_loop(&frame),
            kind => {
                self.stack.truncate(frame.height);
                if let Kind::TryTable(clauses) = kind {
                    self.land(clauses);
                }
                self.reachable = frame.ends;
                if frame.ends {
                    self.switch_to(frame.label);
                    self.push_params(frame.label);
                    self.separate_ends();
                }
            }
        }
        if !self.reachable {
            self.stack.truncate(frame.height);
        } else if self.frames.is_empty() {
            self.return_(frame.arity);
        }
    }

    /// At the end of every so many nested blocks: does something that stays in the code. The code generator follows
    /// jumps that lead to nothing but jumps from each to the last, and ends of blocks without anything between are
    /// such jumps.
    fn separate_ends(&mut self) {
        if self.frames.len() % MAX_JUMPS == MAX_JUMPS - 1 {
            let vmctx = self.emitter.vmctx;
            self.emitter.trap_unless(vmctx, TrapCode::Unreachable);
        }
    }

    /// Notes that nothing else will branch to a loop. Only then every branch is given what it passes: each
    /// local that the loop changes, which can be more than there is room for.
    fn seal_loop(&mut self, frame: &Frame) {
        let builder = &mut self.emitter.builder;
        let params = builder.block_params(frame.label).len() as u64;
        self.variables.count_loop(builder);
        self.passed = frame.branches.saturating_mul(params);
        if !self.is_too_large() {
            self.passed = 0;
            self.variables.seal_loop(&mut self.emitter.builder);
        }
    }

    /// Goes from the end of the innermost block's code to its label, if it gets there.
    pub(super) fn leave(&mut self) {
        let frame = self.frames.last_mut().expect("validated code");
        if self.reachable && !matches!(frame.kind, Kind::Loop) {
            frame.ends = true;
            let (label, arity) = (frame.label, frame.arity);
            self.jump(label, arity);
            self.reachable = false;
        }
    }

    fn return_(&mut self, arity: usize) {
        let results = self.top(arity).to_vec();
        self.ins().return_(&results);
        self.reachable = false;
    }

    /// The label of the block `depth` blocks out, about to be branched to, and its arity.
    pub(super) fn target(&mut self, depth: u32) -> (Block, usize) {
        let at = self.frames.len() - 1 - depth as usize;
        let frame = &mut self.frames[at];
        frame.ends |= !matches!(frame.kind, Kind::Loop);
        frame.branches += 1;
        (frame.label, frame.arity)
    }

    /// Pushes a frame whose `params` parameters are on the stack.
    pub(super) fn enter(&mut self, kind: Kind, label: Block, arity: usize, params: usize) {
        let height = self.stack.len() - params;
        let (loops, tries) = self.frames.last().map_or((0, 0), |frame| (frame.loops, frame.tries));
        let loops = loops + usize::from(matches!(kind, Kind::Loop));
        let tries = tries + usize::from(matches!(kind, Kind::TryTable(_) | Kind::Try(_)));
        self.extent.loops = self.extent.loops.max(loops);
        self.frames.push(Frame {
            kind,
            label,
            arity,
            height,
            ends: false,
            branches: 0,
            loops,
            tries,
        });
    }

    /// Jumps with the topmost `arity` operands.
    fn jump(&mut self, label: Block, arity: usize) {
        self.assign_operands();
        let args = block_args(self.top(arity));
        self.ins().jump(label, &args);
    }

    /// A new block with parameters of these types.
    pub(super) fn block(&mut self, types: &[ValType]) -> Block {
        let block = self.emitter.builder.create_block();
        for ty in types {
            self.emitter.builder.append_block_param(block, clif_type(*ty));
        }
        block
    }

    /// Goes on in a block that nothing will branch to any more.
    pub(super) fn switch_to(&mut self, block: Block) {
        self.enter_block(block);
        self.emitter.builder.seal_block(block);
    }

    /// Goes on in a block.
    pub(super) fn enter_block(&mut self, block: Block) {
        self.emitter.builder.switch_to_block(block);
        self.forget_held();
        self.forget_assigned();
    }

    /// Pushes the parameters of a block that has just been entered, on operands from before.
    fn push_params(&mut self, block: Block) {
        let params = self.emitter.builder.block_params(block).to_vec();
        self.read_operands();
        self.stack.extend(params);
    }

    /// The parameters and results of a block.
    pub(super) fn block_type(&self, ty: BlockType) -> (&'a [ValType], &'a [ValType]) {
        match ty {
            BlockType::Empty => (&[], &[]),
            BlockType::Type(ty) => (
                &[],
                match ty {
                    wasmparser::ValType::I32 => &[ValType::I32],
                    wasmparser::ValType::I64 => &[ValType::I64],
                    wasmparser::ValType::F32 => &[ValType::F32],
                    wasmparser::ValType::F64 => &[ValType::F64],
                    wasmparser::ValType::V128 => &[ValType::V128],
                    // References of all types are held alike.
                    wasmparser::ValType::Ref(_) => &[ValType::EXTERNREF],
                },
            ),
            BlockType::FuncType(index) => {
                let ty = self.emitter.context.info().func_type_at(index);
                (&ty.params, &ty.results)
            }
        }
    }
}
