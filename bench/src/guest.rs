//! The guests of the benchmarks: their modules, how they are initialised, what is asked of them
//! and what they must answer.
//!
//! Invariant: a guest is the same for every benchmark and for every rival.

use crate::Shape;
use executor_model::Val;
use std::{
    fs,
    path::{Path, PathBuf},
};

const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")
  (data (i32.const 16) "hello\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The size that a platform engineer would dread.
const LARGE: Shape = Shape { functions: 100_000, elements: 50_000, pages: 2048 };
/// About as much code and state as QuickJS has.
const MIDDLE: Shape = Shape { functions: 8_000, elements: 1_000, pages: 6 };

/// A module and what the benchmarks do with it.
#[derive(Debug, Clone)]
pub struct Guest {
    /// `hello`, `mid` or `large`.
    pub name: &'static str,
    /// What it is, in words.
    pub what: String,
    /// The module's bytes.
    pub wasm: Vec<u8>,
    /// The exports that initialise an instance, in order.
    pub inits: &'static [&'static str],
    /// What is measured.
    pub call: Call,
    /// What is asked once, to see that the whole state is there.
    pub also: Vec<Call>,
}

/// A call of an export.
#[derive(Debug, Clone)]
pub struct Call {
    /// The export.
    pub export: &'static str,
    /// Its arguments.
    pub params: Vec<i32>,
    /// What it must answer.
    pub answer: Answer,
}

/// What a call must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, after writing this to standard output.
    Output(&'static str),
    /// This number.
    Number(i32),
    /// An address: anything but 0.
    Address,
}

impl Call {
    fn new<const N: usize>(export: &'static str, params: [i32; N], answer: Answer) -> Self {
        Self { export, params: params.into(), answer }
    }

    /// The arguments as values.
    #[must_use]
    pub fn values(&self) -> Vec<Val> {
        self.params.iter().map(|n| Val::I32(*n)).collect()
    }
}

impl Answer {
    /// Whether a result, and what was written to standard output meanwhile, are right.
    #[must_use]
    pub fn accepts(self, result: Option<i32>, output: &[u8]) -> bool {
        match self {
            Self::Output(text) => result.is_none() && output == text.as_bytes(),
            Self::Number(n) => result == Some(n),
            Self::Address => result.is_some_and(|address| address != 0),
        }
    }
}

/// A file that `bench/fetch` fetched, if it is there.
#[must_use]
pub fn input(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-inputs").join(name);
    path.canonicalize().ok()
}

impl Guest {
    /// All three, from small to large.
    ///
    /// # Panics
    /// When a file that was fetched cannot be read.
    #[must_use]
    pub fn all() -> [Self; 3] {
        [Self::hello(), Self::mid(), Self::large()]
    }

    /// A command that prints a line.
    fn hello() -> Self {
        Self {
            name: "hello",
            what: "prints a line through WASI".to_owned(),
            wasm: wat::parse_str(HELLO).expect("the text is a module"),
            inits: &[],
            call: Call::new("_start", [], Answer::Output("hello\n")),
            also: Vec::new(),
        }
    }

    /// QuickJS where it was fetched, and a generated module where not.
    fn mid() -> Self {
        let Some(path) = input("qjs-wasi-reactor.wasm") else {
            let what = "generated in place of QuickJS, which bench/fetch did not fetch";
            return Self::generated("mid", what, MIDDLE);
        };
        Self {
            name: "mid",
            what: "QuickJS, initialised with a JavaScript context".to_owned(),
            wasm: fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            inits: &["_initialize", "qjs_init"],
            call: Call::new("malloc", [100], Answer::Address),
            // Null until `qjs_init` has made the context.
            also: vec![Call::new("qjs_get_context", [], Answer::Address)],
        }
    }

    /// 100,000 functions, 50,000 table elements and 128 MiB of touched memory.
    fn large() -> Self {
        let what = "generated: 100,000 functions, 50,000 table elements, 128 MiB touched";
        Self::generated("large", what, LARGE)
    }

    pub(crate) fn generated(name: &'static str, what: &str, shape: Shape) -> Self {
        let call = |element: u32, x: i32| {
            let answer = Answer::Number(shape.answer(element, x));
            Call::new("call", [element as i32, x], answer)
        };
        Self {
            name,
            what: what.to_owned(),
            wasm: shape.module(),
            inits: &["_initialize"],
            call: call(shape.elements - 1, 7),
            also: (0..shape.elements).step_by(499).map(|i| call(i, i as i32)).collect(),
        }
    }
}
