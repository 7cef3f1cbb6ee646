//! The names in a module's name section that nothing but looking at state needs.
//!
//! Invariant: any bytes will do; where they make no sense, there are no names from there on.

use executor_model::{FuncIndex, ItemNames};
use wasmparser::{KnownCustom, Name, NameMap, NameSectionReader, Parser, Payload};

/// The names of tables, memories and globals, and of the locals of some functions. The bodies of
/// functions are skipped, not read.
#[must_use]
pub fn item_names(wasm: &[u8], functions: &[FuncIndex]) -> ItemNames {
    let mut names = ItemNames::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { break };
        if let Payload::CustomSection(section) = payload
            && let KnownCustom::Name(section) = section.as_known()
        {
            // What was read before an error stays.
            let _ = read(section, functions, &mut names);
        }
    }
    names
}

fn read(
    section: NameSectionReader<'_>,
    functions: &[FuncIndex],
    names: &mut ItemNames,
) -> wasmparser::Result<()> {
    for subsection in section {
        match subsection? {
            Name::Table(map) => names.tables = sorted(map)?,
            Name::Memory(map) => names.memories = sorted(map)?,
            Name::Global(map) => names.globals = sorted(map)?,
            Name::Local(map) => {
                for function in map {
                    let function = function?;
                    if functions.contains(&function.index) {
                        names.locals.push((function.index, sorted(function.names)?));
                    }
                }
                names.locals.sort_by_key(|(index, _)| *index);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The most names that are taken in of one map: as many as there can be items of a kind.
const MAX_NAMES: usize = 1_000_000;

/// Names by ascending index; of several for one index the first.
pub(crate) fn sorted(map: NameMap<'_>) -> wasmparser::Result<Vec<(u32, String)>> {
    let named =
        map.into_iter().take(MAX_NAMES).map(|naming| naming.map(|n| (n.index, n.name.to_owned())));
    let mut names = named.collect::<wasmparser::Result<Vec<_>>>()?;
    names.sort_by_key(|(index, _)| *index);
    names.dedup_by_key(|(index, _)| *index);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_names_are_kept_and_the_rest_is_left_out() {
        let number = |n: u32| [n as u8 & 127 | 128, (n >> 7) as u8 & 127 | 128, (n >> 14) as u8];
        let map: Vec<u8> = [number(1_000_002)].into_iter().flatten().collect();
        let map = (0..1_000_002).fold(map, |mut map, index| {
            map.extend(number(index));
            map.extend(*b"\x01f");
            map
        });
        let map = NameMap::new(wasmparser::BinaryReader::new(&map, 0)).unwrap();
        let names = sorted(map).unwrap();
        assert_eq!(names.len(), 1_000_000);
        assert_eq!(names[999_999], (999_999, "f".to_owned()));
    }

    #[test]
    fn items_and_locals_have_their_names() {
        let wasm = wat::parse_str(
            r#"(module (memory $heap 1) (table $t 1 funcref)
                 (global i32 (i32.const 0)) (global $sp (mut i32) (i32.const 0))
                 (func $f (param $a i32) (local $b i64)) (func $g (local $c i32)))"#,
        )
        .unwrap();
        let names = item_names(&wasm, &[0]);
        assert_eq!(ItemNames::find(&names.memories, 0), Some("heap"));
        assert_eq!(ItemNames::find(&names.tables, 0), Some("t"));
        assert_eq!(ItemNames::find(&names.globals, 0), None);
        assert_eq!(ItemNames::find(&names.globals, 1), Some("sp"));
        assert_eq!((names.local(0, 0), names.local(0, 1)), (Some("a"), Some("b")));
        assert_eq!(names.local(1, 0), None, "nobody asked for it");
        assert_eq!(item_names(&wasm[..wasm.len() - 3], &[]), ItemNames::default());
        assert_eq!(item_names(b"\0as", &[]), ItemNames::default());
    }
}
