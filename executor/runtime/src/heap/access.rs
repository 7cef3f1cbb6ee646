//! Objects as a host sees them: their types and fields, and how it makes them; and what builtins do with arrays.
//!
//! Invariant: a value is stored only if it is of the type of its field.

use super::{
    Collections,
    handles::KeptObject,
    types::{Kind, of_word, read_u32, read_u64},
};
use crate::{
    host::Caller,
    store::{Store, StoreInner},
};
use executor_code::objects::{
    ARRAY, ARRAY_LENGTH, ITEMS, NUMBER_SHIFT, ObjectRecord, Shape, array_size, elements_at,
    size_of_storage,
};
use executor_model::{
    CallError, CompositeType, FieldType, FuncRef, HeapType, Hierarchy, InstanceId, ObjectBits,
    ObjectRef, RawValue, RefType, StorageType, TrapCode, TypeIndex, Val, ValType,
};
use std::ops::Range;

/// The type of an object: an index into the type section of an instance's module, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectType {
    /// The instance whose module declares it.
    pub instance: InstanceId,
    /// Its index there.
    pub index: TypeIndex,
    /// The structure or array type.
    pub ty: CompositeType,
}

/// Where the fields of a structure lie.
fn field_places(ty: &CompositeType) -> Vec<u32> {
    match Shape::of(ty) {
        Some(Shape::Struct { fields, .. }) => fields,
        _ => Vec::new(),
    }
}

fn usage(message: impl Into<String>) -> CallError {
    CallError::Usage(message.into())
}

impl StoreInner {
    /// What the object at an offset is.
    pub(crate) fn object_kind(&self, object: u32) -> Option<Kind> {
        let (instance, number) = of_word(read_u64(self.heap_bytes(), object as usize)?)?;
        let code = self.instance(instance)?.vm.module().code();
        let record = match number {
            ITEMS => ObjectRecord::OF_ITEMS,
            number => *code.object(number)?,
        };
        Some(Kind { instance, record })
    }

    /// Whether the object at an offset is of a type, or a subtype, of the module of `instance`.
    pub(crate) fn object_is(&self, object: u32, instance: InstanceId, ty: TypeIndex) -> bool {
        let of = || {
            let kind = self.object_kind(object)?;
            let own = self.instance(kind.instance)?.vm.module().code();
            let wanted = self.instance(instance)?.vm.module().code().type_digest(ty)?;
            Some(own.is_subtype(kind.record.ty, wanted))
        };
        of().unwrap_or(false)
    }

    /// Whether the bits of a reference are of a type of the module of `instance`. An object that they refer to
    /// exists.
    pub(crate) fn reference_is(&self, bits: u64, ty: RefType, instance: InstanceId) -> bool {
        if bits == 0 {
            return ty.nullable;
        }
        match ty.heap.hierarchy() {
            Hierarchy::Func => FuncRef::from_bits(bits).is_some_and(|func| {
                self.func(func.instance(), func.func()) == Some(func)
                    && match ty.heap {
                        HeapType::Func => true,
                        HeapType::ConcreteFunc(index) => self.has_type(func, instance, index),
                        _ => false,
                    }
            }),
            Hierarchy::Exn => {
                let handle = std::num::NonZeroU64::new(bits);
                let known = handle.is_some_and(|handle| self.exceptions.get(handle).is_some());
                ty.heap == HeapType::Exn && known
            }
            Hierarchy::Any | Hierarchy::Extern => match (ObjectBits::from_bits(bits), ty.heap) {
                (None, _) => false,
                (Some(ObjectBits::Host(handle)), heap) => {
                    let known = handle > 0 && u64::from(handle) <= self.externs.len() as u64;
                    known && matches!(heap, HeapType::Any | HeapType::Extern)
                }
                (Some(_), HeapType::Any | HeapType::Extern | HeapType::Eq) => true,
                (Some(ObjectBits::I31(_)), heap) => heap == HeapType::I31,
                (Some(ObjectBits::Object(object)), heap) => match heap {
                    HeapType::Struct | HeapType::Array => {
                        let kind = self.object_kind(object).map(|kind| kind.record.kind);
                        kind.is_some_and(|kind| {
                            (kind == ObjectRecord::STRUCT) == (heap == HeapType::Struct)
                        })
                    }
                    HeapType::ConcreteStruct(index) | HeapType::ConcreteArray(index) => {
                        self.object_is(object, instance, index)
                    }
                    _ => false,
                },
            },
        }
    }

    /// A value as a host is given it: an object gets a handle.
    pub(crate) fn val(&self, raw: RawValue, ty: ValType) -> Val {
        Val::from_raw(raw, ty, |object| self.give_object(object)).of(self.id)
    }

    /// A value as machine code passes it; `None` for an object that this store has no handle of.
    pub(crate) fn raw(&self, value: &Val) -> Option<RawValue> {
        value.to_raw(|object| self.find_object(object))
    }

    /// The number that the first word of an object of a type has.
    fn object_type_of(&self, instance: InstanceId, ty: TypeIndex) -> Option<(u64, ObjectRecord)> {
        let vm = &self.instance(instance)?.vm;
        let (number, record) = vm.module().code().object_of_type(ty)?;
        let array = if record.kind == ObjectRecord::STRUCT { 0 } else { ARRAY };
        Some((vm.id().key() | u64::from(number) << NUMBER_SHIFT | array, *record))
    }

    pub(crate) fn write_heap(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let mut heap = self.heap_mut();
        heap.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// Makes a structure of a type, all zero. `extra` as of [`Self::allocate_object`].
    pub(crate) fn new_struct(
        &mut self,
        instance: InstanceId,
        ty: TypeIndex,
        extra: &mut [u64],
    ) -> Result<u32, TrapCode> {
        let (word, record) = self.object_type_of(instance, ty).ok_or(TrapCode::HeapExhausted)?;
        let object = self.allocate_object(u64::from(record.size), extra)?;
        self.write_heap(object as usize, &word.to_le_bytes()).ok_or(TrapCode::HeapExhausted)?;
        Ok(object)
    }

    /// Makes an array of a type, all zero.
    pub(crate) fn new_array(
        &mut self,
        instance: InstanceId,
        ty: TypeIndex,
        len: u32,
        extra: &mut [u64],
    ) -> Result<u32, TrapCode> {
        let (word, record) = self.object_type_of(instance, ty).ok_or(TrapCode::HeapExhausted)?;
        self.new_array_of(word, record.size, len, extra)
    }

    /// Makes the array that holds the items of an element segment.
    pub(crate) fn new_items(
        &mut self,
        instance: InstanceId,
        len: u32,
        extra: &mut [u64],
    ) -> Result<u32, TrapCode> {
        let word = instance.key() | u64::from(ITEMS) << NUMBER_SHIFT | ARRAY;
        self.new_array_of(word, ObjectRecord::OF_ITEMS.size, len, extra)
    }

    fn new_array_of(
        &mut self,
        word: u64,
        element: u32,
        len: u32,
        extra: &mut [u64],
    ) -> Result<u32, TrapCode> {
        let object = self.allocate_object(array_size(element, len), extra)?;
        let head = u128::from(word) | u128::from(len) << 64;
        let head = &head.to_le_bytes()[..12];
        self.write_heap(object as usize, head).ok_or(TrapCode::HeapExhausted)?;
        Ok(object)
    }

    /// How many elements an array has.
    pub(crate) fn array_len(&self, array: u32) -> u32 {
        read_u32(self.heap_bytes(), (array + ARRAY_LENGTH) as usize).unwrap_or(0)
    }

    /// Where elements of an array lie in the heap, and the size of one.
    pub(crate) fn elements(
        &self,
        array: u32,
        at: u64,
        len: u64,
    ) -> Result<(Range<usize>, usize), TrapCode> {
        let outside = TrapCode::ArrayOutOfBounds;
        let kind = self.object_kind(array).ok_or(outside)?;
        let end = at.checked_add(len).filter(|end| *end <= u64::from(self.array_len(array)));
        let end = end.ok_or(outside)?;
        let size = kind.record.size as usize;
        let first = array as usize + elements_at(kind.record.size) as usize;
        Ok((first + at as usize * size..first + end as usize * size, size))
    }

    /// `array.copy`.
    pub(crate) fn copy_array(
        &mut self,
        (to, dst): (u32, u64),
        (from, src): (u32, u64),
        len: u64,
    ) -> Result<(), TrapCode> {
        let outside = TrapCode::ArrayOutOfBounds;
        let (to, _) = self.elements(to, dst, len)?;
        let (from, _) = self.elements(from, src, len)?;
        if to.len() != from.len() {
            return Err(outside);
        }
        let mut heap = self.heap_mut();
        // Only what is written to is opened.
        let all = from.start.min(to.start)..from.end.max(to.end);
        if from.start <= to.end && to.start <= from.end {
            let bytes = heap.get_mut(all.clone()).ok_or(outside)?;
            bytes.copy_within(from.start - all.start..from.end - all.start, to.start - all.start);
        } else {
            let bytes = heap.get(from).ok_or(outside)?.to_vec();
            heap.get_mut(to).ok_or(outside)?.copy_from_slice(&bytes);
        }
        Ok(())
    }

    /// Stores references, as tables hold them, to an array from element `dst` on.
    pub(crate) fn set_elements(
        &mut self,
        array: u32,
        dst: u64,
        references: &[u64],
    ) -> Result<(), TrapCode> {
        let (to, size) = self.elements(array, dst, references.len() as u64)?;
        let bytes = references.iter().flat_map(|bits| bits.to_le_bytes().into_iter().take(size));
        let bytes: Vec<u8> = bytes.collect();
        self.write_heap(to.start, &bytes).ok_or(TrapCode::ArrayOutOfBounds)
    }

    /// The size of an element of an array type of an instance's module.
    pub(crate) fn element_size(&self, instance: InstanceId, ty: TypeIndex) -> u32 {
        self.object_type_of(instance, ty).map_or(0, |(_, record)| record.size)
    }

    /// Whether a reference other than null, to an object or a function, is of a type of the module of `instance`.
    pub(crate) fn is_of_type(&self, bits: u64, instance: InstanceId, ty: TypeIndex) -> bool {
        match (FuncRef::from_bits(bits), ObjectBits::from_bits(bits)) {
            (Some(func), _) => self.has_type(func, instance, ty),
            (None, Some(ObjectBits::Object(object))) => self.object_is(object, instance, ty),
            _ => false,
        }
    }

    /// The references that an array of objects or of functions holds, as tables hold them.
    pub(crate) fn references_of(&self, array: u32) -> Vec<u64> {
        self.references_at(array, 0, self.array_len(array).into()).unwrap_or_default()
    }

    /// As [`Self::references_of`], so many from an element on; `None` where not all are there.
    pub(crate) fn references_at(&self, array: u32, at: u64, len: u64) -> Option<Vec<u64>> {
        let (range, size) = self.elements(array, at, len).ok()?;
        let heap = self.heap_bytes();
        let read = |at: usize| match size {
            8 => read_u64(heap, at),
            _ => read_u32(heap, at).map(u64::from),
        };
        range.step_by(size).map(read).collect()
    }

    fn object_type(&self, object: ObjectRef) -> Result<(u32, ObjectType), CallError> {
        let at = self
            .find_object(object)
            .ok_or_else(|| usage("the handle of the object has ended, or is of another store"))?;
        let kind = self.object_kind(at).ok_or_else(|| usage("the object has no type"))?;
        let code = self.instance(kind.instance).map(|instance| instance.vm.module().code());
        let ty = code.and_then(|code| code.object_type(kind.record.ty));
        let ty = ty.ok_or_else(|| usage("the object has no type"))?;
        Ok((at, ObjectType { instance: kind.instance.of(self.id), index: kind.record.ty, ty }))
    }

    /// The type of a field or element, and where it lies in the heap.
    fn place(
        &self,
        object: ObjectRef,
        index: u32,
    ) -> Result<(InstanceId, FieldType, usize), CallError> {
        let (at, ObjectType { instance, ty, .. }) = self.object_type(object)?;
        match &ty {
            CompositeType::Array(element) => {
                let (range, _) = self.elements(at, index.into(), 1).map_err(|_| {
                    let len = self.array_len(at);
                    usage(format!("the array has {len} elements, and none at {index}"))
                })?;
                Ok((instance, *element, range.start))
            }
            ty => {
                let field = ty.fields().get(index as usize);
                let count = ty.fields().len();
                let field = field.ok_or_else(|| {
                    usage(format!("the structure has {count} fields, and none at {index}"))
                })?;
                let places = field_places(ty);
                Ok((instance, *field, at as usize + places[index as usize] as usize))
            }
        }
    }

    fn read_field(&self, object: ObjectRef, index: u32) -> Result<Val, CallError> {
        let (_, field, at) = self.place(object, index)?;
        let heap = self.heap_bytes();
        let size = size_of_storage(field.storage) as usize;
        let mut bytes = [0; 16];
        bytes[..size].copy_from_slice(&heap[at..at + size]);
        Ok(self.val(RawValue(u128::from_le_bytes(bytes)), field.storage.unpacked()))
    }

    fn write_field(&mut self, object: ObjectRef, index: u32, value: Val) -> Result<(), CallError> {
        let (instance, field, at) = self.place(object, index)?;
        if !field.mutable {
            return Err(usage(format!("{index} is not mutable")));
        }
        let raw = self.checked_raw(&value, field.storage.unpacked(), instance)?;
        self.store_raw(at, field.storage, raw);
        Ok(())
    }

    fn checked_raw(
        &self,
        value: &Val,
        ty: ValType,
        instance: InstanceId,
    ) -> Result<RawValue, CallError> {
        self.check_value(value, ty, instance).map_err(CallError::Usage)?;
        self.raw(value).ok_or_else(|| usage("the value is not of this store"))
    }

    /// Stores a value of the type of a field at a place in the heap.
    pub(crate) fn store_raw(&mut self, at: usize, storage: StorageType, value: RawValue) {
        let size = size_of_storage(storage) as usize;
        self.write_heap(at, &value.0.to_le_bytes()[..size]);
    }

    /// Makes a structure of the values of its fields, or an array of its elements.
    fn new_object(
        &mut self,
        instance: InstanceId,
        index: TypeIndex,
        values: &[Val],
    ) -> Result<ObjectRef, CallError> {
        let found = self.instance(instance);
        let code = found.map(|found| found.vm.module().code());
        let ty = code.and_then(|code| code.object_type(index));
        let ty = ty.ok_or_else(|| usage(format!("type {index} is no structure and no array")))?;
        let fields: Vec<FieldType> = match &ty {
            CompositeType::Array(element) => vec![*element; values.len()],
            ty => ty.fields().to_vec(),
        };
        if fields.len() != values.len() {
            let (wanted, given) = (fields.len(), values.len());
            return Err(usage(format!("the structure has {wanted} fields, not {given}")));
        }
        let checked = values.iter().zip(&fields);
        let checked = checked.map(|(value, field)| {
            Ok(self.checked_raw(value, field.storage.unpacked(), instance)?.0)
        });
        let mut raws = checked.collect::<Result<Vec<u128>, CallError>>()?;
        // Those that are objects may be moved.
        let mut objects: Vec<u64> = Vec::new();
        let holds: Vec<bool> = fields.iter().map(|field| field.storage.holds_objects()).collect();
        objects.extend(
            raws.iter().zip(&holds).filter(|(_, holds)| **holds).map(|(raw, _)| *raw as u64),
        );
        let trap =
            |code| CallError::Trap(executor_model::Trap { code, backtrace: Default::default() });
        let canonical = self.canonical(instance, index).unwrap_or(index);
        let at = match &ty {
            CompositeType::Array(_) => {
                let len = u32::try_from(values.len()).map_err(|_| usage("too many elements"))?;
                self.new_array(instance, canonical, len, &mut objects)
            }
            _ => self.new_struct(instance, canonical, &mut objects),
        };
        let at = at.map_err(trap)?;
        let mut moved = objects.into_iter();
        for (raw, _) in raws.iter_mut().zip(&holds).filter(|(_, holds)| **holds) {
            *raw = u128::from(moved.next().unwrap_or(0));
        }
        let places: Vec<u32> = match &ty {
            CompositeType::Array(element) => {
                let size = size_of_storage(element.storage);
                (0..values.len() as u32).map(|i| elements_at(size) + i * size).collect()
            }
            ty => field_places(ty),
        };
        for ((raw, field), place) in raws.into_iter().zip(&fields).zip(places) {
            self.store_raw(at as usize + place as usize, field.storage, RawValue(raw));
        }
        Ok(self.give_object(at))
    }

    /// The least index of a type that equals one.
    fn canonical(&self, instance: InstanceId, index: TypeIndex) -> Option<TypeIndex> {
        let info = self.instance(instance)?.vm.module().info().ok()?;
        info.canonical.get(index as usize).copied()
    }
}

impl Caller<'_> {
    /// A value as a host function is given it raw. An object in it gets a handle, which is good until the function
    /// returns.
    #[must_use]
    pub fn value(&self, raw: RawValue, ty: ValType) -> Val {
        self.store().val(raw, ty)
    }

    /// A value as a host function returns it raw; `None` for an object that the store has no handle of. A call of the
    /// guest may move what it refers to.
    #[must_use]
    pub fn raw(&self, value: &Val) -> Option<RawValue> {
        self.store().raw(value)
    }

    /// As `Store::field`.
    ///
    /// # Errors
    /// As there.
    pub fn field(&self, object: ObjectRef, index: u32) -> Result<Val, CallError> {
        self.store().read_field(object, index)
    }

    /// As `Store::set_field`.
    ///
    /// # Errors
    /// As there.
    pub fn set_field(
        &mut self,
        object: ObjectRef,
        index: u32,
        value: Val,
    ) -> Result<(), CallError> {
        self.store_mut().write_field(object, index, value)
    }

    /// As `Store::new_object`.
    ///
    /// # Errors
    /// As there.
    pub fn new_object(
        &mut self,
        instance: InstanceId,
        ty: TypeIndex,
        values: &[Val],
    ) -> Result<ObjectRef, CallError> {
        self.store_mut().new_object(instance, ty, values)
    }
}

impl Store {
    /// The type of an object.
    ///
    /// # Errors
    /// [`CallError::Usage`] when its handle has ended or is of another store.
    pub fn object_type(&self, object: ObjectRef) -> Result<ObjectType, CallError> {
        self.inner.object_type(object).map(|(_, ty)| ty)
    }

    /// How many fields a structure has, or elements an array.
    ///
    /// # Errors
    /// As [`Self::object_type`].
    pub fn object_len(&self, object: ObjectRef) -> Result<u32, CallError> {
        let (at, ObjectType { ty, .. }) = self.inner.object_type(object)?;
        Ok(match ty {
            CompositeType::Array(_) => self.inner.array_len(at),
            ty => ty.fields().len() as u32,
        })
    }

    /// A field of a structure, or an element of an array. Packed ones are zero-extended.
    ///
    /// # Errors
    /// As [`Self::object_type`], and when there is no such field.
    pub fn field(&self, object: ObjectRef, index: u32) -> Result<Val, CallError> {
        self.inner.read_field(object, index)
    }

    /// Assigns a field or element.
    ///
    /// # Errors
    /// As [`Self::field`], and when it is not mutable or the value is of another type.
    pub fn set_field(
        &mut self,
        object: ObjectRef,
        index: u32,
        value: Val,
    ) -> Result<(), CallError> {
        self.inner.write_field(object, index, value)
    }

    /// Makes a structure of the values of its fields, or an array of its elements, of a type of an instance's module.
    ///
    /// # Errors
    /// [`CallError::Usage`] when the values do not fit the type; a trap when the heap is full.
    pub fn new_object(
        &mut self,
        instance: InstanceId,
        ty: TypeIndex,
        values: &[Val],
    ) -> Result<ObjectRef, CallError> {
        self.inner.new_object(instance, ty, values)
    }

    /// Whether two references are to one object.
    #[must_use]
    pub fn is_same_object(&self, first: ObjectRef, second: ObjectRef) -> bool {
        let (first, second) = (self.inner.find_object(first), self.inner.find_object(second));
        first.is_some() && first == second
    }

    /// Keeps an object beyond the scope that its handle is of; `None` when that has ended.
    #[must_use]
    pub fn keep_object(&self, object: ObjectRef) -> Option<KeptObject> {
        self.inner.keep_object(object)
    }

    /// Runs `f`, and then lets go of all objects that handles were given for meanwhile. What is kept
    /// ([`Self::keep_object`]) stays. Outside of any scope a handle is good as long as the store; a call of a host
    /// function is a scope.
    pub fn object_scope<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.begin_object_scope();
        let result = f(self);
        self.end_object_scope(scope);
        result
    }

    /// The beginning of a scope of handles, for what cannot be a closure: see [`Self::object_scope`].
    #[must_use]
    pub fn begin_object_scope(&self) -> usize {
        self.inner.objects.scope()
    }

    /// Ends the handles that were given since a scope began.
    pub fn end_object_scope(&self, scope: usize) {
        self.inner.objects.end_scope(scope);
    }

    /// Frees the objects that nothing refers to.
    pub fn collect_objects(&mut self) {
        self.inner.collect();
    }

    /// Prepares a capture: frees the objects that nothing refers to, so that they are not part of it.
    pub fn prepare_capture(&mut self) {
        if !self.inner.header.running() {
            self.inner.collect_for_capture();
        }
    }

    /// The instance in whose addresses objects lie, and the bytes there; `None` where no module has objects.
    #[must_use]
    pub fn object_memory(&self) -> Option<(InstanceId, &[u8])> {
        self.inner.heap.map(|instance| (instance, self.inner.heap_bytes()))
    }

    /// How many bytes objects take, those that nothing refers to included until the next collection.
    #[must_use]
    pub fn object_bytes(&self) -> u64 {
        self.inner
            .heap_header()
            .map_or(0, |header| header.next - executor_code::abi::HeapHeader::FIRST)
    }

    /// What the collections were since the store was made.
    #[must_use]
    pub fn collections(&self) -> Collections {
        self.inner.collections
    }
}
