//! The frames of suspended calls, compared from the outermost inwards.
//!
//! Invariant: frames are of one call as long as they are of the same functions; from the first that is not on,
//! those of the first snapshot are gone and those of the second new.

use super::Change;
use crate::contents::{self, Contents};
use executor_code::file::Place;
use executor_runtime::{FrameState, StateValue};
use serde::Serialize;
use std::collections::BTreeMap;

/// How the frames differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackDifference {
    /// The functions of frames that only the first has, outermost first.
    pub removed: Vec<String>,
    /// The functions of frames that only the second has, outermost first.
    pub added: Vec<String>,
    /// Frames that both have, and that differ.
    pub changed: Vec<FrameDifference>,
}

/// How a frame differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrameDifference {
    /// Its number, 0 being the outermost.
    pub frame: usize,
    /// Its function.
    pub name: String,
    /// Where in the module's bytes the call is that it waits for.
    pub offset: Option<Change<Option<u32>>>,
    /// Its values that differ.
    pub values: Vec<ValueDifference>,
}

/// How a value of a frame differs; null where only one has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValueDifference {
    /// Which: `local N`, `operand N`.
    pub place: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// As the first has it.
    pub a: Option<String>,
    /// As the second has it.
    pub b: Option<String>,
}

pub(super) fn compare(a: &Contents<'_>, b: &Contents<'_>) -> Option<StackDifference> {
    let (x, y) = (frames(a), frames(b));
    let module = |of: &Contents<'_>, frame: &FrameState| {
        of.instances.get(frame.instance.position()).map(|instance| instance.record.module)
    };
    let same = |(x, y): &(&&FrameState, &&FrameState)| {
        (x.instance, x.site.func) == (y.instance, y.site.func) && module(a, x) == module(b, y)
    };
    let common = x.iter().zip(&y).take_while(same).count();
    let names = |of: &Contents<'_>, frames: &[&FrameState]| -> Vec<String> {
        frames.iter().map(|frame| of.frame_function(frame)).collect()
    };
    let changed = (0..common).filter_map(|at| frame((a, x[at]), (b, y[at]), at)).collect();
    let difference =
        StackDifference { removed: names(a, &x[common..]), added: names(b, &y[common..]), changed };
    let StackDifference { removed, added, changed } = &difference;
    let same = removed.is_empty() && added.is_empty() && changed.is_empty();
    (!same).then_some(difference)
}

fn frames<'a>(of: &Contents<'a>) -> Vec<&'a FrameState> {
    of.file.call().into_iter().flat_map(|call| &call.frames).collect()
}

fn frame(
    (a, x): (&Contents<'_>, &FrameState),
    (b, y): (&Contents<'_>, &FrameState),
    frame: usize,
) -> Option<FrameDifference> {
    let by_place = |frame: &FrameState| -> BTreeMap<Place, StateValue> {
        frame.values.iter().map(|value| (value.place, *value)).collect()
    };
    let (of_a, of_b) = (by_place(x), by_place(y));
    let mut places: Vec<Place> = of_a.keys().chain(of_b.keys()).copied().collect();
    places.sort_unstable();
    places.dedup();
    let value = |place: Place| {
        let (a_value, b_value) = (of_a.get(&place), of_b.get(&place));
        if a_value == b_value {
            return None;
        }
        let show = |of: &Contents<'_>, value: Option<&StateValue>| {
            value.map(|value| of.show(value.value, value.ty))
        };
        Some(ValueDifference {
            place: contents::place(place),
            name: a.place_name(x, place).map(str::to_owned),
            a: show(a, a_value),
            b: show(b, b_value),
        })
    };
    let values: Vec<ValueDifference> = places.into_iter().filter_map(value).collect();
    let offset = Change::between(contents::offset(x.site), contents::offset(y.site));
    let differs = offset.is_some() || !values.is_empty();
    differs.then(|| FrameDifference { frame, name: a.frame_function(x), offset, values })
}
