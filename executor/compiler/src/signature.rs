//! The signatures of machine code: WebAssembly functions, enter trampolines, builtins.
//!
//! Invariant: these say what the binary interface (`executor_code::abi`) says, in Cranelift's words.

use cranelift_codegen::{
    ir::{AbiParam, Signature, Type, types},
    isa::CallConv,
};
use executor_code::abi::Builtin;
use executor_model::{FuncType, ValType};

/// The type of `vmctx`, addresses and references.
pub(crate) const WORD: Type = types::I64;

/// The type of vectors, whatever their lanes.
pub(crate) const V128: Type = types::I8X16;

/// How a WebAssembly value is held.
pub(crate) fn clif_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => V128,
        ValType::Ref(_) => WORD,
    }
}

/// A WebAssembly function: `(vmctx, parameters...) -> results`.
pub(crate) fn wasm(ty: &FuncType) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::new(WORD));
    signature.params.extend(ty.params.iter().map(|t| AbiParam::new(clif_type(*t))));
    signature.returns.extend(ty.results.iter().map(|t| AbiParam::new(clif_type(*t))));
    signature
}

/// A continuation of a function: `(vmctx, frame) -> results`.
pub(crate) fn continuation(results: &[ValType]) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(WORD); 2]);
    signature.returns.extend(results.iter().map(|t| AbiParam::new(clif_type(*t))));
    signature
}

/// A function for ranges: `(vmctx, dst, src or value, len) -> done`.
pub(crate) fn range() -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(WORD); 4]);
    signature.returns.push(AbiParam::new(WORD));
    signature
}

/// An enter trampoline: `(code, vmctx, values)`.
pub(crate) fn enter() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(WORD); 3]);
    signature
}

/// A builtin: `(vmctx, arguments...) -> i64`.
pub(crate) fn builtin(builtin: Builtin) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(vec![AbiParam::new(WORD); 1 + builtin.arity()]);
    signature.returns.push(AbiParam::new(WORD));
    signature
}
