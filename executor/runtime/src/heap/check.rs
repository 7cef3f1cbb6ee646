//! Going through all objects of a heap: what a capture refuses, and what a forged snapshot may not have.
//!
//! Invariant: an object passes only if every reference in it is of the type of its field, so machine code, which
//! trusts types, is never given another.

use super::types::{Types, of_word, read_u32, read_u64};
use crate::{CaptureError, capture::can_be_kept, image::RestoreError, store::StoreInner};
use executor_code::{
    abi::HeapHeader,
    objects::{ITEMS, Shape, elements_at, size_of_storage},
};
use executor_model::{
    CompositeType, ElementSegment, FieldType, InstanceId, ObjectBits, RefType, StorageType, ValType,
};
use std::collections::{HashMap, HashSet};

/// Where all objects of a heap begin.
#[derive(Debug, Default)]
pub(crate) struct KnownObjects(HashSet<u32>);

impl KnownObjects {
    /// Whether bits are null, no object, or one that is known.
    pub(crate) fn is_one(&self, bits: u64) -> bool {
        match ObjectBits::from_bits(bits) {
            Some(ObjectBits::Object(at)) => self.0.contains(&at),
            Some(ObjectBits::I31(_)) => true,
            // Host values are not captured.
            Some(ObjectBits::Host(_)) => false,
            None => bits == 0,
        }
    }

    /// Whether a reference is of a type of the module of an instance.
    pub(crate) fn reference_is(
        &self,
        store: &StoreInner,
        bits: u64,
        ty: RefType,
        instance: InstanceId,
    ) -> bool {
        let known = !ty.heap.hierarchy().holds_objects() || self.is_one(bits);
        known && store.reference_is(bits, ty, instance)
    }

    /// Whether a word refers to the items of a segment.
    pub(crate) fn are_items(
        &self,
        store: &StoreInner,
        word: u64,
        instance: InstanceId,
        segment: &ElementSegment,
    ) -> bool {
        let Ok(at) = u32::try_from(word) else { return false };
        if !self.0.contains(&at) || store.number_of(at) != Some(ITEMS) {
            return false;
        }
        let items = store.references_of(at);
        let fits = |bits: &u64| self.reference_is(store, *bits, segment.ty, instance);
        items.len() == segment.items.len() && items.iter().all(fits)
    }
}

/// The references of an object: which field or element, its type, and what it holds.
type Fields = Vec<(usize, RefType, u64)>;

impl StoreInner {
    /// The number of the type of the object at an offset.
    fn number_of(&self, at: u32) -> Option<u32> {
        of_word(read_u64(self.heap_bytes(), at as usize)?).map(|(_, number)| number)
    }

    /// Calls `visit` with where each object begins, in order; `None` where there is no object that should be.
    fn each_object<E>(&self, mut visit: impl FnMut(u32) -> Result<(), E>) -> Option<Result<(), E>> {
        let Some(header) = self.heap_header() else { return Some(Ok(())) };
        let types = Types::of(&self.instances);
        let tables = types.tables();
        let heap = self.heap_bytes().get(..header.next as usize)?;
        let mut at = HeapHeader::FIRST as usize;
        while at < heap.len() {
            let object = super::types::object(&tables, heap, at)?;
            if let Err(error) = visit(at as u32) {
                return Some(Err(error));
            }
            at += object.size;
        }
        Some(Ok(()))
    }

    /// All references in an object. `known` is what was found of types before.
    fn references_in(
        &self,
        at: u32,
        known: &mut HashMap<(InstanceId, u32), Option<CompositeType>>,
    ) -> Option<(InstanceId, Fields)> {
        let kind = self.object_kind(at)?;
        let (heap, at) = (self.heap_bytes(), at as usize);
        if self.number_of(at as u32) == Some(ITEMS) {
            let ty = RefType::ANYREF;
            let items = self.references_of(at as u32).into_iter().enumerate();
            return Some((kind.instance, items.map(|(i, bits)| (i, ty, bits)).collect()));
        }
        let ty = known.entry((kind.instance, kind.record.ty)).or_insert_with(|| {
            self.instance(kind.instance)?.vm.module().code().object_type(kind.record.ty)
        });
        let read = |field: &FieldType, place: usize| {
            let StorageType::Val(ValType::Ref(ty)) = field.storage else { return None };
            let bits = match field.storage.holds_objects() {
                true => read_u32(heap, place).map(u64::from),
                false => read_u64(heap, place),
            };
            Some((ty, bits?))
        };
        let ty = ty.as_ref()?;
        let fields: Fields = match (ty, Shape::of(ty)) {
            (CompositeType::Array(element), _) => {
                let size = size_of_storage(element.storage) as usize;
                let first = at + elements_at(size as u32) as usize;
                let len = match element.storage {
                    StorageType::Val(ValType::Ref(_)) => self.array_len(at as u32) as usize,
                    _ => 0,
                };
                let each = (0..len).filter_map(|i| Some((i, read(element, first + i * size)?)));
                each.map(|(i, (ty, bits))| (i, ty, bits)).collect()
            }
            (ty, Some(Shape::Struct { fields, .. })) => {
                let each = ty.fields().iter().zip(fields).enumerate();
                let each = each.filter_map(|(i, (field, place))| {
                    let (ty, bits) = read(field, at + place as usize)?;
                    Some((i, ty, bits))
                });
                each.collect()
            }
            _ => return None,
        };
        Some((kind.instance, fields))
    }

    /// References to host values and exceptions in objects mean nothing in another process.
    pub(crate) fn refuse_in_objects(&self) -> Result<(), CaptureError> {
        let mut known = HashMap::new();
        let all = self.each_object(|at| {
            let Some((instance, fields)) = self.references_in(at, &mut known) else {
                return Ok(());
            };
            for (index, ty, bits) in fields {
                let hierarchy = ty.heap.hierarchy();
                if !can_be_kept(bits, hierarchy) {
                    let number = self.object_kind(at).map_or(0, |kind| kind.record.ty);
                    let item = format!("{index} of an object of type {number}");
                    let what = match known.get(&(instance, number)) {
                        Some(Some(CompositeType::Array(_))) => "element",
                        _ => "field",
                    };
                    let item = format!("{what} {item}");
                    return Err(CaptureError::HostReference { instance, item, hierarchy });
                }
            }
            Ok(())
        });
        let broken = || CaptureError::Instance {
            instance: self.heap.unwrap_or(InstanceId::from_position(0)),
            reason: "the heap of objects is damaged".to_owned(),
        };
        all.ok_or_else(broken)?
    }

    /// Checks the heap of a restored store whose file comes from elsewhere: returns its objects.
    pub(crate) fn validate_heap(&self) -> Result<KnownObjects, RestoreError> {
        let broken = || RestoreError::Mismatch("the heap of objects is damaged".to_owned());
        if self.heap.is_none() {
            return Ok(KnownObjects::default());
        }
        let HeapHeader { null, next, end, dirty, due, reserved } =
            self.heap_header().ok_or_else(broken)?;
        let len = self.heap_bytes().len() as u64;
        let ascending = [HeapHeader::FIRST, next, end, dirty, len].is_sorted();
        let aligned = next.is_multiple_of(8) && end.is_multiple_of(8);
        if null != 0 || reserved != [0; 3] || !ascending || !aligned || due < next {
            return Err(broken());
        }
        // What is between them is made zero before it is used.
        for free in [next..end, dirty..len] {
            let free = self.heap_bytes().get(free.start as usize..free.end as usize);
            if free.is_none_or(|free| free.iter().any(|byte| *byte != 0)) {
                return Err(broken());
            }
        }
        let mut objects = KnownObjects::default();
        let all = self.each_object::<()>(|at| {
            objects.0.insert(at);
            Ok(())
        });
        all.ok_or_else(broken)?.map_err(|()| broken())?;
        let mut known = HashMap::new();
        let all = self.each_object(|at| {
            let (instance, fields) = self.references_in(at, &mut known).ok_or_else(broken)?;
            let fits = |(_, ty, bits): &(usize, RefType, u64)| {
                objects.reference_is(self, *bits, *ty, instance)
            };
            // An object's word says whether it is an array in two ways.
            match self.has_true_word(at) && fields.iter().all(fits) {
                true => Ok(()),
                false => Err(broken()),
            }
        });
        all.ok_or_else(broken)??;
        Ok(objects)
    }

    /// Whether the first word of an object is one that the allocator could have written.
    fn has_true_word(&self, at: u32) -> bool {
        let word = read_u64(self.heap_bytes(), at as usize).unwrap_or(0);
        let array = self
            .object_kind(at)
            .is_some_and(|kind| kind.record.kind != executor_code::objects::ObjectRecord::STRUCT);
        let low = word & ((1 << executor_code::objects::NUMBER_SHIFT) - 1);
        low == if array { executor_code::objects::ARRAY } else { 0 }
    }
}
