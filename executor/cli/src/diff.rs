//! `executor snapshot diff`: what differs between two snapshots.
//!
//! Invariant: the exit code is that of diff(1): 0 nothing differs, 1 something does, 2 it could not be told.

use crate::{
    args::StoreDirArgs,
    error::{EXIT_FAILURE, Failure},
    out, print,
    snapshot_cmd::{named, open},
    units,
};
use executor::{
    Difference, Escaped,
    difference::{
        Change, ElementDifference, InstanceDifference, MemoryDifference, StackDifference,
        TableDifference,
    },
};
use std::{
    ffi::OsStr,
    fmt::{Display, Write},
};

/// How many of what there may be many of are shown where not all are asked for.
pub const FEW: usize = 8;

/// Compares two snapshots.
///
/// # Errors
/// When they cannot be compared.
pub fn diff(
    store: &StoreDirArgs,
    (a, b): (&OsStr, &OsStr),
    json: bool,
    full: bool,
) -> Result<i32, Failure> {
    compare(store, a, b)
        .and_then(|difference| {
            match json {
                true => print::json(&difference)?,
                false => {
                    out(format_args!("{}", text(&difference, if full { usize::MAX } else { FEW })))?
                }
            }
            Ok(if difference.same { 0 } else { EXIT_FAILURE })
        })
        .map_err(Failure::trouble)
}

fn compare(store: &StoreDirArgs, a: &OsStr, b: &OsStr) -> Result<Difference, Failure> {
    let (runtime, a) = open(store, named(store, a)?, a)?;
    let (_, b) = open(store, named(store, b)?, b)?;
    Ok(Difference::between(&runtime, &a, &b)?)
}

/// What differs, as lines of text, at most so many of a kind; nothing where nothing differs.
pub fn text(difference: &Difference, limit: usize) -> String {
    let mut text = Text { text: String::new(), limit };
    text.list(0, &difference.facts, "facts", |fact| {
        format!("{}: {} -> {}", fact.fact, fact.a, fact.b)
    });
    if let Some(stack) = &difference.stack {
        text.stack(stack);
    }
    difference.instances.iter().for_each(|instance| text.instance(instance));
    text.text
}

struct Text {
    text: String,
    limit: usize,
}

impl Text {
    fn line(&mut self, indent: usize, line: impl Display) {
        // Writing to a string cannot fail.
        let line = line.to_string();
        let _ = writeln!(self.text, "{:indent$}{}", "", Escaped(&line));
    }

    /// Shows the first of a list, and how many more there are.
    fn list<T>(
        &mut self,
        indent: usize,
        items: &[T],
        what: &str,
        mut show: impl FnMut(&T) -> String,
    ) {
        for item in items.iter().take(self.limit) {
            self.line(indent, show(item));
        }
        if items.len() > self.limit {
            let more = items.len() - self.limit;
            self.line(indent, format_args!("and {more} more {what} (to see them: --full)"));
        }
    }

    fn change<T>(
        &mut self,
        indent: usize,
        what: &str,
        change: Option<&Change<T>>,
        show: impl Fn(&T) -> String,
    ) {
        if let Some(Change { a, b }) = change {
            self.line(indent, format_args!("{what}: {} -> {}", show(a), show(b)));
        }
    }

    fn stack(&mut self, stack: &StackDifference) {
        let StackDifference { removed, added, changed } = stack;
        self.line(
            0,
            format_args!(
                "the call: {} frames removed, {} added, {} changed",
                removed.len(),
                added.len(),
                changed.len()
            ),
        );
        for frame in changed.iter().take(self.limit) {
            self.line(2, format_args!("frame {} of {}", frame.frame, frame.name));
            let offset = |at: &Option<u32>| at.map_or("none".to_owned(), |at| format!("{at:#x}"));
            self.change(4, "waits at", frame.offset.as_ref(), offset);
            self.list(4, &frame.values, "values", |value| {
                let name = value.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                format!("{}{name}: {} -> {}", value.place, or_none(&value.a), or_none(&value.b))
            });
        }
        self.list(2, removed, "frames", |name| format!("- {name}"));
        self.list(2, added, "frames", |name| format!("+ {name}"));
    }

    fn instance(&mut self, instance: &InstanceDifference) {
        self.line(0, format_args!("instance {}", instance.id));
        if let Some(Change { a, b }) = &instance.module {
            self.line(
                2,
                match (a, b) {
                    (Some(a), Some(b)) => {
                        format!("is of other modules, and not compared: {a} -> {b}")
                    }
                    (Some(_), None) => "is only in the first".to_owned(),
                    _ => "is only in the second".to_owned(),
                },
            );
        }
        self.change(2, "instantiated", instance.instantiated.as_ref(), bool::to_string);
        if instance.links {
            self.line(2, "its imports are linked to other items");
        }
        if instance.unknown_state {
            self.line(2, "its globals, segments or links differ; to tell which, its module has to be in the store");
        }
        instance.memories.iter().for_each(|memory| self.memory(memory));
        instance.tables.iter().for_each(|table| self.table(table));
        self.list(2, &instance.globals, "globals", |global| {
            let name = name(&global.name);
            format!("global {}{name}: {} -> {}", global.index, global.a, global.b)
        });
        let limit = self.limit;
        let segments = |list: &Vec<u32>| match list.get(..limit) {
            Some(some) if list.len() > limit => format!("{some:?} and {} more", list.len() - limit),
            _ => format!("{list:?}"),
        };
        self.change(2, "data segments dropped", instance.dropped_data.as_ref(), segments);
        self.change(2, "element segments dropped", instance.dropped_elements.as_ref(), segments);
    }

    fn memory(&mut self, memory: &MemoryDifference) {
        let MemoryDifference { index, pages, bytes, drawn_bytes, .. } = memory;
        let which = match memory.objects {
            true => "objects".to_owned(),
            false => format!("memory {index}{}", name(&memory.name)),
        };
        self.line(
            2,
            format_args!(
                "{which}: {} of {} differ{}",
                count(*bytes, "byte"),
                count(*pages, "page"),
                drawn(*drawn_bytes, *bytes)
            ),
        );
        self.change(4, "size", memory.size.as_ref(), |bytes| units::show_size(*bytes));
        self.list(4, &memory.runs, "runs of pages", |run| {
            let end = run.at + run.pages * 4096;
            let drawn = drawn(run.drawn_bytes, run.bytes);
            format!(
                "{:#x}..{end:#x}: {}{drawn}; at {:#x} {} -> {}",
                run.at,
                count(run.bytes, "byte"),
                run.first,
                run.a,
                run.b
            )
        });
    }

    fn table(&mut self, table: &TableDifference) {
        self.line(
            2,
            format_args!(
                "table {}{}: {} differ",
                table.index,
                name(&table.name),
                count(table.elements.len() as u64, "element")
            ),
        );
        self.change(4, "size", table.size.as_ref(), u64::to_string);
        self.list(4, &table.elements, "elements", |ElementDifference { index, a, b }| {
            let null = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            format!("{index}: {} -> {}", null(a), null(b))
        });
    }
}

/// Whether bytes that differ are where random bytes were drawn.
fn drawn(drawn: u64, of: u64) -> String {
    match drawn {
        0 => String::new(),
        n if n == of => ", all where random bytes were drawn".to_owned(),
        n => format!(", {n} of them where random bytes were drawn"),
    }
}

/// A number of something.
fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn name(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
}

fn or_none(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("none")
}
