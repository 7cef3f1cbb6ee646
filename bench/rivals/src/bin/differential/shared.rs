//! What both engines are given alike: limits, fuel, and the host's functions.
//!
//! Invariant: a host function is a function of its arguments alone, so that both engines' guests
//! see the same host. References are passed on; of other results each is made from all arguments.

use executor_model::{AnyRef, RawValue, TrapCode, Val, ValType};
use std::sync::{Arc, Mutex, PoisonError};

/// The name of the global that holds how many loop iterations and calls are left.
pub const FUEL_NAME: &str = "fuel of the differential test";
/// How many of them a call may take. Few enough that no stack is exhausted by honest recursion.
pub const FUEL: i32 = 2500;
/// What no generated module's memories exceed.
pub const MAX_MEMORY: u64 = 64 << 20;
/// What objects may take. Wasmtime's are larger, and never collected.
pub const MAX_HEAP: u64 = 8 << 20;
/// The largest table.
pub const MAX_TABLE: u64 = 2000;

/// The module name that modules import the host's functions by.
pub const HOST: &str = "host";
/// The one that the relay imports them by.
pub const OUTER: &str = "outer";
/// The function that is called between operators.
pub const CHECKPOINT: &str = "checkpoint";

/// What a module may import besides: names, parameters and results.
pub const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("note", "i32", ""),
    ("ask", "", "i64"),
    ("mix", "i32 i64 f32 f64 v128", "f64 i32"),
    ("many", "i64 i64 i64 i64 i64 i64 i64 i64 f64", "i32 i64 f32 f64 v128 i32 i64"),
    ("pass", "funcref externref i32", "externref funcref"),
    ("carry", "anyref i32 externref", "anyref i64"),
];
/// How many of them neither take nor return references.
pub const OF_NUMBERS: usize = 4;

/// A module that imports them all.
pub fn imports() -> Vec<u8> {
    let import = |(name, params, results): &(&str, &str, &str)| {
        format!(r#"(import "{HOST}" "{name}" (func (param {params}) (result {results})))"#)
    };
    let imports: String = FUNCTIONS.iter().map(import).collect();
    wat::parse_str(format!("(module {imports})")).expect("the imports are a module")
}

/// How a call ended other than by returning.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It trapped.
    Trap(TrapCode),
    /// It threw, and nothing caught.
    Exception,
    /// It ended in a way that no generated module asks for.
    Other(String),
}

impl End {
    /// A trap, as far as both engines tell traps apart: Wasmtime has one for every table access, and
    /// one for every null.
    pub fn trap(code: TrapCode) -> Self {
        Self::Trap(match code {
            TrapCode::UndefinedElement => TrapCode::TableOutOfBounds,
            TrapCode::NullExceptionReference
            | TrapCode::NullFunctionReference
            | TrapCode::NullStructReference
            | TrapCode::NullArrayReference
            | TrapCode::NullI31Reference => TrapCode::NullReference,
            code => code,
        })
    }

    /// Whether it ended for want of what each engine has more or less of.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Trap(TrapCode::StackOverflow | TrapCode::HeapExhausted))
    }
}

/// An argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given {
    /// A value. Host values are numbers.
    Val(Val),
    /// What a global of the module holds.
    Global(u32),
}

/// The calls of host functions, each by its name and what was made of its arguments.
#[derive(Debug, Default, Clone)]
pub struct HostLog(Arc<Mutex<Vec<(String, u64)>>>);

impl HostLog {
    /// The calls since the last time.
    pub fn take(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many calls there are since the last time.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Forgets all but the first of them.
    pub fn truncate(&self, len: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).truncate(len);
    }

    /// Notes a call, and returns what its results are made from.
    pub fn call(&self, name: &str, params: impl Iterator<Item = Val>) -> u64 {
        let mixed = params.fold(0xcbf2_9ce4_8422_2325, |mixed: u64, value| {
            let bits = match value {
                // The engines number references each in its own way.
                Val::FuncRef(to) => u128::from(to.is_some()),
                Val::ExternRef(to) => u128::from(to.is_some()),
                Val::ExnRef(to) => u128::from(to.is_some()),
                Val::AnyRef(Some(AnyRef::I31(n))) => u128::from(n as u32) << 8 | 2,
                Val::AnyRef(to) => u128::from(to.is_some()),
                number => bits(number),
            };
            let halves = [bits as u64, (bits >> 64) as u64];
            halves.iter().fold(mixed, |m, half| {
                (m ^ half).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
            })
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), mixed));
        mixed
    }
}

/// The bits of a number.
pub fn bits(number: Val) -> u128 {
    number.to_raw(|_| None).expect("no reference to an object").0
}

/// A number, by its bits.
pub fn of_bits(bits: u128, ty: ValType) -> Val {
    Val::from_raw(RawValue(bits), ty, |_| unreachable!("no reference to an object"))
}

/// The result of a host function that is not a reference.
pub fn number(mixed: u64, ty: ValType) -> Val {
    let bits = u128::from(mixed) << 64 | u128::from(mixed.rotate_left(32));
    // No NaN: its payload would be the guest's to see.
    let finite = match ty {
        ValType::F32 => bits & 0xbf7f_ffff,
        ValType::F64 => bits & 0xbfef_ffff_ffff_ffff,
        _ => bits,
    };
    of_bits(finite, ty)
}
