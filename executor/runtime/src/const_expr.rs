//! Constant expressions.
//!
//! Invariant: what an expression has made so far is a root while it makes the next object.

use crate::store::StoreInner;
use executor_code::objects::{Shape, elements_at, size_of_storage};
use executor_model::{
    CompositeType, ConstOp, FuncRef, InstanceId, ModuleInfo, ObjectBits, RawValue, StorageType,
    TrapCode, TypeIndex,
};

/// The operands of an expression.
#[derive(Default)]
struct Operands {
    /// The bits of each; `None` for one in `objects`, which are in the same order.
    stack: Vec<Option<u128>>,
    /// Those that may be references to objects. They are changed where an object moves.
    objects: Vec<u64>,
}

impl Operands {
    fn push(&mut self, bits: u128, holds_objects: bool) {
        if holds_objects {
            self.objects.push(bits as u64);
        }
        self.stack.push((!holds_objects).then_some(bits));
    }

    fn pop(&mut self) -> Option<u128> {
        self.stack.pop()?.or_else(|| self.objects.pop().map(u128::from))
    }
}

impl StoreInner {
    /// The value of a validated constant expression in an instance of a module with these declarations, whose imports
    /// are resolved and whose earlier globals are initialised. `None` when a global it names is not there.
    pub(crate) fn evaluate(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        expr: &[ConstOp],
    ) -> Result<Option<RawValue>, TrapCode> {
        let mut stack = Operands::default();
        for op in expr {
            if self.evaluate_op(id, info, *op, &mut stack)?.is_none() {
                return Ok(None);
            }
        }
        Ok(stack.pop().map(RawValue))
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
            let (b, a) = (stack.pop()? as u64, stack.pop()? as u64);
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
            ConstOp::RefI31 => stack
                .pop()
                .map(|value| u128::from(ObjectBits::I31(value as u32 & ((1 << 31) - 1)).to_bits())),
            ConstOp::GlobalGet(index) => {
                let (Some(value), Some(global)) =
                    (vm.global(index), info.globals.get(index as usize))
                else {
                    return Ok(None);
                };
                let holds = StorageType::Val(global.ty.value).holds_objects();
                stack.push(value.0, holds);
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
                let Some(len) = stack.pop() else { return Ok(None) };
                let array = self.new_array(id, ty, len as u32, &mut stack.objects)?;
                stack.push(u128::from(array), true);
                return Ok(Some(()));
            }
            ConstOp::ArrayNew(ty) => {
                let Some(len) = stack.pop() else { return Ok(None) };
                let array = self.new_array(id, ty, len as u32, &mut stack.objects)?;
                // Only now: it may have moved.
                let Some(value) = stack.pop() else { return Ok(None) };
                self.fill_new_array(array, value)?;
                stack.push(u128::from(array), true);
                return Ok(Some(()));
            }
        };
        Ok(number.map(|number| stack.push(number, false)))
    }

    /// Sets all elements of an array that is all zero.
    fn fill_new_array(&mut self, array: u32, value: u128) -> Result<(), TrapCode> {
        let (all, size) = self.elements(array, 0, self.array_len(array).into())?;
        let bytes = value.to_le_bytes();
        let Some(bytes) = bytes.get(..size).filter(|bytes| bytes.iter().any(|byte| *byte != 0))
        else {
            return Ok(());
        };
        let mut heap = self.heap_mut();
        let elements = heap.get_mut(all).ok_or(TrapCode::ArrayOutOfBounds)?;
        elements.chunks_exact_mut(size).for_each(|element| element.copy_from_slice(bytes));
        Ok(())
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
        let object = match declared {
            CompositeType::Array(_) => self.new_array(id, ty, count as u32, &mut stack.objects)?,
            _ => self.new_struct(id, ty, &mut stack.objects)?,
        };
        let shape = Shape::of(declared);
        for i in (0..count).rev() {
            let (storage, place) = match (declared, &shape) {
                (CompositeType::Array(element), _) => {
                    let size = size_of_storage(element.storage);
                    (element.storage, elements_at(size) + i as u32 * size)
                }
                (ty, Some(Shape::Struct { fields, .. })) => (ty.fields()[i].storage, fields[i]),
                _ => return Ok(None),
            };
            let Some(value) = stack.pop() else { return Ok(None) };
            self.store_raw(object as usize + place as usize, storage, RawValue(value));
        }
        stack.push(u128::from(object), true);
        Ok(Some(()))
    }
}
