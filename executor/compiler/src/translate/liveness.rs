//! Which locals live on after a call: those that are read later before they are written.
//!
//! Invariant: a local that may be read after a call is among those of the call; some that are not
//! read may be too. Exceptions are taken to reach every handler around a call.
//!
//! The body is read once, forwards, into the few steps that matter here, and these are gone through
//! backwards until nothing changes: once, and again for what loops carry around.

use crate::deadline::Deadline;
use executor_code::CompileError;
use executor_model::FuncIndex;
use wasmparser::{Catch, FunctionBody, Operator};

/// How many values the frame maps of one function may name in all. Programs stay far below.
const MAX_VALUES: usize = 1 << 24;

/// After how many steps the time is looked at.
const CLOCK_STEP: usize = 64;

/// Calls by the offsets of their operators, and the locals that live on after each.
type Calls = Vec<(u32, Vec<u32>)>;

/// A set of locals.
type Locals = Vec<u64>;

enum Step {
    Get(u32),
    Set(u32),
    Begin,
    Loop(usize),
    If,
    Else,
    Catch,
    /// The end of a block that the number of a loop, or the labels of handlers, belong to.
    End(Kind),
    Branch(u32),
    BranchIf(u32),
    BranchTable(Vec<u32>),
    /// A call, by the offset of its operator.
    Call(u32),
    Throw,
    Stop,
}

#[derive(Clone)]
enum Kind {
    Block,
    Loop(usize),
    /// The labels of its handlers, seen from outside.
    TryTable(Vec<u32>),
    Try,
}

/// An open block, on the way backwards.
struct Scope {
    kind: Kind,
    /// What lives on behind it.
    end: Locals,
    /// What lives at the beginning of the second arm, once that has been passed.
    other: Option<Locals>,
    /// What lives at the beginning of its handlers.
    handlers: Option<Locals>,
}

/// The locals that live on after each call that was asked for, by the offset of its operator.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    calls: Calls,
}

impl Liveness {
    /// Looks at the calls that `steps` has.
    ///
    /// # Errors
    /// When the calls have too many live locals, or the deadline passes.
    pub(super) fn of(
        steps: &Steps,
        func: FuncIndex,
        locals: usize,
        deadline: Deadline,
    ) -> Result<Self, CompileError> {
        let mut carried = vec![vec![0; locals.div_ceil(64)]; steps.loops];
        loop {
            let mut pass = Pass { carried: &mut carried, scopes: Vec::new(), changed: false };
            let Some(calls) = pass.run(&steps.steps, locals, deadline)? else {
                return Err(CompileError::Unsupported(format!(
                    "function {func} has too many locals and calls for a snapshot inside a call"
                )));
            };
            if !pass.changed {
                return Ok(Self { calls });
            }
        }
    }

    /// The locals that live on after the call at `offset`, ascending.
    pub(super) fn after(&self, offset: u32) -> &[u32] {
        match self.calls.binary_search_by_key(&offset, |(offset, _)| *offset) {
            Ok(at) => &self.calls[at].1,
            Err(_) => &[],
        }
    }

    /// Whether any call was asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// The steps of a body; none where no call is asked for.
#[derive(Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    /// How many loops it has.
    loops: usize,
    /// How many blocks are open at the same time, at most.
    deepest: usize,
}

impl Steps {
    /// Looks for the calls of which `wanted` says so.
    ///
    /// # Errors
    /// When the body cannot be read.
    pub(super) fn of(
        body: &FunctionBody<'_>,
        wanted: impl Fn(&Operator<'_>, u32) -> bool,
    ) -> Result<Self, wasmparser::Error> {
        let mut steps = Vec::new();
        let mut open = vec![Kind::Block];
        let (mut loops, mut deepest, mut any) = (0, 0, false);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let offset = operators.original_position() as u32;
            let operator = operators.read()?;
            let wanted = wanted(&operator, offset);
            any |= wanted;
            deepest = open.len().max(deepest);
            steps.push(match operator {
                Operator::LocalGet { local_index } => Step::Get(local_index),
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    Step::Set(local_index)
                }
                Operator::Block { .. } => {
                    open.push(Kind::Block);
                    Step::Begin
                }
                Operator::Loop { .. } => {
                    open.push(Kind::Loop(loops));
                    loops += 1;
                    Step::Loop(loops - 1)
                }
                Operator::If { .. } => {
                    open.push(Kind::Block);
                    Step::If
                }
                Operator::TryTable { try_table } => {
                    let label = |catch: &Catch| match *catch {
                        Catch::One { label, .. }
                        | Catch::OneRef { label, .. }
                        | Catch::All { label }
                        | Catch::AllRef { label } => label,
                    };
                    open.push(Kind::TryTable(try_table.catches.iter().map(label).collect()));
                    Step::Begin
                }
                Operator::Try { .. } => {
                    open.push(Kind::Try);
                    Step::Begin
                }
                Operator::Else => Step::Else,
                Operator::Catch { .. } | Operator::CatchAll => Step::Catch,
                Operator::End | Operator::Delegate { .. } => {
                    Step::End(open.pop().expect("validated code"))
                }
                Operator::Br { relative_depth } => Step::Branch(relative_depth),
                Operator::BrIf { relative_depth }
                | Operator::BrOnNull { relative_depth }
                | Operator::BrOnNonNull { relative_depth }
                | Operator::BrOnCast { relative_depth, .. }
                | Operator::BrOnCastFail { relative_depth, .. } => Step::BranchIf(relative_depth),
                Operator::BrTable { targets } => {
                    let mut labels = targets.targets().collect::<Result<Vec<_>, _>>()?;
                    labels.push(targets.default());
                    labels.sort_unstable();
                    labels.dedup();
                    Step::BranchTable(labels)
                }
                Operator::Return
                | Operator::Unreachable
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => Step::Stop,
                Operator::Throw { .. } | Operator::ThrowRef | Operator::Rethrow { .. } => {
                    Step::Throw
                }
                _ if wanted => Step::Call(offset),
                // May throw as well, for all that is known.
                Operator::Call { .. }
                | Operator::CallIndirect { .. }
                | Operator::CallRef { .. } => Step::Call(u32::MAX),
                _ => continue,
            });
        }
        Ok(if any { Self { steps, loops, deepest } } else { Self::default() })
    }

    /// How many bytes of memory are taken to go through them, where there are so many locals.
    pub(super) fn memory(&self, locals: usize) -> u64 {
        // A loop has a set of locals, and an open block up to three.
        let sets = self.loops as u64 + 3 * self.deepest as u64;
        sets.saturating_mul(locals.div_ceil(64) as u64 * size_of::<u64>() as u64)
    }
}

struct Pass<'a> {
    /// What lives at the beginning of each loop, as far as is known.
    carried: &'a mut [Locals],
    scopes: Vec<Scope>,
    changed: bool,
}

impl Pass<'_> {
    /// Goes through the steps backwards; nothing when the calls have too many live locals.
    fn run(
        &mut self,
        steps: &[Step],
        locals: usize,
        deadline: Deadline,
    ) -> Result<Option<Calls>, CompileError> {
        let none: Locals = vec![0; locals.div_ceil(64)];
        let mut live = none.clone();
        let mut calls = Vec::new();
        let mut values = 0;
        for (i, step) in steps.iter().rev().enumerate() {
            if i.is_multiple_of(CLOCK_STEP) {
                deadline.check()?;
            }
            match step {
                Step::Get(local) => live[*local as usize / 64] |= 1 << (local % 64),
                Step::Set(local) => live[*local as usize / 64] &= !(1 << (local % 64)),
                Step::End(kind) => {
                    let handlers = match kind {
                        Kind::TryTable(labels) => {
                            let mut handlers = none.clone();
                            labels.iter().for_each(|label| self.add_label(*label, &mut handlers));
                            Some(handlers)
                        }
                        _ => None,
                    };
                    let (kind, end) = (kind.clone(), live.clone());
                    self.scopes.push(Scope { kind, end, other: None, handlers });
                }
                Step::Begin => {
                    self.scopes.pop();
                }
                Step::Loop(number) => {
                    self.scopes.pop();
                    if self.carried[*number] != live {
                        self.carried[*number].clone_from(&live);
                        self.changed = true;
                    }
                }
                Step::Else => {
                    let scope = self.scopes.last_mut().expect("validated code");
                    let end = scope.end.clone();
                    scope.other = Some(std::mem::replace(&mut live, end));
                }
                Step::If => {
                    let scope = self.scopes.pop().expect("validated code");
                    add(&mut live, &scope.other.unwrap_or(scope.end));
                }
                Step::Catch => {
                    let scope = self.scopes.last_mut().expect("validated code");
                    let end = scope.end.clone();
                    let handler = std::mem::replace(&mut live, end);
                    match &mut scope.handlers {
                        Some(handlers) => add(handlers, &handler),
                        None => scope.handlers = Some(handler),
                    }
                }
                Step::Branch(label) => {
                    live.clone_from(&none);
                    self.add_label(*label, &mut live);
                }
                Step::BranchIf(label) => self.add_label(*label, &mut live),
                Step::BranchTable(labels) => {
                    live.clone_from(&none);
                    labels.iter().for_each(|label| self.add_label(*label, &mut live));
                }
                Step::Call(offset) => {
                    self.add_handlers(&mut live);
                    if *offset != u32::MAX {
                        let live = members(&live);
                        values += 1 + live.len();
                        if values > MAX_VALUES {
                            return Ok(None);
                        }
                        calls.push((*offset, live));
                    }
                }
                Step::Throw => {
                    live.clone_from(&none);
                    self.add_handlers(&mut live);
                }
                Step::Stop => live.clone_from(&none),
            }
        }
        calls.reverse();
        Ok(Some(calls))
    }

    /// Adds what lives where a branch to a label goes.
    fn add_label(&self, label: u32, live: &mut Locals) {
        let scope = &self.scopes[self.scopes.len() - 1 - label as usize];
        match scope.kind {
            Kind::Loop(number) => add(live, &self.carried[number]),
            _ => add(live, &scope.end),
        }
    }

    /// Adds what lives at the beginning of every handler that is around.
    fn add_handlers(&self, live: &mut Locals) {
        self.scopes.iter().filter_map(|s| s.handlers.as_ref()).for_each(|h| add(live, h));
    }
}

fn add(live: &mut Locals, more: &Locals) {
    live.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
}

fn members(live: &Locals) -> Vec<u32> {
    let mut members = Vec::new();
    for (at, word) in live.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            members.push(at as u32 * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wasmparser::{Parser, Payload};

    /// The live locals after each call of the only function.
    fn after_calls(body: &str, locals: usize) -> Vec<Vec<u32>> {
        let text = format!(
            "(module (tag $t) (import \"\" \"f\" (func $f)) (func {} {body}))",
            "(local i32)".repeat(locals)
        );
        let wasm = wat::parse_str(text).unwrap();
        for payload in Parser::new(0).parse_all(&wasm) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                let is_call = |op: &Operator<'_>, _| matches!(op, Operator::Call { .. });
                let steps = Steps::of(&body, is_call).unwrap();
                let deadline = Deadline::after(Duration::MAX);
                let liveness = Liveness::of(&steps, 1, locals, deadline).unwrap();
                return liveness.calls.into_iter().map(|(_, live)| live).collect();
            }
        }
        unreachable!("there is a function")
    }

    const READ: &str = "(drop (local.get 0))";

    #[test]
    fn what_is_written_first_does_not_live() {
        assert_eq!(after_calls(&format!("(call $f) {READ}"), 1), [[0]]);
        let written = format!("(call $f) (local.set 0 (i32.const 1)) {READ} (call $f)");
        assert_eq!(after_calls(&written, 1), [vec![], vec![]]);
    }

    #[test]
    fn a_loop_carries_what_its_beginning_reads() {
        let body = "(loop (drop (local.get 1)) (call $f) (br_if 0 (local.get 2)))";
        assert_eq!(after_calls(body, 3), [[1, 2]]);
        let nested = format!("(loop {READ} (loop (call $f) (br_if 0 (local.get 1)) (br 1)))");
        assert_eq!(after_calls(&nested, 2), [[0, 1]]);
    }

    #[test]
    fn arms_and_branches_are_followed() {
        let body = format!(
            "(call $f) (if (local.get 1) (then (call $f) {READ}) (else (call $f))) (call $f)"
        );
        assert_eq!(after_calls(&body, 2), [vec![0, 1], vec![0], vec![], vec![]]);
        let body = format!("(block (call $f) (br_if 0 (local.get 1)) (return)) {READ}");
        assert_eq!(after_calls(&body, 2), [[0, 1]]);
        let body =
            format!("(block (block (call $f) (br_table 0 1 (local.get 1))) (return)) {READ}");
        assert_eq!(after_calls(&body, 2), [[0, 1]]);
    }

    #[test]
    fn handlers_read_what_the_body_does_not() {
        let body = format!("(block (try_table (catch $t 0) (call $f)) (return)) {READ}");
        assert_eq!(after_calls(&body, 1), [[0]]);
        let body = "try call $f catch $t local.get 0 drop catch_all call $f end";
        assert_eq!(after_calls(body, 1), [vec![0], vec![]]);
        let body = "try try call $f delegate 0 catch_all local.get 0 drop end";
        assert_eq!(after_calls(body, 1), [[0]]);
    }
}
