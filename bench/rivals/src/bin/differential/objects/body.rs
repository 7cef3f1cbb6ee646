//! The bodies of functions that make objects and look at them.
//!
//! Invariant: most references are looked at before they are followed, so that calls go far; some are not, and trap.

use super::{
    GLOBALS, ITEMS, SIGNATURES, TABLE_SIZE, TABLES, TAGS, list,
    types::{Object, PLAIN, Storage, Ty, Types},
};
use fastrand::Rng;

/// Of how many references one is followed wherever it leads.
const RECKLESS: u32 = 150;

/// A function that is being written.
pub struct Body<'a> {
    rng: &'a mut Rng,
    types: &'a Types,
    func: usize,
    /// The types of parameters and locals.
    locals: Vec<Ty>,
    /// How many statements may come yet.
    left: usize,
    /// How many bodies with handlers are around.
    tries: usize,
    /// The labels that take nothing.
    labels: Vec<usize>,
    /// How many labels, counters and exceptions there have been.
    names: usize,
    /// Locals with names.
    named: String,
}

impl<'a> Body<'a> {
    pub fn new(rng: &'a mut Rng, types: &'a Types, func: usize) -> Self {
        let mut locals = SIGNATURES[func % SIGNATURES.len()].0.to_vec();
        // One of each at least, so that every expression has something to read.
        locals.extend(PLAIN);
        locals.extend((0..types.all.len()).map(Ty::Ref));
        locals.extend((0..rng.usize(..4)).map(|_| Ty::Ref(rng.usize(..types.all.len()))));
        let left = *rng.choice(&[8, 25, 60]).expect("three sizes");
        // What is followed, and an index.
        let named = (0..types.all.len()).map(|k| format!("(local $o{k} (ref null $o{k}))"));
        let named = named.collect::<String>() + "(local $i i32)";
        Self { rng, types, func, locals, left, tries: 0, labels: Vec::new(), names: 0, named }
    }

    pub fn function(mut self) -> String {
        let ty = self.func % SIGNATURES.len();
        let (params, results) = SIGNATURES[ty];
        let mut body = String::new();
        for (i, ty) in params.iter().enumerate().filter(|(_, ty)| **ty == Ty::F64) {
            body += &format!(
                "(local.set {i} ({ty}.convert_i32_s (i32.trunc_sat_f64_s (local.get {i}))))\n"
            );
        }
        body += &burn(10);
        while self.left > 0 {
            body += &self.statement(3);
        }
        for result in results {
            body += &match result {
                Ty::I32 | Ty::I64 => self.sum(*result),
                ty => self.value(*ty, 2),
            };
        }
        let locals = list(&self.locals[params.len()..]);
        let (func, named) = (self.func, self.named);
        format!(
            "(func $f{func} (export \"f{func}\") (type $t{ty}) (local {locals}) {named}\n{body})"
        )
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn local(&mut self, ty: Ty) -> usize {
        let of_type = (0..self.locals.len()).filter(|i| self.locals[*i] == ty);
        self.rng.choose_multiple(of_type, 1)[0]
    }

    /// Most of what locals hold, as far as it can be made a number of a type.
    fn sum(&mut self, ty: Ty) -> String {
        let mut sum = self.value(ty, 1);
        for (local, of) in self.locals.clone().into_iter().enumerate() {
            let get = format!("(local.get {local})");
            if self.rng.u8(..8) == 0 {
                continue;
            }
            let part = match of {
                of if of == ty => get,
                Ty::V128 => {
                    format!("({ty}x{}.extract_lane 1 {get})", if ty == Ty::I32 { 4 } else { 2 })
                }
                Ty::F32 | Ty::F64 => format!("({ty}.trunc_sat_{of}_s {get})"),
                Ty::I32 => format!("(i64.extend_i32_s {get})"),
                Ty::I64 => format!("(i32.wrap_i64 {get})"),
                _ if ty == Ty::I64 => format!("(i64.extend_i32_u (ref.is_null {get}))"),
                Ty::I31 => format!(
                    "(if (result i32) (ref.is_null {get}) (then (i32.const 9)) (else (i31.get_u {get})))"
                ),
                Ty::Any | Ty::Eq => format!("(ref.test (ref {}) {get})", self.heap_type()),
                _ => format!("(ref.is_null {get})"),
            };
            sum = format!("({ty}.add {sum} {part})");
        }
        sum
    }

    /// A heap type of objects.
    fn heap_type(&mut self) -> String {
        match self.rng.choice(["i31", "struct", "array", "eq"]).filter(|_| self.rng.u8(..3) == 0) {
            Some(heap) => heap.to_owned(),
            None => format!("$o{}", self.rng.usize(..self.types.all.len())),
        }
    }

    /// An expression.
    fn value(&mut self, ty: Ty, depth: usize) -> String {
        if let Ty::NonNull(k) = ty {
            return self.not_null(k, depth);
        }
        if depth == 0 || self.rng.u8(..4) == 0 {
            let local = self.local(ty);
            return format!("(local.get {local})");
        }
        let depth = depth - 1;
        match self.rng.u8(..8) {
            0 => {
                let (a, b, condition) =
                    (self.value(ty, depth), self.value(ty, depth), self.condition());
                return match self.rng.bool() {
                    true => format!("(select (result {ty}) {a} {b} {condition})"),
                    false => format!("(if (result {ty}) {condition} (then {a}) (else {b}))"),
                };
            }
            1 | 2 => {
                if let Some(read) = self.read(ty, depth) {
                    return read;
                }
            }
            3 => {
                if let Some(stored) = self.stored(ty, depth) {
                    return stored;
                }
            }
            _ => {}
        }
        match ty {
            Ty::I32 | Ty::I64 | Ty::F32 | Ty::F64 | Ty::V128 => self.number(ty, depth),
            Ty::Func => match self.rng.bool() {
                true => "(ref.null func)".to_owned(),
                false => format!("(ref.func $f{})", self.rng.usize(..=self.func)),
            },
            Ty::Extern => format!("(extern.convert_any {})", self.value(Ty::Any, depth)),
            Ty::I31 => format!("(ref.i31 {})", self.value(Ty::I32, depth)),
            Ty::Any => match self.rng.u8(..4) {
                0 => format!("(any.convert_extern {})", self.value(Ty::Extern, depth)),
                1 => self.value(Ty::Eq, depth),
                _ => self.made(depth),
            },
            Ty::Eq => match self.rng.u8(..5) {
                0 => self.value(Ty::I31, depth),
                1 => self.value(Ty::Struct, depth),
                2 => self.value(Ty::Array, depth),
                _ => self.made(depth),
            },
            Ty::Struct | Ty::Array => {
                let k = self.types.of_kind(self.rng, ty == Ty::Array);
                self.value(Ty::Ref(k), depth)
            }
            Ty::Ref(k) => match self.rng.u8(..6) {
                0 => self.cast(k, depth),
                1 => {
                    let k = self.types.subtype(self.rng, k);
                    self.value(Ty::Ref(k), depth)
                }
                _ => {
                    let k = self.types.subtype(self.rng, k);
                    self.fresh(k, depth)
                }
            },
            Ty::NonNull(_) => unreachable!("handled before"),
        }
    }

    fn number(&mut self, ty: Ty, depth: usize) -> String {
        let (a, b) = (self.value(ty, depth), self.value(Ty::I32, depth));
        match (ty, self.rng.u8(..6)) {
            (Ty::I32, 0) => format!("(i32.add {a} (i32.wrap_i64 {}))", self.value(Ty::I64, depth)),
            (Ty::I32, 1) => {
                format!("(i32.xor {a} (i32x4.extract_lane 1 {}))", self.value(Ty::V128, 0))
            }
            (Ty::I32, 2) => {
                let null = if self.rng.bool() { "null" } else { "" };
                let heap = self.heap_type();
                format!("(ref.test (ref {null} {heap}) {})", self.value(Ty::Any, depth))
            }
            (Ty::I32, 3) => {
                format!("(ref.eq {} {})", self.value(Ty::Eq, depth), self.value(Ty::Eq, depth))
            }
            (Ty::I32, 4) => format!("(i32.add {a} (i32.and (global.get $fuel) (i32.const 7)))"),
            (Ty::I32, _) => format!("(i32.mul {a} (i32.const {}))", self.rng.i8(..)),
            (Ty::I64, 0) => format!("(i64.sub {a} (i64.extend_i32_s {b}))"),
            (Ty::I64, _) => format!("(i64.xor {a} (i64.const {}))", self.rng.i32(..)),
            (Ty::F32 | Ty::F64, 0) => format!("({ty}.convert_i32_s {b})"),
            (Ty::F32 | Ty::F64, _) => format!("({ty}.sub {a} ({ty}.convert_i32_s {b}))"),
            (Ty::V128, 0) => format!("(i32x4.splat {b})"),
            (Ty::V128, _) => format!("(i32x4.sub {a} {})", self.value(Ty::V128, 0)),
            _ => unreachable!("no number"),
        }
    }

    /// An object of any type.
    fn made(&mut self, depth: usize) -> String {
        let k = self.rng.usize(..self.types.all.len());
        self.fresh(k, depth)
    }

    /// A new object of a type.
    fn fresh(&mut self, k: usize, depth: usize) -> String {
        let of: &Object = &self.types.all[k];
        let fields: Vec<Ty> = of.fields.iter().map(|field| field.storage.unpacked()).collect();
        let may_be_zero = fields.iter().all(|ty| ty.zero().is_some());
        let zero = may_be_zero && self.rng.u8(..4) == 0;
        if !of.array {
            if zero {
                return format!("(struct.new_default $o{k})");
            }
            let fields: String =
                fields.into_iter().map(|ty| self.value(ty, depth.min(2))).collect();
            return format!("(struct.new $o{k} {fields})");
        }
        let len = match self.rng.u8(..60) {
            0 => self.value(Ty::I32, 1),
            1..15 => format!("(i32.const {})", self.rng.u32(..200)),
            _ => format!("(i32.and {} (i32.const 7))", self.value(Ty::I32, depth.min(1))),
        };
        if zero {
            return format!("(array.new_default $o{k} {len})");
        }
        if let Some(segment) = self.segment(k).filter(|_| self.rng.u8(..4) == 0) {
            let range = segment.range(self.rng);
            return format!("(array.new_{} $o{k} {} {range})", segment.kind(), segment.name());
        }
        match self.rng.bool() {
            true => format!("(array.new $o{k} {} {len})", self.value(fields[0], depth)),
            false => {
                let len = self.rng.usize(..6);
                let items: String = (0..len).map(|_| self.value(fields[0], depth.min(1))).collect();
                format!("(array.new_fixed $o{k} {len} {items})")
            }
        }
    }

    /// A segment that arrays of a type can be made from.
    fn segment(&mut self, k: usize) -> Option<Segment> {
        match self.types.all[k].fields[0].storage {
            Storage::I8 | Storage::I16 | Storage::Val(Ty::I32 | Ty::I64 | Ty::V128) => {
                Some(Segment::Data)
            }
            Storage::Val(ty) => TABLES.iter().position(|of| *of == ty).map(Segment::Items),
        }
    }

    /// A reference that is not null.
    fn not_null(&mut self, k: usize, depth: usize) -> String {
        let value = self.value(Ty::Ref(k), depth);
        // What nobody returns to.
        let fresh = self.fresh(k, 0);
        match self.rng.u32(..RECKLESS) {
            0 => format!("(ref.as_non_null {value})"),
            n if n % 2 == 0 => format!(
                "(if (result (ref $o{k})) (ref.is_null (local.tee $o{k} {value}))
                   (then {fresh}) (else (ref.as_non_null (local.get $o{k}))))"
            ),
            _ => {
                let name = self.name();
                format!(
                    "(block $n{name} (result (ref $o{k}))
                       (br_on_non_null $n{name} {value}) {fresh})"
                )
            }
        }
    }

    /// What is of a type after all, or something else that is.
    fn cast(&mut self, k: usize, depth: usize) -> String {
        let (any, other) = (self.value(Ty::Any, depth), self.value(Ty::Ref(k), depth.min(1)));
        let (name, rng) = (self.name(), self.rng.u32(..RECKLESS));
        match rng {
            0 => format!("(ref.cast (ref null $o{k}) {any})"),
            1..50 => format!(
                "(block $c{name} (result (ref null $o{k}))
                   (br_on_cast $c{name} anyref (ref null $o{k}) {any}) (drop) {other})"
            ),
            50..100 => format!(
                "(block $c{name} (result (ref null $o{k}))
                   (block $d{name} (result anyref)
                     (br $c{name} (br_on_cast_fail $d{name} anyref (ref $o{k}) {any})))
                   (drop) {other})"
            ),
            _ => {
                self.named += &format!("(local $a{name} anyref)");
                format!(
                    "(if (result (ref null $o{k})) (ref.test (ref $o{k}) (local.tee $a{name} {any}))
                       (then (ref.cast (ref $o{k}) (local.get $a{name}))) (else {other}))"
                )
            }
        }
    }

    /// A field or element that holds a value of a type.
    fn read(&mut self, ty: Ty, depth: usize) -> Option<String> {
        let (k, field) = self.rng.choice(self.types.holding(ty))?;
        let of = &self.types.all[k];
        let packed = of.fields[field].storage != Storage::Val(ty);
        let (signed, array) =
            (if packed { *self.rng.choice(&["_s", "_u"])? } else { "" }, of.array);
        let object = self.value(Ty::Ref(k), depth);
        let get = match array {
            true => format!("(array.get{signed} $o{k} (local.get $o{k}) (local.get $i))"),
            false => format!("(struct.get{signed} $o{k} {field} (local.get $o{k}))"),
        };
        let otherwise = self.value(ty, 0);
        let index = self.index();
        let guarded = match (array, self.rng.u32(..RECKLESS)) {
            (true, 0) => format!("(local.set $o{k} {object}) (local.set $i {index}) {get}"),
            (false, 0) => format!("(local.set $o{k} {object}) {get}"),
            (true, _) => format!(
                "(local.set $o{k} {object}) (local.set $i {index})
                 (if (result {ty}) (ref.is_null (local.get $o{k})) (then {otherwise})
                   (else (if (result {ty}) (i32.lt_u (local.get $i) (array.len (local.get $o{k})))
                     (then {get}) (else {otherwise}))))"
            ),
            (false, _) => format!(
                "(local.set $o{k} {object})
                 (if (result {ty}) (ref.is_null (local.get $o{k})) (then {otherwise}) (else {get}))"
            ),
        };
        Some(format!("(block (result {ty}) {guarded})"))
    }

    fn index(&mut self) -> String {
        format!("(i32.and {} (i32.const 7))", self.value(Ty::I32, 1))
    }

    /// What a global or a table holds.
    fn stored(&mut self, ty: Ty, depth: usize) -> Option<String> {
        let global = GLOBALS.iter().position(|of| *of == ty);
        let table = TABLES.iter().position(|of| *of == ty);
        match (global, table) {
            (Some(global), None) => Some(format!("(global.get $g{global})")),
            (Some(global), _) if self.rng.bool() => Some(format!("(global.get $g{global})")),
            (_, Some(table)) => {
                let index = self.value(Ty::I32, depth.min(1));
                Some(format!("(table.get $r{table} (i32.and {index} (i32.const 7)))"))
            }
            (None, None) => None,
        }
    }

    /// What is true about half of the time.
    fn condition(&mut self) -> String {
        let value = self.value(Ty::I32, 1);
        format!("(i32.and {value} (i32.const {}))", 1 << self.rng.u8(..3))
    }

    fn statements(&mut self, depth: usize) -> String {
        (0..self.rng.usize(1..4)).map(|_| self.statement(depth)).collect()
    }

    /// Assigns operands to locals, the last first.
    fn assign(&mut self, types: &[Ty]) -> String {
        let set = |ty: &Ty| {
            let ty = if let Ty::NonNull(k) = *ty { Ty::Ref(k) } else { *ty };
            format!("local.set {}\n", self.local(ty))
        };
        types.iter().rev().map(set).collect()
    }

    /// A type of which there is a local.
    fn any(&mut self) -> Ty {
        match self.rng.bool() {
            true => Ty::Ref(self.rng.usize(..self.types.all.len())),
            false => *self.rng.choice(PLAIN).expect("some"),
        }
    }

    fn statement(&mut self, depth: usize) -> String {
        let ty = self.any();
        self.left = self.left.saturating_sub(1);
        let kind = if depth == 0 || self.left == 0 { self.rng.u8(..12) } else { self.rng.u8(..24) };
        match kind {
            0..=2 => format!("(local.set {} {})\n", self.local(ty), self.value(ty, 3)),
            // What nobody catches ends all calls.
            3 if self.tries > 0 || self.rng.u8(..30) == 0 => {
                format!("(if {} (then {}))\n", self.condition(), self.throw())
            }
            3..=6 => self.write(),
            7 => self.store(),
            8 => self.host_call(),
            9 => match self.labels.last() {
                Some(_) => {
                    let to = *self.rng.choice(&self.labels).expect("one at least");
                    format!("(br_if $l{to} {})\n", self.condition())
                }
                None => self.write(),
            },
            10 | 11 => self.call(),
            12 | 13 => {
                let (then, otherwise) = (self.statements(depth - 1), self.statements(depth - 1));
                let (a, b, condition) = (self.value(ty, 2), self.value(ty, 2), self.condition());
                let x = self.local(ty);
                format!(
                    "(local.set {x} (if (result {ty}) {condition} (then {then} {a}) (else {otherwise} {b})))\n"
                )
            }
            14 | 15 => self.repeat(ty, depth),
            16..=18 => {
                // Operands wait below whatever comes.
                let (value, rest) = (self.value(ty, 2), self.statements(depth - 1));
                let other = self.any();
                let (more, rest2) = (self.value(other, 2), self.statements(depth - 1));
                format!("{value}\n{rest}{more}\n{rest2}{}", self.assign(&[ty, other]))
            }
            19 => {
                let name = self.name();
                self.labels.push(name);
                let rest = self.statements(depth - 1);
                self.labels.pop();
                format!("(block $l{name}\n{rest})\n")
            }
            _ => self.try_table(depth),
        }
    }

    /// Assigns to an object.
    fn write(&mut self) -> String {
        let all = self.types.all.iter().enumerate();
        let places = all.flat_map(|(k, of)| {
            let fields = of.fields.iter().enumerate().filter(|(_, field)| field.mutable);
            fields.map(move |(f, field)| (k, of.array, f, field.storage.unpacked()))
        });
        let Some((k, array, field, ty)) = self.rng.choice(places.collect::<Vec<_>>()) else {
            return String::new();
        };
        let (object, value) = (self.value(Ty::Ref(k), 2), self.value(ty, 2));
        let index = self.index();
        let segment = if array { self.segment(k) } else { None };
        let set = match (array, self.rng.u8(..6)) {
            (false, _) => format!("(struct.set $o{k} {field} (local.get $o{k}) {value})"),
            (true, 0) => format!(
                "(array.fill $o{k} (local.get $o{k}) (local.get $i) {value}
                   (i32.sub (array.len (local.get $o{k})) (local.get $i)))"
            ),
            (true, 1) => format!(
                "(array.copy $o{k} $o{k} (local.get $o{k}) (local.get $i) (local.get $o{k}) (i32.const 0)
                   (i32.sub (array.len (local.get $o{k})) (local.get $i)))"
            ),
            (true, 2) if segment.is_some() => {
                let segment = segment.expect("there is one");
                let range = segment.range(self.rng);
                let (kind, name) = (segment.kind(), segment.name());
                format!(
                    "(if (i32.ge_u (array.len (local.get $o{k})) (i32.add (local.get $i) (i32.const 4)))
                       (then (array.init_{kind} $o{k} {name} (local.get $o{k}) (local.get $i) {range})))"
                )
            }
            (true, _) => format!("(array.set $o{k} (local.get $o{k}) (local.get $i) {value})"),
        };
        let inside = match array {
            true => {
                format!("(if (i32.lt_u (local.get $i) (array.len (local.get $o{k}))) (then {set}))")
            }
            false => set.clone(),
        };
        let index = if array { format!("(local.set $i {index})") } else { String::new() };
        match self.rng.u32(..RECKLESS) {
            0 => format!("(local.set $o{k} {object}) {index} {set}\n"),
            _ => format!(
                "(local.set $o{k} {object}) {index}
                 (if (i32.eqz (ref.is_null (local.get $o{k}))) (then {inside}))\n"
            ),
        }
    }

    /// Assigns to a global or a table.
    fn store(&mut self) -> String {
        if self.rng.bool() {
            let global = self.rng.usize(..GLOBALS.len());
            return format!("(global.set $g{global} {})\n", self.value(GLOBALS[global], 2));
        }
        let table = self.rng.usize(..TABLES.len());
        let (value, size) = (self.value(TABLES[table], 2), TABLE_SIZE / 2);
        match self.rng.u8(..6) {
            0 => format!("(table.fill $r{table} (i32.const {}) {value} (i32.const 3))\n", size - 1),
            1 => format!(
                "(table.copy $r{table} $r{table} (i32.const {size}) (i32.const 1) (i32.const 3))\n"
            ),
            2 => {
                let range = Segment::Items(table).range(self.rng);
                format!("(table.init $r{table} $p{table} (i32.const {size}) {range})\n")
            }
            3 => format!("(drop (table.grow $r{table} {value} (i32.const 1)))\n"),
            _ => {
                let index = self.index();
                format!("(table.set $r{table} {index} {value})\n")
            }
        }
    }

    fn host_call(&mut self) -> String {
        let value = |body: &mut Self, ty| body.value(ty, 2);
        match self.rng.u8(..4) {
            0 => format!("(call $note {})\n", value(self, Ty::I32)),
            1 => format!(
                "(call $pass {} {} {})\n{}",
                value(self, Ty::Func),
                value(self, Ty::Extern),
                value(self, Ty::I32),
                self.assign(&[Ty::Extern, Ty::Func])
            ),
            _ => format!(
                "(call $carry {} {} {})\n{}",
                value(self, Ty::Any),
                value(self, Ty::I32),
                value(self, Ty::Extern),
                self.assign(&[Ty::Any, Ty::I64])
            ),
        }
    }

    /// A loop that hands a value on, and counts.
    fn repeat(&mut self, ty: Ty, depth: usize) -> String {
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
        let args: String = TAGS[tag].iter().map(|ty| self.value(*ty, 2)).collect();
        format!("(throw $e{tag} {args})")
    }

    /// A call in one of the ways there are.
    fn call(&mut self) -> String {
        if self.func == 0 {
            return self.host_call();
        }
        let callee = self.rng.usize(..self.func);
        let ty = callee % SIGNATURES.len();
        let (params, results) = SIGNATURES[ty];
        let args: String = params.iter().map(|ty| self.value(*ty, 2)).collect();
        if ty == self.func % SIGNATURES.len() && self.rng.u8(..4) == 0 {
            return format!("(if {} (then (return_call $f{callee} {args})))\n", self.condition());
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
        let (name, tag) = (self.name(), self.rng.usize(..=TAGS.len()));
        let caught: &[Ty] = TAGS.get(tag).copied().unwrap_or_default();
        self.tries += 1;
        let rest = self.statements(depth - 1);
        self.tries -= 1;
        let after = self.statements(depth - 1);
        let (all, one) = match self.rng.bool() {
            true => ("catch_all_ref", "catch_ref"),
            false => ("catch_all", "catch"),
        };
        let refers = one == "catch_ref";
        let clause = TAGS.get(tag).map_or(all.to_owned(), |_| format!("{one} $e{tag}"));
        let reference = if refers { "exnref" } else { "" };
        // What a caught exception carries waits below the handler, or the exception does in a local.
        let handler = match refers {
            true => {
                self.named += &format!("(local $x{name} exnref)");
                let condition = self.condition();
                format!(
                    "local.set $x{name}\n{after}
                     (if {condition} (then (throw_ref (local.get $x{name}))))\n{}",
                    self.assign(caught)
                )
            }
            false => format!("{after}{}", self.assign(caught)),
        };
        format!(
            "(block $o{name}
               (block $h{name} (result {} {reference})
                 (try_table ({clause} $h{name})\n{rest})
                 (br $o{name}))
               {handler})\n",
            list(caught),
        )
    }
}

/// What arrays are made from.
#[derive(Debug, Clone, Copy)]
enum Segment {
    Data,
    /// That of a table.
    Items(usize),
}

impl Segment {
    fn kind(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Items(_) => "elem",
        }
    }

    fn name(self) -> String {
        match self {
            Self::Data => "$d".to_owned(),
            Self::Items(table) => format!("$p{table}"),
        }
    }

    /// Where a part of it begins, and how long it is; it may be outside.
    fn range(self, rng: &mut Rng) -> String {
        let limit = if matches!(self, Self::Data) { 3 } else { ITEMS };
        let start = rng.u32(..limit);
        let len = if rng.u8(..30) == 0 { 100 } else { rng.u32(..=limit - start) };
        format!("(i32.const {start}) (i32.const {len})")
    }
}

/// Takes fuel, and ends where there is none.
fn burn(n: u8) -> String {
    format!(
        "(if (i32.le_s (global.get $fuel) (i32.const 0)) (then (unreachable)))
         (global.set $fuel (i32.sub (global.get $fuel) (i32.const {n})))\n"
    )
}
