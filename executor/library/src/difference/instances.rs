//! The state of two instances, compared.
//!
//! Invariant: pages that neither file holds are zero in both and are not read.

use super::Change;
use crate::{
    Error,
    contents::{Contained, Contents},
};
use executor_code::layout::PAGE;
use executor_model::ExternKind;
use executor_snapshot::{Item, PageBuffer, format::Area};
use executor_wasi::MemoryRange;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// How many bytes are shown where two runs of pages begin to differ.
const SHOWN: usize = 16;

/// How an instance differs.
#[derive(Debug, Default, Serialize)]
pub struct InstanceDifference {
    /// Its number.
    pub id: usize,
    /// The hashes of its modules; null where only one snapshot has the instance. The rest of what is of two
    /// modules is not compared.
    pub module: Option<Change<Option<String>>>,
    /// Whether its instantiation ended well.
    pub instantiated: Option<Change<bool>>,
    /// Whether its imports are linked to something else.
    pub links: bool,
    /// Whether globals, segments or links differ, of a module that is not at hand to tell which.
    pub unknown_state: bool,
    /// The memories that differ.
    pub memories: Vec<MemoryDifference>,
    /// The tables that differ.
    pub tables: Vec<TableDifference>,
    /// The globals that differ.
    pub globals: Vec<GlobalDifference>,
    /// The indices of the data segments that are dropped.
    pub dropped_data: Option<Change<Vec<u32>>>,
    /// The indices of the element segments that are dropped.
    pub dropped_elements: Option<Change<Vec<u32>>>,
}

/// How a memory differs.
#[derive(Debug, Serialize)]
pub struct MemoryDifference {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// Whether it is where objects lie: no instruction names it, and its index is the one after those of memories.
    pub objects: bool,
    /// Its size in bytes.
    pub size: Option<Change<u64>>,
    /// How many pages of 4096 bytes differ.
    pub pages: u64,
    /// How many bytes differ.
    pub bytes: u64,
    /// How many of those lie where either snapshot's maker drew random bytes.
    pub drawn_bytes: u64,
    /// The pages that differ.
    pub runs: Vec<RunDifference>,
}

/// Pages that follow each other and differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunDifference {
    /// The address of the first.
    pub at: u64,
    /// How many there are.
    pub pages: u64,
    /// How many bytes of them differ.
    pub bytes: u64,
    /// How many of those lie where either snapshot's maker drew random bytes.
    pub drawn_bytes: u64,
    /// The address of the first byte that differs.
    pub first: u64,
    /// The bytes from there on, in hexadecimal, as the first has them; at most 16, and not beyond the page.
    pub a: String,
    /// As the second has them.
    pub b: String,
}

/// How a table differs.
#[derive(Debug, Serialize)]
pub struct TableDifference {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// Its size in elements.
    pub size: Option<Change<u64>>,
    /// The elements that differ.
    pub elements: Vec<ElementDifference>,
}

/// How an element of a table differs; null is null, also where a table has no such element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ElementDifference {
    /// Its index.
    pub index: u64,
    /// As the first has it: a function by its name.
    pub a: Option<String>,
    /// As the second has it.
    pub b: Option<String>,
}

/// How a global differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GlobalDifference {
    /// Its index in its module.
    pub index: u32,
    /// Its name, or that of its export.
    pub name: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// As the first has it.
    pub a: String,
    /// As the second has it.
    pub b: String,
}

/// An instance with the snapshot that it is in.
#[derive(Clone, Copy)]
struct Of<'a> {
    contents: &'a Contents<'a>,
    instance: &'a Contained<'a>,
}

/// The instances that differ; `drawn` says where random bytes were drawn to.
pub(super) fn compare<'a>(
    (a, b): (&'a Contents<'a>, &'a Contents<'a>),
    drawn: (&[MemoryRange], &[MemoryRange]),
) -> Result<Vec<InstanceDifference>, Error> {
    let mut found = Vec::new();
    for position in 0..a.instances.len().max(b.instances.len()) {
        let of = |contents: &'a Contents<'a>| {
            Some(Of { contents, instance: contents.instances.get(position)? })
        };
        let (x, y) = (of(a), of(b));
        let hash = |of: Option<Of<'_>>| of.map(|of| of.instance.record.module.to_string());
        let id = position + 1;
        let module = Change::between(hash(x), hash(y));
        match (x, y) {
            (Some(x), Some(y)) if module.is_none() => {
                let drawn: Vec<MemoryRange> = [drawn.0, drawn.1].concat();
                found.extend(instance(x, y, id, &drawn)?);
            }
            _ => found.push(InstanceDifference { id, module, ..InstanceDifference::default() }),
        }
    }
    Ok(found)
}

fn instance(
    a: Of<'_>,
    b: Of<'_>,
    id: usize,
    drawn: &[MemoryRange],
) -> Result<Option<InstanceDifference>, Error> {
    let (x, y) = (a.instance, b.instance);
    let mut difference = InstanceDifference {
        id,
        instantiated: Change::between(x.record.instantiated, y.record.instantiated),
        ..InstanceDifference::default()
    };
    let mut differs = difference.instantiated.is_some();
    if x.declared.is_some() {
        let (dropped_a, dropped_b) = (x.dropped(), y.dropped());
        difference.links = x.links() != y.links();
        difference.globals = globals(a, b);
        difference.dropped_data = Change::between(dropped_a.0, dropped_b.0);
        difference.dropped_elements = Change::between(dropped_a.1, dropped_b.1);
        differs |= difference.links
            || !difference.globals.is_empty()
            || difference.dropped_data.is_some()
            || difference.dropped_elements.is_some();
    } else {
        difference.unknown_state = x.block() != y.block();
        differs |= difference.unknown_state;
    }
    for at in 0..x.record.memories.len() {
        let index = x.index(Item::Memory(at));
        let here = |range: &&MemoryRange| range.instance as usize == id && range.memory == index;
        let drawn: Vec<MemoryRange> = drawn.iter().filter(here).copied().collect();
        let areas = (&x.record.memories[at], &y.record.memories[at]);
        difference.memories.extend(memory(a, b, areas, index, &drawn)?);
    }
    for at in 0..x.record.tables.len() {
        let areas = (&x.record.tables[at], &y.record.tables[at]);
        difference.tables.extend(table(a, b, areas, x.index(Item::Table(at)))?);
    }
    differs |= !difference.memories.is_empty() || !difference.tables.is_empty();
    Ok(differs.then_some(difference))
}

fn globals(a: Of<'_>, b: Of<'_>) -> Vec<GlobalDifference> {
    let (of_a, of_b) = (a.instance.globals(), b.instance.globals());
    let pairs = of_a.into_iter().zip(of_b).filter(|(x, y)| x.value != y.value);
    let difference = pairs.map(|(x, y)| GlobalDifference {
        index: x.index,
        name: a.instance.name(ExternKind::Global, x.index),
        ty: x.ty.to_string(),
        a: a.contents.show(x.value, x.ty),
        b: b.contents.show(y.value, y.ty),
    });
    difference.collect()
}

fn table(
    a: Of<'_>,
    b: Of<'_>,
    areas: (&Area, &Area),
    index: u32,
) -> Result<Option<TableDifference>, Error> {
    let mut elements: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (at, bits) in a.contents.elements(areas.0)? {
        elements.entry(at).or_default().0 = bits;
    }
    for (at, bits) in b.contents.elements(areas.1)? {
        elements.entry(at).or_default().1 = bits;
    }
    let hierarchy = a.instance.hierarchy(index);
    let show =
        |of: Of<'_>, bits: u64| (bits != 0).then(|| of.contents.show_element(bits, hierarchy));
    let differ = elements.into_iter().filter(|(_, (x, y))| x != y);
    let elements: Vec<ElementDifference> = differ
        .map(|(index, (x, y))| ElementDifference { index, a: show(a, x), b: show(b, y) })
        .collect();
    let size = Change::between(areas.0.len / 8, areas.1.len / 8);
    let name = a.instance.name(ExternKind::Table, index);
    let differs = size.is_some() || !elements.is_empty();
    Ok(differs.then_some(TableDifference { index, name, size, elements }))
}

fn memory(
    a: Of<'_>,
    b: Of<'_>,
    areas: (&Area, &Area),
    index: u32,
    drawn: &[MemoryRange],
) -> Result<Option<MemoryDifference>, Error> {
    let mut pages: Vec<u64> = areas.0.stored().chain(areas.1.stored()).flatten().collect();
    pages.sort_unstable();
    pages.dedup();
    let mut runs: Vec<RunDifference> = Vec::new();
    let (mut of_a, mut of_b): (PageBuffer, PageBuffer) = ([0; _], [0; _]);
    for page in pages {
        a.contents.file.page(areas.0, page, &mut of_a)?;
        b.contents.file.page(areas.1, page, &mut of_b)?;
        let Some(differs) = compare_page(page * PAGE, &of_a, &of_b, drawn) else { continue };
        match runs.last_mut() {
            Some(run) if run.at + run.pages * PAGE == differs.at => {
                run.pages += 1;
                run.bytes += differs.bytes;
                run.drawn_bytes += differs.drawn_bytes;
            }
            _ => runs.push(differs),
        }
    }
    let size = Change::between(areas.0.len, areas.1.len);
    let differs = size.is_some() || !runs.is_empty();
    Ok(differs.then(|| MemoryDifference {
        index,
        name: a.instance.name(ExternKind::Memory, index),
        objects: a.instance.holds_objects(index),
        size,
        pages: runs.iter().map(|run| run.pages).sum(),
        bytes: runs.iter().map(|run| run.bytes).sum(),
        drawn_bytes: runs.iter().map(|run| run.drawn_bytes).sum(),
        runs,
    }))
}

fn compare_page(
    at: u64,
    a: &PageBuffer,
    b: &PageBuffer,
    drawn: &[MemoryRange],
) -> Option<RunDifference> {
    if a == b {
        return None;
    }
    let differ: Vec<usize> = (0..a.len()).filter(|i| a[*i] != b[*i]).collect();
    let first = *differ.first()?;
    let is_drawn = |i: &&usize| {
        let address = at + **i as u64;
        drawn.iter().any(|draw| {
            let start = u64::from(draw.address);
            (start..start + u64::from(draw.len)).contains(&address)
        })
    };
    let shown = first..(first + SHOWN).min(a.len());
    Some(RunDifference {
        at,
        pages: 1,
        bytes: differ.len() as u64,
        drawn_bytes: differ.iter().filter(is_drawn).count() as u64,
        first: at + first as u64,
        a: hex(&a[shown.clone()]),
        b: hex(&b[shown]),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
