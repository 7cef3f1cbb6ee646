//! Filling an instance from its module: globals, tables and segments, at instantiation and by the
//! bulk operators.
//!
//! Invariant: nothing of a segment is written unless all that was asked for fits.

use crate::{
    builtins::{self, Raise},
    store::{Instance, StoreInner},
};
use executor_model::{
    ConstOp, DataMode, ElementItems, ElementMode, FuncRef, InstanceId, ModuleInfo, RawValue,
    TrapCode,
};
use std::{ops::Range, sync::Arc};

impl StoreInner {
    /// Globals, then tables, element segments and data segments, in the specification's order.
    pub(crate) fn initialise(&mut self, id: InstanceId, info: &ModuleInfo) -> Result<(), Raise> {
        for (i, global) in info.globals.iter().enumerate().skip(info.imported_globals as usize) {
            let init = global.init.as_ref().ok_or_else(damaged)?;
            let value = self.value(id, info, init)?;
            self.instances[id.position()].vm.set_global(i as u32, value);
        }
        for (i, table) in info.tables.iter().enumerate().skip(info.imported_tables as usize) {
            if let Some(init) = &table.init {
                let value = self.value(id, info, init)?;
                let vm = &mut self.instances[id.position()].vm;
                let all = 0..usize::MAX;
                vm.table_mut(i as u32, all).ok_or_else(damaged)?.fill(value.0 as u64);
            }
        }
        let made = info.elements.iter().enumerate().filter(|(_, segment)| segment.makes_objects());
        for (place, (i, _)) in (0..).zip(made) {
            self.make_items(id, info, i, place)?;
        }
        for (i, segment) in info.elements.iter().enumerate() {
            match &segment.mode {
                ElementMode::Active { table, offset } => {
                    let offset = self.value(id, info, offset)?;
                    let offset = address(offset, info.tables[*table as usize].ty.table64);
                    let len = segment.items.len() as u64;
                    self.init_table(id, *table, i as u32, (offset, 0, len))?;
                    self.instances[id.position()].drop_element(i as u32);
                }
                ElementMode::Declared => self.instances[id.position()].drop_element(i as u32),
                ElementMode::Passive => {}
            }
        }
        for (i, segment) in info.data.iter().enumerate() {
            if let DataMode::Active { memory, offset } = &segment.mode {
                let offset = self.value(id, info, offset)?;
                let offset = address(offset, info.memories[*memory as usize].memory64);
                let len = segment.range.end - segment.range.start;
                let instance = &mut self.instances[id.position()];
                instance.init_memory(*memory, i as u32, (offset, 0, len))?;
                instance.drop_data(i as u32);
            }
        }
        Ok(())
    }

    /// The value of a constant expression.
    fn value(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        expr: &[ConstOp],
    ) -> Result<RawValue, Raise> {
        self.evaluate(id, info, expr)?.ok_or_else(damaged)
    }

    /// Makes the items of an element segment that are objects. Each time one is used it is the same object.
    fn make_items(
        &mut self,
        id: InstanceId,
        info: &ModuleInfo,
        segment: usize,
        place: u32,
    ) -> Result<(), Raise> {
        let ElementItems::Expressions(exprs) = &info.elements[segment].items else { return Ok(()) };
        let items = self.new_items(id, exprs.len() as u32, &mut [])?;
        let vm = &mut self.instances[id.position()].vm;
        let word = vm.counts().items(place);
        vm.set_word(word, items.into());
        for (i, expr) in exprs.iter().enumerate() {
            let item = self.value(id, info, expr)?.0 as u64;
            // It may have moved.
            let items = self.instances[id.position()].vm.word(word) as u32;
            self.set_elements(items, i as u64, &[item])?;
        }
        Ok(())
    }

    /// The items of a part of an element segment.
    pub(crate) fn segment_items(
        &mut self,
        id: InstanceId,
        segment: u32,
        src: u64,
        len: u64,
    ) -> Result<Vec<u64>, Raise> {
        let module = Arc::clone(self.instances[id.position()].vm.module());
        let info = module.info().map_err(|e| Raise::Host(e.into()))?;
        let part = self.instances[id.position()].item_part(info, segment, src, len)?;
        // A dropped segment has passed the check only with no items to copy.
        if len == 0 {
            return Ok(Vec::new());
        }
        let declared = &info.elements[segment as usize];
        if declared.makes_objects() {
            let before = info.elements[..segment as usize].iter();
            let place = before.filter(|segment| segment.makes_objects()).count() as u32;
            let vm = &self.instances[id.position()].vm;
            let items = vm.word(vm.counts().items(place)) as u32;
            let outside = TrapCode::TableOutOfBounds;
            return Ok(self.references_at(items, src, part.len() as u64).ok_or(outside)?);
        }
        match &declared.items {
            ElementItems::Functions(funcs) => Ok(funcs[part]
                .iter()
                .map(|f| FuncRef::new(id, info.functions[*f as usize], *f).to_bits())
                .collect()),
            ElementItems::Expressions(exprs) => {
                exprs[part].iter().map(|expr| Ok(self.value(id, info, expr)?.0 as u64)).collect()
            }
        }
    }

    /// Checks that a part of an element segment is there.
    pub(crate) fn check_items(
        &self,
        id: InstanceId,
        segment: u32,
        src: u64,
        len: u64,
    ) -> Result<(), Raise> {
        let instance = &self.instances[id.position()];
        let info = instance.vm.module().info().map_err(|e| Raise::Host(e.into()))?;
        Ok(instance.item_part(info, segment, src, len).map(drop)?)
    }

    /// `table.init`.
    pub(crate) fn init_table(
        &mut self,
        id: InstanceId,
        table: u32,
        segment: u32,
        (dst, src, len): (u64, u64, u64),
    ) -> Result<(), Raise> {
        let outside = TrapCode::TableOutOfBounds;
        let size = self.instances[id.position()].vm.table(table).map_or(0, <[u64]>::len) as u64;
        self.check_items(id, segment, src, len)?;
        if dst.checked_add(len).is_none_or(|end| end > size) {
            return Err(outside.into());
        }
        let values = self.segment_items(id, segment, src, len)?;
        let part = builtins::part(dst, len).ok_or(outside)?;
        let vm = &mut self.instances[id.position()].vm;
        let table = vm.table_mut(table, part.clone()).unwrap_or_default();
        table.get_mut(part).ok_or(outside)?.copy_from_slice(&values);
        Ok(())
    }

    /// `array.new_data`: the array.
    pub(crate) fn new_array_of_data(
        &mut self,
        id: InstanceId,
        ty: u32,
        segment: u32,
        (src, len): (u64, u64),
    ) -> Result<u32, Raise> {
        let size = self.element_size(id, ty).into();
        self.instances[id.position()].data_part(segment, src, len.saturating_mul(size))?;
        let array = self.new_array(id, ty, len as u32, &mut [])?;
        self.init_array_of_data(id, array, segment, (0, src, len))?;
        Ok(array)
    }

    /// `array.init_data`.
    pub(crate) fn init_array_of_data(
        &mut self,
        id: InstanceId,
        array: u32,
        segment: u32,
        (dst, src, len): (u64, u64, u64),
    ) -> Result<(), Raise> {
        let (to, size) = self.elements(array, dst, len)?;
        let instance = &self.instances[id.position()];
        let part = instance.data_part(segment, src, len.saturating_mul(size as u64))?;
        let module = Arc::clone(instance.vm.module());
        let outside = TrapCode::MemoryOutOfBounds;
        self.write_heap(to.start, module.code().data().get(part).ok_or(outside)?).ok_or(outside)?;
        Ok(())
    }
}

fn damaged() -> Raise {
    Raise::Host("the module's declarations are damaged".into())
}

impl Instance {
    fn dropped(&self, word: u64, segment: u32) -> bool {
        self.vm.word(word) >> (segment % 64) & 1 == 1
    }

    fn set_dropped(&mut self, word: u64, segment: u32) {
        let bits = self.vm.word(word) | 1 << (segment % 64);
        self.vm.set_word(word, bits);
    }

    /// `data.drop`.
    pub(crate) fn drop_data(&mut self, segment: u32) {
        self.set_dropped(self.vm.counts().dropped_data(segment), segment);
    }

    /// `elem.drop`.
    pub(crate) fn drop_element(&mut self, segment: u32) {
        self.set_dropped(self.vm.counts().dropped_element(segment), segment);
    }

    /// `memory.init`.
    pub(crate) fn init_memory(
        &mut self,
        memory: u32,
        segment: u32,
        (dst, src, len): (u64, u64, u64),
    ) -> Result<(), Raise> {
        let outside = TrapCode::MemoryOutOfBounds;
        let part = self.data_part(segment, src, len)?;
        let module = Arc::clone(self.vm.module());
        let info = module.info().map_err(|e| Raise::Host(e.into()))?;
        let from = module.code().data().get(part).ok_or(outside)?;
        match info.memories[memory as usize].shared {
            true => {
                let region = self.vm.memory_region(memory).ok_or(outside)?;
                self.vm.open_in(Some(region), 1, (dst, len));
                region.write(dst, from).ok_or(outside)?;
            }
            false => {
                let mut memory = self.vm.memory_mut(memory).unwrap_or_default();
                let to = builtins::part(dst, len).and_then(|part| memory.get_mut(part));
                to.ok_or(outside)?.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Where a part of a data segment lies in the data of the module.
    pub(crate) fn data_part(
        &self,
        segment: u32,
        src: u64,
        len: u64,
    ) -> Result<Range<usize>, Raise> {
        let info = self.vm.module().info().map_err(|e| Raise::Host(e.into()))?;
        let range = match self.dropped(self.vm.counts().dropped_data(segment), segment) {
            true => 0..0,
            false => info.data[segment as usize].range.clone(),
        };
        let end = src.checked_add(len).filter(|end| *end <= range.end - range.start);
        let end = end.ok_or(TrapCode::MemoryOutOfBounds)?;
        Ok((range.start + src) as usize..(range.start + end) as usize)
    }

    /// Which items a part of an element segment has.
    fn item_part(
        &self,
        info: &ModuleInfo,
        segment: u32,
        src: u64,
        len: u64,
    ) -> Result<Range<usize>, TrapCode> {
        let available = match self.dropped(self.vm.counts().dropped_element(segment), segment) {
            true => 0,
            false => info.elements[segment as usize].items.len() as u64,
        };
        let end = src.checked_add(len).filter(|end| *end <= available);
        Ok(src as usize..end.ok_or(TrapCode::TableOutOfBounds)? as usize)
    }
}

/// An address or index, of 64 or 32 bits.
fn address(value: RawValue, is_64: bool) -> u64 {
    if is_64 { value.0 as u64 } else { u64::from(value.0 as u32) }
}
