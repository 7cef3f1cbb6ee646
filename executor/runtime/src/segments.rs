//! Filling an instance from its module: globals, tables and segments, at instantiation and by the
//! bulk operators.
//!
//! Invariant: nothing of a segment is written unless all that was asked for fits.

use crate::{
    builtins::{self, Raise},
    const_expr::evaluate,
    store::Instance,
};
use executor_model::{
    DataMode, ElementItems, ElementMode, FuncRef, InstanceId, ModuleInfo, RawValue, TrapCode,
};
use std::sync::Arc;

impl Instance {
    /// Globals, then tables, element segments and data segments, in the specification's order.
    pub(crate) fn initialise(&mut self, id: InstanceId, info: &ModuleInfo) -> Result<(), Raise> {
        let damaged = || Raise::Host("the module's declarations are damaged".into());
        for (i, global) in info.globals.iter().enumerate().skip(info.imported_globals as usize) {
            let init = global.init.as_ref().ok_or_else(damaged)?;
            let value = evaluate(id, self, init).ok_or_else(damaged)?;
            self.vm.set_global(i as u32, value);
        }
        for (i, table) in info.tables.iter().enumerate().skip(info.imported_tables as usize) {
            if let Some(init) = &table.init {
                let value = evaluate(id, self, init).ok_or_else(damaged)?;
                let all = 0..usize::MAX;
                self.vm.table_mut(i as u32, all).ok_or_else(damaged)?.fill(value.0 as u64);
            }
        }
        for (i, segment) in info.elements.iter().enumerate() {
            match &segment.mode {
                ElementMode::Active { table, offset } => {
                    let offset = evaluate(id, self, offset).ok_or_else(damaged)?;
                    let offset = address(offset, info.tables[*table as usize].ty.table64);
                    let len = segment.items.len() as u64;
                    self.init_table(*table, i as u32, (offset, 0, len))?;
                    self.drop_element(i as u32);
                }
                ElementMode::Declared => self.drop_element(i as u32),
                ElementMode::Passive => {}
            }
        }
        for (i, segment) in info.data.iter().enumerate() {
            if let DataMode::Active { memory, offset } = &segment.mode {
                let offset = evaluate(id, self, offset).ok_or_else(damaged)?;
                let offset = address(offset, info.memories[*memory as usize].memory64);
                let len = segment.range.end - segment.range.start;
                self.init_memory(*memory, i as u32, (offset, 0, len))?;
                self.drop_data(i as u32);
            }
        }
        Ok(())
    }

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
        let module = Arc::clone(self.vm.module());
        let info = module.info().map_err(|e| Raise::Host(e.into()))?;
        let bytes = match self.dropped(self.vm.counts().dropped_data(segment), segment) {
            true => &[],
            false => {
                let range = &info.data[segment as usize].range;
                &module.code().data()[range.start as usize..range.end as usize]
            }
        };
        let outside = TrapCode::MemoryOutOfBounds;
        let from = part(bytes, src, len).ok_or(outside)?;
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

    /// `table.init`.
    pub(crate) fn init_table(
        &mut self,
        table: u32,
        segment: u32,
        (dst, src, len): (u64, u64, u64),
    ) -> Result<(), Raise> {
        let module = Arc::clone(self.vm.module());
        let info = module.info().map_err(|e| Raise::Host(e.into()))?;
        let id = self.vm.id();
        let outside = TrapCode::TableOutOfBounds;
        let available = match self.dropped(self.vm.counts().dropped_element(segment), segment) {
            true => 0,
            false => info.elements[segment as usize].items.len() as u64,
        };
        let size = self.vm.table(table).map_or(0, <[u64]>::len) as u64;
        let fits = |start: u64, size: u64| start.checked_add(len).is_some_and(|end| end <= size);
        if !fits(src, available) || !fits(dst, size) {
            return Err(outside.into());
        }
        let items = src as usize..(src + len) as usize;
        let values: Vec<u64> = match &info.elements[segment as usize].items {
            // A dropped segment has passed the check only with no items to copy.
            _ if len == 0 => Vec::new(),
            ElementItems::Functions(funcs) => funcs[items]
                .iter()
                .map(|f| FuncRef::new(id, info.functions[*f as usize], *f).to_bits())
                .collect(),
            ElementItems::Expressions(exprs) => exprs[items]
                .iter()
                .map(|expr| evaluate(id, self, expr).map_or(0, |value| value.0 as u64))
                .collect(),
        };
        let part = builtins::part(dst, len).ok_or(outside)?;
        let table = self.vm.table_mut(table, part.clone()).unwrap_or_default();
        table.get_mut(part).ok_or(outside)?.copy_from_slice(&values);
        Ok(())
    }
}

/// An address or index, of 64 or 32 bits.
fn address(value: RawValue, is_64: bool) -> u64 {
    if is_64 { value.0 as u64 } else { u64::from(value.0 as u32) }
}

/// The part of a segment that an operator names, if it is all inside.
fn part(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}
