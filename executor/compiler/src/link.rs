//! Linking: the code of all units to one text, every reference resolved.
//!
//! Invariant: references are distances within the text and the function table right after it, so
//! the text runs wherever it is mapped.

use crate::{
    compile::{Code, Unit},
    emit::Symbol,
    place,
    ranges::RangeFunction,
    translate::Resumed,
};
use executor_code::{
    CompileError,
    file::{FrameUnit, MapRecord, NO_TRAMPOLINE, StackMap, TryCall, function_table_distance},
};
use executor_model::{ModuleInfo, TrapCode};

/// Between units: `int3`, which stops whatever strays there.
const PADDING: u8 = 0xcc;
/// Distances are 32-bit.
const MAX_TEXT: u64 = (1 << 31) - (1 << 16);

/// The text and its tables; offsets are in the text.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) text: Vec<u8>,
    pub(crate) functions: Vec<u32>,
    pub(crate) enter: Vec<u32>,
    pub(crate) traps: Vec<(u32, TrapCode)>,
    pub(crate) map_records: Vec<MapRecord>,
    pub(crate) map: Vec<u8>,
    pub(crate) try_calls: Vec<TryCall>,
    pub(crate) stack_maps: Vec<StackMap>,
    pub(crate) frames: Vec<FrameUnit>,
    /// Of continuations, in the order of the units.
    pub(crate) resumed: Vec<Resumed>,
}

/// Lays out `codes`, the code of `units`, in their order.
pub(crate) fn link(
    info: &ModuleInfo,
    units: &[Unit],
    codes: Vec<Code>,
) -> Result<Linked, CompileError> {
    let mut functions = Vec::with_capacity(info.functions.len());
    let mut bodies = vec![0; info.functions.len().max(units.len())];
    let mut enter = vec![NO_TRAMPOLINE; info.types.len()];
    let mut ranges = [0; RangeFunction::ALL.len()];
    let mut starts = Vec::with_capacity(units.len());
    let mut end = 0u64;
    for (unit, code) in units.iter().zip(&codes) {
        let start = place::start(end, &code.loops);
        end = start + code.bytes.len() as u64;
        if end > MAX_TEXT {
            return Err(CompileError::Unsupported("machine code beyond 2 GiB".into()));
        }
        let start = start as u32;
        match *unit {
            Unit::Import(_)
            | Unit::Listener(_)
            | Unit::ResumeListener(..)
            | Unit::ResumeImport(_) => functions.push(start),
            Unit::UnboundImport(at) | Unit::Body(at) | Unit::Continuation(at, _) => {
                bodies[at as usize] = start;
                // Something may stand before it, and then has its index already.
                if functions.len() == at as usize {
                    functions.push(start);
                }
            }
            Unit::Enter(ty) | Unit::EnterContinuation(ty) => enter[ty as usize] = start,
            Unit::Range(function) => ranges[function as usize] = start,
        }
        starts.push(start);
    }

    let table = function_table_distance(end);
    let mut text = Vec::with_capacity(end as usize);
    let mut traps = Vec::new();
    let (mut map_records, mut map) = (Vec::with_capacity(starts.len()), Vec::new());
    let (mut try_calls, mut frames, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
    let mut stack_maps = Vec::new();
    for (code, start) in codes.into_iter().zip(starts) {
        text.resize(start as usize, PADDING);
        text.extend_from_slice(&code.bytes);
        for reloc in &code.relocations {
            let site = start + reloc.offset;
            let target = match reloc.symbol {
                Symbol::Function(func) => u64::from(functions[func as usize]),
                Symbol::Body(func) => u64::from(bodies[func as usize]),
                Symbol::FunctionTable => table,
                Symbol::Range(function) => u64::from(ranges[function as usize]),
            };
            // `MAX_TEXT` keeps this within 32 bits.
            let distance = (target as i64 + reloc.addend - i64::from(site)) as i32;
            let at = site as usize;
            text[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        traps.extend(code.traps.iter().map(|(offset, code)| (start + offset, *code)));
        for mut call in code.try_calls {
            call.returns += start;
            call.handlers.iter_mut().for_each(|handler| handler.landing += start);
            try_calls.push(call);
        }
        for mut map in code.stack_maps {
            map.returns += start;
            stack_maps.push(map);
        }
        frames.extend(code.frames.map(|frames| FrameUnit { code: start, ..frames }));
        resumed.extend(code.resumed);
        map_records.push(MapRecord { code: start, run: map.len() as u32 });
        map.extend_from_slice(&code.map);
    }
    Ok(Linked {
        text,
        functions,
        enter,
        traps,
        map_records,
        map,
        try_calls,
        stack_maps,
        frames,
        resumed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Relocation;

    #[test]
    fn references_are_distances() {
        let info = ModuleInfo { functions: vec![0, 0], ..ModuleInfo::default() };
        let to = |symbol| Relocation { offset: 1, symbol, addend: -4 };
        let code = |symbol| Code {
            bytes: vec![0x90; 5],
            relocations: vec![to(symbol)],
            ..Code::default()
        };
        let codes = vec![code(Symbol::Function(1)), code(Symbol::FunctionTable)];
        let linked = link(&info, &[Unit::Body(0), Unit::Body(1)], codes).expect("linked");
        assert_eq!(linked.functions, [0, 32]);
        assert_eq!(linked.text[1..5], 27i32.to_le_bytes());
        assert_eq!(linked.text[5..32], [PADDING; 27]);
        assert_eq!(linked.text[33..37], (4096 - 37i32).to_le_bytes());
    }
}
