//! Translation of function bodies to Cranelift IR, in one pass; one file per group of operators.
//!
//! Invariant: [`Translator::stack`] holds the operand stack of the validated code at the operator
//! being translated; while [`Translator::reachable`] is false nothing is emitted, and only the
//! nesting of blocks is followed.

mod array;
mod atomic;
mod bulk;
mod call;
mod cast;
mod control;
mod convert;
mod exception;
mod float;
mod frame_map;
mod liveness;
mod memory;
mod numeric;
mod object;
mod reference;
mod resume;
mod simd;
mod ssa;
mod stack_map;
mod table;
#[cfg(test)]
mod tests;
mod variable;
mod wide;

use crate::{
    context::ModuleContext, decode::val_type, emit::Emitter, features, invalid, isa::Extent,
    signature, signature::V128, signature::clif_type, types::BodyTypes, weight,
};
use control::Frame;
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Type, Value, types};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilderContext, Variable};
use exception::Tries;
use executor_code::CompileError;
use executor_model::{Features, FuncIndex, ValType};
use frame_map::Frames;
use liveness::{Liveness, Steps};
use resume::Resume;
use ssa::Variables;
use stack_map::References;
use wasmparser::{BinaryReader, FunctionBody, Operator};

pub(crate) use frame_map::FrameMap;
pub(crate) use resume::Resumed;

/// After how many operators the time is looked at.
const CLOCK_STEP: u64 = 64;

/// What the translation of a function comes to, besides its IR.
pub(crate) struct Translated {
    pub(crate) extent: Extent,
    /// Where calls of it can be found in a frame.
    pub(crate) frames: Option<FrameMap>,
    /// Of a continuation.
    pub(crate) resumed: Option<Resumed>,
}

/// Translates the body of a defined function, or what comes behind its call at `resumed`.
pub(crate) fn function(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    resumed: Option<u32>,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) -> Result<Translated, CompileError> {
    let info = context.info();
    let ty = info.func_type(func);
    let defined = (func - info.imported_functions) as usize;
    let range = context.module.bodies[defined].clone();
    let (offset, len) = (range.start as u64, range.len());
    let bytes = &context.module.bytes[range];
    // It is validated: what it may not use is not in it.
    let every = features::wasmparser(Features::ALL);
    let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, every));

    let signature = match resumed {
        None => signature::wasm(ty),
        Some(_) => signature::continuation(&ty.results),
    };
    let (mut emitter, params) = Emitter::new(context, signature, 0, function, builder);
    let mut operators = body.get_operators_reader().map_err(|e| invalid(&e))?;
    emitter.loads_base = operators.clone().into_iter().flatten().any(memory::is_worth_a_base);
    let mut translator = Translator {
        emitter,
        stack: Vec::new(),
        frames: Vec::new(),
        locals: Vec::new(),
        variables: Variables::default(),
        reachable: true,
        skipped: 0,
        extent: Extent { body: len, ..Extent::default() },
        passed: 0,
        tries: Tries::default(),
        references: References::default(),
        types: None,
        liveness: Liveness::default(),
        map: None,
        resume: None,
        call_offset: None,
        site: None,
    };
    for (i, ty) in ty.params.iter().enumerate() {
        let value = match resumed {
            None => params[1 + i],
            Some(_) => translator.zero(clif_type(*ty)),
        };
        translator.local(*ty, value);
    }
    for locals in body.get_locals_reader().map_err(|e| invalid(&e))? {
        let (count, ty) = locals.map_err(|e| invalid(&e))?;
        let ty = val_type(ty, &|index| info.concrete(index));
        let zero = translator.zero(clif_type(ty));
        (0..count).for_each(|_| translator.local(ty, zero));
    }
    let mapped = |operator: &Operator<'_>| context.reach.is_some_and(|reach| reach.call(operator));
    if let Some(types) = context.types.filter(|_| context.reach.is_some() || resumed.is_some()) {
        let wanted = |operator: &Operator<'_>, at| mapped(operator) || resumed == Some(at);
        let (steps, locals) = (Steps::of(&body, wanted), translator.locals.len());
        let steps = steps.map_err(|e| invalid(&e))?;
        if steps.memory(locals) > context.allowance {
            return Err(context.too_large(func));
        }
        translator.liveness = Liveness::of(&steps, func, locals, context.deadline)?;
        if !translator.liveness.is_empty() {
            translator.types = Some(types.body(defined, &body)?);
            if context.reach.is_some() {
                translator.begin_frames();
            }
        }
    }
    if let Some(types) = context.types.filter(|_| context.stack_maps && translator.types.is_none())
    {
        translator.types = Some(types.body(defined, &body)?);
    }
    if let Some(offset) = resumed {
        translator.begin_resume(offset, params[1]);
    }
    translator.begin(&ty.results);
    let mut steps = 0_u64;
    while !operators.eof() {
        let offset = operators.original_position();
        let operator = operators.read().map_err(|e| invalid(&e))?;
        translator.tries.look_ahead(&operator, &body).map_err(|e| invalid(&e))?;
        translator.emitter.builder.set_srcloc(SourceLoc::new(offset as u32));
        translator.call_offset = Some(offset as u32).filter(|at| resumed == Some(*at));
        translator.site = Some(offset as u32).filter(|_| mapped(&operator));
        if !translator.reachable {
            translator.skip(&operator);
        } else if !translator.operator(&operator) {
            let message = format!("no code for {operator:?}");
            return Err(CompileError::Codegen { func, message });
        }
        if let Some(types) = &mut translator.types {
            types.pass(offset, &operator)?;
        }
        translator.note_references();
        if translator.is_too_large() {
            return Err(context.too_large(func));
        }
        // The end of a loop takes longer than anything else.
        steps += 1;
        if steps.is_multiple_of(CLOCK_STEP) || matches!(operator, Operator::End) {
            context.deadline.check()?;
        }
    }
    translator.tries.check(func)?;
    let resumed = translator.finish_resume();
    let frames = translator.finish_frames();
    translator.emitter.finish();
    let extent = translator.extent;
    let (values, together) = (function.dfg.num_values(), weight::passed_together(function));
    Ok(Translated { extent: Extent { values, together, ..extent }, frames, resumed })
}

/// The translation of one function.
struct Translator<'a> {
    emitter: Emitter<'a>,
    /// The operand stack.
    stack: Vec<Value>,
    /// The enclosing blocks, outermost first.
    frames: Vec<Frame>,
    /// The parameters, then the declared locals.
    locals: Vec<Variable>,
    variables: Variables,
    /// Whether the code being translated can be reached.
    reachable: bool,
    /// How many blocks began in code that cannot be reached and have not ended.
    skipped: u32,
    /// What has been seen of the function's extent.
    extent: Extent,
    /// How many values the branches to a loop that has ended pass to its beginning, until they are part of the IR.
    passed: u64,
    /// What is known of the function's `try` blocks.
    tries: Tries,
    /// Which values are references to objects.
    references: References,
    /// The types of locals and operands, where frames can hold objects or frame maps are asked for.
    types: Option<BodyTypes<'a>>,
    /// Which locals live on after the calls that frames are asked for at.
    liveness: Liveness,
    /// The frame map, if the function has one.
    map: Option<Frames>,
    /// What a continuation goes on from.
    resume: Option<Resume>,
    /// The offset of the operator being translated, if it is what a continuation goes on from.
    call_offset: Option<u32>,
    /// The offset of the operator being translated, if it is a call that the frame map has.
    site: Option<u32>,
}

impl<'a> Translator<'a> {
    /// Translates an operator; returns whether any group knows it.
    fn operator(&mut self, operator: &Operator<'_>) -> bool {
        self.variable(operator)
            || self.numeric(operator)
            || self.memory(operator)
            || self.control(operator)
            || self.call(operator)
            || self.exception(operator)
            || self.float(operator)
            || self.convert(operator)
            || self.reference(operator)
            || self.object(operator)
            || self.array(operator)
            || self.reference_cast(operator)
            || self.table(operator)
            || self.bulk(operator)
            || self.simd(operator)
            || self.atomic(operator)
            || self.wide(operator)
    }

    /// Whether making code of it takes more memory than it may.
    fn is_too_large(&self) -> bool {
        let dfg = &self.emitter.builder.func.dfg;
        let memory = weight::memory(weight::so_far(dfg).saturating_add(self.passed))
            .saturating_add(weight::places(self.variables.places()))
            .saturating_add(self.variables.alive())
            .saturating_add(self.references.alive())
            .saturating_add(weight::handlers(self.tries.handlers()))
            .saturating_add(self.map.as_ref().map_or(0, Frames::memory));
        memory > self.emitter.context.allowance
    }

    /// Adds a local with its first value.
    fn local(&mut self, ty: ValType, value: Value) {
        let local = self.declare(clif_type(ty));
        if self.is_noted(ty) {
            self.variables.declare_reference(&mut self.emitter.builder, local);
        }
        self.write(local, value);
        self.locals.push(local);
    }

    fn declare(&mut self, ty: Type) -> Variable {
        self.variables.declare(&mut self.emitter.builder, ty)
    }

    fn read(&mut self, variable: Variable) -> Value {
        if self.is_too_large() {
            // It is refused after the operator, which may be about to read many more.
            let ty = self.variables.ty(variable);
            return self.zero(ty);
        }
        self.variables.read(&mut self.emitter.builder, variable)
    }

    fn write(&mut self, variable: Variable, value: Value) {
        self.variables.write(&mut self.emitter.builder, variable, value);
    }

    /// Zero, or null.
    fn zero(&mut self, ty: Type) -> Value {
        match ty {
            types::F32 => self.ins().f32const(0.0),
            types::F64 => self.ins().f64const(0.0),
            V128 => self.vconst(V128, 0),
            ty => self.ins().iconst(ty, 0),
        }
    }

    fn ins(&mut self) -> FuncInstBuilder<'_, 'a> {
        self.emitter.builder.ins()
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Value {
        self.stack.pop().expect("validated code")
    }

    /// Pops two; the second operand is on top.
    fn pop2(&mut self) -> [Value; 2] {
        let second = self.pop();
        [self.pop(), second]
    }

    /// Pops three; the third operand is on top.
    fn pop3(&mut self) -> [Value; 3] {
        let third = self.pop();
        let [first, second] = self.pop2();
        [first, second, third]
    }

    /// The topmost `n` operands, deepest first.
    fn top(&self, n: usize) -> &[Value] {
        &self.stack[self.stack.len() - n..]
    }

    /// Replaces the topmost operand by a function of it.
    fn unary(&mut self, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value) -> Value) {
        let x = self.pop();
        let result = f(self.ins(), x);
        self.push(result);
    }

    /// Replaces the two topmost operands by a function of them.
    fn binary(&mut self, f: impl FnOnce(FuncInstBuilder<'_, 'a>, Value, Value) -> Value) {
        let [x, y] = self.pop2();
        let result = f(self.ins(), x, y);
        self.push(result);
    }

    /// Pushes the truth of a condition as an `i32`.
    fn push_bool(&mut self, condition: Value) {
        let result = self.ins().uextend(types::I32, condition);
        self.push(result);
    }
}
