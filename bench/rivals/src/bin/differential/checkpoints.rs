//! Calls of the host at random places: between any two operators of any body, `checkpoint`, which
//! neither takes nor gives anything.
//!
//! Invariant: what a module computes is not changed, except by what `try_legacy` says of handlers.
//! The imported functions keep their indices, and every function is still exported.

use crate::shared::{CHECKPOINT, FUEL_NAME, HOST};
use fastrand::Rng;
use std::convert::Infallible;
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, ImportSection,
    Instruction, Module, SectionId, TypeSection,
    reencode::{self, Reencode, utils},
};
use wasmparser::{
    Catch, ExportSectionReader, FunctionBody, ImportSectionReader, Operator, Parser, Payload,
    TypeRef, TypeSectionReader,
};

/// Between how many operators there is one call.
const DENSITIES: &[usize] = &[3, 12, 60];
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
    let (types, imported) = counts(wasm);
    let mut module = Module::new();
    let mut pass = Pass { fuel, rng, density, legacy, types, imported, has_import: false };
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

/// How many types a module has, and how many functions it imports.
fn counts(wasm: &[u8]) -> (u32, u32) {
    let (mut types, mut imported) = (0, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("generated modules can be parsed") {
            Payload::TypeSection(section) => {
                types = section.into_iter().flatten().map(|group| group.types().len() as u32).sum();
            }
            Payload::ImportSection(section) => {
                let imports = section.into_imports().flatten();
                imported = imports.filter(|i| matches!(i.ty, TypeRef::Func(_))).count() as u32;
            }
            _ => {}
        }
    }
    (types, imported)
}

/// Copies a module.
struct Pass<'a> {
    fuel: Option<u32>,
    rng: &'a mut Rng,
    density: usize,
    legacy: bool,
    /// The index of the type of `checkpoint`.
    types: u32,
    /// The index of `checkpoint`.
    imported: u32,
    /// Whether its import is written.
    has_import: bool,
}

impl Pass<'_> {
    fn import(&mut self, imports: &mut ImportSection) {
        imports.import(HOST, CHECKPOINT, EntityType::Function(self.types));
        self.has_import = true;
    }

    fn checkpoint(&mut self, function: &mut Function) {
        if self.rng.usize(..self.density) == 0 {
            function.instruction(&Instruction::Call(self.imported));
        }
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
        let mut function = self.new_function_with_parsed_locals(&body)?;
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
