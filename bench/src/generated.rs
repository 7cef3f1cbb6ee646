//! A module of any size, written with `wasm-encoder`.
//!
//! Invariant: every function of a module computes something else, and every page that the
//! initialisation touches holds something else, so a restore that loses or misplaces any of them
//! answers wrongly.

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, MemArg, MemArgTarget, MemorySection, MemoryType,
    Module, RefType, TableSection, TableType, TypeSection, ValType,
};

/// The granularity at which the initialisation marks memory.
const MARKED: i32 = 4096;
const WASM_PAGE: i32 = 65536;

/// How large a generated module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many functions it has beside its two exports.
    pub functions: u32,
    /// How many of them its table refers to, once initialised.
    pub elements: u32,
    /// How many pages of 64 KiB its initialisation fills.
    pub pages: u32,
}

/// What function `i` of a generated module makes of `x`.
#[must_use]
pub fn function(i: u32, x: i32) -> i32 {
    x.wrapping_mul(factor(i)).wrapping_add(i as i32)
}

fn factor(i: u32) -> i32 {
    (2 * i + 1) as i32
}

impl Shape {
    /// The function that an element of the table refers to.
    fn target(self, element: u32) -> u32 {
        element * (self.functions / self.elements)
    }

    /// What `call(element, x)` answers after `_initialize`, and only then.
    #[must_use]
    pub fn answer(self, element: u32, x: i32) -> i32 {
        let marks = self.pages * (WASM_PAGE / MARKED) as u32;
        function(self.target(element), x).wrapping_add((element % marks) as i32 + 1)
    }

    /// The module. It exports its memory, `_initialize`, which fills the memory and the table and
    /// sets a global, and `call`, which takes an element of the table and an argument for it, and
    /// adds up what the function answers and what a page of the memory holds, times the global.
    #[must_use]
    pub fn module(self) -> Vec<u8> {
        let (functions, initialize, call) = (self.functions, self.functions, self.functions + 1);
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([], []);
        types.ty().function([ValType::I32, ValType::I32], [ValType::I32]);

        let mut declared = FunctionSection::new();
        for _ in 0..functions {
            declared.function(0);
        }
        declared.function(1).function(2);

        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: self.elements.into(),
            maximum: Some(self.elements.into()),
            shared: false,
        });

        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: self.pages.into(),
            maximum: Some(self.pages.into()),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });

        let mut globals = GlobalSection::new();
        let ready = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(ready, &ConstExpr::i32_const(0));

        let mut exports = ExportSection::new();
        exports
            .export("memory", ExportKind::Memory, 0)
            .export("_initialize", ExportKind::Func, initialize)
            .export("call", ExportKind::Func, call);

        let targets: Vec<u32> = (0..self.elements).map(|i| self.target(i)).collect();
        let mut elements = ElementSection::new();
        elements.passive(Elements::Functions(targets.into()));

        let mut code = CodeSection::new();
        for i in 0..functions {
            let mut body = Function::new([]);
            let mut at = body.instructions();
            at.local_get(0).i32_const(factor(i)).i32_mul();
            at.i32_const(i as i32).i32_add().end();
            code.function(&body);
        }
        code.function(&self.initialize()).function(&self.call());

        let mut module = Module::new();
        module
            .section(&types)
            .section(&declared)
            .section(&tables)
            .section(&memories)
            .section(&globals)
            .section(&exports)
            .section(&elements)
            .section(&code);
        module.finish()
    }

    fn initialize(self) -> Function {
        let mut body = Function::new([(1, ValType::I32)]);
        let at = &mut body.instructions();
        at.i32_const(0).i32_const(0).i32_const(self.elements as i32).table_init(0, 0).elem_drop(0);
        at.i32_const(0).i32_const(0xa5).i32_const(self.pages as i32 * WASM_PAGE).memory_fill(0);
        at.loop_(wasm_encoder::BlockType::Empty);
        at.local_get(0).i32_const(MARKED).i32_mul();
        at.local_get(0).i32_const(1).i32_add().local_tee(0).i32_store(WORD);
        at.local_get(0).i32_const(self.marks()).i32_lt_u().br_if(0).end();
        at.i32_const(1).global_set(0).end();
        body
    }

    fn call(self) -> Function {
        let mut body = Function::new([]);
        let at = &mut body.instructions();
        at.local_get(1).local_get(0).call_indirect(0, 0);
        at.local_get(0).i32_const(self.marks()).i32_rem_u().i32_const(MARKED).i32_mul();
        at.i32_load(WORD).i32_add();
        at.global_get(0).i32_mul().end();
        body
    }

    fn marks(self) -> i32 {
        self.pages as i32 * (WASM_PAGE / MARKED)
    }
}

const WORD: MemArg =
    MemArg { offset: 0, align: 2, target: MemArgTarget::Memory(0), ordering: None };
