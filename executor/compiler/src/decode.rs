//! Decoding: the binary format to [`ModuleInfo`], with everything validated.
//!
//! Invariant: what [`decode`] returns has passed wasmparser's validator with exactly [`FEATURES`],
//! function bodies included; function types are canonical.

use crate::invalid;
use executor_code::CompileError;
use executor_model::{
    ConstExpr, ConstOp, DataMode, DataSegment, ElementItems, ElementMode, ElementSegment, Export,
    ExternKind, FuncIndex, FuncRef, FuncType, Global, GlobalType, HeapType, Import, ImportKind,
    MemoryType, ModuleInfo, RefType, Table, TableType, TypeIndex, ValType,
};
use rayon::prelude::*;
use std::{collections::HashMap, ops::Range};
use wasmparser::{
    DataKind, DataSectionReader, ElementKind, ElementSectionReader, ExportSectionReader,
    ExternalKind, FuncValidatorAllocations, GlobalSectionReader, ImportSectionReader, KnownCustom,
    Name, NameSectionReader, Operator, Parser, Payload, TableInit, TableSectionReader, TypeRef,
    TypeSectionReader, ValidPayload, Validator, WasmFeatures,
};

/// WebAssembly 2.0, and of what came after it relaxed vector instructions, tail calls and extended
/// constant expressions.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST);

/// Where the bodies of the defined functions lie in the module's bytes.
type Bodies = Vec<Range<usize>>;

/// Decodes and validates a module.
pub(crate) fn decode(wasm: &[u8]) -> Result<(ModuleInfo, Bodies), CompileError> {
    // Offsets are kept as 32-bit numbers, the largest of which stands for none.
    if wasm.len() >= u32::MAX as usize {
        return Err(CompileError::Unsupported("modules of 4 GiB are not supported".into()));
    }
    let mut validator = Validator::new_with_features(FEATURES);
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut decoder = Decoder::default();
    let mut bodies = Bodies::new();
    let mut to_validate = Vec::new();
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(|e| invalid(&e))?;
        let valid = validator.payload(&payload).map_err(|e| invalid(&e))?;
        if let ValidPayload::Func(function, body) = valid {
            let range = body.range();
            bodies.push(range.start as usize..range.end as usize);
            to_validate.push((function, body));
        } else {
            decoder.payload(payload).map_err(|e| invalid(&e))?;
        }
    }
    // The first error in the order of the functions, whatever the order of the work.
    let error = to_validate
        .into_par_iter()
        .map_init(FuncValidatorAllocations::default, |allocations, (function, body)| {
            let mut validator = function.into_validator(std::mem::take(allocations));
            let result = validator.validate(&body);
            *allocations = validator.into_allocations();
            result
        })
        .find_map_first(Result::err);
    if let Some(error) = error {
        return Err(invalid(&error));
    }
    let info = decoder.info;
    if info.functions.len().max(info.types.len()) > FuncRef::MAX_INDEX as usize {
        let message = format!("more than {} functions or types", FuncRef::MAX_INDEX);
        return Err(CompileError::Unsupported(message));
    }
    Ok((info, bodies))
}

#[derive(Default)]
struct Decoder {
    info: ModuleInfo,
    canonical: HashMap<FuncType, TypeIndex>,
}

impl Decoder {
    /// Takes in a section that is valid.
    fn payload(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.info.functions.push(self.info.canonical[ty? as usize]);
                }
                Ok(())
            }
            Payload::TableSection(section) => self.tables(section),
            Payload::MemorySection(section) => {
                for ty in section {
                    self.info.memories.push(memory_type(ty?));
                }
                Ok(())
            }
            Payload::GlobalSection(section) => self.globals(section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::StartSection { func, .. } => {
                self.info.start = Some(func);
                Ok(())
            }
            Payload::ElementSection(section) => self.elements(section),
            Payload::DataSection(section) => self.data(section),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    // Names are for people; what is wrong with them is no reason to refuse.
                    let _ = self.names(names);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn types(&mut self, section: TypeSectionReader<'_>) -> wasmparser::Result<()> {
        for ty in section.into_iter_err_on_gc_types() {
            let ty = ty?;
            let ty = FuncType {
                params: ty.params().iter().map(|t| val_type(*t)).collect(),
                results: ty.results().iter().map(|t| val_type(*t)).collect(),
            };
            let index = self.info.types.len() as TypeIndex;
            self.info.canonical.push(*self.canonical.entry(ty.clone()).or_insert(index));
            self.info.types.push(ty);
        }
        Ok(())
    }

    fn imports(&mut self, section: ImportSectionReader<'_>) -> wasmparser::Result<()> {
        let info = &mut self.info;
        for import in section.into_imports() {
            let import = import?;
            let kind = match import.ty {
                TypeRef::Func(ty) => {
                    let ty = info.canonical[ty as usize];
                    info.functions.push(ty);
                    info.imported_functions += 1;
                    ImportKind::Func(ty)
                }
                TypeRef::Table(ty) => {
                    let ty = table_type(ty);
                    info.tables.push(Table { ty, init: None });
                    info.imported_tables += 1;
                    ImportKind::Table(ty)
                }
                TypeRef::Memory(ty) => {
                    let ty = memory_type(ty);
                    info.memories.push(ty);
                    info.imported_memories += 1;
                    ImportKind::Memory(ty)
                }
                TypeRef::Global(ty) => {
                    let ty = global_type(ty);
                    info.globals.push(Global { ty, init: None });
                    info.imported_globals += 1;
                    ImportKind::Global(ty)
                }
                TypeRef::Tag(_) | TypeRef::FuncExact(_) => unreachable!("refused by validation"),
            };
            let (module, name) = (import.module.to_owned(), import.name.to_owned());
            info.imports.push(Import { module, name, kind });
        }
        Ok(())
    }

    fn tables(&mut self, section: TableSectionReader<'_>) -> wasmparser::Result<()> {
        for table in section {
            let table = table?;
            let init = match table.init {
                TableInit::RefNull => None,
                TableInit::Expr(init) => Some(const_expr(&init)?),
            };
            self.info.tables.push(Table { ty: table_type(table.ty), init });
        }
        Ok(())
    }

    fn globals(&mut self, section: GlobalSectionReader<'_>) -> wasmparser::Result<()> {
        for global in section {
            let global = global?;
            let init = Some(const_expr(&global.init_expr)?);
            self.info.globals.push(Global { ty: global_type(global.ty), init });
        }
        Ok(())
    }

    fn exports(&mut self, section: ExportSectionReader<'_>) -> wasmparser::Result<()> {
        for export in section {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func => ExternKind::Func,
                ExternalKind::Table => ExternKind::Table,
                ExternalKind::Memory => ExternKind::Memory,
                ExternalKind::Global => ExternKind::Global,
                ExternalKind::Tag | ExternalKind::FuncExact => {
                    unreachable!("refused by validation")
                }
            };
            let name = export.name.to_owned();
            self.info.exports.push(Export { name, kind, index: export.index });
        }
        Ok(())
    }

    fn elements(&mut self, section: ElementSectionReader<'_>) -> wasmparser::Result<()> {
        for segment in section {
            let segment = segment?;
            let mode = match segment.kind {
                ElementKind::Passive => ElementMode::Passive,
                ElementKind::Declared => ElementMode::Declared,
                ElementKind::Active { table_index, offset_expr } => ElementMode::Active {
                    table: table_index.unwrap_or(0),
                    offset: const_expr(&offset_expr)?,
                },
            };
            let (ty, items) = match segment.items {
                wasmparser::ElementItems::Functions(items) => {
                    let items = items.into_iter().collect::<wasmparser::Result<_>>()?;
                    (RefType::FUNCREF, ElementItems::Functions(items))
                }
                wasmparser::ElementItems::Expressions(ty, items) => {
                    let items = items
                        .into_iter()
                        .map(|e| const_expr(&e?))
                        .collect::<wasmparser::Result<_>>()?;
                    (ref_type(ty), ElementItems::Expressions(items))
                }
            };
            self.info.elements.push(ElementSegment { mode, ty, items });
        }
        Ok(())
    }

    fn data(&mut self, section: DataSectionReader<'_>) -> wasmparser::Result<()> {
        for segment in section {
            let segment = segment?;
            let mode = match segment.kind {
                DataKind::Passive => DataMode::Passive,
                DataKind::Active { memory_index, offset_expr } => {
                    DataMode::Active { memory: memory_index, offset: const_expr(&offset_expr)? }
                }
            };
            // The segment ends with its bytes.
            let end = segment.range.end;
            let range = end - segment.data.len() as u64..end;
            self.info.data.push(DataSegment { mode, range });
        }
        Ok(())
    }

    fn names(&mut self, section: NameSectionReader<'_>) -> wasmparser::Result<()> {
        let names = &mut self.info.names;
        for subsection in section {
            match subsection? {
                Name::Module { name, .. } => names.module = Some(name.to_owned()),
                Name::Function(map) => {
                    let mut functions: Vec<(FuncIndex, String)> = Vec::new();
                    for naming in map {
                        let naming = naming?;
                        functions.push((naming.index, naming.name.to_owned()));
                    }
                    functions.sort_by_key(|(index, _)| *index);
                    functions.dedup_by_key(|(index, _)| *index);
                    names.functions = functions;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A value type of the features that are enabled.
pub(crate) fn val_type(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(ty)),
    }
}

fn ref_type(ty: wasmparser::RefType) -> RefType {
    let heap = if ty.is_extern_ref() { HeapType::Extern } else { HeapType::Func };
    RefType { nullable: ty.is_nullable(), heap }
}

fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    let wasmparser::MemoryType { memory64, shared, initial, maximum, page_size_log2: _ } = ty;
    MemoryType { min: initial, max: maximum, memory64, shared }
}

fn table_type(ty: wasmparser::TableType) -> TableType {
    let wasmparser::TableType { element_type, table64, initial, maximum, shared: _ } = ty;
    TableType { element: ref_type(element_type), min: initial, max: maximum, table64 }
}

fn global_type(ty: wasmparser::GlobalType) -> GlobalType {
    GlobalType { value: val_type(ty.content_type), mutable: ty.mutable }
}

fn const_expr(expr: &wasmparser::ConstExpr<'_>) -> wasmparser::Result<ConstExpr> {
    let mut ops = ConstExpr::new();
    for op in expr.get_operators_reader() {
        ops.push(match op? {
            Operator::I32Const { value } => ConstOp::I32Const(value),
            Operator::I64Const { value } => ConstOp::I64Const(value),
            Operator::F32Const { value } => ConstOp::F32Const(value.bits()),
            Operator::F64Const { value } => ConstOp::F64Const(value.bits()),
            Operator::V128Const { value } => {
                ConstOp::V128Const(u128::from_le_bytes(*value.bytes()))
            }
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(global_index),
            Operator::RefFunc { function_index } => ConstOp::RefFunc(function_index),
            Operator::RefNull { hty } => ConstOp::RefNull(match hty {
                wasmparser::HeapType::EXTERN => RefType::EXTERNREF,
                _ => RefType::FUNCREF,
            }),
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::End => break,
            op => unreachable!("refused by validation: {op:?}"),
        });
    }
    Ok(ops)
}
