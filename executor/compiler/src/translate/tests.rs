//! What the IR of a function is like where blocks are nested deep, and that making it ends in time.

use super::function;
use crate::{
    context::ModuleContext,
    deadline::Deadline,
    decode::{Validate, decode},
    isa::Target,
};
use cranelift_codegen::ir::{Function, Opcode};
use cranelift_frontend::FunctionBuilderContext;
use executor_code::{
    CompileError, CpuFeatures, OptLevel, layout::InstanceLayout, objects::ObjectTypes,
};
use executor_model::{Features, Module, ModuleHash};
use std::{sync::Arc, time::Duration};

/// The IR of a function with one parameter and this body.
fn ir(body: &str, time: Duration) -> Result<Function, CompileError> {
    let wasm = wat::parse_str(format!("(module (func (param i32) {body}))")).unwrap();
    let features = Features::default();
    let any = Deadline::after(Duration::MAX);
    let (info, bodies) = decode(&wasm, features, Validate::All, any).unwrap();
    let (info, bodies) = (Arc::new(info), bodies.into());
    let module = Module {
        hash: ModuleHash::of(&wasm),
        bytes: wasm.as_slice().into(),
        info,
        bodies,
        features,
    };
    let context = ModuleContext {
        module: &module,
        layout: &InstanceLayout::of(&module.info),
        target: &Target::new(CpuFeatures::host(), OptLevel::Speed).unwrap(),
        objects: &ObjectTypes::default(),
        stack_maps: false,
        types: None,
        reach: None,
        allowance: u64::MAX,
        deadline: Deadline::after(time),
    };
    let mut made = Function::new();
    function(&context, 0, None, &mut made, &mut FunctionBuilderContext::new())?;
    Ok(made)
}

/// `n` blocks, one in the other, each begun with `begin` and ended with `end`.
fn nested(n: usize, begin: &str, end: &str) -> String {
    format!("{} {}", begin.repeat(n), end.repeat(n))
}

fn count(function: &Function, opcode: Opcode) -> usize {
    let blocks = function.layout.blocks();
    let insts = blocks.flat_map(|block| function.layout.block_insts(block));
    insts.filter(|inst| function.dfg.insts[*inst].opcode() == opcode).count()
}

#[test]
fn ends_of_blocks_that_lead_to_ends_of_blocks_are_separated() {
    for (begin, end) in [("local.get 0 if ", "else end "), ("block local.get 0 br_if 0 ", "end ")] {
        let separated =
            |n| count(&ir(&nested(n, begin, end), Duration::MAX).unwrap(), Opcode::Trapz);
        assert_eq!([separated(1000), separated(1024), separated(5000)], [0, 1, 4], "{begin}");
    }
}

#[test]
fn the_time_is_looked_at_while_a_function_is_translated() {
    for body in ["nop ".repeat(1000), nested(10, "loop ", "end ")] {
        ir(&body, Duration::MAX).unwrap();
        let error = ir(&body, Duration::ZERO).unwrap_err();
        assert!(matches!(error, CompileError::TooSlow { .. }), "{error}");
    }
}
