//! THE BOUNDARY OF THE SANDBOX: every address in a memory or table is formed here, and only here.
//!
//! Invariant: an access through what these functions return lies within the memory or table named,
//! or it traps before it reads or writes anything. Review this file alone to believe that.
//!
//! Memories. A 32-bit memory has [`MEMORY_RESERVATION`] bytes of addresses to itself, of which
//! only its current size is accessible, and [`MEMORY_GUARD`] inaccessible bytes after them. This
//! holds for imported memories too. The index is zero-extended, so
//!
//! ```text
//! index + offset + size  <=  2^32 - 1 + MEMORY_GUARD   if  offset + size <= MEMORY_GUARD
//! ```
//!
//! and the hardware does the check: beyond the current size the access faults, with the trap code
//! `MemoryOutOfBounds`. With a larger constant offset the end of the access is compared with the
//! memory's size; the sum is below 2^34 and cannot wrap.
//!
//! Tables. The index is zero-extended and compared with the current size, which the runtime never
//! lets exceed the table's reservation.
//!
//! Speculation. Behind an explicit check the index is also masked by a conditional move: a processor
//! that guesses the check wrong reads the first element or byte, not memory of another instance.
//! A check by the hardware needs no mask: no address outside the reservation can be formed.

use crate::{emit::Emitter, short::LONGEST, signature::WORD};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
#[cfg(doc)]
use executor_code::layout::MEMORY_RESERVATION;
use executor_code::{abi::VmHeader, layout::MEMORY_GUARD};
use executor_model::{MemoryIndex, TableIndex, TrapCode};
use std::mem::offset_of;

/// The size of a table element.
const ELEMENT: u64 = 8;

impl Emitter<'_> {
    /// Where to access `size` bytes at `index + offset` of a 32-bit memory: a base and the offset
    /// of the access, to be used with [`crate::emit::Access::memory`].
    pub(crate) fn memory_address(
        &mut self,
        memory: MemoryIndex,
        index: Value,
        offset: u64,
        size: u64,
    ) -> (Value, i32) {
        let index = self.extend(index);
        if offset + size <= MEMORY_GUARD {
            return self.memory_at(memory, index, offset);
        }
        let len = self.memory_size(memory);
        let end = self.builder.ins().iadd_imm_s(index, (offset + size).cast_signed());
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, end, len);
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
        memory == self.counts().imported_memories
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
        match memory.checked_sub(self.counts().imported_memories) {
            Some(owned) => self.load_state(self.counts().memory_size(owned)),
            None => self.load_linked(self.counts().memory_link(memory) + 8),
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
        let index = self.extend(index);
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

    /// `index`, or 0 where speculation runs past a check that found `outside`.
    fn mask(&mut self, outside: Value, index: Value) -> Value {
        let zero = self.word(0);
        self.builder.ins().select_spectre_guard(outside, zero, index)
    }
}
