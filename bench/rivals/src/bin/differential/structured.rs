//! Modules of functions in which everything matters: what a local or operand holds is seen in the
//! results, and loops, arms and handlers are gone through again and again. The bodies of wasm-smith's
//! modules end early and seldom catch what they throw.
//!
//! Invariant: functions call those before them only, and take from the fuel; so every call ends. No
//! operator gives a NaN whose bits may differ.

use crate::shared::{FUNCTIONS, HOST, OF_NUMBERS};
use fastrand::Rng;
use std::fmt::Write;

/// Parameters and results of functions, by their number modulo these.
const TYPES: &[(&[&str], &[&str])] = &[
    (&["i32", "i64"], &["i32"]),
    (&["f64", "v128", "i32"], &["i64", "f64"]),
    (&["funcref", "f32"], &[]),
    (&["i64"], &["v128", "funcref", "f32"]),
];
/// The types of locals.
const LOCALS: &[&str] = &["i32", "i64", "f32", "f64", "v128", "funcref"];
/// What the exceptions of each tag carry.
const TAGS: &[&[&str]] = &[&["i32"], &["i64", "f64"], &[]];

/// A module of a few functions. Global 0 is its fuel.
pub fn module(rng: &mut Rng) -> Vec<u8> {
    let mut text = String::from("(module\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("memory is written");
    let mut exports = String::new();
    for (name, params, results) in FUNCTIONS {
        let ty = format!("(param {params}) (result {results})");
        add(format!(r#"(import "{HOST}" "{name}" (func ${name} {ty}))"#));
        exports += &format!(r#"(export "h{name}" (func ${name}))"#);
    }
    add(exports);
    for (i, (params, results)) in TYPES.iter().enumerate() {
        let (params, results) = (params.join(" "), results.join(" "));
        add(format!("(type $t{i} (func (param {params}) (result {results})))"));
    }
    for (i, params) in TAGS.iter().enumerate() {
        add(format!("(tag $e{i} (export \"e{i}\") (param {}))", params.join(" ")));
    }
    add(r#"(global $fuel (mut i32) (i32.const 0))
        (global $g (export "g") (mut i64) (i64.const 3)) (memory (export "m") 1)"#
        .to_owned());
    let count = rng.usize(3..9);
    let names: String = (0..count).map(|i| format!(" $f{i}")).collect();
    add(format!("(table $table (export \"t\") funcref (elem {names}))"));
    for func in 0..count {
        let text = Body::new(rng, func).function();
        add(text);
    }
    text += ")";
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A function that is being written.
struct Body<'a> {
    rng: &'a mut Rng,
    func: usize,
    /// The types of parameters and locals.
    locals: Vec<&'static str>,
    /// How many statements may come yet.
    left: usize,
    /// The labels that take nothing.
    labels: Vec<usize>,
    /// How many labels, counters and exceptions there have been.
    names: usize,
    /// Locals with names.
    named: String,
}

impl<'a> Body<'a> {
    fn new(rng: &'a mut Rng, func: usize) -> Self {
        let mut locals = TYPES[func % TYPES.len()].0.to_vec();
        // One of each at least, so that every expression has something to read.
        locals.extend(LOCALS);
        locals.extend((0..rng.usize(..6)).map(|i| LOCALS[(i + func) % LOCALS.len()]));
        let left = *rng.choice(&[8, 25, 60]).expect("three sizes");
        let (labels, named) = (Vec::new(), String::new());
        Self { rng, func, locals, left, labels, names: 0, named }
    }

    fn function(mut self) -> String {
        let ty = self.func % TYPES.len();
        let (params, results) = TYPES[ty];
        let mut body = String::new();
        for (i, ty) in
            params.iter().enumerate().filter(|(_, ty)| ty.starts_with('f') && ty.len() == 3)
        {
            let bits = &ty[1..];
            body += &format!(
                "(local.set {i} ({ty}.convert_i32_s (i32.trunc_sat_f{bits}_s (local.get {i}))))\n"
            );
        }
        body += &burn(10);
        while self.left > 0 {
            body += &self.statement(3);
        }
        for result in results {
            body += &self.sum(result);
        }
        let locals = self.locals[params.len()..].join(" ");
        let (func, named) = (self.func, self.named);
        format!(
            "(func $f{func} (export \"f{func}\") (type $t{ty}) (local {locals}) {named}\n{body})"
        )
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn local(&mut self, ty: &str) -> usize {
        let of_type = (0..self.locals.len()).filter(|i| self.locals[*i] == ty);
        self.rng.choose_multiple(of_type, 1)[0]
    }

    /// Most of the locals of a type, or of those that can be made one.
    fn sum(&mut self, ty: &str) -> String {
        let mut sum = self.value(ty, 1);
        for (local, of) in self.locals.clone().into_iter().enumerate() {
            let get = format!("(local.get {local})");
            if self.rng.u8(..8) == 0 {
                continue;
            }
            sum = match (ty, of) {
                ("i32" | "i64" | "f32" | "f64", of) if of == ty => {
                    format!("({ty}.add {sum} {get})")
                }
                ("v128", "v128") => format!("(i64x2.add {sum} {get})"),
                ("i32", "funcref") => format!("(i32.add {sum} (ref.is_null {get}))"),
                ("i32", "v128") => format!("(i32.xor {sum} (i32x4.extract_lane 2 {get}))"),
                ("i32", "f32" | "f64") => format!("(i32.xor {sum} (i32.trunc_sat_{of}_s {get}))"),
                ("i32", "i64") => format!("(i32.sub {sum} (i32.wrap_i64 {get}))"),
                ("i64", "i32") => format!("(i64.xor {sum} (i64.extend_i32_s {get}))"),
                _ => continue,
            };
        }
        sum
    }

    /// An expression.
    fn value(&mut self, ty: &str, depth: usize) -> String {
        let get = format!("(local.get {})", self.local(ty));
        if depth == 0 || self.rng.u8(..3) == 0 {
            return get;
        }
        let mut one = |ty| self.value(ty, depth - 1);
        let (a, b) = (one(ty), one("i32"));
        match (ty, self.rng.u8(..4)) {
            ("i32", 0) => format!("(i32.add {a} (i32.wrap_i64 {}))", self.value("i64", depth - 1)),
            ("i32", 1) => format!("(i32.xor {a} (i32x4.extract_lane 1 {}))", self.value("v128", 0)),
            ("i32", 2) => format!("(i32.add {a} (i32.and (global.get $fuel) (i32.const 7)))"),
            ("i32", _) => format!("(i32.mul {a} (i32.const {}))", self.rng.i8(..)),
            ("i64", 0) => format!("(i64.sub {a} (i64.extend_i32_s {b}))"),
            ("i64", 1) => format!("(i64.add {a} (global.get $g))"),
            ("i64", _) => format!("(i64.xor {a} (i64.const {}))", self.rng.i32(..)),
            ("f32" | "f64", 0) => format!("({ty}.convert_i32_s {b})"),
            ("f32" | "f64", _) => format!("({ty}.sub {a} ({ty}.convert_i32_s {b}))"),
            ("v128", 0) => format!("(i32x4.splat {b})"),
            ("v128", 1) => format!("(i32x4.replace_lane 3 {a} {b})"),
            ("v128", _) => format!("(i32x4.sub {a} {})", self.value("v128", 0)),
            (_, 0) => "(ref.null func)".to_owned(),
            (_, 1) => format!("(ref.func $f{})", self.rng.usize(..=self.func)),
            (_, _) => format!("(select (result funcref) {a} {get} {b})"),
        }
    }

    /// What is true about half of the time.
    fn condition(&mut self) -> String {
        let value = self.value("i32", 2);
        format!("(i32.and {value} (i32.const {}))", 1 << self.rng.u8(..3))
    }

    fn statements(&mut self, depth: usize) -> String {
        (0..self.rng.usize(1..4)).map(|_| self.statement(depth)).collect()
    }

    /// Assigns operands to locals, the last first.
    fn assign(&mut self, types: &[&str]) -> String {
        types.iter().rev().map(|ty| format!("local.set {}\n", self.local(ty))).collect()
    }

    fn any(&mut self) -> &'static str {
        self.rng.choice(LOCALS.iter().copied()).expect("some")
    }

    fn statement(&mut self, depth: usize) -> String {
        let ty = self.any();
        self.left = self.left.saturating_sub(1);
        let kind = if depth == 0 || self.left == 0 { self.rng.u8(..8) } else { self.rng.u8(..18) };
        match kind {
            0 | 1 => format!("(local.set {} {})\n", self.local(ty), self.value(ty, 3)),
            2 => format!("(if {} (then {}))\n", self.condition(), self.throw()),
            3 => match self.labels.last() {
                Some(_) => {
                    let to = *self.rng.choice(&self.labels).expect("one at least");
                    format!("(br_if $l{to} {})\n", self.condition())
                }
                None => format!("(global.set $g {})\n", self.value("i64", 2)),
            },
            4 => format!(
                "(i32.store8 (i32.and {} (i32.const 63)) {})\n",
                self.value("i32", 1),
                self.value("i32", 2)
            ),
            5 => {
                let (name, params, results) = FUNCTIONS[self.rng.usize(..OF_NUMBERS)];
                let args: String = params.split_whitespace().map(|ty| self.value(ty, 1)).collect();
                let results: Vec<_> = results.split_whitespace().collect();
                format!("(call ${name} {args})\n{}", self.assign(&results))
            }
            6 | 7 => self.call(),
            8 | 9 => {
                let (arms, x) =
                    ([self.statements(depth - 1), self.statements(depth - 1)], self.local(ty));
                let (a, b, condition) = (self.value(ty, 1), self.value(ty, 1), self.condition());
                let [then, otherwise] = arms;
                format!(
                    "(local.set {x} (if (result {ty}) {condition} (then {then} {a}) (else {otherwise} {b})))\n"
                )
            }
            10 | 11 => self.repeat(ty, depth),
            12 => {
                // Operands wait below whatever comes.
                let (value, rest) = (self.value(ty, 2), self.statements(depth - 1));
                let other = self.any();
                let (more, rest2) = (self.value(other, 2), self.statements(depth - 1));
                format!("{value}\n{rest}{more}\n{rest2}{}", self.assign(&[ty, other]))
            }
            13 => {
                let name = self.name();
                self.labels.push(name);
                let rest = self.statements(depth - 1);
                self.labels.pop();
                format!("(block $l{name}\n{rest})\n")
            }
            _ => self.try_table(depth),
        }
    }

    /// A loop that hands a value on, and counts.
    fn repeat(&mut self, ty: &str, depth: usize) -> String {
        let (k, n) = (self.name(), self.rng.u8(1..5));
        self.named += &format!("(local $k{k} i32)");
        // A way out for those that take nothing.
        self.labels.push(k);
        let (first, rest) = (self.value(ty, 1), self.statements(depth - 1));
        self.labels.pop();
        let (x, y) = (self.local(ty), self.value(ty, 2));
        let burn = burn(3);
        format!(
            "(block $l{k} (local.set $k{k} (i32.const {n})) {first}
               (loop $again{k} (param {ty}) (result {ty}) {burn}\n{rest} local.set {x} {y}
                 (local.set $k{k} (i32.sub (local.get $k{k}) (i32.const 1)))
                 (br_if $again{k} (local.get $k{k})))
               local.set {x})\n"
        )
    }

    fn throw(&mut self) -> String {
        let tag = self.rng.usize(..TAGS.len());
        let args: String = TAGS[tag].iter().map(|ty| self.value(ty, 1)).collect();
        format!("(throw $e{tag} {args})")
    }

    /// A call in one of the ways there are.
    fn call(&mut self) -> String {
        if self.func == 0 {
            return format!("(call $note {})\n", self.value("i32", 2));
        }
        let callee = self.rng.usize(..self.func);
        let ty = callee % TYPES.len();
        let (params, results) = TYPES[ty];
        let args: String = params.iter().map(|ty| self.value(ty, 2)).collect();
        if ty == self.func % TYPES.len() && self.rng.bool() {
            let tail = match self.rng.bool() {
                true => format!("return_call $f{callee} {args}"),
                false => {
                    format!("return_call_indirect $table (type $t{ty}) {args} (i32.const {callee})")
                }
            };
            return format!("(if {} (then ({tail})))\n", self.condition());
        }
        let call = match self.rng.u8(..3) {
            0 => format!("(call $f{callee} {args})"),
            1 => format!("(call_indirect $table (type $t{ty}) {args} (i32.const {callee}))"),
            _ => format!("(call_ref $t{ty} {args} (ref.func $f{callee}))"),
        };
        format!("{call}\n{}", self.assign(results))
    }

    /// A body with a handler, which goes on with what it caught; some throw it again.
    fn try_table(&mut self, depth: usize) -> String {
        let (name, tag) = (self.name(), self.rng.usize(..TAGS.len() + 1));
        let caught: &[&str] = TAGS.get(tag).copied().unwrap_or_default();
        let rest = self.statements(depth - 1);
        let after = self.statements(depth - 1);
        let clause = TAGS.get(tag).map_or("catch_all".to_owned(), |_| format!("catch $e{tag}"));
        let refers = self.rng.u8(..4) == 0;
        let (clause, reference) = match refers {
            true => {
                (clause.replacen("catch", "catch_ref", 1).replace("ref_all", "all_ref"), "exnref")
            }
            false => (clause, ""),
        };
        let more = if self.rng.bool() { format!("(catch $e0 $i{name})") } else { String::new() };
        let more = if refers { String::new() } else { more };
        let mut handler = String::new();
        if refers {
            self.named += &format!("(local $x{name} exnref)");
            let condition = self.condition();
            handler = format!(
                "local.set $x{name}\n{after}(if {condition} (then (throw_ref (local.get $x{name}))))\n"
            );
        }
        handler += &self.assign(caught);
        // What a caught exception carries waits below the handler.
        if !refers {
            handler = format!("{after}{handler}");
        }
        let inner = self.local("i32");
        format!(
            "(block $o{name}
               (block $i{name} (result i32)
                 (block $h{name} (result {} {reference})
                   (try_table ({clause} $h{name}) {more}\n{rest})
                   (br $o{name}))
                 {handler} (br $o{name}))
               local.set {inner}\n{})\n",
            caught.join(" "),
            self.statement(0),
        )
    }
}

/// Takes fuel, and ends where there is none.
fn burn(n: u8) -> String {
    format!(
        "(if (i32.le_s (global.get $fuel) (i32.const 0)) (then (unreachable)))
         (global.set $fuel (i32.sub (global.get $fuel) (i32.const {n})))\n"
    )
}
