//! Arrays.
//!
//! Invariant: an element is accessed only after its index was compared with the array's length. Its place in the heap is
//! a number of 32 bits, so a processor that guesses the comparison wrong stays in what is reserved for the heap. Nothing
//! is written unless all of a range is inside.

use super::{Translator, object::Extend};
use crate::{ranges::RangeFunction, signature::WORD};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, condcodes::IntCC, types};
use executor_code::{
    abi::Builtin,
    layout::MEMORY_GUARD,
    objects::{ARRAY_LENGTH, elements_at, size_of_storage},
};
use executor_model::{StorageType, TrapCode, TypeIndex};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn array(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::ArrayNew { array_type_index } => {
                let ty = self.canonical(array_type_index);
                let [value, len] = self.pop2();
                let (array, address) = self.new_array(ty, len);
                let storage = self.element_type(ty);
                let size = size_of_storage(storage);
                let first = self.ins().iadd_imm_u(address, i64::from(elements_at(size)));
                let len = self.emitter.extend(len);
                let len = self.ins().ishl_imm_u(len, i64::from(size.trailing_zeros()));
                self.fill(storage, first, len, value);
                self.push(array);
            }
            Operator::ArrayNewDefault { array_type_index } => {
                let ty = self.canonical(array_type_index);
                let len = self.pop();
                let (array, _) = self.new_array(ty, len);
                self.push(array);
            }
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                let ty = self.canonical(array_type_index);
                let values = self.stack.split_off(self.stack.len() - array_size as usize);
                let len = self.ins().iconst(types::I32, i64::from(array_size));
                let (array, address) = self.new_array(ty, len);
                let storage = self.element_type(ty);
                let size = size_of_storage(storage);
                for (at, value) in (elements_at(size)..).step_by(size as usize).zip(values) {
                    self.store_field(storage, value, address, at as i32);
                }
                self.push(array);
            }
            Operator::ArrayNewData { array_type_index, array_data_index } => {
                self.new_of(Builtin::ArrayNewData, array_type_index, array_data_index);
            }
            Operator::ArrayNewElem { array_type_index, array_elem_index } => {
                self.new_of(Builtin::ArrayNewElem, array_type_index, array_elem_index);
            }
            Operator::ArrayGet { array_type_index } => {
                self.array_get(array_type_index, Extend::Whole);
            }
            Operator::ArrayGetS { array_type_index } => {
                self.array_get(array_type_index, Extend::Signed);
            }
            Operator::ArrayGetU { array_type_index } => {
                self.array_get(array_type_index, Extend::Unsigned);
            }
            Operator::ArraySet { array_type_index } => {
                let storage = self.element_type(self.canonical(array_type_index));
                let [index, value] = self.pop2();
                let array = self.pop_reference(TrapCode::NullArrayReference, 2);
                let (address, at) = self.element_address(storage, array, index);
                self.store_field(storage, value, address, at);
            }
            Operator::ArrayLen => {
                let array = self.pop_object(TrapCode::NullArrayReference, 0);
                let len = self.array_len(array);
                self.push(len);
            }
            Operator::ArrayFill { array_type_index } => {
                let storage = self.element_type(self.canonical(array_type_index));
                let [index, value, count] = self.pop3();
                let array = self.pop_object(TrapCode::NullArrayReference, 3);
                let len = self.array_len(array);
                let (first, len) = self.elements(storage, (array, len), index, count);
                self.fill(storage, first, len, value);
            }
            Operator::ArrayCopy { array_type_index_dst, .. } => self.copy(array_type_index_dst),
            Operator::ArrayInitData { array_data_index, .. } => {
                self.init(Builtin::ArrayInitData, array_data_index);
            }
            Operator::ArrayInitElem { array_elem_index, .. } => {
                self.init(Builtin::ArrayInitElem, array_elem_index);
            }
            _ => return false,
        }
        true
    }

    /// An array of a segment's items.
    fn new_of(&mut self, builtin: Builtin, ty: u32, segment: u32) {
        let ty = self.canonical(ty);
        let [src, len] = self.pop2();
        let (src, len) = (self.emitter.extend(src), self.emitter.extend(len));
        let (ty, segment) = (self.emitter.word(ty.into()), self.emitter.word(segment.into()));
        let array = self.emitter.call_builtin(builtin, &[ty, segment, src, len]);
        self.push(array);
    }

    /// Copies a segment's items to an array.
    fn init(&mut self, builtin: Builtin, segment: u32) {
        let operands = self.pop3();
        let array = self.pop();
        self.trap_if_null(array, TrapCode::NullArrayReference);
        let [dst, src, len] = operands.map(|value| self.emitter.extend(value));
        let segment = self.emitter.word(segment.into());
        self.emitter.call_builtin(builtin, &[array, segment, dst, src, len]);
    }

    /// Makes an array of `len` (32 bits) zeroes or nulls: a reference to it and its address.
    fn new_array(&mut self, ty: TypeIndex, len: Value) -> (Value, Value) {
        let element = size_of_storage(self.element_type(ty));
        let long = self.emitter.extend(len);
        let shift = i64::from(element.trailing_zeros());
        let size = self.ins().ishl_imm_u(long, shift);
        let size = self.ins().iadd_imm_u(size, i64::from(elements_at(element)) + 7);
        let size = self.ins().band_imm_s(size, -8);
        let (array, address) = self.allocate(ty, size);
        let access = self.emitter.access.heap;
        self.ins().store(access, len, address, ARRAY_LENGTH as i32);
        (array, address)
    }

    /// The length of the array at an address, as 32 bits.
    fn array_len(&mut self, array: Value) -> Value {
        let access = self.emitter.access.heap;
        self.ins().load(types::I32, access, array, ARRAY_LENGTH as i32)
    }

    fn array_get(&mut self, ty: u32, extend: Extend) {
        let storage = self.element_type(self.canonical(ty));
        let index = self.pop();
        let array = self.pop_reference(TrapCode::NullArrayReference, 1);
        let (address, at) = self.element_address(storage, array, index);
        let value = self.load_field(storage, extend, address, at);
        self.push(value);
    }

    /// Where an element of the array that a reference, not null, refers to lies: a base and an offset. Traps when there
    /// is none.
    fn element_address(
        &mut self,
        storage: StorageType,
        reference: Value,
        index: Value,
    ) -> (Value, i32) {
        let array = self.address_of(reference);
        let len = self.array_len(array);
        let outside = self.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        self.emitter.trap_if(outside, TrapCode::ArrayOutOfBounds);
        let size = size_of_storage(storage);
        let distance = self.ins().ishl_imm_u(index, i64::from(size.trailing_zeros()));
        let array = self.ins().ireduce(types::I32, reference);
        let place = self.ins().iadd(array, distance);
        let place = self.emitter.extend(place);
        const { assert!(MEMORY_GUARD >= 2 * size_of::<u128>() as u64) };
        (self.address_of(place), elements_at(size) as i32)
    }

    /// Where `count` elements from `index` on of an array, its address and length, lie: the address, and their length
    /// in bytes. Traps unless all are inside.
    fn elements(
        &mut self,
        storage: StorageType,
        (array, len): (Value, Value),
        index: Value,
        count: Value,
    ) -> (Value, Value) {
        let [index, count, len] = [index, count, len].map(|value| self.emitter.extend(value));
        let end = self.ins().iadd(index, count);
        let outside = self.ins().icmp(IntCC::UnsignedGreaterThan, end, len);
        self.emitter.trap_if(outside, TrapCode::ArrayOutOfBounds);
        let count = self.emitter.mask(outside, count);
        let size = size_of_storage(storage);
        let shift = i64::from(size.trailing_zeros());
        let distance = self.ins().ishl_imm_u(index, shift);
        let first = self.ins().iadd(array, distance);
        let first = self.ins().iadd_imm_u(first, i64::from(elements_at(size)));
        (first, self.ins().ishl_imm_u(count, shift))
    }

    /// `array.copy` to an array of a type: that of the other has elements of the same size.
    fn copy(&mut self, ty: u32) {
        let storage = self.element_type(self.canonical(ty));
        let [from, src, count] = self.pop3();
        let [to, dst] = self.pop2();
        self.trap_if_null(to, TrapCode::NullArrayReference);
        self.trap_if_null(from, TrapCode::NullArrayReference);
        let [(target, _), (source, len)] = [(to, dst), (from, src)].map(|(reference, index)| {
            let array = self.address_of(reference);
            let len = self.array_len(array);
            self.elements(storage, (array, len), index, count)
        });
        self.range_or(RangeFunction::CopyElements, [target, source, len], |this| {
            let [dst, src, count] = [dst, src, count].map(|value| this.emitter.extend(value));
            this.emitter.call_builtin(Builtin::ArrayCopy, &[to, dst, from, src, count]);
        });
    }

    /// Stores a value to all elements from an address on that `len` bytes hold.
    fn fill(&mut self, storage: StorageType, first: Value, len: Value, value: Value) {
        match self.repeated(storage, value) {
            Some(bytes) => {
                self.emitter.call_range(RangeFunction::FillElements, [first, bytes, len]);
            }
            None => self.fill_vectors(storage, first, len, value),
        }
    }

    /// The 8 bytes that elements with a value repeat; `None` where one is longer.
    fn repeated(&mut self, storage: StorageType, value: Value) -> Option<Value> {
        let size = size_of_storage(storage);
        let value = match self.emitter.builder.func.dfg.value_type(value) {
            types::F32 => self.ins().bitcast(types::I32, MemFlagsData::new(), value),
            types::F64 => self.ins().bitcast(types::I64, MemFlagsData::new(), value),
            _ => value,
        };
        let bits = match size {
            8 => return Some(value),
            16 => return None,
            size => size * 8,
        };
        let lowest = u64::MAX >> (64 - bits);
        let word = match self.emitter.builder.func.dfg.value_type(value) {
            types::I32 => self.emitter.extend(value),
            _ => value,
        };
        let word = self.ins().band_imm_u(word, lowest.cast_signed());
        // A one for each element.
        Some(self.ins().imul_imm_u(word, (u64::MAX / lowest).cast_signed()))
    }

    /// As [`Self::fill`], with vectors, of which 8 bytes do not tell all.
    fn fill_vectors(&mut self, storage: StorageType, first: Value, len: Value, value: Value) {
        let end = self.ins().iadd(first, len);
        let builder = &mut self.emitter.builder;
        let (again, body, done) =
            (builder.create_block(), builder.create_block(), builder.create_block());
        let at = builder.append_block_param(again, WORD);
        self.ins().jump(again, &[first.into()]);
        self.enter_block(again);
        let more = self.ins().icmp(IntCC::UnsignedLessThan, at, end);
        self.ins().brif(more, body, &[], done, &[]);
        self.switch_to(body);
        self.store_field(storage, value, at, 0);
        let next = self.ins().iadd_imm_u(at, i64::from(size_of_storage(storage)));
        self.ins().jump(again, &[next.into()]);
        self.emitter.builder.seal_block(again);
        self.switch_to(done);
    }
}
