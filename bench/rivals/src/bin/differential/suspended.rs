//! Our side once more, with calls that are suspended before some of their calls of the host and go
//! on: in the same store, or through a snapshot file in another, with code of other kinds.
//!
//! Invariant: a call of the host that the straight run made is reached, so every point that is chosen
//! is.

use crate::{
    Tally,
    codes::{Codes, Kind, text},
    ours::{Keep, Ours},
    seen::Seen,
    shared::{End, Given, HostLog},
};
use executor_code::OptLevel;
use executor_model::Val;
use executor_runtime::{Caller, HostCall, Reached, StoreConfig, SuspendError};
use fastrand::Rng;

/// How often a call is suspended at most.
const MAX_TIMES: usize = 4;

/// A store whose calls are suspended.
pub struct Suspended {
    pub ours: Ours,
    rng: Rng,
    /// The kind of code that the store has.
    kind: Kind,
    /// The levels that code of this test is made at: with frame maps, and without.
    levels: [Option<OptLevel>; 2],
}

/// One of the levels, most often the usual one.
fn level(rng: &mut Rng) -> Option<OptLevel> {
    rng.choice(OptLevel::ALL).filter(|_| rng.bool())
}

impl Suspended {
    /// The instances, or how instantiation ended.
    pub fn new(
        codes: &mut Codes,
        mut rng: Rng,
        config: StoreConfig,
        log: &HostLog,
    ) -> Result<Result<Self, End>, String> {
        let levels = [level(&mut rng), level(&mut rng)];
        let kind = Kind { frame_maps: true, level: levels[0], ensure_termination: rng.bool() };
        let ours = Ours::new(codes, kind, config, log)?;
        Ok(ours.map(|ours| Self { ours, rng, kind, levels }))
    }

    /// A kind of code for a store, with frame maps or without.
    fn kind(&self, frame_maps: bool) -> Kind {
        let level = self.levels[usize::from(!frame_maps)];
        Kind { frame_maps, level, ..self.kind }
    }

    /// Goes on in another store, with code of this kind, where the state can be kept.
    fn restore(&mut self, codes: &mut Codes, kind: Kind) -> Result<bool, String> {
        let kept = self.ours.through_a_file(self.rng.bool(), || codes.code(kind))?;
        if kept {
            self.kind = kind;
        }
        Ok(kept)
    }

    /// Calls a function that calls the host so often. The error is of the test itself.
    pub fn call(
        &mut self,
        codes: &mut Codes,
        (name, params, keep): (&str, &[Given], Option<Keep>),
        host_calls: usize,
        tally: &mut Tally,
    ) -> Result<Result<Vec<Seen>, End>, String> {
        if !self.kind.frame_maps && !self.restore(codes, self.kind(true))? {
            // Until what cannot be kept is gone, the code stays.
            tally.not_suspended += 1;
            return Ok(self.ours.call(name, params, keep));
        }
        let mut times = match host_calls {
            0 => 0,
            _ => self.rng.usize(1..=MAX_TIMES),
        };
        let mut left = host_calls;
        let mut point = self.point(&mut left, times);
        let mut reached = self.ours.scoped(name, params, keep, |store, func, params| {
            store.call_until(func, &params, before(point)).map(results)
        });
        loop {
            let ended = match reached {
                Ok(None) if point.is_some() => {
                    times -= 1;
                    let again = times > 0 && left > 0;
                    self.elsewhere(codes, again, tally)?;
                    tally.suspensions += 1;
                    let code = self.continuation_kind(again);
                    let code = codes.continuations(code, &self.ours.store)?;
                    if again {
                        point = self.point(&mut left, times);
                        reached = self.ours.scoped_again(keep, |store| {
                            store.resume_until(code, before(point)).map(results)
                        });
                        continue;
                    }
                    let ended = self.ours.scoped_again(keep, |store| store.resume(code).map(Some));
                    ended.map(|seen| seen.expect("a call that is suspended no more"))
                }
                Ok(None) => return Err("ours stopped before no point".to_owned()),
                Ok(Some(_)) if point.is_some() => {
                    return Err("ours did not reach a point".to_owned());
                }
                Ok(Some(seen)) => Ok(seen),
                Err(SuspendError::Call(error)) => Err(error),
                Err(error) => return Err(text(error)),
            };
            if self.ours.store.suspended().is_some() {
                return Err(format!("ours did not go on: {ended:?}"));
            }
            return Ok(self.ours.ended(ended));
        }
    }

    /// How many of the calls of the host that are left are passed before the next point; none where
    /// it is suspended no more.
    fn point(&mut self, left: &mut usize, times: usize) -> Option<usize> {
        if times == 0 || *left == 0 {
            return None;
        }
        // The first calls as often as any.
        let most = if self.rng.bool() { *left } else { (*left).min(4) };
        let passed = self.rng.usize(..most);
        *left -= passed + 1;
        Some(passed)
    }

    /// Takes the suspended call to another store now and then.
    fn elsewhere(
        &mut self,
        codes: &mut Codes,
        again: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        if self.rng.u8(..3) != 0 {
            return Ok(());
        }
        // Without frame maps nothing can be suspended again.
        let frame_maps = again || self.rng.u8(..4) != 0;
        let kind = self.kind(frame_maps);
        match self.restore(codes, kind)? {
            true => tally.through_files += 1,
            false => tally.refused += 1,
        }
        Ok(())
    }

    fn continuation_kind(&mut self, again: bool) -> Kind {
        Kind {
            frame_maps: again || self.rng.bool(),
            level: level(&mut self.rng),
            ensure_termination: true,
        }
    }
}

/// The results, if there are any yet.
fn results(reached: Reached) -> Option<Vec<Val>> {
    match reached {
        Reached::Point => None,
        Reached::End(values) => Some(values),
    }
}

/// Says of each call of the host whether it is the point.
fn before(
    point: Option<usize>,
) -> impl FnMut(&mut Caller<'_>, &HostCall<'_>) -> bool + Send + 'static {
    let mut left = point;
    move |_, _| match &mut left {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
