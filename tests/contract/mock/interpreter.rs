//! Runs functions, one operator after the other, on a stack of values.

use super::{
    code::Op,
    store::{MockStore, trap, usage},
};
use executor_model::{CallError, InstanceId, ListenerContext, TrapCode, Val};
use std::sync::Arc;

/// Calls nested deeper than this exhaust the stack.
const MAX_DEPTH: u32 = 200;

/// The values of one call. Validated code never pops more than it pushed.
struct Stack(Vec<Val>);

impl Stack {
    fn pop(&mut self) -> Result<Val, CallError> {
        self.0.pop().ok_or_else(|| usage("the stack is empty"))
    }

    fn pop_i32(&mut self) -> Result<i32, CallError> {
        match self.pop()? {
            Val::I32(value) => Ok(value),
            other => Err(usage(format!("{other:?} is no i32"))),
        }
    }

    /// The last `n` values, in order.
    fn split(&mut self, n: usize) -> Vec<Val> {
        self.0.split_off(self.0.len() - n)
    }
}

impl MockStore {
    /// Calls a function with checked arguments, telling its module's listener if it defines it.
    pub fn invoke(
        &mut self,
        id: InstanceId,
        func: u32,
        params: Vec<Val>,
        depth: u32,
    ) -> Result<Vec<Val>, CallError> {
        if depth > MAX_DEPTH {
            return Err(trap(TrapCode::StackOverflow).into());
        }
        let instance = self.instance(id);
        if let Some(imported) = instance.funcs.get(func as usize) {
            let to = imported.ok_or_else(|| usage("the function is not resolved"))?;
            return self.invoke(to.instance(), to.func(), params, depth + 1);
        }
        let code = Arc::clone(&instance.code);
        let context = ListenerContext { func, name: None };
        let listener = code.listeners.get();
        if let Some(listener) = listener {
            listener.before(&context, &params);
        }
        let body = &code.bodies[func as usize - instance.funcs.len()];
        let arity = code.module.info.func_type(func).results.len();
        let mut stack = Stack(Vec::new());
        let ended = body.iter().try_for_each(|op| self.run(id, op, &params, &mut stack, depth));
        let result = ended.map(|()| stack.split(arity));
        match (&result, listener) {
            (Ok(results), Some(listener)) => listener.after(&context, results),
            (Err(error), Some(listener)) => listener.abort(&context, error),
            (_, None) => {}
        }
        result
    }

    fn run(
        &mut self,
        id: InstanceId,
        op: &Op,
        locals: &[Val],
        stack: &mut Stack,
        depth: u32,
    ) -> Result<(), CallError> {
        let value = match *op {
            Op::Const(value) => value,
            Op::LocalGet(index) => locals[index as usize],
            Op::GlobalGet(index) => {
                self.global(id, index).ok_or_else(|| usage("an unresolved global"))?.value
            }
            Op::GlobalSet(index) => {
                let value = stack.pop()?;
                self.set_global(id, index, value);
                return Ok(());
            }
            Op::Add => Val::I32(stack.pop_i32()?.wrapping_add(stack.pop_i32()?)),
            Op::Mul => Val::I32(stack.pop_i32()?.wrapping_mul(stack.pop_i32()?)),
            Op::Load(offset) => {
                let at = stack.pop_i32()? as u32;
                let bytes = self.first_memory(id)?.at(u64::from(at) + offset, 4)?;
                Val::I32(bytes.iter().rev().fold(0, |value, byte| value << 8 | i32::from(*byte)))
            }
            Op::LoadByte(offset) => {
                let at = stack.pop_i32()? as u32;
                Val::I32(i32::from(self.first_memory(id)?.at(u64::from(at) + offset, 1)?[0]))
            }
            Op::Store(offset) => {
                let (value, at) = (stack.pop_i32()?, stack.pop_i32()? as u32);
                let bytes = self.first_memory(id)?.at(u64::from(at) + offset, 4)?;
                bytes.copy_from_slice(&value.to_le_bytes());
                return Ok(());
            }
            Op::MemorySize => {
                let size = self.first_memory(id)?.grow(0);
                Val::I32(size.map_or(-1, |pages| pages as i32))
            }
            Op::MemoryGrow => {
                let delta = stack.pop_i32()? as u32;
                let before = self.first_memory(id)?.grow(delta.into());
                Val::I32(before.map_or(-1, |pages| pages as i32))
            }
            Op::TableGet(table) => {
                let at = stack.pop_i32()? as u32 as usize;
                let element = self.table(id, table).and_then(|table| table.elements.get(at));
                *element.ok_or_else(|| trap(TrapCode::TableOutOfBounds))?
            }
            Op::TableSet(table) => {
                let (value, at) = (stack.pop()?, stack.pop_i32()? as u32 as usize);
                return Ok(self.set_element(id, table, at, value)?);
            }
            Op::RefFunc(index) => Val::FuncRef(self.func(id, index)),
            Op::Call(index) => return self.call_on(id, index, stack, depth),
            Op::CallIndirect { ty, table } => {
                let at = stack.pop_i32()? as u32;
                let func = self.lookup(id, table, ty, at)?;
                return self.call_on(func.instance(), func.func(), stack, depth);
            }
            Op::Drop => return stack.pop().map(drop),
            Op::Unreachable => return Err(trap(TrapCode::Unreachable).into()),
        };
        stack.0.push(value);
        Ok(())
    }

    fn first_memory(&mut self, id: InstanceId) -> Result<&mut super::store::Memory, CallError> {
        self.memory(id, 0).ok_or_else(|| usage("an unresolved memory"))
    }

    /// Calls a function with arguments from the stack, and leaves its results there.
    fn call_on(
        &mut self,
        id: InstanceId,
        func: u32,
        stack: &mut Stack,
        depth: u32,
    ) -> Result<(), CallError> {
        let params = stack.split(self.instance(id).code.module.info.func_type(func).params.len());
        stack.0.extend(self.invoke(id, func, params, depth + 1)?);
        Ok(())
    }
}
