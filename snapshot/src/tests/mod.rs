//! Tests over made-up state: plain bytes, no engine.

mod capture;
mod catalogue;
mod documented;
mod hostile;
mod layers;

use crate::{Capture, EntryKind, InstanceNames, Manifest};
use executor_code::layout::PAGE;
use executor_model::{InstanceId, ModuleHash};
use executor_runtime::{InstanceState, StoreState};
use std::path::Path;

/// The tables and memories of an instance.
#[derive(Clone)]
struct Areas {
    tables: Vec<Vec<u8>>,
    memories: Vec<Vec<u8>>,
}

/// A memory of `pages` WebAssembly pages that is zero but for the given bytes.
fn memory(pages: usize, bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut memory = vec![0; pages * 65536];
    for &(at, byte) in bytes {
        memory[at] = byte;
    }
    memory
}

/// Two instances, the first of which failed to instantiate.
fn areas() -> [Areas; 2] {
    let table: Vec<u8> = (0..1000u64).flat_map(|i| (i * i + (1 << 40)).to_le_bytes()).collect();
    [
        Areas { tables: vec![table, vec![0; 80], Vec::new()], memories: Vec::new() },
        Areas {
            tables: Vec::new(),
            memories: vec![
                memory(8, &[(5, 1), (4096 * 3, 2), (300_000, 3), (8 * 65536 - 1, 4)]),
                memory(0, &[]),
                memory(2, &[]),
            ],
        },
    ]
}

fn state(areas: &[Areas]) -> StoreState<'_> {
    let instances = areas.iter().enumerate().map(|(i, a)| {
        let mut block = vec![0; PAGE as usize * (i + 1)];
        block[8] = i as u8 + 1;
        InstanceState {
            module: ModuleHash::of(&[i as u8]),
            instantiated: i > 0,
            block,
            tables: a.tables.iter().map(Vec::as_slice).collect(),
            memories: a.memories.iter().map(Vec::as_slice).collect(),
        }
    });
    StoreState { instances: instances.collect(), call: None }
}

fn manifest() -> Manifest {
    let names = |n: &str| InstanceNames { registered: Some(n.to_owned()), module: None };
    Manifest {
        inits: vec!["init".to_owned()],
        observations: vec!["env".to_owned()],
        wasi: Some(vec![1, 2, 3]),
        ..Manifest::new(
            InstanceId::from_position(1),
            EntryKind::Reactor,
            vec![names("a"), names("b")],
        )
    }
}

fn quiet(_: u64, _: u64) {}

fn with_capture<T>(areas: &[Areas], f: impl FnOnce(&Capture<'_>) -> T) -> T {
    f(&Capture::new(&state(areas), manifest(), &quiet).unwrap())
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}
