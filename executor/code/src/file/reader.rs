//! Reading a code file in place.
//!
//! Invariant: a [`CodeFile`] exists only over bytes whose header and sections have shapes that fit
//! together, and its sections lie in the body, which the hashes of its chunks cover; opening costs the
//! same whatever the file's size. No contents make an accessor panic, loop or allocate without bound: what
//! it returns is inside the section, or the text, that it leads to. That the bytes are those that were
//! written is not known here: [`crate::StoredCode`] checks it before any of them are used.

use super::frames::{
    self, CallSite, ContinuationRecord, FrameCallRecord, FrameUnitRecord, FrameValue, Resumption,
};
use super::header::{
    CODE_MAGIC, CodeFileError, CodeHeader, ExportRecord, FORMAT_VERSION, HandlerRecord,
    ImportRecord, MODULE_NAME, MapRecord, NameRecord, Section, StackMapRecord, TryCallRecord,
    TypeRecord,
};
use super::{
    MAC_OFFSET, NO_TRAMPOLINE, TEXT_OFFSET, chunks, field_of_word, function_table_distance,
    map::operator_at, type_of_word,
};
use crate::{
    CpuFeatures, abi,
    layout::{Counts, MemoryPlan, PAGE, TablePlan},
    objects::ObjectRecord,
};
use executor_model::{
    CompositeType, ExternKind, FuncIndex, FuncType, ModuleHash, ModuleInfo, TagIndex, TrapCode,
    TypeIndex, ValType,
};
use std::{io, ops::Range};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The most that decoding declarations allocates at once, and in all but for the lists, in bytes: more than
/// those of any module that compiles take.
const MAX_INFO: usize = 1 << 30;

/// A code file over the bytes that hold it, normally a mapping.
#[derive(Debug)]
pub struct CodeFile<B> {
    bytes: B,
    header: Box<CodeHeader>,
}

impl<B: AsRef<[u8]>> CodeFile<B> {
    /// Checks the header and takes the file into use.
    ///
    /// # Errors
    /// When the file is not a code file, of another version, damaged in its header, cut short, or
    /// compiled for another processor.
    pub fn new(bytes: B) -> Result<Self, CodeFileError> {
        let all = bytes.as_ref();
        if !all.starts_with(b"\x7fELF") {
            return Err(CodeFileError::NotCode);
        }
        let (header, _) = all
            .get(CodeHeader::OFFSET..)
            .and_then(|rest| CodeHeader::read_from_prefix(rest).ok())
            .ok_or(CodeFileError::NotCode)?;
        if header.magic != CODE_MAGIC {
            return Err(CodeFileError::NotCode);
        }
        if header.format_version != FORMAT_VERSION || header.abi_version != abi::VERSION {
            let (format, abi) = (header.format_version, header.abi_version);
            return Err(CodeFileError::Version { format, abi });
        }
        let actual = all.len() as u64;
        if header.file_len != actual {
            return Err(CodeFileError::Length { expected: header.file_len, actual });
        }
        if !CpuFeatures::host().contains(CpuFeatures::from_bits(header.cpu_features)) {
            return Err(CodeFileError::Features);
        }
        if !chunks::fit(&header) {
            return Err(CodeFileError::Hashes);
        }
        for section in Section::ALL {
            let range = header.sections[section as usize];
            let end = range.offset.checked_add(range.len);
            if range.offset % 16 != 0 || end.is_none_or(|end| end > header.body_end) {
                return Err(CodeFileError::Section(section));
            }
        }
        let file = Self { bytes, header: Box::new(header) };
        file.check_shapes()?;
        Ok(file)
    }

    /// The sections that go together have sizes that fit together.
    fn check_shapes(&self) -> Result<(), CodeFileError> {
        let range = |s: Section| self.header.sections[s as usize];
        let text = range(Section::Text);
        let functions = range(Section::Functions);
        let check = |ok: bool, s: Section| if ok { Ok(()) } else { Err(CodeFileError::Section(s)) };
        check(text.offset == TEXT_OFFSET && text.offset % PAGE == 0, Section::Text)?;
        check(
            functions.offset == TEXT_OFFSET + function_table_distance(text.len),
            Section::Functions,
        )?;
        let count = functions.len / 4;
        check(range(Section::FunctionTypes).len == count * 4, Section::FunctionTypes)?;
        check(
            range(Section::TrapOffsets).len == range(Section::TrapCodes).len * 4,
            Section::TrapCodes,
        )?;
        let calls = range(Section::TryCalls).len / size_of::<TryCallRecord>() as u64;
        check(range(Section::TryReturns).len == calls * 4, Section::TryCalls)?;
        let maps = range(Section::StackMaps).len / size_of::<StackMapRecord>() as u64;
        check(range(Section::StackMapReturns).len == maps * 4, Section::StackMaps)?;
        let types = range(Section::Types).len / size_of::<TypeRecord>() as u64;
        check(range(Section::Enter).len == types * 4, Section::Enter)?;
        let continuations = self.records::<ContinuationRecord>(Section::Continuations).len() as u64;
        check(continuations == 0 || continuations == count, Section::Continuations)?;
        let imports = range(Section::Imports).len / size_of::<ImportRecord>() as u64;
        check(imports == u64::from(self.counts().imported_functions), Section::Imports)?;
        check(self.tables().len() == self.counts().owned_tables as usize, Section::Tables)?;
        let heap = self.counts().heap;
        check(heap <= 1 && heap <= self.counts().owned_memories, Section::Memories)?;
        check(self.memories().len() == self.counts().owned_memories as usize, Section::Memories)
    }

    /// Hashes the whole body. Its cost grows with the file.
    ///
    /// # Errors
    /// [`CodeFileError::Hashes`] and [`CodeFileError::Chunk`] when a byte has changed since it was written.
    pub fn verify(&self) -> Result<(), CodeFileError> {
        let bytes = self.bytes.as_ref();
        chunks::check(&self.header, &|into: &mut [u8], at| {
            let from = bytes.get(at as usize..).and_then(|b| b.get(..into.len()));
            into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    /// A copy of the file as it was compiled, without the MAC of a store.
    #[must_use]
    pub fn without_mac(&self) -> Vec<u8> {
        let mut bytes = self.bytes.as_ref().to_vec();
        // The text begins behind the first page, and is inside the file.
        bytes[MAC_OFFSET as usize..TEXT_OFFSET as usize].fill(0);
        bytes
    }

    /// What the MAC of the file is of, and that MAC.
    pub(crate) fn authenticated(&self) -> (&[u8], &[u8]) {
        // The text begins behind the first page, and is inside the file.
        self.bytes.as_ref()[..TEXT_OFFSET as usize].split_at(MAC_OFFSET as usize)
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &CodeHeader {
        &self.header
    }

    /// The bytes that hold the file.
    #[must_use]
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The module that was compiled.
    #[must_use]
    pub fn module(&self) -> ModuleHash {
        ModuleHash(self.header.module)
    }

    /// What the state block's layout follows from.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.header.counts
    }

    /// The range of a section in the file.
    #[must_use]
    pub fn range(&self, section: Section) -> Range<usize> {
        let range = self.header.sections[section as usize];
        range.offset as usize..(range.offset + range.len) as usize
    }

    /// The bytes of a section.
    #[must_use]
    pub fn section(&self, section: Section) -> &[u8] {
        &self.bytes.as_ref()[self.range(section)]
    }

    fn records<T: FromBytes + Immutable + KnownLayout>(&self, section: Section) -> &[T] {
        // A section whose length or alignment is off reads as empty; `check_shapes` refuses it.
        <[T]>::ref_from_bytes(self.section(section)).unwrap_or(&[])
    }

    /// How many functions the module has, imported ones included.
    #[must_use]
    pub fn function_count(&self) -> u32 {
        (self.section(Section::Functions).len() / 4) as u32
    }

    /// Where a function's code begins, as an offset in the text.
    #[must_use]
    pub fn function_offset(&self, func: FuncIndex) -> Option<u32> {
        let distance = *self.records::<i32>(Section::Functions).get(func as usize)?;
        let table = function_table_distance(self.section(Section::Text).len() as u64) as i64;
        u32::try_from(table + i64::from(distance)).ok().filter(|offset| self.is_in_text(*offset))
    }

    fn is_in_text(&self, offset: u32) -> bool {
        self.range(Section::Text).len() > offset as usize
    }

    /// A function's canonical type index.
    #[must_use]
    pub fn function_type(&self, func: FuncIndex) -> Option<TypeIndex> {
        let ty = self.records::<u32>(Section::FunctionTypes).get(func as usize).copied();
        ty.filter(|ty| self.is_type(*ty))
    }

    /// Where the enter trampoline of a type begins, as an offset in the text.
    #[must_use]
    pub fn enter_offset(&self, ty: TypeIndex) -> Option<u32> {
        let offset = self.records::<u32>(Section::Enter).get(ty as usize).copied();
        offset.filter(|offset| *offset != NO_TRAMPOLINE && self.is_in_text(*offset))
    }

    fn is_type(&self, ty: TypeIndex) -> bool {
        self.records::<TypeRecord>(Section::Types).len() > ty as usize
    }

    fn type_record(&self, ty: TypeIndex) -> Option<&TypeRecord> {
        self.records::<TypeRecord>(Section::Types).get(ty as usize)
    }

    /// The parameter and result types of a type, as words (see [`super::type_word`]).
    #[must_use]
    pub fn type_words(&self, ty: TypeIndex) -> Option<(&[u32], &[u32])> {
        let record = self.type_record(ty)?;
        let len = record.params.checked_add(record.results)? as usize;
        let words = self.records::<u32>(Section::TypeWords).get(record.offset as usize..)?;
        words.get(..len)?.split_at_checked(record.params as usize)
    }

    /// What a type is, whatever the module: equal for equal types of all modules.
    #[must_use]
    pub fn type_digest(&self, ty: TypeIndex) -> Option<&[u8; 32]> {
        Some(&self.type_record(ty)?.digest)
    }

    /// Whether a type is, or declares itself directly or through others a subtype of, the type of
    /// a digest.
    #[must_use]
    pub fn is_subtype(&self, ty: TypeIndex, of: &[u8; 32]) -> bool {
        let mut next = Some(ty);
        // A supertype is declared before its subtypes.
        while let Some((ty, record)) = next.and_then(|ty| Some((ty, self.type_record(ty)?))) {
            if record.digest == *of {
                return true;
            }
            next = Some(record.supertype).filter(|supertype| *supertype < ty);
        }
        false
    }

    /// The canonical type index of a tag.
    #[must_use]
    pub fn tag_type(&self, tag: TagIndex) -> Option<TypeIndex> {
        let ty = self.records::<u32>(Section::Tags).get(tag as usize).copied();
        ty.filter(|ty| self.is_type(*ty))
    }

    /// A type of structures or arrays.
    #[must_use]
    pub fn object_type(&self, ty: TypeIndex) -> Option<CompositeType> {
        let kind = self.type_record(ty)?.kind;
        let (words, _) = self.type_words(ty)?;
        let mut fields = words.iter().map(|word| field_of_word(*word));
        match kind {
            TypeRecord::STRUCT => Some(CompositeType::Struct(fields.collect::<Option<_>>()?)),
            TypeRecord::ARRAY => Some(CompositeType::Array(fields.next()??)),
            _ => None,
        }
    }

    /// What a collection needs to know of a type of objects, by its number.
    #[must_use]
    pub fn object(&self, number: u32) -> Option<&ObjectRecord> {
        self.objects().get(number as usize)
    }

    /// The number that objects of a type have, and what a collection needs to know of it.
    #[must_use]
    pub fn object_of_type(&self, ty: TypeIndex) -> Option<(u32, &ObjectRecord)> {
        let number = self.type_record(ty)?.number;
        Some((number, self.object(number)?))
    }

    /// The types of objects, by their numbers.
    #[must_use]
    pub fn objects(&self) -> &[ObjectRecord] {
        self.records::<ObjectRecord>(Section::Objects)
    }

    /// Where structures hold references to objects: each type has a part of it ([`ObjectRecord::references_in`]).
    #[must_use]
    pub fn object_references(&self) -> &[u32] {
        self.records(Section::ObjectReferences)
    }

    /// The owned globals that hold references to objects, by their position among the owned ones.
    #[must_use]
    pub fn object_globals(&self) -> &[u32] {
        self.records(Section::ObjectGlobals)
    }

    /// Where the frame of the call that returns to an offset of the text holds references to objects: how far below
    /// the frame pointer.
    #[must_use]
    pub fn stack_map_at(&self, returns: u32) -> &[u32] {
        let at = self.records::<u32>(Section::StackMapReturns).binary_search(&returns);
        let map = at.ok().and_then(|at| self.records::<StackMapRecord>(Section::StackMaps).get(at));
        let slots = self.records::<u32>(Section::StackMapSlots);
        let of = |map: &StackMapRecord| slots.get(map.first as usize..)?.get(..map.count as usize);
        map.and_then(of).unwrap_or_default()
    }

    /// A function type.
    #[must_use]
    pub fn func_type(&self, ty: TypeIndex) -> Option<FuncType> {
        if self.type_record(ty)?.kind != TypeRecord::FUNC {
            return None;
        }
        let (params, results) = self.type_words(ty)?;
        let list = |words: &[u32]| -> Option<Vec<ValType>> {
            words.iter().map(|word| type_of_word(*word)).collect()
        };
        Some(FuncType { params: list(params)?, results: list(results)? })
    }

    fn string(&self, offset: u32, len: u32) -> Option<&[u8]> {
        self.section(Section::Strings).get(offset as usize..)?.get(..len as usize)
    }

    fn text_string(&self, offset: u32, len: u32) -> Option<&str> {
        std::str::from_utf8(self.string(offset, len)?).ok()
    }

    /// Finds an export by its name.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<(ExternKind, u32)> {
        let records = self.records::<ExportRecord>(Section::Exports);
        let at = records
            .binary_search_by(|r| {
                self.string(r.name, r.name_len).unwrap_or_default().cmp(name.as_bytes())
            })
            .ok()?;
        Some((extern_kind(records[at].kind)?, records[at].index))
    }

    /// All exports, sorted by name.
    pub fn exports(&self) -> impl Iterator<Item = (&str, ExternKind, u32)> {
        self.records::<ExportRecord>(Section::Exports).iter().filter_map(|r| {
            Some((self.text_string(r.name, r.name_len)?, extern_kind(r.kind)?, r.index))
        })
    }

    /// The module and item name of an imported function.
    #[must_use]
    pub fn import(&self, func: FuncIndex) -> Option<(&str, &str)> {
        let r = self.records::<ImportRecord>(Section::Imports).get(func as usize)?;
        Some((self.text_string(r.module, r.module_len)?, self.text_string(r.name, r.name_len)?))
    }

    /// A function's name, from the name section or its export.
    #[must_use]
    pub fn function_name(&self, func: FuncIndex) -> Option<&str> {
        let records = self.records::<NameRecord>(Section::Names);
        let at = records.binary_search_by_key(&func, |r| r.func).ok()?;
        self.text_string(records[at].name, records[at].name_len)
    }

    /// The module's name, from the name section.
    #[must_use]
    pub fn module_name(&self) -> Option<&str> {
        self.function_name(MODULE_NAME)
    }

    /// The owned tables.
    #[must_use]
    pub fn tables(&self) -> &[TablePlan] {
        self.records(Section::Tables)
    }

    /// The owned memories.
    #[must_use]
    pub fn memories(&self) -> &[MemoryPlan] {
        self.records(Section::Memories)
    }

    /// The bytes of the data segments.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.section(Section::Data)
    }

    /// Decodes all that the module declares. Not needed to restore; its cost grows with the module.
    ///
    /// # Errors
    /// When the section is damaged.
    pub fn info(&self) -> Result<ModuleInfo, CodeFileError> {
        decode_info(self.section(Section::Info)).ok_or(CodeFileError::Section(Section::Info))
    }

    /// Why the instruction at an offset of the text traps, if it can.
    #[must_use]
    pub fn trap_at(&self, offset: u32) -> Option<TrapCode> {
        let at = self.records::<u32>(Section::TrapOffsets).binary_search(&offset).ok()?;
        TrapCode::from_u8(*self.section(Section::TrapCodes).get(at)?)
    }

    /// What catches exceptions of the call that returns to an offset of the text, if anything does.
    #[must_use]
    pub fn handlers_at(&self, offset: u32) -> Option<(&TryCallRecord, &[HandlerRecord])> {
        let at = self.records::<u32>(Section::TryReturns).binary_search(&offset).ok()?;
        let call = self.records::<TryCallRecord>(Section::TryCalls).get(at)?;
        let handlers =
            self.records::<HandlerRecord>(Section::Handlers).get(call.first as usize..)?;
        let handlers = handlers.get(..call.count as usize)?;
        handlers.iter().all(|h| self.is_in_text(h.landing)).then_some((call, handlers))
    }

    /// The function whose code holds an offset of the text, `None` in a trampoline. Function code is
    /// laid out in the order of function indices, and trampolines after it in the order of types.
    #[must_use]
    pub fn function_at(&self, offset: u32) -> Option<FuncIndex> {
        let enter = self.records::<u32>(Section::Enter);
        let first = enter.iter().find(|enter| **enter != NO_TRAMPOLINE);
        if first.is_some_and(|first| offset >= *first) {
            return None;
        }
        let distances = self.records::<i32>(Section::Functions);
        let table = function_table_distance(self.section(Section::Text).len() as u64) as i64;
        let after = distances.partition_point(|d| table + i64::from(*d) <= i64::from(offset));
        let at = after.checked_sub(1)?;
        match self.continuations() {
            [] => u32::try_from(at).ok(),
            continuations => Some(continuations.get(at)?.func),
        }
    }

    /// The continuations, by function and offset; none in the code of a module.
    #[must_use]
    pub fn continuations(&self) -> &[ContinuationRecord] {
        self.records(Section::Continuations)
    }

    /// The continuation of a call.
    #[must_use]
    pub fn continuation(&self, site: CallSite) -> Option<Resumption> {
        let all = self.continuations();
        let at = all.binary_search_by_key(&site, ContinuationRecord::site).ok()?;
        let values = self.frame_values(all[at].values)?;
        let (at, callee) = (at as u32, all[at].callee);
        Some(Resumption { at, code: self.function_offset(at)?, callee, values })
    }

    /// What the frame of the call that returns to an offset of the text holds: how far below its frame
    /// pointer its slot begins, and the values in it. `None` where the code has no frame map.
    #[must_use]
    pub fn frame_at(&self, returns: u32, operator: u32) -> Option<(u32, Vec<FrameValue>)> {
        let units = self.records::<FrameUnitRecord>(Section::FrameUnits);
        let unit = units.get(units.partition_point(|u| u.code < returns).checked_sub(1)?)?;
        let calls = self.records::<FrameCallRecord>(Section::FrameCalls);
        let calls = calls.get(unit.first as usize..)?.get(..unit.count as usize)?;
        let at = calls.binary_search_by_key(&operator, |call| call.offset).ok()?;
        Some((unit.slot, self.frame_values(calls[at].values)?))
    }

    /// Whether the code has frame maps.
    #[must_use]
    pub fn has_frame_maps(&self) -> bool {
        !self.section(Section::FrameUnits).is_empty()
    }

    fn frame_values(&self, at: u32) -> Option<Vec<FrameValue>> {
        frames::decode(self.section(Section::FrameValues).get(at as usize..)?)
    }

    /// The offset in the module's bytes of the operator that the instruction at an offset of the
    /// text belongs to.
    #[must_use]
    pub fn wasm_offset_at(&self, offset: u32) -> Option<u32> {
        let records = self.records::<MapRecord>(Section::MapRecords);
        let at = records.partition_point(|record| record.code <= offset).checked_sub(1)?;
        let map = self.section(Section::Map);
        let end = records.get(at + 1).map_or(map.len(), |next| next.run as usize);
        let run = map.get(records[at].run as usize..end)?;
        operator_at(run, offset.checked_sub(records[at].code)?)
    }
}

fn decode_info(bytes: &[u8]) -> Option<ModuleInfo> {
    let config = bincode::config::standard().with_limit::<MAX_INFO>();
    let (info, len) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (len == bytes.len()).then_some(info)
}

fn extern_kind(kind: u32) -> Option<ExternKind> {
    Some(match kind {
        0 => ExternKind::Func,
        1 => ExternKind::Table,
        2 => ExternKind::Memory,
        3 => ExternKind::Global,
        4 => ExternKind::Tag,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_a_length_that_is_not_there_are_refused_before_room_is_made_for_it() {
        let config = bincode::config::standard();
        let bytes =
            bincode::serde::encode_to_vec(ModuleInfo::default(), config).expect("plain data");
        assert_eq!(decode_info(&bytes), Some(ModuleInfo::default()));
        let huge = [&[253][..], &(1_u64 << 61).to_le_bytes()].concat();
        for at in 0..bytes.len() {
            let longer = [&bytes[..at], &huge, &bytes[at + 1..]].concat();
            assert_eq!(decode_info(&longer), None, "at {at}");
            assert_eq!(decode_info(&bytes[..at]), None, "cut at {at}");
        }
    }
}
