//! The map of a memory's pages.
//!
//! Invariant: the map has at most [`MOST_CELLS`] cells, whatever the size of the memory: a cell stands for as many
//! pages as that takes, and shows the most telling of them. The counts beside it are of pages.

use super::add;
use executor::inspection::{InspectedMemory, InspectedRange};
use std::fmt::Write;

/// A host page, in bytes.
const PAGE: u64 = 4096;
const MOST_CELLS: u64 = 8192;
/// The side of a cell in the units of the drawing.
const CELL: u64 = 10;

/// What a page is; of several in a cell the last kind is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Zero,
    Base,
    Own,
    First,
}

const KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Zero, "zero", "zero"),
    (Kind::Base, "base", "in a base"),
    (Kind::Own, "own", "in this file"),
    (Kind::First, "first", "written by the first call"),
];

/// Runs of pages of one kind, ascending, without gaps.
fn kinds(memory: &InspectedMemory) -> Vec<(u64, u64, Kind)> {
    let pages = |range: &InspectedRange| {
        (range.at / PAGE, (range.at + range.bytes).div_ceil(PAGE).min(memory.pages))
    };
    let nonzero: Vec<(u64, u64)> = memory.nonzero.iter().flatten().map(pages).collect();
    let first: Vec<(u64, u64)> = memory.working_set.iter().map(pages).collect();
    let extents = memory.extents.iter();
    let extents: Vec<(u64, u64, Kind)> = extents
        .map(|e| {
            let kind = if e.source == 0 { Kind::Own } else { Kind::Base };
            (e.at / PAGE, (e.at + e.bytes) / PAGE, kind)
        })
        .collect();
    let mut edges: Vec<u64> = vec![0, memory.pages];
    edges.extend(nonzero.iter().chain(&first).flat_map(|(start, end)| [*start, *end]));
    edges.extend(extents.iter().flat_map(|(start, end, _)| [*start, *end]));
    edges.retain(|edge| *edge <= memory.pages);
    edges.sort_unstable();
    edges.dedup();
    let within = |ranges: &[(u64, u64)], page: u64| {
        let after = ranges.partition_point(|(start, _)| *start <= page);
        after > 0 && page < ranges[after - 1].1
    };
    let kind = |page: u64| {
        if within(&first, page) {
            return Kind::First;
        }
        let after = extents.partition_point(|(start, ..)| *start <= page);
        match after.checked_sub(1).map(|at| extents[at]) {
            Some((_, end, kind)) if page < end && within(&nonzero, page) => kind,
            _ => Kind::Zero,
        }
    };
    edges.windows(2).map(|edge| (edge[0], edge[1], kind(edge[0]))).collect()
}

/// Draws the map of a memory, with its legend.
pub(super) fn map(page: &mut String, memory: &InspectedMemory) {
    let runs = kinds(memory);
    *page += "<ul class=\"legend\">\n";
    for (kind, class, meaning) in KINDS {
        let of = runs.iter().filter(|(.., of)| *of == kind);
        let pages: u64 = of.map(|(start, end, _)| end - start).sum();
        if pages > 0 {
            add!(page, "<li class=\"{class}\">{meaning} <b>{pages}</b></li>\n");
        }
    }
    *page += "</ul>\n";
    if memory.pages == 0 {
        return;
    }
    let each = memory.pages.div_ceil(MOST_CELLS);
    let mut cells = vec![Kind::Zero; memory.pages.div_ceil(each) as usize];
    for (start, end, kind) in runs {
        for cell in &mut cells[(start / each) as usize..end.div_ceil(each) as usize] {
            *cell = (*cell).max(kind);
        }
    }
    let columns = match cells.len() {
        0..=512 => 32,
        513..=2048 => 64,
        _ => 128,
    };
    let (width, height) = (columns * CELL, (cells.len() as u64).div_ceil(columns) * CELL);
    add!(
        page,
        "<svg class=\"map\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"pages of the memory\" style=\"max-width:{width}px\">\n"
    );
    // Cells of a row that are alike are one shape.
    let mut at = 0;
    for row in cells.chunks(columns as usize) {
        let y = at / columns * CELL;
        for alike in row.chunk_by(|a, b| a == b) {
            let (x, len) = (at % columns * CELL, alike.len() as u64);
            let (_, class, meaning) = KINDS[alike[0] as usize];
            let (first, end) = (at * each * PAGE, ((at + len) * each).min(memory.pages) * PAGE);
            add!(
                page,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{CELL}\">\
                 <title>{first:#x}..{end:#x}: {meaning}</title></rect>\n",
                len * CELL
            );
            at += len;
        }
    }
    // The lines between them.
    *page += "<path class=\"lines\" d=\"";
    (1..columns).for_each(|column| add!(page, "M{} 0v{height}", column * CELL));
    (1..height / CELL).for_each(|row| add!(page, "M0 {}h{width}", row * CELL));
    *page += "\"></path>\n</svg>\n";
    if each > 1 {
        add!(page, "<p><small>A square is {each} pages of 4 KiB.</small></p>\n");
    } else {
        *page += "<p><small>A square is a page of 4 KiB.</small></p>\n";
    }
}
