//! Which functions of a guest wrote the pages that a snapshot of it holds.
//!
//! Invariant: a page is its first writer's: whoever wrote to it later is not known. All pages that are not zero
//! where the snapshot is taken are told of, and no others, since these are in no snapshot.

use crate::Error;
use executor_code::layout::PAGE;
use executor_model::{Frame, InstanceId, demangle};
use executor_runtime::{FirstWrite, FirstWrites, Store};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// What instantiation wrote of its own accord.
const SEGMENTS: &str = "(data segments)";
/// Who wrote to pages that nobody was noted for: those of memories that threads share, and of memories in more pieces
/// than the system has mappings for.
const UNKNOWN: &str = "(not known)";

/// Which functions wrote the pages of a snapshot, also as JSON.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// How many pages of 4096 bytes are not zero.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many more pages were written to, and are zero.
    pub zero_again: u64,
    /// The functions that wrote to pages first, or called one that did, most pages first.
    pub functions: Vec<ExplainedFunction>,
    /// The pages that are not zero, by memory and address, as runs of the same writer.
    pub runs: Vec<ExplainedRun>,
}

/// A function, and the pages that it wrote to first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedFunction {
    /// Its name as its source has it, where it has one: of an imported function, which the host wrote for, else
    /// `module.name`. In parentheses what is no function.
    pub name: String,
    /// The name of its module, if it has one.
    pub module: Option<String>,
    /// Its index.
    pub function: Option<u32>,
    /// How many pages it wrote to first itself.
    pub self_pages: u64,
    /// How many it or a function that it called, at most 64 deep, wrote to first.
    pub total_pages: u64,
    /// Of a hundred pages how many are its own.
    pub self_percent: f64,
    /// Of a hundred pages how many are its own or of what it called.
    pub total_percent: f64,
}

/// Pages that follow each other and have one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedRun {
    /// The number of the instance.
    pub instance: u32,
    /// Which of its own memories; the number after the last one is that of where objects lie.
    pub memory: usize,
    /// Whether objects lie there.
    pub objects: bool,
    /// The address of the first page.
    pub at: u64,
    /// How many pages.
    pub pages: u64,
    /// The function that wrote to them first.
    pub by: String,
    /// Where in its module's bytes the operator is that wrote, where that is known.
    pub offset: Option<u32>,
    /// The functions that it was called from, innermost first.
    pub from: Vec<String>,
}

/// What tells functions apart: those without an index are no functions.
type Key = (Option<String>, Option<u32>, String);

impl Explanation {
    /// Explains the state of a store whose memories were attributed from its beginning.
    pub(crate) fn of(store: &Store) -> Result<Self, Error> {
        let mut explanation =
            Self { pages: 0, bytes: 0, zero_again: 0, functions: Vec::new(), runs: Vec::new() };
        let mut functions: BTreeMap<Key, ExplainedFunction> = BTreeMap::new();
        for position in 0..store.instance_count() {
            let instance = InstanceId::from_position(position);
            let FirstWrites { memories, stacks } = store.first_writes(instance);
            let counts = store.module(instance).map(|module| *module.code().counts());
            let counts = counts.unwrap_or_default();
            for memory in 0..counts.owned_memories {
                let index = counts.imported_memories + memory;
                let objects = index >= counts.memories();
                let bytes = match store.object_memory() {
                    Some((owner, bytes)) if objects && owner == instance => Some(bytes),
                    _ => store.memory(instance, index),
                };
                let writes = memories.get(memory as usize).into_iter().flatten();
                let mut writes = writes.peekable();
                for (page, bytes) in (0..).zip(bytes.unwrap_or_default().chunks(PAGE as usize)) {
                    let write = writes.next_if(|write: &&FirstWrite| write.page == page);
                    if bytes.iter().all(|byte| *byte == 0) {
                        explanation.zero_again += u64::from(write.is_some());
                        continue;
                    }
                    let stack = write.and_then(|write| write.stack).map(|stack| &*stacks[stack]);
                    let at = (position as u32 + 1, memory as usize, objects, page);
                    explanation.add(&mut functions, at, stack);
                }
            }
        }
        explanation.bytes = explanation.pages * PAGE;
        let share = |pages: u64| pages as f64 * 100.0 / explanation.pages as f64;
        let mut functions: Vec<ExplainedFunction> = functions.into_values().collect();
        for function in &mut functions {
            function.self_percent = share(function.self_pages);
            function.total_percent = share(function.total_pages);
        }
        // Of equal ones the order of their modules and indices is left.
        functions.sort_by_key(|f| std::cmp::Reverse((f.self_pages, f.total_pages)));
        explanation.functions = functions;
        Ok(explanation)
    }

    /// Adds a page that came from a stack of calls.
    fn add(
        &mut self,
        functions: &mut BTreeMap<Key, ExplainedFunction>,
        (instance, memory, objects, page): (u32, usize, bool, u64),
        stack: Option<&[Frame]>,
    ) {
        self.pages += 1;
        let keys: Vec<Key> = match stack {
            None => vec![(None, None, UNKNOWN.to_owned())],
            Some([]) => vec![(None, None, SEGMENTS.to_owned())],
            Some(frames) => frames.iter().map(key).collect(),
        };
        // A function that calls itself counts once.
        let distinct: BTreeSet<&Key> = keys.iter().collect();
        for key in distinct {
            let function = match functions.entry(key.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(entry) => entry.insert(ExplainedFunction {
                    name: key.2.clone(),
                    module: key.0.clone(),
                    function: key.1,
                    self_pages: 0,
                    total_pages: 0,
                    self_percent: 0.0,
                    total_percent: 0.0,
                }),
            };
            function.total_pages += 1;
            function.self_pages += u64::from(*key == keys[0]);
        }
        let run = ExplainedRun {
            instance,
            memory,
            objects,
            at: page * PAGE,
            pages: 1,
            by: keys[0].2.clone(),
            offset: stack.and_then(|frames| frames.first()?.offset),
            from: keys[1..].iter().map(|key| key.2.clone()).collect(),
        };
        match self.runs.last_mut() {
            Some(last)
                if last.at + last.pages * PAGE == run.at
                    && (last.instance, last.memory) == (instance, memory)
                    && (&last.by, last.offset, &last.from) == (&run.by, run.offset, &run.from) =>
            {
                last.pages += 1;
            }
            _ => self.runs.push(run),
        }
    }
}

fn key(frame: &Frame) -> Key {
    let name = match frame.name.as_deref() {
        Some(name) if !name.is_empty() => demangle(name).unwrap_or_else(|| name.to_owned()),
        _ => format!("function {}", frame.func),
    };
    (frame.module.clone(), Some(frame.func), name)
}
