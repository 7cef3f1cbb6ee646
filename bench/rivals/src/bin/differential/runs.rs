//! The stores that a module runs in, and what is compared between them.
//!
//! Invariant: every call is made in each store, with the same arguments and the same fuel, unless one
//! of them has exhausted its stack, after which none is used again.

use crate::{
    Tally,
    codes::Codes,
    ours::{Keep, Ours},
    seen::Seen,
    shared::{End, FUEL, Given, HostLog},
    suspended::Suspended,
    theirs::Theirs,
};
use executor_model::{Export, ExternKind};
use std::fmt::Debug;

/// The stores of one test.
pub struct Runs {
    pub codes: Codes,
    pub ours: Ours,
    pub suspended: Suspended,
    /// None where Wasmtime cannot run the module.
    pub theirs: Option<Theirs>,
    /// The calls of the host: ours, those of the suspended run, Wasmtime's.
    pub log: [HostLog; 3],
}

impl Runs {
    /// Makes a call and compares what can be seen of it; false when an engine has exhausted what it has another
    /// amount of than the others.
    pub fn call(
        &mut self,
        what: &str,
        call: (&str, &[Given], Option<Keep>),
        tally: &mut Tally,
    ) -> Result<bool, String> {
        let (name, params, keep) = call;
        self.ours.refuel(FUEL);
        self.suspended.ours.refuel(FUEL);
        let exhausted = |end: &Result<_, End>| end.as_ref().is_err_and(End::is_exhausted);
        let a = self.ours.call(name, params, keep);
        tally.calls += 1;
        tally.traps += u64::from(matches!(a, Err(End::Trap(_))));
        tally.exceptions += u64::from(a == Err(End::Exception));
        tally.objects += u64::from(a.as_ref().is_ok_and(|seen| seen.iter().any(Seen::is_object)));
        let c = self.theirs.as_mut().map(|theirs| {
            theirs.refuel(FUEL);
            theirs.call(name, params, keep)
        });
        if exhausted(&a) || c.as_ref().is_some_and(exhausted) {
            return Ok(false);
        }
        if c.as_ref().is_some_and(|c| a != *c) {
            return Err(format!("{what}: ours {a:x?}, Wasmtime's {c:x?}"));
        }
        let calls = self.log[0].count();
        let b = self.suspended.call(&mut self.codes, call, calls, tally);
        let b = b.map_err(|reason| format!("{what}: {reason}"))?;
        if exhausted(&b) {
            return Ok(false);
        }
        let shown = (&self.ours.shown, &self.suspended.ours.shown);
        if a != b || shown.0 != shown.1 {
            return Err(format!("{what}: ours {a:x?} {}, suspended {b:x?} {}", shown.0, shown.1));
        }
        self.same_calls(what, tally)?;
        self.same_state(what)?;
        Ok(true)
    }

    /// Compares the calls of the host since the last time.
    pub fn same_calls(&mut self, what: &str, tally: &mut Tally) -> Result<(), String> {
        let [ours, suspended, theirs] = self.log.each_mut().map(HostLog::take);
        tally.host_calls += ours.len() as u64;
        let mut others = vec![("suspended", suspended)];
        others.extend(self.theirs.is_some().then_some(("Wasmtime's", theirs)));
        for (whose, other) in others {
            if let Some(difference) = difference(&ours, &other) {
                return Err(format!("{what} called the host, against {whose}: {difference}"));
            }
        }
        Ok(())
    }

    /// Compares all that is exported, which is everything.
    pub fn same_state(&mut self, when: &str) -> Result<(), String> {
        for (at, module) in self.codes.modules.iter().enumerate() {
            for export in &module.info.exports {
                let differs = same_item(
                    at,
                    export,
                    &mut self.ours,
                    &mut self.suspended.ours,
                    &mut self.theirs,
                );
                if let Some((whose, difference)) = differs {
                    let name = &export.name;
                    return Err(format!("after {when}: {name:?} against {whose}: {difference}"));
                }
            }
        }
        Ok(())
    }
}

/// Whose item of an instance differs from ours, and where.
fn same_item(
    at: usize,
    export: &Export,
    ours: &mut Ours,
    suspended: &mut Ours,
    theirs: &mut Option<Theirs>,
) -> Option<(&'static str, String)> {
    let (index, name) = (export.index, export.name.as_str());
    let with_suspended = match export.kind {
        ExternKind::Func | ExternKind::Tag => None,
        ExternKind::Global => difference(&ours.global(at, index), &suspended.global(at, index)),
        ExternKind::Table => difference(&ours.table(at, index), &suspended.table(at, index)),
        ExternKind::Memory => difference(ours.memory(at, index), suspended.memory(at, index)),
    };
    let with_theirs = theirs.as_mut().and_then(|theirs| match export.kind {
        ExternKind::Func | ExternKind::Tag => None,
        ExternKind::Global => difference(&ours.global(at, index), &theirs.global(at, name)),
        ExternKind::Table => difference(&ours.table(at, index), &theirs.table(at, name)),
        ExternKind::Memory => difference(ours.memory(at, index), theirs.memory(at, name)),
    });
    let of = |whose| move |difference| (whose, difference);
    with_suspended.map(of("suspended")).or(with_theirs.map(of("Wasmtime's")))
}

/// Where two lists differ first.
fn difference<T: PartialEq + Debug>(a: &[T], b: &[T]) -> Option<String> {
    if a == b {
        return None;
    }
    Some(match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => format!("{:x?} is not {:x?} at {at:#x}", a[at], b[at]),
        None => format!("length {} is not {}", a.len(), b.len()),
    })
}
