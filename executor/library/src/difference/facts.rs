//! What snapshots say about themselves, and the host's side of WASI, compared as JSON.
//!
//! Invariant: every field of an inspection is compared but those that are named here, so one that is new is
//! compared too.

use crate::{Error, Inspection};
use executor_snapshot::Manifest;
use executor_wasi::WasiState;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is no state, or is compared by itself: see [`super::Difference`].
const NOT_COMPARED: [&str; 12] = [
    "timeline",
    "bases",
    "backtrace",
    "snapshot",
    "path",
    "file_bytes",
    "created_unix",
    "engine",
    "frames",
    "frame_bytes",
    "stack",
    "instances",
];

/// A fact that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactDifference {
    /// Which: a path in what an inspection tells, `wasi.open[0].offset`.
    pub fact: String,
    /// As the first has it; null where it has none.
    pub a: Value,
    /// As the second has it.
    pub b: Value,
}

pub(super) fn compare(
    a: &Inspection,
    b: &Inspection,
    manifests: (&Manifest, &Manifest),
) -> Result<Vec<FactDifference>, Error> {
    let (mut a, mut b) = (json(a), json(b));
    for facts in [&mut a, &mut b].into_iter().filter_map(Value::as_object_mut) {
        NOT_COMPARED.iter().for_each(|field| drop(facts.remove(*field)));
    }
    let mut found = Vec::new();
    walk(String::new(), &a, &b, &mut found);
    // An inspection does not tell all of WASI's state, such as rights and half-read directories. It tells all
    // of the ledger but what was drawn.
    let wasi = |manifest: &Manifest| match &manifest.wasi {
        None => Ok(None),
        Some(state) => {
            WasiState::decode(state).map(|state| Some(WasiState { ledger: Vec::new(), ..state }))
        }
    };
    let states = (wasi(manifests.0)?, wasi(manifests.1)?);
    if states.0 != states.1 && !found.iter().any(|fact| fact.fact.starts_with("wasi")) {
        let [a, b] = [&states.0, &states.1].map(json);
        walk("wasi_state".to_owned(), &a, &b, &mut found);
    }
    Ok(found)
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data with names for keys")
}

/// Adds what differs below a path.
fn walk(path: String, a: &Value, b: &Value, found: &mut Vec<FactDifference>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let names: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(name).cloned().unwrap_or_default()
                };
                let dot = if path.is_empty() { "" } else { "." };
                walk(format!("{path}{dot}{name}"), &of(x), &of(y), found);
            }
        }
        (Value::Array(x), Value::Array(y)) if x != y => {
            for at in 0..x.len().max(y.len()) {
                let of = |list: &Vec<Value>| list.get(at).cloned().unwrap_or_default();
                walk(format!("{path}[{at}]"), &of(x), &of(y), found);
            }
        }
        (a, b) if a != b => {
            found.push(FactDifference { fact: path, a: a.clone(), b: b.clone() });
        }
        _ => {}
    }
}
