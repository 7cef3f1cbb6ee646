//! The state of the instances of a snapshot, as an inspection tells it.
//!
//! Invariant: every list is in the order of the indices or addresses, so equal states read the same.

use super::Detail;
use crate::{
    Error,
    contents::{self, Contained, Contents},
};
use executor_code::layout::PAGE;
use executor_model::{ExternKind, FuncRef};
use executor_runtime::Extent;
use executor_snapshot::{InstanceNames, Item, format};
use serde::Serialize;
use std::ops::Range;

/// One instance.
#[derive(Debug, Serialize)]
pub struct InspectedInstance {
    /// Its number.
    pub id: usize,
    /// The hash of its module's bytes.
    pub module: String,
    /// Its module's name, if it has one.
    pub module_name: Option<String>,
    /// Whether the module or its code is at hand. If not, nothing is known of globals, segments and names.
    pub module_found: bool,
    /// The name that others import its exports under.
    pub registered_as: Option<String>,
    /// False when its instantiation failed.
    pub instantiated: bool,
    /// Its own memories.
    pub memories: Vec<InspectedMemory>,
    /// Its own tables.
    pub tables: Vec<InspectedTable>,
    /// Its own globals.
    pub globals: Vec<InspectedGlobal>,
    /// The indices of the data segments that are dropped, as an active one is when it has been copied.
    pub dropped_data: Vec<u32>,
    /// The indices of the element segments that are dropped.
    pub dropped_elements: Vec<u32>,
}

/// A memory. Its pages are those of the host: 4096 bytes.
#[derive(Debug, Serialize)]
pub struct InspectedMemory {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// Whether it is where objects lie: no instruction names it, and its index is the one after those of memories.
    pub objects: bool,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many of them the file itself holds.
    pub stored_bytes: u64,
    /// How many of them the files of bases hold.
    pub base_bytes: u64,
    /// How many pages it has.
    pub pages: u64,
    /// How many of them the file or a base holds, some of them of zeroes only.
    pub stored_pages: u64,
    /// How many of them hold nothing but zeroes.
    pub zero_pages: u64,
    /// What the file and its bases hold.
    pub extents: Vec<InspectedExtent>,
    /// The pages that the first call is known to write to.
    pub working_set: Vec<InspectedRange>,
    /// The pages that are not zero; with [`Detail::Full`] only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonzero: Option<Vec<InspectedRange>>,
}

/// A part of a memory that is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InspectedExtent {
    /// Where in the memory it begins.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// Whose file: 0 is the snapshot's own, k that of its k-th base.
    pub source: u32,
}

/// A part of a memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InspectedRange {
    /// Where it begins.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
}

/// A table.
#[derive(Debug, Serialize)]
pub struct InspectedTable {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// How many bytes it has, 8 for each element.
    pub bytes: u64,
    /// How many of them the file itself holds.
    pub stored_bytes: u64,
    /// How many of them the files of bases hold.
    pub base_bytes: u64,
    /// How many elements it has.
    pub elements: u64,
    /// How many of them are not null.
    pub non_null: u64,
    /// Those that are not null; with [`Detail::Full`] only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<InspectedElement>>,
}

/// An element of a table that is not null.
#[derive(Debug, Serialize)]
pub struct InspectedElement {
    /// Its index.
    pub index: u64,
    /// What it refers to: a function by its name, as its source has it.
    pub value: String,
    /// The index of the function, if it refers to one.
    pub function: Option<u32>,
    /// The number of the instance whose function it is.
    pub instance: Option<u32>,
}

/// A global.
#[derive(Debug, Serialize)]
pub struct InspectedGlobal {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// Its type, as in the text format.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether it is mutable.
    pub mutable: bool,
    /// Its value as text; a function by its name, a vector in hexadecimal.
    pub value: String,
}

/// A frame of the call that a snapshot is inside of.
#[derive(Debug, Serialize)]
pub struct InspectedFrame {
    /// The number of its instance.
    pub instance: u32,
    /// The index of its function.
    pub function: u32,
    /// The function's name, as its source has it.
    pub name: String,
    /// Where in the module's bytes the call is that it waits for; none of an imported function.
    pub offset: Option<u32>,
    /// The values that it goes on with.
    pub values: Vec<InspectedValue>,
}

/// A value of a frame.
#[derive(Debug, Serialize)]
pub struct InspectedValue {
    /// `local N`, `operand N`, or which exception.
    pub place: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its value as text.
    pub value: String,
}

impl InspectedInstance {
    pub(super) fn of(
        contents: &Contents<'_>,
        position: usize,
        names: Option<&InstanceNames>,
        detail: Detail,
    ) -> Result<Self, Error> {
        let instance = &contents.instances[position];
        let record = instance.record;
        let memories = record.memories.iter().enumerate();
        let memory = |(at, area)| memory(contents, instance, Item::Memory(at), area, detail);
        let tables = record.tables.iter().enumerate();
        let table = |(at, area)| table(contents, instance, Item::Table(at), area, detail);
        let (dropped_data, dropped_elements) = instance.dropped();
        Ok(Self {
            id: position + 1,
            module: record.module.to_string(),
            module_name: names.and_then(|names| names.module.clone()),
            module_found: instance.declared.is_some(),
            registered_as: names.and_then(|names| names.registered.clone()),
            instantiated: record.instantiated,
            memories: memories.map(memory).collect::<Result<_, _>>()?,
            tables: tables.map(table).collect::<Result<_, _>>()?,
            globals: globals(contents, instance),
            dropped_data,
            dropped_elements,
        })
    }
}

fn memory(
    contents: &Contents<'_>,
    instance: &Contained<'_>,
    item: Item,
    area: &format::Area,
    detail: Detail,
) -> Result<InspectedMemory, Error> {
    let index = instance.index(item);
    let mut nonzero: Vec<Range<u64>> = Vec::new();
    contents.each_stored(area, |page, bytes| {
        if bytes.iter().any(|byte| *byte != 0) {
            extend(&mut nonzero, page);
        }
    })?;
    let pages = area.len.div_ceil(PAGE);
    let filled: u64 = nonzero.iter().map(|run| run.end - run.start).sum();
    let (own, of_bases) = stored_bytes(area);
    let extent = |e: &Extent| InspectedExtent { at: e.at, bytes: e.len, source: e.source };
    let range = |run: &Range<u64>| InspectedRange { at: run.start, bytes: run.end - run.start };
    let run = |run: Range<u64>| range(&(run.start * PAGE..run.end * PAGE));
    Ok(InspectedMemory {
        index,
        name: instance.name(ExternKind::Memory, index),
        objects: instance.holds_objects(index),
        bytes: area.len,
        stored_bytes: own,
        base_bytes: of_bases,
        pages,
        stored_pages: (own + of_bases) / PAGE,
        zero_pages: pages.saturating_sub(filled),
        extents: area.extents.iter().map(extent).collect(),
        working_set: area.working_set.iter().map(range).collect(),
        nonzero: (detail == Detail::Full).then(|| nonzero.into_iter().map(run).collect()),
    })
}

/// How many bytes of a memory or table the file itself holds, and how many its bases.
fn stored_bytes(area: &format::Area) -> (u64, u64) {
    let of = |own: bool| {
        let extents = area.extents.iter().filter(|extent| (extent.source == 0) == own);
        extents.map(|extent| extent.len).sum()
    };
    (of(true), of(false))
}

/// Adds the next page to runs of pages.
fn extend(runs: &mut Vec<Range<u64>>, page: u64) {
    match runs.last_mut() {
        Some(last) if last.end == page => last.end += 1,
        _ => runs.push(page..page + 1),
    }
}

fn table(
    contents: &Contents<'_>,
    instance: &Contained<'_>,
    item: Item,
    area: &format::Area,
    detail: Detail,
) -> Result<InspectedTable, Error> {
    let index = instance.index(item);
    let elements = contents.elements(area)?;
    let hierarchy = instance.hierarchy(index);
    let element = |(index, bits): &(u64, u64)| {
        let func = FuncRef::from_bits(*bits);
        InspectedElement {
            index: *index,
            value: contents.show_element(*bits, hierarchy),
            function: func.map(FuncRef::func),
            instance: func.map(|func| func.instance().get()),
        }
    };
    Ok(InspectedTable {
        index,
        name: instance.name(ExternKind::Table, index),
        bytes: area.len,
        stored_bytes: stored_bytes(area).0,
        base_bytes: stored_bytes(area).1,
        elements: area.len / 8,
        non_null: elements.len() as u64,
        entries: (detail == Detail::Full).then(|| elements.iter().map(element).collect()),
    })
}

fn globals(contents: &Contents<'_>, instance: &Contained<'_>) -> Vec<InspectedGlobal> {
    let globals = instance.globals().into_iter().map(|global| InspectedGlobal {
        index: global.index,
        name: instance.name(ExternKind::Global, global.index),
        ty: global.ty.to_string(),
        mutable: global.mutable,
        value: contents.show(global.value, global.ty),
    });
    globals.collect()
}

/// The frames of the call that a snapshot is inside of, outermost first.
pub(super) fn frames(contents: &Contents<'_>) -> Vec<InspectedFrame> {
    let frames = contents.file.call().into_iter().flat_map(|call| &call.frames);
    let frames = frames.map(|frame| InspectedFrame {
        instance: frame.instance.get(),
        function: frame.site.func,
        name: contents.frame_function(frame),
        offset: contents::offset(frame.site),
        values: frame
            .values
            .iter()
            .map(|value| InspectedValue {
                place: contents::place(value.place),
                name: contents.place_name(frame, value.place).map(str::to_owned),
                ty: value.ty.to_string(),
                value: contents.show(value.value, value.ty),
            })
            .collect(),
    });
    frames.collect()
}
