//! Translation of function bodies to Cranelift IR, in one pass; one file per group of operators.
//!
//! Invariant: [`Translator::stack`] holds the operand stack of the validated code at the operator
//! being translated; while [`Translator::reachable`] is false nothing is emitted, and only the
//! nesting of blocks is followed.

mod atomic;
mod bulk;
mod call;
mod control;
mod convert;
mod exception;
mod float;
mod memory;
mod numeric;
mod reference;
mod simd;
mod table;
mod variable;
mod wide;

use crate::{
    compile::ModuleContext, emit::Emitter, features, invalid, isa::Extent, signature,
    signature::V128, signature::clif_type,
};
use control::Frame;
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Type, Value, types};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilderContext, Variable};
use exception::Tries;
use executor_code::CompileError;
use executor_model::{Features, FuncIndex};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// Translates the body of a defined function; returns its extent.
pub(crate) fn function(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) -> Result<Extent, CompileError> {
    let info = context.info();
    let ty = info.func_type(func);
    let range = context.module.bodies[(func - info.imported_functions) as usize].clone();
    let (offset, len) = (range.start as u64, range.len());
    let bytes = &context.module.bytes[range];
    // It is validated: what it may not use is not in it.
    let every = features::wasmparser(Features::ALL);
    let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, every));

    let (mut emitter, params) = Emitter::new(context, signature::wasm(ty), 0, function, builder);
    let mut operators = body.get_operators_reader().map_err(|e| invalid(&e))?;
    emitter.loads_base = operators.clone().into_iter().flatten().any(memory::is_worth_a_base);
    let mut translator = Translator {
        emitter,
        stack: Vec::new(),
        frames: Vec::new(),
        locals: Vec::new(),
        reachable: true,
        skipped: 0,
        extent: Extent { body: len, loops: 0 },
        tries: Tries::default(),
    };
    for (param, ty) in params[1..].iter().zip(&ty.params) {
        translator.local(clif_type(*ty), *param);
    }
    for locals in body.get_locals_reader().map_err(|e| invalid(&e))? {
        let (count, ty) = locals.map_err(|e| invalid(&e))?;
        let ty = signature::clif_type_of(ty);
        let zero = translator.zero(ty);
        (0..count).for_each(|_| translator.local(ty, zero));
    }
    translator.begin(&ty.results);
    while !operators.eof() {
        let offset = operators.original_position();
        let operator = operators.read().map_err(|e| invalid(&e))?;
        translator.tries.look_ahead(&operator, &body).map_err(|e| invalid(&e))?;
        translator.emitter.builder.set_srcloc(SourceLoc::new(offset as u32));
        if !translator.reachable {
            translator.skip(&operator);
        } else if !translator.operator(&operator) {
            // Of what validation lets pass, only objects are not translated.
            return Err(features::no_garbage_collection());
        }
    }
    translator.tries.check(func)?;
    translator.emitter.finish();
    Ok(translator.extent)
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
    /// Whether the code being translated can be reached.
    reachable: bool,
    /// How many blocks began in code that cannot be reached and have not ended.
    skipped: u32,
    /// What has been seen of the function's extent.
    extent: Extent,
    /// What is known of the function's `try` blocks.
    tries: Tries,
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
            || self.table(operator)
            || self.bulk(operator)
            || self.simd(operator)
            || self.atomic(operator)
            || self.wide(operator)
    }

    /// Adds a local with its first value.
    fn local(&mut self, ty: Type, value: Value) {
        let local = self.emitter.builder.declare_var(ty);
        self.emitter.builder.def_var(local, value);
        self.locals.push(local);
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
