//! THE BOUNDARY OF THE SANDBOX: every address in a memory or table is formed here, and only here.
//!
//! Invariant: an access through what these functions return lies within the memory or table named,
//! or it traps before it reads or writes anything. Review this file alone to believe that.
//!
//! Memories, checked by the hardware: those of 32-bit addresses whose pages are whole pages of the
//! host. Such a memory has [`MEMORY_RESERVATION`] bytes of addresses to itself, of which only its
//! current size is accessible, and [`MEMORY_GUARD`] inaccessible bytes after them. The index is
//! zero-extended, so
//!
//! ```text
//! index + offset + size  <=  2^32 - 1 + MEMORY_GUARD   if  offset + size <= MEMORY_GUARD
//! ```
//!
//! and beyond the current size the access faults, with the trap code `MemoryOutOfBounds`.
//!
//! Memories, checked by comparison: all others, and larger constant offsets in those. What is
//! reserved for them is no more than they can grow to, and a guard.
//!
//! - An index of 64 bits, whole pages, `offset + size <= MEMORY_GUARD`: the index is compared with
//!   the memory's size. Below it, the access ends no more than the guard's size after the memory,
//!   where everything up to the guard's end is inaccessible.
//! - Otherwise the end of the access, `index + offset + size`, is compared with the memory's size.
//!   A memory whose pages are smaller than the host's needs this for every access: its last host
//!   page is accessible beyond its size. With 32-bit indices and offsets the sum is below 2^34;
//!   with 64-bit ones a carry out of the addition counts as outside; where `offset + size` itself
//!   does not fit 64 bits no index is inside.
//!
//! All this holds for imported memories too: an import is linked only to a memory whose address
//! width, page size and sharedness are the same.
//!
//! A memory never shrinks. Another thread may grow a shared one at any time; its size is read
//! atomically, once for each check, so a check may use a size that is already exceeded, never one
//! that is not reached.
//!
//! Tables. The index (zero-extended unless 64-bit) is compared with the current size, which the
//! runtime never lets exceed the table's reservation.
//!
//! Speculation. Behind an explicit check the index is also masked by a conditional move on the
//! whole condition: a processor that guesses the check wrong reads at most the guard's size from
//! the first element or byte, not memory of another instance. A check by the hardware needs no
//! mask: no address outside the reservation can be formed.

use crate::{emit::Emitter, ranges::LONGEST, signature::WORD};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types};
#[cfg(doc)]
use executor_code::layout::MEMORY_RESERVATION;
use executor_code::{
    abi::VmHeader,
    layout::{MEMORY_GUARD, checked_by_hardware, whole_pages},
};
use executor_model::{MemoryIndex, TableIndex, TrapCode};
use std::mem::offset_of;

/// The size of a table element.
const ELEMENT: u64 = 8;

impl Emitter<'_> {
    /// Where to access `size` bytes at `index + offset` of a memory: a base and the offset of the
    /// access, to be used with [`crate::emit::Access::memory`].
    pub(crate) fn memory_address(
        &mut self,
        memory: MemoryIndex,
        index: Value,
        offset: u64,
        size: u64,
    ) -> (Value, i32) {
        let ty = self.context.info().memories[memory as usize];
        let index = self.extend_index(index, ty.memory64);
        let Some(bound) = offset.checked_add(size) else {
            let always = self.builder.ins().iconst(types::I8, 1);
            self.trap_if(always, TrapCode::MemoryOutOfBounds);
            let nowhere = self.word(0);
            return self.memory_at(memory, nowhere, 0);
        };
        let guarded = bound <= MEMORY_GUARD;
        if guarded && checked_by_hardware(&ty) {
            return self.memory_at(memory, index, offset);
        }
        let len = self.memory_size(memory);
        if guarded && whole_pages(&ty) {
            let ins = self.builder.ins();
            let outside = ins.icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
            self.trap_if(outside, TrapCode::MemoryOutOfBounds);
            let index = self.mask(outside, index);
            return self.memory_at(memory, index, offset);
        }
        let bound = self.word(bound);
        let end = self.builder.ins().iadd(index, bound);
        let mut outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, end, len);
        if ty.memory64 {
            let carry = self.builder.ins().icmp(IntCC::UnsignedLessThan, end, bound);
            outside = self.builder.ins().bor(outside, carry);
        }
        self.trap_if(outside, TrapCode::MemoryOutOfBounds);
        let at = self.builder.ins().iadd_imm_s(index, offset.cast_signed());
        let at = self.mask(outside, at);
        self.memory_at(memory, at, 0)
    }

    /// `index + offset` of a memory, unchecked.
    fn memory_at(&mut self, memory: MemoryIndex, index: Value, offset: u64) -> (Value, i32) {
        let info = self.context.info();
        let small = i32::try_from(offset).expect("at most the guard's size");
        let (base, offset) = match memory.checked_sub(info.imported_memories) {
            Some(0) if self.loads_base => {
                (self.load_fixed(WORD, offset_of!(VmHeader, memory) as i64), small)
            }
            // The distance is a constant and folds into the access.
            Some(owned) => {
                let after = self.context.layout.memories[owned as usize].after;
                self.at((after + offset).cast_signed())
            }
            None => (self.linked(self.counts().memory_link(memory)), small),
        };
        (self.builder.ins().iadd(base, index), offset)
    }

    /// Whether memory is of the kind that [`Self::short_ranges`] knows.
    pub(crate) fn has_short_ranges(&self, memory: MemoryIndex) -> bool {
        let ty = self.context.info().memories[memory as usize];
        memory == self.counts().imported_memories && checked_by_hardware(&ty) && !ty.shared
    }

    /// Whether `len` bytes from each of `starts` on lie in owned memory 0 and are no more than
    /// [`LONGEST`], and the addresses of the starts. Indices and length are 32-bit, extended, so
    /// sums do not wrap; and where a processor guesses wrong that they are inside, as many bytes
    /// from there on are still in the reservation.
    pub(crate) fn short_ranges<const N: usize>(
        &mut self,
        starts: [Value; N],
        len: Value,
    ) -> (Value, [Value; N]) {
        const { assert!(LONGEST <= MEMORY_GUARD) };
        let memory = self.counts().imported_memories;
        let size = self.memory_size(memory);
        let longest = LONGEST.cast_signed();
        let mut inside =
            self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, len, longest);
        let addresses = starts.map(|start| {
            let end = self.builder.ins().iadd(start, len);
            let fits = self.builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, size);
            inside = self.builder.ins().band(inside, fits);
            let (base, offset) = self.memory_at(memory, start, 0);
            self.builder.ins().iadd_imm_s(base, i64::from(offset))
        });
        (inside, addresses)
    }

    /// The current size of a memory in bytes.
    pub(crate) fn memory_size(&mut self, memory: MemoryIndex) -> Value {
        let shared = self.context.info().memories[memory as usize].shared;
        let counts = *self.counts();
        match memory.checked_sub(counts.imported_memories) {
            Some(owned) if shared => {
                let distance = counts.from_vmctx(counts.memory_size(owned));
                let address = self.builder.ins().iadd_imm_s(self.vmctx, distance);
                self.builder.ins().atomic_load(WORD, self.access.state, address)
            }
            Some(owned) => self.load_state(counts.memory_size(owned)),
            None if shared => {
                let address = self.linked(counts.memory_link(memory) + 8);
                self.builder.ins().atomic_load(WORD, self.access.state, address)
            }
            None => self.load_linked(counts.memory_link(memory) + 8),
        }
    }

    /// Where element `index` of a table is: a base and the offset of the access, to be used with
    /// [`crate::emit::Access::table`]. Traps with `code` when there is no such element.
    pub(crate) fn table_address(
        &mut self,
        table: TableIndex,
        index: Value,
        code: TrapCode,
    ) -> (Value, i32) {
        let ty = self.context.info().tables[table as usize].ty;
        let index = self.extend_index(index, ty.table64);
        let len = match ty.max == Some(ty.min) {
            // It can neither grow nor, when imported, have another size.
            true => self.word(ty.min),
            false => self.table_size(table),
        };
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        self.trap_if(outside, code);
        let index = self.mask(outside, index);
        let index = self.builder.ins().ishl_imm_u(index, i64::from(ELEMENT.trailing_zeros()));
        let (base, offset) = match table.checked_sub(self.counts().imported_tables) {
            Some(owned) => {
                let before = self.context.layout.tables[owned as usize].before;
                self.at(-before.cast_signed())
            }
            None => (self.linked(self.counts().table_link(table)), 0),
        };
        (self.builder.ins().iadd(base, index), offset)
    }

    /// The current size of a table in elements, as 64 bits.
    pub(crate) fn table_size(&mut self, table: TableIndex) -> Value {
        match table.checked_sub(self.counts().imported_tables) {
            Some(owned) => self.load_state(self.counts().table_size(owned)),
            None => self.load_linked(self.counts().table_link(table) + 8),
        }
    }

    /// The word of another instance's state block that the link at an offset leads to.
    fn load_linked(&mut self, offset: u64) -> Value {
        let address = self.linked(offset);
        self.builder.ins().load(WORD, self.access.state, address, 0)
    }

    /// An address, index or length as 64 bits.
    pub(crate) fn extend_index(&mut self, index: Value, is_64: bool) -> Value {
        if is_64 { index } else { self.extend(index) }
    }

    /// `index`, or 0 where speculation runs past a check that found `outside`.
    pub(crate) fn mask(&mut self, outside: Value, index: Value) -> Value {
        let zero = self.word(0);
        self.builder.ins().select_spectre_guard(outside, zero, index)
    }
}
