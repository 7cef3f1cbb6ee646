//! Constant expressions.
//!
//! Invariant: what an expression has made so far is a root while it makes the next object.

use crate::store::StoreInner;
use executor_code::objects::{Shape, elements_at, size_of_storage};
use executor_model::{
    CompositeType, ConstOp, FuncRef, InstanceId, ModuleInfo, ObjectBits, RawValue, StorageType,
    TrapCode, TypeIndex, ValType,
};

/// The operands of an expression: their bits, and whether they may be references to objects.
type Operands = Vec<(u128, bool)>;

impl StoreInner {
    /// The value of a validated constant expression in an instance of a module with these declarations, whose imports
    /// are resolved and whose earlier globals are initialised. `None` when a global it names is not there.
    pub(crate) fn evaluate(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        expr: &[ConstOp],
    ) -> Result<Option<RawValue>, TrapCode> {
        let mut stack = Operands::with_capacity(2);
        for op in expr {
            if self.evaluate_op(id, info, *op, &mut stack)?.is_none() {
                return Ok(None);
            }
        }
        Ok(stack.pop().map(|(value, _)| RawValue(value)))
    }

    fn evaluate_op(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        op: ConstOp,
        stack: &mut Operands,
    ) -> Result<Option<()>, TrapCode> {
        let vm = &self.instances[id.position()].vm;
        let mut binary = |f: &dyn Fn(u64, u64) -> u64| {
            let (b, a) = (stack.pop()?.0 as u64, stack.pop()?.0 as u64);
            Some(u128::from(f(a, b)))
        };
        let number = match op {
            ConstOp::I32Const(v) => Some(u128::from(v as u32)),
            ConstOp::I64Const(v) => Some(u128::from(v as u64)),
            ConstOp::F32Const(v) => Some(u128::from(v)),
            ConstOp::F64Const(v) => Some(u128::from(v)),
            ConstOp::V128Const(v) => Some(v),
            ConstOp::RefNull(_) => Some(0),
            ConstOp::RefFunc(func) => vm
                .module()
                .code()
                .function_type(func)
                .map(|ty| u128::from(FuncRef::new(id, ty, func).to_bits())),
            ConstOp::I32Add => binary(&|a, b| u64::from((a as u32).wrapping_add(b as u32))),
            ConstOp::I32Sub => binary(&|a, b| u64::from((a as u32).wrapping_sub(b as u32))),
            ConstOp::I32Mul => binary(&|a, b| u64::from((a as u32).wrapping_mul(b as u32))),
            ConstOp::I64Add => binary(&u64::wrapping_add),
            ConstOp::I64Sub => binary(&u64::wrapping_sub),
            ConstOp::I64Mul => binary(&u64::wrapping_mul),
            ConstOp::RefI31 => stack.pop().map(|(value, _)| {
                u128::from(ObjectBits::I31(value as u32 & ((1 << 31) - 1)).to_bits())
            }),
            ConstOp::GlobalGet(index) => {
                let (Some(value), Some(global)) =
                    (vm.global(index), info.globals.get(index as usize))
                else {
                    return Ok(None);
                };
                let holds = StorageType::Val(global.ty.value).holds_objects();
                stack.push((value.0, holds));
                return Ok(Some(()));
            }
            // Both hierarchies are held alike.
            ConstOp::AnyConvertExtern | ConstOp::ExternConvertAny => return Ok(Some(())),
            ConstOp::StructNew(ty) => {
                let count = info.types[ty as usize].fields().len();
                return self.make(id, info, (ty, count), stack);
            }
            ConstOp::StructNewDefault(ty) => return self.make(id, info, (ty, 0), stack),
            ConstOp::ArrayNewFixed(ty, len) => {
                return self.make(id, info, (ty, len as usize), stack);
            }
            ConstOp::ArrayNewDefault(ty) => {
                let Some((len, _)) = stack.pop() else { return Ok(None) };
                let array = self.new_array_between(id, ty, len as u32, stack)?;
                stack.push((u128::from(array), true));
                return Ok(Some(()));
            }
            ConstOp::ArrayNew(ty) => {
                let Some((len, _)) = stack.pop() else { return Ok(None) };
                let array = self.new_array_between(id, ty, len as u32, stack)?;
                // Only now: it may have moved.
                let Some((value, _)) = stack.pop() else { return Ok(None) };
                let storage = element(info, ty);
                let size = size_of_storage(storage);
                let first = array as usize + elements_at(size) as usize;
                for i in 0..len as u32 {
                    self.store_raw(first + (i * size) as usize, storage, RawValue(value));
                }
                stack.push((u128::from(array), true));
                return Ok(Some(()));
            }
        };
        Ok(number.map(|number| stack.push((number, false))))
    }

    /// Makes an array while the operands stay roots.
    fn new_array_between(
        &mut self,
        id: InstanceId,
        ty: TypeIndex,
        len: u32,
        stack: &mut Operands,
    ) -> Result<u32, TrapCode> {
        let mut roots = roots(stack);
        let array = self.new_array(id, ty, len, &mut roots)?;
        set_roots(stack, roots);
        Ok(array)
    }

    /// Makes a structure or an array of the topmost operands.
    fn make(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        (ty, count): (TypeIndex, usize),
        stack: &mut Operands,
    ) -> Result<Option<()>, TrapCode> {
        let declared = &info.types[ty as usize];
        let mut kept = roots(stack);
        let object = match declared {
            CompositeType::Array(_) => self.new_array(id, ty, count as u32, &mut kept)?,
            _ => self.new_struct(id, ty, &mut kept)?,
        };
        set_roots(stack, kept);
        let Some(first) = stack.len().checked_sub(count) else { return Ok(None) };
        let values = stack.split_off(first);
        for (i, (value, _)) in values.into_iter().enumerate() {
            let (storage, place) = match (declared, Shape::of(declared)) {
                (CompositeType::Array(element), _) => {
                    let size = size_of_storage(element.storage);
                    (element.storage, elements_at(size) + i as u32 * size)
                }
                (ty, Some(Shape::Struct { fields, .. })) => (ty.fields()[i].storage, fields[i]),
                _ => return Ok(None),
            };
            self.store_raw(object as usize + place as usize, storage, RawValue(value));
        }
        stack.push((u128::from(object), true));
        Ok(Some(()))
    }
}

fn element(info: &ModuleInfo, ty: TypeIndex) -> StorageType {
    match &info.types[ty as usize] {
        CompositeType::Array(element) => element.storage,
        _ => StorageType::Val(ValType::I32),
    }
}

fn roots(stack: &Operands) -> Vec<u64> {
    let held = stack.iter().filter(|(_, holds)| *holds);
    held.map(|(bits, _)| *bits as u64).collect()
}

fn set_roots(stack: &mut Operands, roots: Vec<u64>) {
    let held = stack.iter_mut().filter(|(_, holds)| *holds);
    for ((bits, _), moved) in held.zip(roots) {
        *bits = u128::from(moved);
    }
}
