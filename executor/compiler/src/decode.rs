//! Decoding: the binary format to [`ModuleInfo`], with everything validated.
//!
//! Invariant: what [`decode`] returns has passed wasmparser's validator with exactly the features
//! asked for, function bodies included where they were to be, and is within the [`Limits`]; type indices are
//! canonical.

use crate::{
    deadline::Deadline,
    features, invalid,
    limits::{Limit, Limits},
    names::sorted,
};
use executor_code::CompileError;
use executor_model::{
    CompositeType, ConstExpr, ConstOp, DataMode, DataSegment, ElementItems, ElementMode,
    ElementSegment, Export, ExternKind, Features, FieldType, FuncIndex, FuncRef, FuncType, Global,
    GlobalType, HeapType, Import, ImportKind, MemoryType, ModuleInfo, RefType, StorageType, Table,
    TableType, TypeDeclaration, TypeIndex, ValType, WASM_PAGE_SIZE,
};
use rayon::prelude::*;
use std::{collections::HashMap, ops::Range};
use wasmparser::{
    CompositeInnerType, DataKind, DataSectionReader, ElementKind, ElementSectionReader,
    ExportSectionReader, ExternalKind, FuncValidator, FuncValidatorAllocations, FunctionBody,
    GlobalSectionReader, ImportSectionReader, KnownCustom, Name, NameSectionReader, Operator,
    PackedIndex, Parser, Payload, TableInit, TableSectionReader, TypeRef, TypeSectionReader,
    UnpackedIndex, ValidPayload, Validator, ValidatorResources, types::TypesRef,
};

/// Where the bodies of the defined functions lie in the module's bytes.
type Bodies = Vec<Range<usize>>;

/// What of a module is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validate {
    /// All of it.
    All,
    /// Everything but the bodies of functions.
    Declarations,
}

/// The most locals of a valid function, its parameters included: wasmparser's limit.
const MAX_LOCALS_OF_FUNCTION: u64 = 50_000;

/// After how many operators the time is looked at.
const CLOCK_STEP: usize = 64;

/// Decodes and validates a module. The deadline is for the bodies of functions: an operator of two bytes may have a
/// thousand parameters and results.
pub(crate) fn decode(
    wasm: &[u8],
    features: Features,
    validate: Validate,
    deadline: Deadline,
) -> std::result::Result<(ModuleInfo, Bodies), CompileError> {
    let mut decoder = Decoder::default();
    decoder.limits.bytes.add(wasm.len() as u64)?;
    if Parser::is_component(wasm) {
        return Err(CompileError::Component);
    }
    let refuse = |error| features::explain(wasm, features, &error);
    let features = features::wasmparser(features);
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut bodies = Bodies::new();
    let mut to_validate = Vec::new();
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(refuse)?;
        let valid = validator.payload(&payload).map_err(refuse)?;
        if let Payload::TypeSection(section) = payload {
            let types = validator.types(0).expect("in a module");
            decoder.types(section, types).map_err(CompileError::from)?;
        } else if let ValidPayload::Func(function, body) = valid {
            decoder.locals(bodies.len(), &body).map_err(CompileError::from)?;
            let range = body.range();
            bodies.push(range.start as usize..range.end as usize);
            if validate == Validate::All {
                to_validate.push((function, body));
            }
        } else {
            decoder.payload(payload).map_err(CompileError::from)?;
        }
    }
    // The first error in the order of the functions, whatever the order of the work.
    let error = to_validate
        .into_par_iter()
        .map_init(FuncValidatorAllocations::default, |allocations, (function, body)| {
            let mut validator = function.into_validator(std::mem::take(allocations));
            let result = validate_body(&mut validator, &body, deadline);
            *allocations = validator.into_allocations();
            result
        })
        .find_map_first(std::result::Result::err);
    match error {
        Some(Failure::Invalid(error)) => return Err(refuse(error)),
        Some(Failure::Late(error)) => return Err(error),
        None => {}
    }
    let info = decoder.info;
    // The largest number of a type stands for something else.
    if info.functions.len().max(info.types.len()) >= FuncRef::MAX_INDEX as usize {
        let message = format!("more than {} functions or types", FuncRef::MAX_INDEX);
        return Err(CompileError::Unsupported(message));
    }
    Ok((info, bodies))
}

/// Why the body of a function is not accepted.
enum Failure {
    Invalid(wasmparser::Error),
    /// It takes too long to find out.
    Late(CompileError),
}

impl From<wasmparser::Error> for Failure {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid(error)
    }
}

fn validate_body(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    deadline: Deadline,
) -> std::result::Result<(), Failure> {
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    for i in 0_usize.. {
        if i.is_multiple_of(CLOCK_STEP) {
            deadline.check().map_err(Failure::Late)?;
        }
        let offset = reader.original_position();
        if reader.eof() {
            reader.finish_expression(&validator.visitor(offset))?;
            break;
        }
        reader.visit_operator(&mut validator.visitor(offset))??;
    }
    Ok(())
}

/// Why a section that is valid is not taken in.
pub(crate) enum Refusal {
    /// It could not be read after all.
    Invalid(wasmparser::Error),
    /// There is too much of something.
    Limit(Limit),
}

impl From<wasmparser::Error> for Refusal {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<Refusal> for CompileError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(error) => invalid(&error),
            Refusal::Limit(limit) => limit.into(),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

#[derive(Default)]
struct Decoder {
    info: ModuleInfo,
    /// The heap type that each type of the type section stands for.
    concrete: Vec<HeapType>,
    limits: Limits,
}

impl Decoder {
    /// Takes in a section that is valid.
    fn payload(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
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
            Payload::TagSection(section) => {
                for tag in section {
                    self.info.tags.push(self.info.canonical[tag?.func_type_idx as usize]);
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
                    // Names only serve messages; an error in them is no reason to refuse the module.
                    let _ = self.names(names);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts the parameters and locals of a defined function.
    fn locals(&mut self, defined: usize, body: &FunctionBody<'_>) -> Result<()> {
        let func = self.info.imported_functions + defined as FuncIndex;
        let mut count = self.info.func_type(func).params.len() as u64;
        for locals in body.get_locals_reader()? {
            count = count.saturating_add(locals?.0.into());
        }
        // With more it is invalid, which is for the validator to say.
        self.limits.locals.add(count.min(MAX_LOCALS_OF_FUNCTION))?;
        Ok(())
    }

    fn types(&mut self, section: TypeSectionReader<'_>, valid: TypesRef<'_>) -> Result<()> {
        // The validator knows equal types by one id.
        let mut first = HashMap::new();
        for index in 0..valid.core_type_count_in_module() {
            let id = valid.core_type_at_in_module(index);
            let canonical = *first.entry(id).or_insert(index);
            self.info.canonical.push(canonical);
            self.concrete.push(concrete(&valid[id].composite_type.inner, canonical));
        }
        let canonical = &self.info.canonical;
        let val = |ty: &wasmparser::ValType| val_type(*ty, &|index| self.concrete[index as usize]);
        let field = |ty: &wasmparser::FieldType| FieldType {
            mutable: ty.mutable,
            storage: match &ty.element_type {
                wasmparser::StorageType::I8 => StorageType::I8,
                wasmparser::StorageType::I16 => StorageType::I16,
                wasmparser::StorageType::Val(ty) => StorageType::Val(val(ty)),
            },
        };
        for group in section {
            let group = group?;
            let group_len = group.types().len() as u32;
            for ty in group.types() {
                self.info.types.push(match &ty.composite_type.inner {
                    CompositeInnerType::Func(func) => CompositeType::Func(FuncType {
                        params: func.params().iter().map(val).collect(),
                        results: func.results().iter().map(val).collect(),
                    }),
                    CompositeInnerType::Struct(ty) => {
                        CompositeType::Struct(ty.fields.iter().map(field).collect())
                    }
                    CompositeInnerType::Array(ty) => CompositeType::Array(field(&ty.0)),
                    CompositeInnerType::Cont(_) => unreachable!("refused by validation"),
                });
                let supertype = ty.supertype_idxs.first().and_then(PackedIndex::as_module_index);
                self.info.declarations.push(TypeDeclaration {
                    group_len,
                    is_final: ty.is_final,
                    supertype: supertype.map(|index| canonical[index as usize]),
                });
            }
        }
        Ok(())
    }

    fn concrete(&self, index: TypeIndex) -> HeapType {
        self.concrete[index as usize]
    }

    fn ref_type(&self, ty: wasmparser::RefType) -> RefType {
        ref_type(ty, &|index| self.concrete(index))
    }

    fn table_type(&self, ty: wasmparser::TableType) -> TableType {
        let wasmparser::TableType { element_type, table64, initial, maximum, shared: _ } = ty;
        TableType { element: self.ref_type(element_type), min: initial, max: maximum, table64 }
    }

    fn global_type(&self, ty: wasmparser::GlobalType) -> GlobalType {
        let value = val_type(ty.content_type, &|index| self.concrete(index));
        GlobalType { value, mutable: ty.mutable }
    }

    fn imports(&mut self, section: ImportSectionReader<'_>) -> Result<()> {
        for import in section.into_imports() {
            let import = import?;
            let kind = match import.ty {
                TypeRef::Func(ty) => {
                    let ty = self.info.canonical[ty as usize];
                    self.info.functions.push(ty);
                    self.info.imported_functions += 1;
                    ImportKind::Func(ty)
                }
                TypeRef::Table(ty) => {
                    let ty = self.table_type(ty);
                    self.info.tables.push(Table { ty, init: None });
                    self.info.imported_tables += 1;
                    ImportKind::Table(ty)
                }
                TypeRef::Memory(ty) => {
                    let ty = memory_type(ty);
                    self.info.memories.push(ty);
                    self.info.imported_memories += 1;
                    ImportKind::Memory(ty)
                }
                TypeRef::Global(ty) => {
                    let ty = self.global_type(ty);
                    self.info.globals.push(Global { ty, init: None });
                    self.info.imported_globals += 1;
                    ImportKind::Global(ty)
                }
                TypeRef::Tag(ty) => {
                    let ty = self.info.canonical[ty.func_type_idx as usize];
                    self.info.tags.push(ty);
                    self.info.imported_tags += 1;
                    ImportKind::Tag(ty)
                }
                TypeRef::FuncExact(_) => unreachable!("refused by validation"),
            };
            let (module, name) = (import.module.to_owned(), import.name.to_owned());
            self.info.imports.push(Import { module, name, kind });
        }
        Ok(())
    }

    fn tables(&mut self, section: TableSectionReader<'_>) -> Result<()> {
        for table in section {
            let table = table?;
            let init = match table.init {
                TableInit::RefNull => None,
                TableInit::Expr(init) => Some(self.const_expr(&init)?),
            };
            let ty = self.table_type(table.ty);
            self.info.tables.push(Table { ty, init });
        }
        Ok(())
    }

    fn globals(&mut self, section: GlobalSectionReader<'_>) -> Result<()> {
        for global in section {
            let global = global?;
            let init = Some(self.const_expr(&global.init_expr)?);
            let ty = self.global_type(global.ty);
            self.info.globals.push(Global { ty, init });
        }
        Ok(())
    }

    fn exports(&mut self, section: ExportSectionReader<'_>) -> Result<()> {
        for export in section {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func => ExternKind::Func,
                ExternalKind::Table => ExternKind::Table,
                ExternalKind::Memory => ExternKind::Memory,
                ExternalKind::Global => ExternKind::Global,
                ExternalKind::Tag => ExternKind::Tag,
                ExternalKind::FuncExact => unreachable!("refused by validation"),
            };
            let name = export.name.to_owned();
            self.info.exports.push(Export { name, kind, index: export.index });
        }
        Ok(())
    }

    fn elements(&mut self, section: ElementSectionReader<'_>) -> Result<()> {
        for segment in section {
            let segment = segment?;
            let mode = match segment.kind {
                ElementKind::Passive => ElementMode::Passive,
                ElementKind::Declared => ElementMode::Declared,
                ElementKind::Active { table_index, offset_expr } => ElementMode::Active {
                    table: table_index.unwrap_or(0),
                    offset: self.const_expr(&offset_expr)?,
                },
            };
            let (ty, items) = match segment.items {
                wasmparser::ElementItems::Functions(items) => {
                    let items = items.into_iter().collect::<wasmparser::Result<_>>()?;
                    (RefType::FUNCREF, ElementItems::Functions(items))
                }
                wasmparser::ElementItems::Expressions(ty, items) => {
                    let items =
                        items.into_iter().map(|e| self.const_expr(&e?)).collect::<Result<_>>()?;
                    (self.ref_type(ty), ElementItems::Expressions(items))
                }
            };
            self.info.elements.push(ElementSegment { mode, ty, items });
        }
        Ok(())
    }

    fn data(&mut self, section: DataSectionReader<'_>) -> Result<()> {
        for segment in section {
            let segment = segment?;
            let mode = match segment.kind {
                DataKind::Passive => DataMode::Passive,
                DataKind::Active { memory_index, offset_expr } => {
                    let offset = self.const_expr(&offset_expr)?;
                    DataMode::Active { memory: memory_index, offset }
                }
            };
            // The segment ends with its bytes.
            let end = segment.range.end;
            let range = end - segment.data.len() as u64..end;
            self.info.data.push(DataSegment { mode, range });
        }
        Ok(())
    }

    fn names(&mut self, section: NameSectionReader<'_>) -> Result<()> {
        let names = &mut self.info.names;
        for subsection in section {
            match subsection? {
                Name::Module { name, .. } => names.module = Some(name.to_owned()),
                Name::Function(map) => names.functions = sorted(map)?,
                Name::Tag(map) => names.tags = sorted(map)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn const_expr(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr> {
        // Most have one operator.
        let mut ops = ConstExpr::with_capacity(1);
        for op in expr.get_operators_reader() {
            let op = op?;
            if !matches!(op, Operator::End) {
                self.limits.const_operators.add(1)?;
            }
            ops.push(match op {
                Operator::I32Const { value } => ConstOp::I32Const(value),
                Operator::I64Const { value } => ConstOp::I64Const(value),
                Operator::F32Const { value } => ConstOp::F32Const(value.bits()),
                Operator::F64Const { value } => ConstOp::F64Const(value.bits()),
                Operator::V128Const { value } => {
                    ConstOp::V128Const(u128::from_le_bytes(*value.bytes()))
                }
                Operator::GlobalGet { global_index } => ConstOp::GlobalGet(global_index),
                Operator::RefFunc { function_index } => ConstOp::RefFunc(function_index),
                Operator::RefNull { hty } => {
                    let heap = heap_type(hty, &|index| self.concrete(index));
                    ConstOp::RefNull(RefType { nullable: true, heap })
                }
                Operator::RefI31 => ConstOp::RefI31,
                Operator::StructNew { struct_type_index } => {
                    ConstOp::StructNew(self.info.canonical[struct_type_index as usize])
                }
                Operator::StructNewDefault { struct_type_index } => {
                    ConstOp::StructNewDefault(self.info.canonical[struct_type_index as usize])
                }
                Operator::ArrayNew { array_type_index } => {
                    ConstOp::ArrayNew(self.info.canonical[array_type_index as usize])
                }
                Operator::ArrayNewDefault { array_type_index } => {
                    ConstOp::ArrayNewDefault(self.info.canonical[array_type_index as usize])
                }
                Operator::ArrayNewFixed { array_type_index, array_size } => {
                    let ty = self.info.canonical[array_type_index as usize];
                    ConstOp::ArrayNewFixed(ty, array_size)
                }
                Operator::AnyConvertExtern => ConstOp::AnyConvertExtern,
                Operator::ExternConvertAny => ConstOp::ExternConvertAny,
                Operator::I32Add => ConstOp::I32Add,
                Operator::I32Sub => ConstOp::I32Sub,
                Operator::I32Mul => ConstOp::I32Mul,
                Operator::I64Add => ConstOp::I64Add,
                Operator::I64Sub => ConstOp::I64Sub,
                Operator::I64Mul => ConstOp::I64Mul,
                Operator::End => break,
                _ => unreachable!("refused by validation"),
            });
        }
        Ok(ops)
    }
}

/// The heap type that a type of a module stands for.
pub(crate) fn concrete(ty: &CompositeInnerType, canonical: TypeIndex) -> HeapType {
    match ty {
        CompositeInnerType::Func(_) => HeapType::ConcreteFunc(canonical),
        CompositeInnerType::Struct(_) => HeapType::ConcreteStruct(canonical),
        CompositeInnerType::Array(_) => HeapType::ConcreteArray(canonical),
        CompositeInnerType::Cont(_) => unreachable!("refused by validation"),
    }
}

/// Our word for a value type; `concrete` knows those of the type section.
pub(crate) fn val_type(
    ty: wasmparser::ValType,
    concrete: &dyn Fn(TypeIndex) -> HeapType,
) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(ty, concrete)),
    }
}

pub(crate) fn ref_type(
    ty: wasmparser::RefType,
    concrete: &dyn Fn(TypeIndex) -> HeapType,
) -> RefType {
    RefType { nullable: ty.is_nullable(), heap: heap_type(ty.heap_type(), concrete) }
}

pub(crate) fn heap_type(
    ty: wasmparser::HeapType,
    concrete: &dyn Fn(TypeIndex) -> HeapType,
) -> HeapType {
    use wasmparser::AbstractHeapType;
    match ty {
        wasmparser::HeapType::Concrete(UnpackedIndex::Module(index)) => concrete(index),
        wasmparser::HeapType::Abstract { shared: false, ty } => match ty {
            AbstractHeapType::Func => HeapType::Func,
            AbstractHeapType::NoFunc => HeapType::NoFunc,
            AbstractHeapType::Extern => HeapType::Extern,
            AbstractHeapType::NoExtern => HeapType::NoExtern,
            AbstractHeapType::Exn => HeapType::Exn,
            AbstractHeapType::NoExn => HeapType::NoExn,
            AbstractHeapType::Any => HeapType::Any,
            AbstractHeapType::Eq => HeapType::Eq,
            AbstractHeapType::I31 => HeapType::I31,
            AbstractHeapType::Struct => HeapType::Struct,
            AbstractHeapType::Array => HeapType::Array,
            AbstractHeapType::None => HeapType::None,
            AbstractHeapType::Cont | AbstractHeapType::NoCont => {
                unreachable!("refused by validation")
            }
        },
        _ => unreachable!("refused by validation"),
    }
}

fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    let wasmparser::MemoryType { memory64, shared, initial, maximum, page_size_log2 } = ty;
    let page_size_log2 = page_size_log2.unwrap_or(WASM_PAGE_SIZE.trailing_zeros());
    MemoryType { min: initial, max: maximum, memory64, shared, page_size_log2 }
}
