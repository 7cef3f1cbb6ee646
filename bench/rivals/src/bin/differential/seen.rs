//! Values as both engines have them. Each engine numbers what references refer to in its own way; objects are
//! compared by their shape: what they hold, and which of them are one.
//!
//! Invariant: what is seen of equal states is equal, and no more than [`MAX_OBJECTS`] objects are looked into for
//! one list of values, however large the graph is.

use executor_model::Val;

/// How many objects are looked into for one list of values.
const MAX_OBJECTS: usize = 200;
/// How many references deep.
const MAX_DEPTH: usize = 6;
/// How many fields or elements of one object.
const MAX_FIELDS: u32 = 24;

/// What is seen of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// A number, a function, a host value by its number, an exception as such, a small integer, or null.
    Val(Val),
    /// An object that was not seen before, and its first fields or elements.
    Object { array: bool, len: u32, fields: Vec<Seen> },
    /// The object that was seen so manieth.
    Again(usize),
    /// An object that is not looked into.
    Unseen,
}

impl Seen {
    /// Whether it is a reference to an object.
    pub fn is_object(&self) -> bool {
        !matches!(self, Self::Val(_))
    }
}

/// A value of an engine.
pub enum Part<O> {
    Val(Val),
    Object(O),
}

/// An engine's objects.
pub trait Objects {
    type Object: Copy;

    fn is_same(&self, a: Self::Object, b: Self::Object) -> bool;

    /// Whether it is an array, and how many fields or elements it has.
    fn len(&self, object: Self::Object) -> (bool, u32);

    fn field(&mut self, object: Self::Object, index: u32) -> Part<Self::Object>;
}

/// Looks at a list of values.
pub fn see<E: Objects>(
    engine: &mut E,
    parts: impl IntoIterator<Item = Part<E::Object>>,
) -> Vec<Seen> {
    let mut known = Vec::new();
    parts.into_iter().map(|part| look(engine, &mut known, part, MAX_DEPTH)).collect()
}

fn look<E: Objects>(
    engine: &mut E,
    known: &mut Vec<E::Object>,
    part: Part<E::Object>,
    depth: usize,
) -> Seen {
    let object = match part {
        Part::Val(value) => return Seen::Val(value),
        Part::Object(object) => object,
    };
    if let Some(at) = known.iter().position(|other| engine.is_same(object, *other)) {
        return Seen::Again(at);
    }
    if depth == 0 || known.len() == MAX_OBJECTS {
        return Seen::Unseen;
    }
    known.push(object);
    let (array, len) = engine.len(object);
    let field = |i| {
        let part = engine.field(object, i);
        look(engine, known, part, depth - 1)
    };
    let fields = (0..len.min(MAX_FIELDS)).map(field).collect();
    Seen::Object { array, len, fields }
}
