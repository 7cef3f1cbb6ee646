//! The address map: which operator each piece of machine code belongs to, in a few bytes each.
//!
//! Invariant: what [`MapEncoder`] was told, [`operator_at`] answers; malformed bytes give a wrong
//! answer or none, never a panic.
//!
//! Each function has a run of bytes of its own, found by [`super::MapRecord`]. A run is a sequence of
//! pairs of unsigned LEB128 numbers: how far the code is after the last pair's, and 0 for no
//! operator, or else 1 plus the zigzag difference of the operator's offset in the module's bytes to
//! the last one named. It is read by backtraces only, which can afford to go through one run.

use super::leb128;

/// Encodes the map of one function.
#[derive(Debug, Default)]
pub struct MapEncoder {
    bytes: Vec<u8>,
    /// Where the last encoded entry begins, and the last operator named.
    last: (u32, u32),
    /// The operator of the last encoded entry.
    current: Option<u32>,
    /// What may still be replaced.
    pending: Option<(u32, Option<u32>)>,
}

impl MapEncoder {
    /// From `offset` of the function's code on, the operator is `operator`; offsets never go back.
    /// What was said of an empty range is forgotten, and equal neighbours are merged.
    pub fn set(&mut self, offset: u32, operator: Option<u32>) {
        if let Some((begun, before)) = self.pending.take()
            && begun != offset
        {
            self.encode(begun, before);
        }
        if self.current != operator {
            self.pending = Some((offset, operator));
        }
    }

    fn encode(&mut self, offset: u32, operator: Option<u32>) {
        leb128::write(&mut self.bytes, u64::from(offset - self.last.0));
        match operator {
            None => leb128::write(&mut self.bytes, 0),
            Some(operator) => {
                let difference = i64::from(operator) - i64::from(self.last.1);
                let zigzag = (difference << 1 ^ difference >> 63).cast_unsigned();
                leb128::write(&mut self.bytes, 1 + zigzag);
                self.last.1 = operator;
            }
        }
        self.last.0 = offset;
        self.current = operator;
    }

    /// The function's run.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if let Some((offset, operator)) = self.pending.take() {
            self.encode(offset, operator);
        }
        self.bytes
    }
}

/// The operator at an offset of the function's code, by the function's run.
#[must_use]
pub fn operator_at(run: &[u8], offset: u32) -> Option<u32> {
    let mut bytes = run.iter();
    let mut number = || leb128::read(&mut bytes);
    let (mut at, mut named, mut found) = (0u64, 0i64, None);
    while let (Some(step), Some(operator)) = (number(), number()) {
        at = at.saturating_add(step);
        if at > u64::from(offset) {
            break;
        }
        found = operator.checked_sub(1).map(|zigzag| {
            named = named.wrapping_add((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            named
        });
    }
    u32::try_from(found?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_answered() {
        let mut map = MapEncoder::default();
        let told = [
            (0, None),
            (0, Some(70_000)),
            (4, None),
            (4, Some(70_000)),
            (9, None),
            (9, Some(8)),
            (300, None),
            (310, Some(u32::MAX - 1)),
            (400, Some(0)),
            (401, None),
        ];
        told.iter().for_each(|(offset, operator)| map.set(*offset, *operator));
        let run = map.finish();
        let expected = |at| told.iter().rev().find(|(offset, _)| *offset <= at).unwrap().1;
        for at in 0..500 {
            assert_eq!(operator_at(&run, at), expected(at), "{at}");
        }
        // Two entries say nothing new.
        assert!(run.len() < 30, "{run:?}");
    }

    #[test]
    fn malformed_runs_are_no_panic() {
        for run in [&[][..], &[0x80; 40], &[0xff; 41], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]]
        {
            for at in [0, 1, u32::MAX] {
                assert_eq!(operator_at(run, at), None);
            }
        }
    }
}
