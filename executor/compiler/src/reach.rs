//! Which functions may reach the host: those that call an import, or through a reference, directly
//! or through other functions.
//!
//! Invariant: a function that is said not to reach the host makes no call that leaves its module.

use crate::{features, invalid};
use executor_code::CompileError;
use executor_model::{Features, FuncIndex, Module};
use rayon::prelude::*;
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// The functions of a module that may reach the host, by index.
#[derive(Debug)]
pub(crate) struct Reach(Vec<bool>);

/// What the body of a function calls.
#[derive(Default)]
struct Calls {
    direct: Vec<FuncIndex>,
    indirect: bool,
}

impl Reach {
    /// Reads every body.
    pub(crate) fn of(module: &Module) -> Result<Self, CompileError> {
        let info = &module.info;
        let calls: Vec<Calls> = module
            .bodies
            .par_iter()
            .map(|range| calls(&module.bytes[range.clone()], range.start as u64))
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(&error))?;
        let imported = info.imported_functions;
        let mut callers: Vec<Vec<FuncIndex>> = vec![Vec::new(); info.functions.len()];
        let mut reaches = vec![false; info.functions.len()];
        let mut left: Vec<FuncIndex> = (0..imported).collect();
        for (caller, calls) in (imported..).zip(&calls) {
            calls.direct.iter().for_each(|callee| callers[*callee as usize].push(caller));
            left.extend(calls.indirect.then_some(caller));
        }
        while let Some(func) = left.pop() {
            if !std::mem::replace(&mut reaches[func as usize], true) {
                left.append(&mut callers[func as usize]);
            }
        }
        Ok(Self(reaches))
    }

    /// Whether an operator is a call that may reach the host while its caller's frame waits.
    pub(crate) fn call(&self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::Call { function_index } => self.0[function_index as usize],
            Operator::CallIndirect { .. } | Operator::CallRef { .. } => true,
            _ => false,
        }
    }
}

fn calls(bytes: &[u8], offset: u64) -> Result<Calls, wasmparser::Error> {
    let every = features::wasmparser(Features::ALL);
    let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, every));
    let mut calls = Calls::default();
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                calls.direct.push(function_index);
            }
            Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => calls.indirect = true,
            _ => {}
        }
    }
    calls.direct.sort_unstable();
    calls.direct.dedup();
    Ok(calls)
}
