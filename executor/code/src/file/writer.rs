//! Writing a code file.
//!
//! Invariant: the same parts give the same bytes.

use super::frames::{
    self, CallSite, ContinuationRecord, FrameCallRecord, FrameUnitRecord, FrameValue,
};
use super::header::{
    CODE_MAGIC, CodeHeader, ExportRecord, FORMAT_VERSION, HandlerRecord, ImportRecord, MODULE_NAME,
    MapRecord, NO_CONTEXT, NO_OBJECTS, NO_SUPERTYPE, NameRecord, Section, SectionRange,
    StackMapRecord, TryCallRecord, TypeRecord,
};
use super::{TEXT_OFFSET, chunks, field_word, function_table_distance, type_word};
use crate::{
    CodeKey, CompileOptions, CpuFeatures, abi,
    layout::{InstanceLayout, PAGE},
    objects::ObjectTypes,
};
use executor_model::{
    CompositeType, ExternKind, ImportKind, Module, ModuleInfo, TrapCode, TypeIndex, ValType,
};
use object::{Endianness, elf, write::elf as out};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use zerocopy::IntoBytes;

/// What a code file is written from. Offsets are in the text.
#[derive(Debug)]
pub struct CodeParts<'a> {
    /// The module that was compiled.
    pub module: &'a Module,
    /// The layout that the code was compiled for.
    pub layout: &'a InstanceLayout,
    /// The file's key.
    pub key: CodeKey,
    /// The features that the code may use.
    pub features: CpuFeatures,
    /// What it was compiled with.
    pub options: CompileOptions,
    /// The machine code, linked: references to the function table are resolved.
    pub text: Vec<u8>,
    /// For each function, import thunks included, where its code begins; ascending.
    pub functions: Vec<u32>,
    /// For each type, where its enter trampoline begins, or `NO_TRAMPOLINE`; after all functions.
    pub enter: Vec<u32>,
    /// Instructions that can trap, ascending.
    pub traps: Vec<(u32, TrapCode)>,
    /// Whose run of the address map begins where; ascending.
    pub map_records: Vec<MapRecord>,
    /// The runs (see [`super::map::MapEncoder`]).
    pub map: Vec<u8>,
    /// Calls with handlers, ascending.
    pub try_calls: Vec<TryCall>,
    /// Calls during which a frame holds references to objects, ascending.
    pub stack_maps: Vec<StackMap>,
    /// Units with frame maps, ascending.
    pub frames: Vec<FrameUnit>,
    /// What `functions` are, in a file of continuations; `None` in that of a module.
    pub continuations: Option<Vec<Continuation>>,
}

/// The references to objects that a frame holds during a call.
#[derive(Debug)]
pub struct StackMap {
    /// Where the call returns to.
    pub returns: u32,
    /// How far below the frame pointer each lies.
    pub slots: Vec<u32>,
}

/// The frame maps of one function or continuation.
#[derive(Debug)]
pub struct FrameUnit {
    /// Where its code begins.
    pub code: u32,
    /// How far below the frame pointer its slot begins.
    pub slot: u32,
    /// The offset of each call's operator, ascending, and its values.
    pub calls: Vec<(u32, Vec<FrameValue>)>,
}

/// A continuation.
#[derive(Debug)]
pub struct Continuation {
    /// The call that it goes on from.
    pub site: CallSite,
    /// The canonical index of the type of the call.
    pub callee: TypeIndex,
    /// The values that it takes.
    pub values: Vec<FrameValue>,
}

/// A call with handlers.
#[derive(Debug)]
pub struct TryCall {
    /// Where the call returns to.
    pub returns: u32,
    /// How far below the frame pointer the stack pointer is.
    pub frame: u32,
    /// Where the frame holds its `vmctx`, above the stack pointer.
    pub context: Option<u32>,
    /// Its handlers, in the order in which they are tried.
    pub handlers: Vec<HandlerRecord>,
}

#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, bytes: &[u8]) -> (u32, u32) {
        let offset = self.0.len() as u32;
        self.0.extend_from_slice(bytes);
        (offset, bytes.len() as u32)
    }
}

/// Writes a code file.
///
/// # Panics
/// When the text is 2 GiB or larger, or the parts contradict each other.
#[must_use]
pub fn write(parts: &CodeParts<'_>) -> Vec<u8> {
    assert!(parts.text.len() < 1 << 31, "machine code beyond 2 GiB");
    assert!(parts.functions.is_sorted() && parts.traps.is_sorted_by_key(|t| t.0));
    assert!(parts.try_calls.is_sorted_by_key(|call| call.returns));
    assert!(parts.stack_maps.is_sorted_by_key(|map| map.returns));
    let sections = sections(parts);

    let symbols = symbols(parts);
    let mut bytes = Vec::new();
    let mut writer = out::Writer::new(Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve(size_of::<CodeHeader>() as u64, 8);
    writer.reserve_until(1024);
    writer.reserve_program_headers(2);
    writer.reserve_until(TEXT_OFFSET);

    let mut ranges = [SectionRange::default(); Section::ALL.len()];
    for section in Section::ALL {
        let align = if section == Section::Functions { PAGE } else { 16 };
        let len = sections[section as usize].len() as u64;
        ranges[section as usize] = SectionRange { offset: writer.reserve(len, align), len };
    }
    let text = ranges[Section::Text as usize];
    let functions = ranges[Section::Functions as usize];

    // Section headers and symbols, for perf, gdb and objdump.
    let text_name = writer.add_section_name(b".text");
    let rodata_name = writer.add_section_name(b".rodata");
    let text_index = writer.reserve_section_index();
    writer.reserve_section_index();
    let symbols: Vec<_> = symbols
        .iter()
        .map(|(name, start, len)| {
            writer.reserve_symbol_index(Some(text_index));
            (writer.add_string(name.as_bytes()), *start, *len)
        })
        .collect();
    writer.reserve_symtab_section_index();
    writer.reserve_symtab();
    writer.reserve_strtab_section_index();
    writer.reserve_strtab().expect("names below 4 GiB");
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab().expect("names below 4 GiB");
    writer.reserve_section_headers();

    writer
        .write_file_header(&out::FileHeader {
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            e_type: elf::ET_DYN,
            e_machine: elf::EM_X86_64,
            e_entry: 0,
            e_flags: elf::FileFlags(0),
        })
        .expect("writing to memory");
    // The header is filled in at the end, when the hashes of the rest are known.
    writer.pad_until(1024);
    writer.write_align_program_headers();
    for (flags, range) in [
        (elf::PF_R | elf::PF_X, text),
        (
            elf::PF_R,
            SectionRange { offset: functions.offset, len: end_of(&ranges) - functions.offset },
        ),
    ] {
        writer.write_program_header(&out::ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: flags,
            p_offset: range.offset,
            p_vaddr: range.offset,
            p_paddr: range.offset,
            p_filesz: range.len,
            p_memsz: range.len,
            p_align: PAGE,
        });
    }
    for section in Section::ALL {
        writer.pad_until(ranges[section as usize].offset);
        writer.write(&sections[section as usize]);
    }
    writer.write_null_symbol();
    for (name, start, len) in symbols {
        writer.write_symbol(&out::Sym {
            st_name: writer.string_offset(Some(name)),
            section: Some(text_index.0),
            st_info: elf::STB_GLOBAL | elf::STT_FUNC,
            st_other: elf::STV_DEFAULT.into(),
            st_shndx: elf::SHN_UNDEF,
            st_value: TEXT_OFFSET + u64::from(start),
            st_size: u64::from(len),
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    for (name, flags, range) in [
        (text_name, elf::SHF_ALLOC | elf::SHF_EXECINSTR, text),
        (
            rodata_name,
            elf::SHF_ALLOC,
            SectionRange { offset: functions.offset, len: end_of(&ranges) - functions.offset },
        ),
    ] {
        writer.write_section_header(&out::SectionHeader {
            sh_name: writer.section_name_offset(Some(name)),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: flags,
            sh_addr: range.offset,
            sh_offset: range.offset,
            sh_size: range.len,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 16,
            sh_entsize: 0,
        });
    }
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();

    let body_end = bytes.len() as u64;
    let hashes = chunks::hashes(&bytes[TEXT_OFFSET as usize..]);
    bytes.extend_from_slice(&hashes);

    let header = CodeHeader {
        magic: CODE_MAGIC,
        format_version: FORMAT_VERSION,
        abi_version: abi::VERSION,
        file_len: bytes.len() as u64,
        cpu_features: parts.features.bits(),
        module: parts.module.hash.0,
        key: parts.key.0,
        features: parts.options.features.bits(),
        opt_level: parts.options.opt_level as u32,
        listeners: u32::from(parts.options.listeners),
        frame_maps: u32::from(parts.options.frame_maps),
        before: parts.layout.before,
        after: parts.layout.after,
        counts: parts.layout.counts,
        sections: ranges,
        body_end,
        root: *blake3::hash(&hashes).as_bytes(),
    };
    let at = CodeHeader::OFFSET;
    bytes[at..at + size_of::<CodeHeader>()].copy_from_slice(header.as_bytes());
    bytes
}

/// The name, start and length of every function's code.
fn symbols(parts: &CodeParts<'_>) -> Vec<(String, u32, u32)> {
    let names = symbol_names(&parts.module.info);
    let ends = parts.functions.iter().skip(1).copied().chain([parts.text.len() as u32]);
    let ranges = parts.functions.iter().copied().zip(ends);
    ranges
        .enumerate()
        .map(|(i, (start, end))| {
            let site = parts.continuations.as_ref().map(|continuations| continuations[i].site);
            let func = site.map_or(i as u32, |site| site.func);
            let mut name = match names.get(&func) {
                Some(name) => name.replace('\0', "?"),
                None => format!("wasm[{func}]"),
            };
            if let Some(site) = site {
                name += &format!("@{:#x}", site.offset);
            }
            (name, start, end - start)
        })
        .collect()
}

fn end_of(ranges: &[SectionRange]) -> u64 {
    ranges.iter().map(|r| r.offset + r.len).max().unwrap_or(TEXT_OFFSET)
}

/// Names for functions: the name section's, or else the first export's.
fn symbol_names(info: &ModuleInfo) -> BTreeMap<u32, &str> {
    let mut names: BTreeMap<u32, &str> =
        info.names.functions.iter().map(|(i, n)| (*i, n.as_str())).collect();
    for export in info.exports.iter().filter(|e| e.kind == ExternKind::Func) {
        names.entry(export.index).or_insert(&export.name);
    }
    names.retain(|i, _| (*i as usize) < info.functions.len());
    names
}

/// The contents of each section.
fn sections<'a>(parts: &'a CodeParts<'_>) -> [Cow<'a, [u8]>; Section::ALL.len()] {
    let info = &*parts.module.info;
    let mut strings = Strings::default();
    let mut sections: [Vec<u8>; Section::ALL.len()] = Default::default();
    let mut put =
        |section: Section, bytes: &[u8]| sections[section as usize].extend_from_slice(bytes);

    let table = function_table_distance(parts.text.len() as u64) as i64;
    for start in &parts.functions {
        put(Section::Functions, &((i64::from(*start) - table) as i32).to_le_bytes());
    }
    match &parts.continuations {
        None => put(Section::FunctionTypes, info.functions.as_bytes()),
        Some(continuations) => continuations.iter().for_each(|continuation| {
            let ty = info.functions[continuation.site.func as usize];
            put(Section::FunctionTypes, &ty.to_le_bytes());
        }),
    }
    put(Section::Enter, parts.enter.as_bytes());
    for (offset, code) in &parts.traps {
        put(Section::TrapOffsets, &offset.to_le_bytes());
        put(Section::TrapCodes, &[*code as u8]);
    }
    put(Section::MapRecords, parts.map_records.as_bytes());
    let mut handlers: Vec<HandlerRecord> = Vec::new();
    let mut count = 0;
    for call in &parts.try_calls {
        // The calls of one body have the same handlers, which are written once.
        if handlers[handlers.len() - count..] != call.handlers {
            count = call.handlers.len();
            handlers.extend_from_slice(&call.handlers);
        }
        let record = TryCallRecord {
            frame: call.frame,
            context: call.context.unwrap_or(NO_CONTEXT),
            first: (handlers.len() - count) as u32,
            count: count as u32,
        };
        put(Section::TryReturns, &call.returns.to_le_bytes());
        put(Section::TryCalls, record.as_bytes());
    }
    put(Section::Handlers, handlers.as_bytes());
    let mut offset = 0;
    let objects = ObjectTypes::of(info);
    let declared = info.types.iter().zip(&info.declarations).zip(&info.canonical);
    for (((ty, declaration), canonical), digest) in declared.zip(info.type_digests()) {
        let words = |types: &[ValType]| types.iter().map(|ty| type_word(*ty)).collect();
        let (kind, params, results): (u32, Vec<u32>, Vec<u32>) = match ty {
            CompositeType::Func(ty) => (TypeRecord::FUNC, words(&ty.params), words(&ty.results)),
            CompositeType::Struct(fields) => {
                (TypeRecord::STRUCT, fields.iter().map(|f| field_word(*f)).collect(), Vec::new())
            }
            CompositeType::Array(element) => {
                (TypeRecord::ARRAY, vec![field_word(*element)], Vec::new())
            }
        };
        put(Section::TypeWords, params.as_bytes());
        put(Section::TypeWords, results.as_bytes());
        let (params, results) = (params.len() as u32, results.len() as u32);
        let supertype = declaration.supertype.unwrap_or(NO_SUPERTYPE);
        let number = objects.get(*canonical).map_or(NO_OBJECTS, |ty| ty.number);
        let record = TypeRecord { offset, kind, params, results, supertype, number, digest };
        put(Section::Types, record.as_bytes());
        offset += params + results;
    }
    let (objects, references) = objects.records(info);
    put(Section::Objects, objects.as_bytes());
    put(Section::ObjectReferences, references.as_bytes());
    let owned = info.globals.iter().skip(info.imported_globals as usize);
    for (position, global) in (0_u32..).zip(owned) {
        if matches!(global.ty.value, ValType::Ref(ty) if ty.heap.hierarchy().holds_objects()) {
            put(Section::ObjectGlobals, &position.to_le_bytes());
        }
    }
    let mut first = 0;
    for map in &parts.stack_maps {
        put(Section::StackMapReturns, &map.returns.to_le_bytes());
        let count = map.slots.len() as u32;
        put(Section::StackMaps, StackMapRecord { first, count }.as_bytes());
        put(Section::StackMapSlots, map.slots.as_bytes());
        first += count;
    }
    let mut values: Vec<u8> = Vec::new();
    let mut list = |list: &[FrameValue]| {
        let at = values.len() as u32;
        values.extend(frames::encode(list));
        at
    };
    let mut first = 0;
    for unit in &parts.frames {
        let count = unit.calls.len() as u32;
        let record = FrameUnitRecord { code: unit.code, slot: unit.slot, first, count };
        put(Section::FrameUnits, record.as_bytes());
        first += count;
        for (offset, of) in &unit.calls {
            let record = FrameCallRecord { offset: *offset, values: list(of) };
            put(Section::FrameCalls, record.as_bytes());
        }
    }
    for continuation in parts.continuations.iter().flatten() {
        let CallSite { func, offset } = continuation.site;
        let (values, callee) = (list(&continuation.values), continuation.callee);
        let record = ContinuationRecord { func, offset, values, callee };
        put(Section::Continuations, record.as_bytes());
    }
    put(Section::FrameValues, &values);
    put(Section::Tags, info.tags.as_bytes());
    // Continuations are of a module that has a code file of its own.
    let of_module = parts.continuations.is_none();
    let mut exports: Vec<_> = info.exports.iter().filter(|_| of_module).collect();
    exports.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    for export in exports {
        let (name, name_len) = strings.add(export.name.as_bytes());
        let kind = match export.kind {
            ExternKind::Func => 0,
            ExternKind::Table => 1,
            ExternKind::Memory => 2,
            ExternKind::Global => 3,
            ExternKind::Tag => 4,
        };
        put(
            Section::Exports,
            ExportRecord { name, name_len, kind, index: export.index }.as_bytes(),
        );
    }
    for import in info.imports.iter().filter(|i| matches!(i.kind, ImportKind::Func(_))) {
        let (module, module_len) = strings.add(import.module.as_bytes());
        let (name, name_len) = strings.add(import.name.as_bytes());
        put(Section::Imports, ImportRecord { module, module_len, name, name_len }.as_bytes());
    }
    let mut names = symbol_names(info);
    if let Some(continuations) = &parts.continuations {
        let funcs: BTreeSet<u32> = continuations.iter().map(|c| c.site.func).collect();
        names.retain(|func, _| funcs.contains(func));
    }
    for (func, name) in names {
        let (name, name_len) = strings.add(name.as_bytes());
        put(Section::Names, NameRecord { func, name, name_len }.as_bytes());
    }
    if let Some(module) = &info.names.module {
        let (name, name_len) = strings.add(module.as_bytes());
        put(Section::Names, NameRecord { func: MODULE_NAME, name, name_len }.as_bytes());
    }
    put(Section::Tables, parts.layout.tables.as_bytes());
    put(Section::Memories, parts.layout.memories.as_bytes());

    let mut info = if of_module { info.clone() } else { ModuleInfo::default() };
    for segment in &mut info.data {
        let bytes = &parts.module.bytes[segment.range.start as usize..segment.range.end as usize];
        let start = sections[Section::Data as usize].len() as u64;
        sections[Section::Data as usize].extend_from_slice(bytes);
        segment.range = start..start + bytes.len() as u64;
    }
    // Function names are in their own section already.
    info.names.functions.clear();
    sections[Section::Info as usize] =
        bincode::serde::encode_to_vec(&info, bincode::config::standard()).expect("plain data");
    sections[Section::Strings as usize] = strings.0;
    let mut sections = sections.map(Cow::from);
    // The largest are not copied.
    sections[Section::Text as usize] = Cow::Borrowed(&parts.text);
    sections[Section::Map as usize] = Cow::Borrowed(&parts.map);
    sections
}
