//! Code that no operator stands for: import thunks, enter trampolines, listener wrappers.
//!
//! Invariant: each is what `executor_code::abi` describes.

use crate::{
    context::ModuleContext,
    emit::{Emitter, Symbol},
    signature::{self, WORD},
    translate::Resumed,
};
use cranelift_codegen::ir::{FuncRef, Function, InstBuilder, Value, condcodes::IntCC};
use cranelift_frontend::FunctionBuilderContext;
use executor_code::{
    abi::{Builtin, CALL_IMPORT_BOUND, ImportSlot, ResumedFrame},
    file::{FrameValue, Place},
};
use executor_model::{FuncIndex, RawValue, TypeIndex, ValType};
use std::mem::offset_of;

/// The thunk of imported function `func`: tail-calls what its slot is bound to, or else the rest of
/// the thunk, which is apart so that the frequent case needs no frame to speak of.
pub(crate) fn import(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let info = context.info();
    let signature = signature::wasm(info.func_type(func));
    let (mut e, mut args) = Emitter::new(context, signature, 0, function, builder);
    let bound = e.builder.create_block();
    let unbound = e.builder.create_block();
    e.builder.set_cold_block(unbound);

    let slot = e.counts().import_slot(func).cast_signed();
    let (base, at) = e.at(slot + offset_of!(ImportSlot, code) as i64);
    let code = e.builder.ins().load(WORD, e.access.other, base, at);
    e.builder.ins().brif(code, bound, &[], unbound, &[]);
    e.builder.seal_all_blocks();

    e.builder.switch_to_block(unbound);
    let rest = e.import(Symbol::Body(func), func);
    e.builder.ins().return_call(rest, &args);

    e.builder.switch_to_block(bound);
    let (base, at) = e.at(slot + offset_of!(ImportSlot, ctx) as i64);
    args[0] = e.builder.ins().load(WORD, e.access.other, base, at);
    let signature = e.signature(info.functions[func as usize]);
    e.builder.ins().return_call_indirect(signature, code, &args);
    e.finish();
}

/// The rest of the thunk of imported function `func`: lets the host make the call, or starts the
/// thunk over when the host has bound the slot instead.
pub(crate) fn unbound_import(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let ty = context.info().func_type(func);
    let (mut e, params) = Emitter::new(context, signature::wasm(ty), 0, function, builder);
    let again = e.builder.create_block();
    let done = e.builder.create_block();
    e.builder.set_cold_block(again);

    let values = e.reserve_values(ty.params.len().max(ty.results.len()));
    e.store_values(&params[1..], values);
    let import = e.word(u64::from(func));
    let answer = e.call_builtin(Builtin::CallImport, &[import, values]);
    let bound = e.builder.ins().icmp_imm_u(IntCC::Equal, answer, CALL_IMPORT_BOUND.cast_signed());
    e.builder.ins().brif(bound, again, &[], done, &[]);
    e.builder.seal_all_blocks();

    e.builder.switch_to_block(again);
    let thunk = e.function(func);
    e.builder.ins().return_call(thunk, &params);

    e.builder.switch_to_block(done);
    let results = e.load_values(&ty.results, values);
    e.builder.ins().return_(&results);
    e.finish();
}

/// The wrapper of a defined function: tells the listener before and after its body.
pub(crate) fn listener(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let ty = context.info().func_type(func);
    let (mut e, params) = Emitter::new(context, signature::wasm(ty), 0, function, builder);
    let values = e.reserve_values(ty.params.len().max(ty.results.len()));
    let index = e.word(u64::from(func));
    e.store_values(&params[1..], values);
    e.call_builtin(Builtin::ListenerBefore, &[index, values]);
    let body = e.import(Symbol::Body(func), func);
    call_and_tell(e, func, body, &params, values);
}

/// What stands before the continuation at `at`, where there are listeners: as [`listener`], but the
/// function has begun already.
pub(crate) fn resume_listener(
    context: &ModuleContext<'_>,
    at: u32,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let results = &context.info().func_type(func).results;
    let signature = signature::continuation(results);
    let (mut e, params) = Emitter::new(context, signature.clone(), 0, function, builder);
    let values = e.reserve_values(results.len());
    let signature = e.builder.import_signature(signature);
    let body = e.import_as(Symbol::Body(at), signature);
    call_and_tell(e, func, body, &params, values);
}

/// Calls the rest of `func`, tells the listener of its results through the array `values`, and returns
/// them.
fn call_and_tell(
    mut e: Emitter<'_>,
    func: FuncIndex,
    rest: FuncRef,
    args: &[Value],
    values: Value,
) {
    let call = e.builder.ins().call(rest, args);
    let results = e.builder.inst_results(call).to_vec();
    e.store_values(&results, values);
    let index = e.word(u64::from(func));
    e.call_builtin(Builtin::ListenerAfter, &[index, values]);
    e.builder.ins().return_(&results);
    e.finish();
}

/// The enter trampoline of a type: `(code, vmctx, values)`.
pub(crate) fn enter(
    context: &ModuleContext<'_>,
    ty: TypeIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let types = context.info().func_type_at(ty);
    let (mut e, params) = Emitter::new(context, signature::enter(), 1, function, builder);
    let (code, values) = (params[0], params[2]);
    let mut args = vec![e.vmctx];
    args.extend(e.load_values(&types.params, values));
    let signature = e.signature(ty);
    let call = e.builder.ins().call_indirect(signature, code, &args);
    let results = e.builder.inst_results(call).to_vec();
    e.store_values(&results, values);
    e.builder.ins().return_(&[]);
    e.finish();
}

/// The call of imported function `func` that was about to be made; the values it takes are its
/// arguments.
pub(crate) fn resume_import(
    context: &ModuleContext<'_>,
    func: FuncIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) -> Resumed {
    let ty = context.info().func_type(func);
    let signature = signature::continuation(&ty.results);
    let (mut e, params) = Emitter::new(context, signature, 0, function, builder);
    let at = offset_of!(ResumedFrame, values) as i32;
    let array = e.builder.ins().load(WORD, e.access.other, params[1], at);
    let mut args = vec![e.vmctx];
    args.extend(e.load_values(&ty.params, array));
    let (signature, code) = e.far_function(func);
    e.builder.ins().return_call_indirect(signature, code, &args);
    e.finish();
    let value = |(i, ty): (usize, &ValType)| {
        let at = (i * size_of::<RawValue>()) as u32;
        FrameValue { place: Place::Operand(i as u32), ty: *ty, at }
    };
    let values = ty.params.iter().enumerate().map(value).collect();
    Resumed { callee: context.info().functions[func as usize], values }
}

/// The enter trampoline of continuations of functions of a type: `(code, vmctx, values)`, where the
/// first value is the address of the frame.
pub(crate) fn enter_continuation(
    context: &ModuleContext<'_>,
    ty: TypeIndex,
    function: &mut Function,
    builder: &mut FunctionBuilderContext,
) {
    let types = context.info().func_type_at(ty);
    let (mut e, params) = Emitter::new(context, signature::enter(), 1, function, builder);
    let (code, values) = (params[0], params[2]);
    let frame = e.load_values(&[ValType::I64], values)[0];
    let signature = e.builder.import_signature(signature::continuation(&types.results));
    let call = e.builder.ins().call_indirect(signature, code, &[e.vmctx, frame]);
    let results = e.builder.inst_results(call).to_vec();
    e.store_values(&results, values);
    e.builder.ins().return_(&[]);
    e.finish();
}
