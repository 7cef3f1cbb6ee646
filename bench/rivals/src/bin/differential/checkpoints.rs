//! Calls of the host at random places: between any two operators of any body, `checkpoint`, which
//! neither takes nor gives anything. Some calls are made through references on the way.
//!
//! Invariant: what a module computes is not changed, except by what `try_legacy` says of handlers.
//! The imported functions keep their indices, and every function is still exported.

use crate::shared::{CHECKPOINT, FUEL_NAME, HOST};
use fastrand::Rng;
use std::convert::Infallible;
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, HeapType,
    ImportSection, Instruction, Module, RefType, SectionId, TypeSection, ValType,
    reencode::{self, Reencode, utils},
};
use wasmparser::{
    Catch, CompositeInnerType, ExportSectionReader, FunctionBody, Import, ImportSectionReader,
    Operator, Parser, Payload, RecGroup, TypeRef, TypeSectionReader,
};

/// Between how many operators there is one call.
const DENSITIES: &[usize] = &[3, 12, 60];
/// Of how many direct calls one is made through a reference.
const THROUGH_REFERENCE: u32 = 4;
/// Of how many modules one has no calls, as generated modules are.
const UNTOUCHED: u32 = 8;
/// Of how many modules of wasm-smith's one has the older `try`.
const LEGACY: u32 = 6;

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

/// The module with its fuel exported, if it has any, and with calls of `checkpoint`.
pub fn insert(wasm: &[u8], fuel: Option<u32>, rng: &mut Rng) -> Vec<u8> {
    let density = *rng.choice(DENSITIES).expect("some");
    let density = if rng.u32(..UNTOUCHED) == 0 { usize::MAX } else { density };
    let legacy = fuel.is_some() && rng.u32(..LEGACY) == 0;
    let types = Types::of(wasm);
    let mut module = Module::new();
    let imported = types.imported;
    let mut pass =
        Pass { fuel, rng, density, legacy, types, imported, bodies: 0, has_import: false };
    pass.parse_core_module(&mut module, Parser::new(0), wasm)
        .expect("generated modules can be parsed");
    module.finish()
}

/// Whether a module has the older `try`, which Wasmtime's Cranelift does not know.
pub fn has_legacy_try(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).flatten().any(|payload| match payload {
        Payload::CodeSectionEntry(body) => {
            let operators = body.get_operators_reader().into_iter().flatten();
            operators.flatten().any(|operator| matches!(operator, Operator::Try { .. }))
        }
        _ => false,
    })
}

/// The types that a module declares.
#[derive(Default)]
struct Types {
    /// How many parameters functions of each type have; 0 for one of objects.
    params: Vec<u32>,
    /// The type of each function.
    functions: Vec<u32>,
    /// How many functions are imported.
    imported: u32,
}

impl Types {
    fn of(wasm: &[u8]) -> Self {
        let mut all = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.expect("generated modules can be parsed") {
                Payload::TypeSection(section) => {
                    let types = section.into_iter().flatten().flat_map(RecGroup::into_types);
                    let params = types.map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => ty.params().len() as u32,
                        _ => 0,
                    });
                    all.params = params.collect();
                }
                Payload::ImportSection(section) => {
                    let function = |import: Import<'_>| match import.ty {
                        TypeRef::Func(ty) => Some(ty),
                        _ => None,
                    };
                    let imports = section.into_imports().flatten();
                    all.functions.extend(imports.filter_map(function));
                    all.imported = all.functions.len() as u32;
                }
                Payload::FunctionSection(section) => {
                    all.functions.extend(section.into_iter().flatten());
                }
                _ => {}
            }
        }
        all
    }
}

/// Copies a module.
struct Pass<'a> {
    fuel: Option<u32>,
    rng: &'a mut Rng,
    density: usize,
    legacy: bool,
    types: Types,
    /// The index of `checkpoint`.
    imported: u32,
    /// How many bodies have been copied.
    bodies: usize,
    /// Whether its import is written.
    has_import: bool,
}

impl Pass<'_> {
    fn import(&mut self, imports: &mut ImportSection) {
        imports.import(HOST, CHECKPOINT, EntityType::Function(self.types.params.len() as u32));
        self.has_import = true;
    }

    fn refers(&mut self) -> bool {
        self.density != usize::MAX && self.rng.u32(..THROUGH_REFERENCE) == 0
    }

    fn checkpoint(&mut self, function: &mut Function) {
        if self.rng.usize(..self.density) == 0 {
            function.instruction(&Instruction::Call(self.imported));
        }
    }

    /// The function of a body with its locals, and one more for references to functions of a type.
    fn function(&mut self, body: &FunctionBody<'_>) -> Result<(Function, u32, u32)> {
        let imported = self.imported as usize;
        let own = self.types.functions[imported + self.bodies];
        self.bodies += 1;
        let mut count = self.types.params[own as usize];
        let mut locals = Vec::new();
        for local in body.get_locals_reader()? {
            let (n, ty) = local?;
            locals.push((n, self.val_type(ty)?));
            count += n;
        }
        let ty = *self.rng.choice(&self.types.functions).expect("the function itself");
        let heap_type = HeapType::Concrete(ty);
        locals.push((1, ValType::Ref(RefType { nullable: true, heap_type })));
        Ok((Function::new(locals), count, ty))
    }

    /// A reference to the function that is to be called, which waits for `checkpoint` on the stack or
    /// in the local, if it is of its type. Returns the type.
    fn reference(&mut self, func: u32, local: (u32, u32), function: &mut Function) -> Result<u32> {
        let ty = self.types.functions[func as usize];
        let func = self.function_index(func)?;
        function.instruction(&Instruction::RefFunc(func));
        if ty == local.1 {
            function.instruction(&Instruction::LocalSet(local.0));
        }
        function.instruction(&Instruction::Call(self.imported));
        if ty == local.1 {
            function.instruction(&Instruction::LocalGet(local.0));
        }
        Ok(ty)
    }

    /// The end of a `try` that was a `try_table`: its handlers go where that's went. Some of them
    /// throw again, depending on how much fuel is left, so that exceptions are kept across calls.
    fn try_legacy(&mut self, catches: &[Catch], outside: usize, function: &mut Function) {
        if catches.is_empty() {
            let to = self.rng.u32(..=outside as u32);
            function.instruction(&Instruction::Delegate(to));
            return;
        }
        for catch in catches {
            let (clause, label) = match *catch {
                Catch::One { tag, label } => (Instruction::Catch(tag), label),
                Catch::All { label } => (Instruction::CatchAll, label),
                Catch::OneRef { .. } | Catch::AllRef { .. } => unreachable!("it stays as it is"),
            };
            let last = matches!(clause, Instruction::CatchAll);
            function.instruction(&clause);
            self.checkpoint(function);
            if let (true, Some(fuel)) = (self.rng.bool(), self.fuel) {
                function.instruction(&Instruction::GlobalGet(fuel));
                function.instruction(&Instruction::I32Const(1 << self.rng.u8(..4)));
                function.instruction(&Instruction::I32And);
                function.instruction(&Instruction::If(BlockType::Empty));
                function.instruction(&Instruction::Call(self.imported));
                function.instruction(&Instruction::Rethrow(1));
                function.instruction(&Instruction::End);
            }
            self.checkpoint(function);
            function.instruction(&Instruction::Br(label + 1));
            if last {
                break;
            }
        }
        function.instruction(&Instruction::End);
    }
}

impl Reencode for Pass<'_> {
    type Error = Infallible;

    fn function_index(&mut self, func: u32) -> Result<u32> {
        Ok(func + u32::from(func >= self.imported))
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], []);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_import_section(self, imports, section)?;
        self.import(imports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<()> {
        if !self.has_import && after == Some(SectionId::Type) && before != Some(SectionId::Import) {
            let mut imports = ImportSection::new();
            self.import(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_export_section(self, exports, section)?;
        if let Some(fuel) = self.fuel {
            exports.export(FUEL_NAME, ExportKind::Global, fuel);
        }
        exports.export(CHECKPOINT, ExportKind::Func, self.imported);
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<()> {
        let (mut function, local, ty) = self.function(&body)?;
        let local = (local, ty);
        // The open blocks; of those that have become a `try`, what they catch.
        let mut open: Vec<Option<Vec<Catch>>> = Vec::new();
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            self.checkpoint(&mut function);
            let operator = reader.read()?;
            match &operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    open.push(None);
                }
                Operator::TryTable { try_table } => {
                    let refers =
                        |c: &Catch| matches!(c, Catch::OneRef { .. } | Catch::AllRef { .. });
                    if self.legacy && !try_table.catches.iter().any(refers) {
                        open.push(Some(try_table.catches.clone()));
                        let ty = self.block_type(try_table.ty)?;
                        function.instruction(&Instruction::Try(ty));
                        continue;
                    }
                    open.push(None);
                }
                Operator::Call { function_index } if self.refers() => {
                    let ty = self.reference(*function_index, local, &mut function)?;
                    function.instruction(&Instruction::CallRef(ty));
                    continue;
                }
                Operator::ReturnCall { function_index } if self.refers() => {
                    let ty = self.reference(*function_index, local, &mut function)?;
                    function.instruction(&Instruction::ReturnCallRef(ty));
                    continue;
                }
                Operator::End => {
                    if let Some(catches) = open.pop().flatten() {
                        self.try_legacy(&catches, open.len(), &mut function);
                        continue;
                    }
                }
                _ => {}
            }
            function.instruction(&self.instruction(operator)?);
        }
        code.function(&function);
        Ok(())
    }
}
