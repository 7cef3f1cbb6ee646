//! The types of locals and operands, as the validator knows them.
//!
//! Invariant: a [`BodyTypes`] has been told every operator before the one that is asked about.
//!
//! Translation needs types in two places only: what a frame map says must be typed, so that a reference in a
//! snapshot can be checked before machine code trusts it; and a reference to an object must be known as one, so
//! that a collection finds it in the frame.

use crate::{
    decode::{concrete, heap_type, val_type},
    features, invalid,
};
use executor_code::CompileError;
use executor_model::{Features, HeapType, Module, RefType, ValType};
use std::collections::HashMap;
use wasmparser::{
    FuncToValidate, FuncValidator, FunctionBody, Operator, Parser, Payload, ValidPayload,
    Validator, ValidatorResources,
    types::{CoreTypeId, TypesRef},
};

/// The declarations of a module, as the validator has them.
pub(crate) struct ModuleTypes {
    functions: Vec<FuncToValidate<ValidatorResources>>,
    concrete: HashMap<CoreTypeId, HeapType>,
}

impl ModuleTypes {
    /// Reads everything but the bodies.
    pub(crate) fn of(module: &Module) -> Result<Self, CompileError> {
        let features = features::wasmparser(Features::ALL);
        let mut validator = Validator::new_with_features(features);
        let mut parser = Parser::new(0);
        parser.set_features(features);
        let mut types = Self { functions: Vec::new(), concrete: HashMap::new() };
        for payload in parser.parse_all(&module.bytes) {
            let payload = payload.map_err(|e| invalid(&e))?;
            let valid = validator.payload(&payload).map_err(|e| invalid(&e))?;
            if let ValidPayload::Func(function, _) = valid {
                types.functions.push(function);
            } else if let Payload::TypeSection(_) = payload {
                types.add_ids(validator.types(0).expect("in a module"));
            }
        }
        Ok(types)
    }

    fn add_ids(&mut self, types: TypesRef<'_>) {
        for index in 0..types.core_type_count_in_module() {
            let id = types.core_type_at_in_module(index);
            let inner = &types[id].composite_type.inner;
            self.concrete.entry(id).or_insert_with(|| concrete(inner, index));
        }
    }

    /// The types of the body of a defined function, by its position among them.
    pub(crate) fn body(
        &self,
        defined: usize,
        body: &FunctionBody<'_>,
    ) -> Result<BodyTypes<'_>, CompileError> {
        let FuncToValidate { resources, index, ty, features } = &self.functions[defined];
        let function = FuncToValidate {
            resources: resources.clone(),
            index: *index,
            ty: *ty,
            features: *features,
        };
        let mut validator = function.into_validator(Default::default());
        let mut locals = body.get_locals_reader().map_err(|e| invalid(&e))?;
        for _ in 0..locals.get_count() {
            let offset = locals.original_position();
            let (count, ty) = locals.read().map_err(|e| invalid(&e))?;
            validator.define_locals(offset, count, ty).map_err(|e| invalid(&e))?;
        }
        Ok(BodyTypes { validator, concrete: &self.concrete })
    }
}

/// The types of one function's locals and operands.
pub(crate) struct BodyTypes<'a> {
    validator: FuncValidator<ValidatorResources>,
    concrete: &'a HashMap<CoreTypeId, HeapType>,
}

impl BodyTypes<'_> {
    /// Takes note of an operator.
    pub(crate) fn pass(
        &mut self,
        offset: u64,
        operator: &Operator<'_>,
    ) -> Result<(), CompileError> {
        self.validator.op(offset, operator).map_err(|e| invalid(&e))
    }

    /// The type of a local.
    pub(crate) fn local(&self, index: u32) -> ValType {
        self.convert(self.validator.get_local_type(index).expect("validated code"))
    }

    /// The type of the operand at a height of the stack, in code that can be reached.
    pub(crate) fn operand(&self, height: usize) -> ValType {
        let depth = self.validator.operand_stack_height() as usize - 1 - height;
        let ty = self.validator.get_operand_type(depth).flatten();
        self.convert(ty.expect("code that can be reached has no unknown types"))
    }

    /// The type of the operand so many below the top, in code that can be reached.
    pub(crate) fn top(&self, below: usize) -> ValType {
        let ty = self.validator.get_operand_type(below).flatten();
        self.convert(ty.expect("code that can be reached has no unknown types"))
    }

    fn convert(&self, ty: wasmparser::ValType) -> ValType {
        let wasmparser::ValType::Ref(reference) = ty else {
            return val_type(ty, &|_| unreachable!("no reference"));
        };
        let heap = match reference.heap_type() {
            wasmparser::HeapType::Concrete(index) => {
                let id = index.as_core_type_id().and_then(|id| self.concrete.get(&id));
                *id.expect("a type of the module")
            }
            other => heap_type(other, &|_| unreachable!("not concrete")),
        };
        ValType::Ref(RefType { nullable: reference.is_nullable(), heap })
    }
}
