//! What the mock compiles to: the operators of each function, in a list.

use executor_model::{Listeners, Module, Val};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// An operator that the mock runs.
pub enum Op {
    Const(Val),
    LocalGet(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    Add,
    Mul,
    Load(u64),
    Store(u64),
    /// `i32.load8_u`.
    LoadByte(u64),
    MemorySize,
    MemoryGrow,
    TableGet(u32),
    TableSet(u32),
    RefFunc(u32),
    Call(u32),
    CallIndirect {
        ty: u32,
        table: u32,
    },
    Drop,
    Unreachable,
}

/// A compiled module.
pub struct Code {
    pub module: Module,
    pub listeners: Listeners,
    /// Of the functions that the module defines.
    pub bodies: Vec<Vec<Op>>,
}

impl Code {
    /// Compiles a module, or says what in it is beyond the mock.
    pub fn new(module: &Module, listeners: &Listeners) -> Result<Self, String> {
        let bodies = module.bodies.iter().map(|range| {
            let bytes = &module.bytes[range.clone()];
            body(module, &FunctionBody::new(BinaryReader::new(bytes, range.start as u64)))
        });
        let bodies = bodies.collect::<Result<_, _>>()?;
        Ok(Self { module: module.clone(), listeners: listeners.clone(), bodies })
    }
}

fn body(module: &Module, body: &FunctionBody<'_>) -> Result<Vec<Op>, String> {
    let locals = body.get_locals_reader().map_err(|e| e.to_string())?;
    if locals.get_count() > 0 {
        return Err("locals are beyond the mock".to_owned());
    }
    let reader = body.get_operators_reader().map_err(|e| e.to_string())?;
    let mut ops = Vec::new();
    for operator in reader {
        ops.push(match operator.map_err(|e| e.to_string())? {
            Operator::I32Const { value } => Op::Const(Val::I32(value)),
            Operator::I64Const { value } => Op::Const(Val::I64(value)),
            Operator::LocalGet { local_index } => Op::LocalGet(local_index),
            Operator::GlobalGet { global_index } => Op::GlobalGet(global_index),
            Operator::GlobalSet { global_index } => Op::GlobalSet(global_index),
            Operator::I32Add => Op::Add,
            Operator::I32Mul => Op::Mul,
            Operator::I32Load { memarg } => Op::Load(memarg.offset),
            Operator::I32Store { memarg } => Op::Store(memarg.offset),
            Operator::I32Load8U { memarg } => Op::LoadByte(memarg.offset),
            Operator::MemorySize { .. } => Op::MemorySize,
            Operator::MemoryGrow { .. } => Op::MemoryGrow,
            Operator::TableGet { table } => Op::TableGet(table),
            Operator::TableSet { table } => Op::TableSet(table),
            Operator::RefFunc { function_index } => Op::RefFunc(function_index),
            Operator::Call { function_index } => Op::Call(function_index),
            Operator::CallIndirect { type_index, table_index } => Op::CallIndirect {
                ty: module.info.canonical[type_index as usize],
                table: table_index,
            },
            Operator::Drop => Op::Drop,
            Operator::Unreachable => Op::Unreachable,
            // Without blocks, it is the end of the body.
            Operator::End => break,
            other => return Err(format!("{other:?} is beyond the mock")),
        });
    }
    Ok(ops)
}
