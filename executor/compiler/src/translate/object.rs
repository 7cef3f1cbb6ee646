//! Structures, and what they and arrays have in common: the heap, its allocation, fields.
//!
//! Invariant: an address is formed from a reference that is no null and the constant offset of a field of its
//! type. References come from the allocator alone, and the heap is reserved as far as they and the largest
//! structure reach.

use super::Translator;
use crate::signature::WORD;
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types};
use executor_code::{
    abi::{Builtin, HeapHeader, VmHeader},
    objects::{self, ObjectType, Shape},
};
use executor_model::{
    CompositeType, FieldType, Hierarchy, RefType, StorageType, TrapCode, TypeIndex, ValType,
};
use std::mem::offset_of;
use wasmparser::Operator;

/// How a packed field becomes an `i32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extend {
    /// It is not packed.
    Whole,
    Signed,
    Unsigned,
}

impl<'a> Translator<'a> {
    pub(super) fn object(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::StructNew { struct_type_index } => {
                let ty = self.canonical(struct_type_index);
                let count = self.field_types(ty).len();
                let values = self.stack.split_off(self.stack.len() - count);
                self.new_struct(ty, &values);
            }
            Operator::StructNewDefault { struct_type_index } => {
                // What is allocated is zero.
                let ty = self.canonical(struct_type_index);
                self.new_struct(ty, &[]);
            }
            Operator::StructGet { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, Extend::Whole);
            }
            Operator::StructGetS { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, Extend::Signed);
            }
            Operator::StructGetU { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, Extend::Unsigned);
            }
            Operator::StructSet { struct_type_index, field_index } => {
                let ty = self.canonical(struct_type_index);
                let value = self.pop();
                let address = self.pop_object(TrapCode::NullStructReference, 1);
                let (storage, at) = self.field(ty, field_index);
                self.store_field(storage, value, address, at);
            }
            _ => return false,
        }
        true
    }

    fn struct_get(&mut self, ty: u32, field: u32, extend: Extend) {
        let ty = self.canonical(ty);
        let address = self.pop_object(TrapCode::NullStructReference, 0);
        let (storage, at) = self.field(ty, field);
        let value = self.load_field(storage, extend, address, at);
        self.push(value);
    }

    /// Makes a structure whose first fields are these, and pushes it.
    fn new_struct(&mut self, ty: TypeIndex, values: &[Value]) {
        let Shape::Struct { fields, size } = &self.object_type(ty).shape else {
            unreachable!("validated code")
        };
        let size = self.emitter.word(u64::from(*size));
        let (object, address) = self.allocate(ty, size);
        let storages = self.field_types(ty).iter().map(|field| field.storage);
        for ((value, at), storage) in values.iter().zip(fields).zip(storages) {
            self.store_field(storage, *value, address, *at as i32);
        }
        self.push(object);
    }

    /// The canonical index of a type.
    pub(super) fn canonical(&self, index: u32) -> TypeIndex {
        self.emitter.context.info().canonical[index as usize]
    }

    pub(super) fn object_type(&self, ty: TypeIndex) -> &'a ObjectType {
        self.emitter.context.objects.get(ty).expect("a type of objects")
    }

    /// The types of the fields of a structure.
    fn field_types(&self, ty: TypeIndex) -> &'a [FieldType] {
        self.emitter.context.info().types[ty as usize].fields()
    }

    /// The type of the elements of an array.
    pub(super) fn element_type(&self, ty: TypeIndex) -> StorageType {
        match &self.emitter.context.info().types[ty as usize] {
            CompositeType::Array(element) => element.storage,
            _ => unreachable!("validated code"),
        }
    }

    /// What a field of a structure is stored as, and where.
    fn field(&self, ty: TypeIndex, field: u32) -> (StorageType, i32) {
        let Shape::Struct { fields, .. } = &self.object_type(ty).shape else {
            unreachable!("validated code")
        };
        let storage = self.field_types(ty)[field as usize].storage;
        (storage, fields[field as usize] as i32)
    }

    /// The address that references are offsets from.
    fn heap(&mut self) -> Value {
        self.emitter.load_fixed(WORD, offset_of!(VmHeader, heap) as i64)
    }

    /// The address of an object that a reference refers to.
    pub(super) fn address_of(&mut self, reference: Value) -> Value {
        let heap = self.heap();
        self.ins().iadd(heap, reference)
    }

    /// The type of the reference so many operands below the top, as validation knows it. Where nobody asked for
    /// types, only that it is of a hierarchy.
    pub(super) fn reference_type(&self, below: usize, hierarchy: Hierarchy) -> RefType {
        match self.types.as_ref().map(|types| types.top(below)) {
            Some(ValType::Ref(ty)) => ty,
            Some(_) => unreachable!("validated code"),
            None => RefType { nullable: true, heap: hierarchy.top() },
        }
    }

    /// Pops a reference, which had `below` operands above it that are popped already: the address of what it refers
    /// to. Traps where it is null.
    pub(super) fn pop_object(&mut self, code: TrapCode, below: usize) -> Value {
        let reference = self.pop_reference(code, below);
        self.address_of(reference)
    }

    /// As [`Self::pop_object`], the reference itself.
    pub(super) fn pop_reference(&mut self, code: TrapCode, below: usize) -> Value {
        let reference = self.pop();
        if self.reference_type(below, Hierarchy::Any).nullable {
            self.trap_if_null(reference, code);
        }
        reference
    }

    /// Makes an object of `size` bytes (64 bits, a multiple of 8) which are zero but for its first word: a reference
    /// to it and its address.
    pub(super) fn allocate(&mut self, ty: TypeIndex, size: Value) -> (Value, Value) {
        let heap = self.heap();
        let access = self.emitter.access;
        let builder = &mut self.emitter.builder;
        let (fast, slow, made) =
            (builder.create_block(), builder.create_block(), builder.create_block());
        builder.set_cold_block(slow);
        let object = builder.append_block_param(made, WORD);
        let next_at = offset_of!(HeapHeader, next) as i32;
        let end_at = offset_of!(HeapHeader, end) as i32;
        let next = self.ins().load(WORD, access.heap_header, heap, next_at);
        let end = self.ins().load(WORD, access.heap_header, heap, end_at);
        let after = self.ins().iadd(next, size);
        let fits = self.ins().icmp(IntCC::UnsignedLessThanOrEqual, after, end);
        self.ins().brif(fits, fast, &[], slow, &[]);

        self.switch_to(fast);
        self.ins().store(access.heap_header, after, heap, next_at);
        self.ins().jump(made, &[next.into()]);

        self.switch_to(slow);
        let other = self.emitter.call_builtin(Builtin::ObjectAllocate, &[size]);
        self.ins().jump(made, &[other.into()]);

        self.switch_to(made);
        let address = self.ins().iadd(heap, object);
        let word = self.word_of(ty);
        self.ins().store(access.heap, word, address, 0);
        (object, address)
    }

    /// What objects of a type begin with.
    fn word_of(&mut self, ty: TypeIndex) -> Value {
        let of = self.object_type(ty);
        let array = match of.shape {
            Shape::Struct { .. } => 0,
            Shape::Array { .. } => objects::ARRAY,
        };
        let word = u64::from(of.number) << objects::NUMBER_SHIFT | array;
        let key = self.emitter.instance_key();
        self.ins().iadd_imm_u(key, word.cast_signed())
    }

    /// Loads a field or an element.
    pub(super) fn load_field(
        &mut self,
        storage: StorageType,
        extend: Extend,
        address: Value,
        at: i32,
    ) -> Value {
        let access = self.emitter.access.heap;
        let signed = extend == Extend::Signed;
        match storage {
            StorageType::I8 if signed => self.ins().sload8(types::I32, access, address, at),
            StorageType::I8 => self.ins().uload8(types::I32, access, address, at),
            StorageType::I16 if signed => self.ins().sload16(types::I32, access, address, at),
            StorageType::I16 => self.ins().uload16(types::I32, access, address, at),
            _ if storage.holds_objects() => self.ins().uload32(access, address, at),
            StorageType::Val(ty) => {
                let ty = crate::signature::clif_type(ty);
                self.ins().load(ty, access, address, at)
            }
        }
    }

    /// Stores a field or an element.
    pub(super) fn store_field(
        &mut self,
        storage: StorageType,
        value: Value,
        address: Value,
        at: i32,
    ) {
        let access = self.emitter.access.heap;
        match storage {
            StorageType::I8 => self.ins().istore8(access, value, address, at),
            StorageType::I16 => self.ins().istore16(access, value, address, at),
            _ if storage.holds_objects() => self.ins().istore32(access, value, address, at),
            StorageType::Val(_) => self.ins().store(access, value, address, at),
        };
    }
}
