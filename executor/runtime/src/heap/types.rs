//! What the objects of a heap are, from their first words.
//!
//! Invariant: nothing that a heap holds makes a lookup fail other than by `None`.

use crate::{store::Instance, vm::CompiledModule};
use executor_code::objects::{ARRAY_LENGTH, ITEMS, NUMBER_SHIFT, ObjectRecord, array_size};
use executor_model::{FuncRef, InstanceId};
use std::sync::Arc;

/// The types of the objects of a store, apart from it: what is looked up in the course of a collection.
pub(super) struct Types(Vec<Arc<CompiledModule>>);

/// The 32 bits at an offset.
pub(super) fn read_u32(heap: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*heap.get(at..)?.first_chunk()?))
}

/// The 64 bits at an offset.
pub(super) fn read_u64(heap: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*heap.get(at..)?.first_chunk()?))
}

/// What an object is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Whose module's type it is.
    pub(crate) instance: InstanceId,
    pub(crate) record: ObjectRecord,
}

/// The instance and the number in the first word of an object.
pub(crate) fn of_word(word: u64) -> Option<(InstanceId, u32)> {
    let instance = InstanceId::new((word >> FuncRef::INSTANCE_SHIFT) as u32)?;
    Some((instance, (word >> NUMBER_SHIFT) as u32 & FuncRef::MAX_INDEX))
}

impl Types {
    pub(super) fn of(instances: &[Instance]) -> Self {
        Self(instances.iter().map(|instance| Arc::clone(instance.vm.module())).collect())
    }

    /// What each instance's module says, for as long as this is borrowed.
    pub(super) fn tables(&self) -> Vec<Table<'_>> {
        self.0.iter().map(Table::of).collect()
    }
}

/// The types of objects of a module.
pub(super) struct Table<'a> {
    records: &'a [ObjectRecord],
    references: &'a [u32],
}

impl<'a> Table<'a> {
    fn of(module: &'a Arc<CompiledModule>) -> Self {
        let code = module.code();
        Self { records: code.objects(), references: code.object_references() }
    }
}

/// An object in a heap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    /// How many bytes it takes.
    pub(super) size: usize,
    /// Where its references to objects lie.
    pub(super) references: Places<'a>,
}

/// Where an object holds references, as distances from its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) enum Places<'a> {
    Listed(&'a [u32]),
    /// One behind another: the first, and how many.
    Row(usize, usize),
}

impl Places<'_> {
    /// Calls `visit` with each.
    #[inline]
    pub(super) fn each(self, mut visit: impl FnMut(usize)) {
        match self {
            Self::Listed(places) => places.iter().for_each(|at| visit(*at as usize)),
            Self::Row(first, count) => (0..count).for_each(|i| visit(first + i * 4)),
        }
    }
}

/// The object at an offset; `None` where there is none that lies whole in the heap.
#[inline]
pub(super) fn object<'a>(tables: &[Table<'a>], heap: &[u8], at: usize) -> Option<Object<'a>> {
    let (instance, number) = of_word(read_u64(heap, at)?)?;
    let table = tables.get(instance.position())?;
    let record = match number {
        ITEMS => &ObjectRecord::OF_ITEMS,
        number => table.records.get(number as usize)?,
    };
    let (size, references) = match record.kind {
        ObjectRecord::STRUCT => {
            (u64::from(record.size), Places::Listed(record.references_in(table.references)))
        }
        kind => {
            let len = read_u32(heap, at + ARRAY_LENGTH as usize)?;
            let first = executor_code::objects::elements_at(record.size) as usize;
            let row = match kind == ObjectRecord::ARRAY_OF_REFERENCES {
                true => Places::Row(first, len as usize),
                false => Places::Listed(&[]),
            };
            (array_size(record.size, len), row)
        }
    };
    let inside = (at as u64).checked_add(size)? <= heap.len() as u64;
    (inside && size >= 8 && size.is_multiple_of(8))
        .then_some(Object { size: size as usize, references })
}
