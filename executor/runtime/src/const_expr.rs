//! Constant expressions.

use crate::store::Instance;
use executor_model::{ConstOp, FuncRef, InstanceId, RawValue};

/// The value of a validated constant expression in an instance, whose imports are resolved and
/// whose earlier globals are initialised. `None` when a global it names is not there.
pub(crate) fn evaluate(id: InstanceId, instance: &Instance, expr: &[ConstOp]) -> Option<RawValue> {
    let mut stack: Vec<u128> = Vec::with_capacity(2);
    for op in expr {
        let mut binary = |f: &dyn Fn(u64, u64) -> u64| {
            let (b, a) = (stack.pop()? as u64, stack.pop()? as u64);
            Some(u128::from(f(a, b)))
        };
        let value = match *op {
            ConstOp::I32Const(v) => u128::from(v as u32),
            ConstOp::I64Const(v) => u128::from(v as u64),
            ConstOp::F32Const(v) => u128::from(v),
            ConstOp::F64Const(v) => u128::from(v),
            ConstOp::V128Const(v) => v,
            ConstOp::GlobalGet(index) => instance.vm.global(index)?.0,
            ConstOp::RefNull(_) => 0,
            ConstOp::RefFunc(func) => {
                let ty = instance.vm.module().code().function_type(func)?;
                u128::from(FuncRef::new(id, ty, func).to_bits())
            }
            ConstOp::I32Add => binary(&|a, b| u64::from((a as u32).wrapping_add(b as u32)))?,
            ConstOp::I32Sub => binary(&|a, b| u64::from((a as u32).wrapping_sub(b as u32)))?,
            ConstOp::I32Mul => binary(&|a, b| u64::from((a as u32).wrapping_mul(b as u32)))?,
            ConstOp::I64Add => binary(&u64::wrapping_add)?,
            ConstOp::I64Sub => binary(&u64::wrapping_sub)?,
            ConstOp::I64Mul => binary(&u64::wrapping_mul)?,
        };
        stack.push(value);
    }
    stack.pop().map(RawValue)
}
