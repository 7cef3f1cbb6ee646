//! The state in a snapshot, decoded by what its modules declare.
//!
//! Invariant: nothing of a snapshot is run or restored, and what does not fit its module is an error. A module
//! whose declarations cannot be had leaves its globals and segments unread, which is no error.

use crate::{Error, Runtime, Snapshot, runtime::Code};
use executor_code::{
    file::{CallSite, Place},
    layout::{Counts, PAGE},
};
use executor_model::{
    ExternKind, FuncIndex, FuncRef, Hierarchy, ImportKind, ItemNames, ModuleHash, ModuleInfo,
    ObjectBits, RawValue, Val, ValType, demangle,
};
use executor_runtime::{CompiledModule, FrameState};
use executor_snapshot::{Item, PageBuffer, SnapshotError, SnapshotFile, format};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// What a module declares, and what its items are called.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) info: ModuleInfo,
    pub(crate) names: ItemNames,
    /// Its code, which has the names of its functions in place of `info`.
    code: Option<Arc<CompiledModule>>,
}

/// The state in a snapshot.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) file: &'a SnapshotFile,
    pub(crate) instances: Vec<Contained<'a>>,
}

/// An instance in a snapshot.
#[derive(Debug)]
pub(crate) struct Contained<'a> {
    pub(crate) record: &'a format::Instance,
    /// What its module declares, where that can be had.
    pub(crate) declared: Option<Arc<Declared>>,
    block: Vec<u8>,
}

/// A global that an instance owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) index: u32,
    pub(crate) ty: ValType,
    pub(crate) mutable: bool,
    pub(crate) value: RawValue,
}

impl<'a> Contents<'a> {
    /// Reads all but memories and tables.
    ///
    /// # Errors
    /// When the file cannot be read, or does not fit a module.
    pub(crate) fn of(runtime: &Runtime, snapshot: &'a Snapshot) -> Result<Self, Error> {
        let file = snapshot.file();
        let frames = || file.call().into_iter().flat_map(|call| &call.frames);
        let mut known: BTreeMap<ModuleHash, Option<Arc<Declared>>> = BTreeMap::new();
        let mut instances = Vec::new();
        for (position, record) in file.instances().iter().enumerate() {
            let declared = match known.entry(record.module) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(entry) => {
                    let suspended: Vec<FuncIndex> = frames()
                        .filter(|frame| module_of(file, frame) == Some(record.module))
                        .map(|frame| frame.site.func)
                        .collect();
                    let declared = runtime.shared.declared(record.module, &suspended)?;
                    entry.insert(declared.map(Arc::new)).clone()
                }
            };
            let block = file.block(record)?;
            if let Some(declared) = &declared {
                let counts = Counts::of(&declared.info);
                if counts.state_len() != block.len() as u64
                    || counts.owned_memories as usize != record.memories.len()
                    || counts.owned_tables as usize != record.tables.len()
                {
                    let (path, module) = (file.path().to_owned(), record.module);
                    let instance = position + 1;
                    return Err(SnapshotError::Misfit { path, instance, module }.into());
                }
            }
            instances.push(Contained { record, declared, block });
        }
        Ok(Self { file, instances })
    }

    /// Reads a table's elements that are not null, as they lie in it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn elements(&self, area: &format::Area) -> Result<Vec<(u64, u64)>, Error> {
        let mut elements = Vec::new();
        self.each_stored(area, |page, bytes| {
            let (words, _) = bytes.as_chunks::<8>();
            let words = words.iter().map(|word| u64::from_le_bytes(*word)).enumerate();
            let found = words.filter(|(_, bits)| *bits != 0);
            elements.extend(found.map(|(at, bits)| (page * (PAGE / 8) + at as u64, bits)));
        })?;
        elements.retain(|(index, _)| *index < area.len / 8);
        Ok(elements)
    }

    /// Reads each page of a memory or table that the file holds.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn each_stored(
        &self,
        area: &format::Area,
        mut visit: impl FnMut(u64, &PageBuffer),
    ) -> Result<(), Error> {
        let mut buffer: PageBuffer = [0; PAGE as usize];
        for page in area.stored().flatten() {
            self.file.page(area, page, &mut buffer)?;
            visit(page, &buffer);
        }
        Ok(())
    }

    /// A value as text: of a function reference the function.
    pub(crate) fn show(&self, value: RawValue, ty: ValType) -> String {
        if let ValType::Ref(ty) = ty {
            return match (value.0 as u64, ty.heap.hierarchy()) {
                (0, _) => "null".to_owned(),
                (bits, hierarchy) => self.show_element(bits, hierarchy),
            };
        }
        let value = Val::from_raw(value, ty, |_| unreachable!("a number"));
        match value {
            // Text does not tell one NaN from another.
            Val::F32(bits) if f32::from_bits(bits).is_nan() => format!("NaN ({bits:#x})"),
            Val::F64(bits) if f64::from_bits(bits).is_nan() => format!("NaN ({bits:#x})"),
            Val::V128(bits) => format!("{bits:#034x}"),
            value => value.to_string(),
        }
    }

    /// A function reference as text.
    pub(crate) fn show_func(&self, func: FuncRef) -> String {
        let instance = func.instance();
        let name = match self.instances.get(instance.position()) {
            Some(contained) => contained.function(func.func()),
            None => format!("function {}", func.func()),
        };
        match self.instances.len() {
            1 => name,
            _ => format!("{name} of instance {instance}"),
        }
    }

    /// An element of a table as text.
    pub(crate) fn show_element(&self, bits: u64, hierarchy: Hierarchy) -> String {
        match (FuncRef::from_bits(bits), hierarchy) {
            (Some(func), Hierarchy::Func) => self.show_func(func),
            (_, Hierarchy::Any | Hierarchy::Extern) => match ObjectBits::from_bits(bits) {
                Some(ObjectBits::Object(at)) => format!("object at {at:#x}"),
                Some(ObjectBits::I31(n)) => format!("i31 {}", (n << 1).cast_signed() >> 1),
                _ => format!("{bits:#x}"),
            },
            _ => format!("{bits:#x}"),
        }
    }

    /// The function of a frame.
    pub(crate) fn frame_function(&self, frame: &FrameState) -> String {
        match self.instances.get(frame.instance.position()) {
            Some(contained) => contained.function(frame.site.func),
            None => format!("function {}", frame.site.func),
        }
    }

    /// The name of a value of a frame, where it has one.
    pub(crate) fn place_name(&self, frame: &FrameState, place: Place) -> Option<&str> {
        let declared = self.instances.get(frame.instance.position())?.declared.as_ref()?;
        match place {
            Place::Local(local) => declared.names.local(frame.site.func, local),
            Place::Operand(_) | Place::Caught(_) => None,
        }
    }
}

fn module_of(file: &SnapshotFile, frame: &FrameState) -> Option<ModuleHash> {
    Some(file.instances().get(frame.instance.position())?.module)
}

/// What a value of a frame is, in the words of the specification.
pub(crate) fn place(place: Place) -> String {
    match place {
        Place::Local(index) => format!("local {index}"),
        Place::Operand(height) => format!("operand {height}"),
        Place::Caught(depth) => format!("exception caught {depth} blocks out"),
    }
}

/// Where in the module's bytes a frame waits; none of an imported function.
pub(crate) fn offset(site: CallSite) -> Option<u32> {
    Some(site.offset).filter(|offset| *offset != CallSite::IMPORT)
}

impl Contained<'_> {
    fn word(&self, offset: u64) -> u64 {
        let bytes = self.block.get(offset as usize..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn counts(&self) -> Option<Counts> {
        self.declared.as_ref().map(|declared| Counts::of(&declared.info))
    }

    /// Its state block.
    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Its own globals; none where its module is not known.
    pub(crate) fn globals(&self) -> Vec<Global> {
        let Some(declared) = &self.declared else { return Vec::new() };
        let (info, counts) = (&declared.info, Counts::of(&declared.info));
        let globals = info.globals.iter().enumerate().skip(info.imported_globals as usize);
        let value = |owned: u32| {
            let at = counts.global(owned);
            RawValue(u128::from(self.word(at)) | u128::from(self.word(at + 8)) << 64)
        };
        let global = |(index, global): (usize, &executor_model::Global)| {
            let (index, ty) = (index as u32, global.ty.value);
            let value = value(index - info.imported_globals).truncated(ty);
            Global { index, ty, mutable: global.ty.mutable, value }
        };
        globals.map(global).collect()
    }

    /// The data segments and the element segments that are dropped.
    pub(crate) fn dropped(&self) -> (Vec<u32>, Vec<u32>) {
        let Some(counts) = self.counts() else { return Default::default() };
        let dropped = |count: u32, word: &dyn Fn(u32) -> u64| -> Vec<u32> {
            (0..count).filter(|i| self.word(word(*i)) >> (i % 64) & 1 == 1).collect()
        };
        (
            dropped(counts.data_segments, &|i| counts.dropped_data(i)),
            dropped(counts.element_segments, &|i| counts.dropped_element(i)),
        )
    }

    /// What its imports are linked to: tags, functions of other instances and distances to what others own.
    pub(crate) fn links(&self) -> &[u8] {
        let Some(counts) = self.counts() else { return &[] };
        let range = counts.global_link(0) as usize..counts.dropped_data(0) as usize;
        self.block.get(range).unwrap_or_default()
    }

    /// The function of an index, by its name where it has one, as its source has it.
    pub(crate) fn function(&self, func: FuncIndex) -> String {
        let named = || self.declared.as_ref()?.function_name(func);
        named().unwrap_or_else(|| format!("function {func}"))
    }

    /// The index of a memory or table that the instance owns, among all of its module.
    pub(crate) fn index(&self, item: Item) -> u32 {
        let counts = self.counts().unwrap_or_default();
        match item {
            Item::Memory(owned) => counts.imported_memories + owned as u32,
            Item::Table(owned) => counts.imported_tables + owned as u32,
        }
    }

    /// Whether the memory of an index is where objects lie, which none of the module's memories is.
    pub(crate) fn holds_objects(&self, memory: u32) -> bool {
        self.counts().is_some_and(|counts| memory >= counts.memories())
    }

    /// What the elements of a table refer to.
    pub(crate) fn hierarchy(&self, table: u32) -> Hierarchy {
        let table = self.declared.as_ref().and_then(|d| d.info.tables.get(table as usize));
        table.map_or(Hierarchy::Func, |table| table.ty.element.heap.hierarchy())
    }

    /// The name of an item: from the name section, or else that of an export.
    pub(crate) fn name(&self, kind: ExternKind, index: u32) -> Option<String> {
        self.declared.as_ref()?.name(kind, index)
    }
}

impl Declared {
    /// The name of a function as its source has it: of an imported one its import.
    pub(crate) fn function_name(&self, func: FuncIndex) -> Option<String> {
        if func < self.info.imported_functions {
            let functions = self.info.imports.iter();
            let mut functions = functions.filter(|i| matches!(i.kind, ImportKind::Func(_)));
            return functions.nth(func as usize).map(|i| format!("{}.{}", i.module, i.name));
        }
        let named = match &self.code {
            Some(code) => code.code().function_name(func),
            None => ItemNames::find(&self.info.names.functions, func),
        };
        let name = named.map(str::to_owned).or_else(|| self.export(ExternKind::Func, func))?;
        Some(demangle(&name).unwrap_or(name))
    }

    /// The name that a function is exported under.
    pub(crate) fn exported_function(&self, func: FuncIndex) -> Option<String> {
        self.export(ExternKind::Func, func)
    }

    fn export(&self, kind: ExternKind, index: u32) -> Option<String> {
        let export = self.info.exports.iter().find(|e| e.kind == kind && e.index == index);
        export.map(|export| export.name.clone())
    }

    fn name(&self, kind: ExternKind, index: u32) -> Option<String> {
        let names = match kind {
            ExternKind::Table => &self.names.tables,
            ExternKind::Memory => &self.names.memories,
            ExternKind::Global => &self.names.globals,
            ExternKind::Func | ExternKind::Tag => return self.export(kind, index),
        };
        let name = ItemNames::find(names, index).map(str::to_owned);
        name.or_else(|| self.export(kind, index))
    }
}

impl crate::runtime::Shared {
    /// What a module declares, by its code or its bytes, whichever is at hand; `None` where neither is. Nothing
    /// is compiled.
    pub(crate) fn declared(
        &self,
        hash: ModuleHash,
        functions: &[FuncIndex],
    ) -> Result<Option<Declared>, Error> {
        let engine = self.engine(Code::Plain)?;
        // What is wrong with code that is kept matters to those who run it.
        let code = engine.load(&hash).ok().flatten().map(|(code, _)| code);
        let info = code.as_ref().and_then(|code| code.info().ok().cloned());
        let bytes = self.module_bytes(hash).ok();
        let names = bytes.as_deref().map(|wasm| item_names(wasm, functions)).unwrap_or_default();
        let (info, code) = match (info, bytes) {
            (Some(info), _) => (info, code),
            (None, Some(wasm)) if engine.compiler().is_some() => {
                let failed = |source| Error::Invalid { module: format!("module {hash}"), source };
                let module = engine.decode(&wasm, hash).map_err(failed)?;
                (Arc::unwrap_or_clone(module.info), None)
            }
            (None, _) => return Ok(None),
        };
        Ok(Some(Declared { info, names, code }))
    }
}

#[cfg(feature = "compiler")]
fn item_names(wasm: &[u8], functions: &[FuncIndex]) -> ItemNames {
    executor_compiler::item_names(wasm, functions)
}

#[cfg(not(feature = "compiler"))]
fn item_names(_: &[u8], _: &[FuncIndex]) -> ItemNames {
    ItemNames::default()
}
