//! Collection: what is reachable from the roots stays, and is moved down over what is not.
//!
//! Invariant: objects keep their order, so what has been alive for long lies at the beginning, where it is neither
//! moved nor written to: pages of a snapshot that only hold such objects stay shared with it. A reference is changed
//! only if what it refers to has moved.
//!
//! A bit for each 8 bytes says whether they are part of an object that is alive; how many of these lie before an
//! object is where it goes. (Abuaiadh, Ossia, Petrank and Silbershtein, "An efficient parallel heap compaction
//! algorithm", 2004; Kermany and Petrank, "The Compressor", 2006.)

use super::{
    GIVE_BACK, NURSERY,
    types::{Types, object, read_u32, read_u64},
};
use crate::store::StoreInner;
use executor_code::{
    abi::HeapHeader,
    layout::{PAGE, align_up},
};
use executor_model::ObjectBits;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// What the collections of a store were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collections {
    /// How many there were since the store was made.
    pub count: u64,
    /// What the longest of them took.
    pub longest: Duration,
    /// The most bytes that objects took before one, those that nothing referred to included.
    pub most_bytes: u64,
}

impl Collections {
    fn add(&mut self, bytes: u64, took: Duration) {
        self.count += 1;
        self.longest = self.longest.max(took);
        self.most_bytes = self.most_bytes.max(bytes);
    }
}

/// Which parts of a heap are alive.
struct Alive {
    /// A bit for each 8 bytes.
    bits: Vec<u64>,
    /// For each word of those, how many bits are set before it.
    before: Vec<u32>,
    /// Where the first object lies that is not alive: nothing before it moves.
    first_free: u64,
}

impl Alive {
    fn new(len: u64) -> Self {
        let words = (len / 8).div_ceil(64) as usize + 1;
        let mut alive = Self { bits: vec![0; words], before: Vec::new(), first_free: len };
        alive.set(0, HeapHeader::FIRST);
        alive
    }

    fn is_set(&self, at: u64) -> bool {
        let bit = at / 8;
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Sets the first bit of the object at an offset; false where it is set already, or the offset is not below `len`.
    fn reach(&mut self, at: u32, len: u64) -> bool {
        let at = u64::from(at);
        let first = at < len && !self.is_set(at);
        if first {
            let bit = at / 8;
            self.bits[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        first
    }

    fn set(&mut self, at: u64, size: u64) {
        let (mut bit, end) = (at / 8, (at + size) / 8);
        while bit < end {
            let (word, shift) = ((bit / 64) as usize, bit % 64);
            let count = (64 - shift).min(end - bit);
            self.bits[word] |= (u64::MAX >> (64 - count)) << shift;
            bit += count;
        }
    }

    /// Counts, once all is set; returns how many bytes are alive.
    fn count(&mut self) -> u64 {
        let mut sum = 0_u32;
        self.before = Vec::with_capacity(self.bits.len());
        for word in &self.bits {
            self.before.push(sum);
            sum += word.count_ones();
        }
        let full = self.bits.iter().take_while(|word| **word == u64::MAX).count();
        let rest = self.bits.get(full).map_or(0, |word| word.trailing_ones());
        self.first_free = (full as u64 * 64 + u64::from(rest)) * 8;
        u64::from(sum) * 8
    }

    /// Where what lies at an offset goes.
    fn forward(&self, at: u64) -> u64 {
        if at < self.first_free {
            return at;
        }
        let bit = at / 8;
        let word = (bit / 64) as usize;
        let below = self.bits[word] & !(u64::MAX << (bit % 64));
        u64::from(self.before[word] + below.count_ones()) * 8
    }

    /// The beginning of the first part at or behind an offset that is alive.
    fn next(&self, at: u64) -> Option<u64> {
        let bit = at / 8;
        let mut word = (bit / 64) as usize;
        let mut bits = self.bits.get(word)? & (u64::MAX << (bit % 64));
        while bits == 0 {
            word += 1;
            bits = *self.bits.get(word)?;
        }
        Some((word as u64 * 64 + u64::from(bits.trailing_zeros())) * 8)
    }
}

impl StoreInner {
    /// Frees what nothing refers to.
    pub(crate) fn collect(&mut self) {
        self.collect_with(&mut []);
    }

    /// As [`Self::collect`]; what `extra` refers to stays, and is changed to where it goes.
    pub(super) fn collect_with(&mut self, extra: &mut [u64]) {
        let Some(mut header) = self.heap_header() else { return };
        let begin = Instant::now();
        let len = header.next.min(self.heap_bytes().len() as u64);
        let types = Types::of(&self.instances);
        let tables = types.tables();

        let mut alive = Alive::new(len);
        // What is alive and has not been looked into: each object once, however often it is referred to.
        let mut left: Vec<u32> = Vec::new();
        self.forget_handles();
        self.each_root(extra, &mut |bits| {
            if let Some(ObjectBits::Object(at)) = ObjectBits::from_bits(bits)
                && alive.reach(at, len)
            {
                left.push(at);
            }
            bits
        });
        let heap = self.heap_bytes();
        while let Some(at) = left.pop() {
            let Some(found) = object(&tables, heap, at as usize) else { continue };
            alive.set(at.into(), found.size as u64);
            found.references.each(|place| {
                let bits = read_u32(heap, at as usize + place).unwrap_or_default();
                if bits & 0b111 == 0 && bits != 0 && alive.reach(bits, len) {
                    // So that its first word is in the cache when its turn comes.
                    black_box(read_u64(heap, bits as usize));
                    left.push(bits);
                }
            });
        }
        let kept = alive.count();

        let moved = |bits: u64| match ObjectBits::from_bits(bits) {
            Some(ObjectBits::Object(at)) if u64::from(at) < len => alive.forward(at.into()),
            _ => bits,
        };
        self.each_root(extra, &mut |bits| moved(bits));
        self.slide(&alive, &tables, len);

        header.next = kept;
        header.end = kept;
        header.due = kept + NURSERY.max(kept);
        self.give_back(&mut header);
        self.set_heap_header(&header);
        self.collections.add(len - HeapHeader::FIRST, begin.elapsed());
    }

    /// Moves what is alive, and changes its references.
    fn slide(&mut self, alive: &Alive, tables: &[super::types::Table<'_>], len: u64) {
        let mut heap = self.heap_mut();
        let mut at = HeapHeader::FIRST;
        while let Some(from) = alive.next(at).filter(|from| *from < len) {
            let start = from as usize;
            let Some(found) = object(tables, &heap, start) else { break };
            found.references.each(|place| {
                let place = start + place;
                let bits = read_u32(&heap, place).unwrap_or_default();
                if bits & 0b111 == 0 && u64::from(bits) >= alive.first_free {
                    let to = alive.forward(bits.into()) as u32;
                    if to != bits
                        && let Some(field) = heap.get_mut(place..place + 4)
                    {
                        field.copy_from_slice(&to.to_le_bytes());
                    }
                }
            });
            let to = alive.forward(from) as usize;
            if to != start
                && let Some(bytes) = heap.get_mut(to..start + found.size)
            {
                bytes.copy_within(start - to.., 0);
            }
            at = from + found.size as u64;
        }
    }

    /// Gives pages back that will not be needed soon.
    fn give_back(&mut self, header: &mut HeapHeader) {
        let Some(vm) = self.heap_owner() else { return };
        // Pages of an image are reset one by one.
        let size = vm.counts().memory_size(vm.counts().owned_memories - 1);
        let from = align_up(header.due, PAGE).max(vm.image_word(size).unwrap_or(0));
        let to = align_up(header.dirty, PAGE).min(self.heap_bytes().len() as u64);
        if to.saturating_sub(from) < GIVE_BACK {
            return;
        }
        let Some(plan) = vm.memory_plan(vm.counts().owned_memories - 1) else { return };
        if vm.slot().renew(vm.origin() + plan.after + from, to - from).is_ok() {
            header.dirty = from;
        }
    }

    /// Collects and makes all that is free zero, so that the heap of equal states is equal.
    pub(crate) fn collect_for_capture(&mut self) {
        self.collect();
        let Some(mut header) = self.heap_header() else { return };
        let mut heap = self.heap_mut();
        let to = (header.dirty as usize).min(heap.len());
        if let Some(free) = heap.get_mut(header.next as usize..to.max(header.next as usize)) {
            free.fill(0);
        }
        header.dirty = header.next;
        self.set_heap_header(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alive_goes_behind_what_is_alive_before_it() {
        let mut alive = Alive::new(4096);
        for (at, size) in [(64, 16), (128, 8), (512, 1024), (2048, 24)] {
            alive.set(at, size);
        }
        assert_eq!(alive.count(), 64 + 16 + 8 + 1024 + 24);
        assert_eq!(alive.first_free, 80);
        let to: Vec<u64> = [64, 128, 512, 2048].map(|at| alive.forward(at)).to_vec();
        assert_eq!(to, [64, 80, 88, 1112]);
        assert_eq!(alive.next(80), Some(128));
        assert_eq!(alive.next(136), Some(512));
        assert_eq!(alive.next(2072), None);
        assert!(alive.is_set(1528) && !alive.is_set(1536));
    }
}
