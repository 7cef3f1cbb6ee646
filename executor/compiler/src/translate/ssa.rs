//! The variables of the code generator's SSA builder, and how much memory it takes for them.
//!
//! Invariant: the table that the builder has of a variable has no more places than are counted here: one for each
//! block up to the last in which the variable was read or written, in the code or for a loop that changes it.
//!
//! What is read is followed to where it was made before it is remembered. Otherwise the same value would have a
//! name of its own for each loop around, and each of them would be found through all the others.

use cranelift_codegen::ir::{Block, Type, Value};
use cranelift_frontend::{FunctionBuilder, Variable};

/// What is known of the variables of a function.
#[derive(Debug, Default)]
pub(super) struct Variables {
    of: Vec<Known>,
    /// How many places the tables of all have.
    total: u64,
    /// Where the code is, in bytes that a reference takes that is alive up to there ([`crate::weight::alive`]).
    pub(super) position: u64,
    /// What those take that are references.
    alive: u64,
    /// The loops around, outermost first.
    loops: Vec<Loop>,
}

/// What is known of a variable.
#[derive(Debug)]
struct Known {
    ty: Type,
    /// How many places its table has.
    places: u32,
    /// Of a reference to an object: where it was read or written last.
    since: Option<u64>,
}

/// A loop that something may still branch to the beginning of.
#[derive(Debug)]
struct Loop {
    label: Block,
    /// The variables that it may have to take as parameters: what is read in it before it is written. One can be
    /// here more than once.
    read: Vec<Variable>,
}

impl Variables {
    /// How many places the tables of all have.
    pub(super) fn places(&self) -> u64 {
        self.total
    }

    /// How many bytes those that are references to objects take while they are alive.
    pub(super) fn alive(&self) -> u64 {
        self.alive
    }

    pub(super) fn declare(&mut self, builder: &mut FunctionBuilder<'_>, ty: Type) -> Variable {
        let variable = builder.declare_var(ty);
        debug_assert_eq!(variable.as_u32() as usize, self.of.len());
        self.of.push(Known { ty, places: 0, since: None });
        variable
    }

    /// Notes that a variable is a reference to an object, and is to be in stack maps.
    pub(super) fn declare_reference(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        variable: Variable,
    ) {
        builder.declare_var_needs_stack_map(variable);
        self.of[variable.as_u32() as usize].since = Some(self.position);
    }

    pub(super) fn ty(&self, variable: Variable) -> Type {
        self.of[variable.as_u32() as usize].ty
    }

    /// Notes that a reference was alive since it was read or written last.
    fn lives(&mut self, variable: Variable) {
        if let Some(since) = &mut self.of[variable.as_u32() as usize].since {
            self.alive = self.alive.saturating_add(self.position.saturating_sub(*since));
            *since = self.position;
        }
    }

    pub(super) fn write(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        variable: Variable,
        value: Value,
    ) {
        self.reach(builder, variable);
        let position = self.position;
        if let Some(since) = &mut self.of[variable.as_u32() as usize].since {
            *since = position;
        }
        builder.def_var(variable, value);
    }

    pub(super) fn read(&mut self, builder: &mut FunctionBuilder<'_>, variable: Variable) -> Value {
        self.reach(builder, variable);
        self.lives(variable);
        let taken = self.taken(builder);
        let value = builder.use_var(variable);
        if self.taken(builder) > taken
            && let Some(innermost) = self.loops.last_mut()
        {
            innermost.read.push(variable);
        }
        let made = builder.func.dfg.resolve_aliases(value);
        if made != value {
            builder.def_var(variable, made);
        }
        made
    }

    /// Notes that a loop begins, at `label`.
    pub(super) fn begin_loop(&mut self, label: Block) {
        self.loops.push(Loop { label, read: Vec::new() });
    }

    /// Counts what the builder will take when the innermost loop is sealed: it looks for what the loop takes in each
    /// block that branches to it, and in those before.
    pub(super) fn count_loop(&mut self, builder: &FunctionBuilder<'_>) {
        let read = self.loops.last_mut().map(|open| std::mem::take(&mut open.read));
        for variable in read.iter().flatten() {
            self.reach(builder, *variable);
            self.lives(*variable);
        }
        if let (Some(open), Some(read)) = (self.loops.last_mut(), read) {
            open.read = read;
        }
    }

    /// Seals the innermost loop: nothing else will branch to its beginning.
    pub(super) fn seal_loop(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(Loop { label, read }) = self.loops.pop() else { return };
        let taken = self.taken(builder);
        builder.seal_block(label);
        // What it gets from before it, the loop around may have to take in turn.
        if self.taken(builder) > taken
            && let Some(around) = self.loops.last_mut()
        {
            around.read.extend(read);
        }
    }

    /// How many values the innermost loop takes so far.
    fn taken(&self, builder: &FunctionBuilder<'_>) -> usize {
        self.loops.last().map_or(0, |open| builder.func.dfg.num_block_params(open.label))
    }

    /// Counts places for a variable up to the last block there is.
    fn reach(&mut self, builder: &FunctionBuilder<'_>, variable: Variable) {
        let Known { places, .. } = &mut self.of[variable.as_u32() as usize];
        let blocks = builder.func.dfg.num_blocks() as u32;
        self.total += u64::from(blocks.saturating_sub(*places));
        *places = blocks.max(*places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::{Function, InstBuilder, types::I32};
    use cranelift_frontend::FunctionBuilderContext;

    #[test]
    fn a_value_that_loops_hand_on_is_counted_and_found_in_few_steps() {
        let (mut function, mut context) = (Function::new(), FunctionBuilderContext::new());
        let mut builder = FunctionBuilder::new(&mut function, &mut context);
        let mut variables = Variables::default();
        let entry = builder.create_block();
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let value = builder.ins().iconst(I32, 0);
        let variable = variables.declare(&mut builder, I32);
        variables.write(&mut builder, variable, value);
        let labels: Vec<Block> = (0..100).map(|_| builder.create_block()).collect();
        for label in &labels {
            builder.ins().jump(*label, &[]);
            builder.switch_to_block(*label);
            variables.begin_loop(*label);
        }
        assert_eq!(variables.places(), 1);
        for label in labels.into_iter().rev() {
            let value = variables.read(&mut builder, variable);
            let next = builder.create_block();
            builder.ins().brif(value, label, &[], next, &[]);
            variables.count_loop(&builder);
            assert_eq!(variables.places(), builder.func.dfg.num_blocks() as u64);
            variables.seal_loop(&mut builder);
            builder.switch_to_block(next);
            builder.seal_block(next);
            // What the builder has remembered is what the loop took or what it got that from.
            let value = builder.use_var(variable);
            let alias = |value: &Value| builder.func.dfg.value_alias_dest_for_serialization(*value);
            assert!(std::iter::successors(Some(value), alias).count() <= 2);
        }
        let last = builder.use_var(variable);
        assert_eq!(builder.func.dfg.resolve_aliases(last), value);
    }
}
