//! The hashes of a code file's body, chunk by chunk, so that damage is found and located.
//!
//! Invariant: with [`CodeHeader::root`] right, no byte of the body or of its hashes is other than it was
//! written and passes.

use super::{CodeFileError, CodeHeader, Section, TEXT_OFFSET};
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

/// The length of a chunk, in bytes; the last may be shorter.
pub(crate) const CHUNK: u64 = 64 << 10;
/// The length of a hash, in bytes.
const HASH: u64 = blake3::OUT_LEN as u64;
/// How many chunks are read at once.
const BATCH: u64 = 4;
/// From how many chunks on two threads read: a thread takes as long to start as a few chunks.
const WORTH_A_THREAD: u64 = 64;

/// Reads bytes at an offset of a file.
pub(crate) type ReadAt<'a> = dyn Fn(&mut [u8], u64) -> io::Result<()> + Sync + 'a;

/// The hashes of the chunks of a body, one after another.
#[cfg(feature = "write")]
pub(super) fn hashes(body: &[u8]) -> Vec<u8> {
    body.chunks(CHUNK as usize).flat_map(|chunk| *blake3::hash(chunk).as_bytes()).collect()
}

/// How many chunks there are.
fn count(header: &CodeHeader) -> u64 {
    header.body_end.saturating_sub(TEXT_OFFSET).div_ceil(CHUNK)
}

/// Whether a file has as many hashes as its body has chunks.
pub(crate) fn fit(header: &CodeHeader) -> bool {
    header.body_end >= TEXT_OFFSET
        && count(header).checked_mul(HASH).and_then(|len| header.body_end.checked_add(len))
            == Some(header.file_len)
}

/// Reads the whole body of a file that [fits](fit), and checks it. The cost grows with the file.
pub(crate) fn check(header: &CodeHeader, read: &ReadAt<'_>) -> Result<(), CodeFileError> {
    let read = |into: &mut [u8], at| {
        read(into, at).map_err(|error| CodeFileError::Unread { at, reason: error.to_string() })
    };
    let mut hashes = vec![0; (header.file_len - header.body_end) as usize];
    read(&mut hashes, header.body_end)?;
    if blake3::hash(&hashes) != header.root {
        return Err(CodeFileError::Hashes);
    }
    let (count, next) = (count(header), AtomicU64::new(0));
    // Takes batches until there are no more; batches before one that is wrong have been taken.
    let work = || {
        let mut bytes = vec![0; (BATCH * CHUNK).min(header.body_end - TEXT_OFFSET) as usize];
        loop {
            let first = next.fetch_add(BATCH, Relaxed);
            if first >= count {
                return Ok(());
            }
            let at = TEXT_OFFSET + first * CHUNK;
            let bytes = &mut bytes[..(header.body_end - at).min(BATCH * CHUNK) as usize];
            read(bytes, at)?;
            for (chunk, bytes) in (first..).zip(bytes.chunks(CHUNK as usize)) {
                let hash = &hashes[(chunk * HASH) as usize..][..HASH as usize];
                if blake3::hash(bytes) != *hash {
                    let at = TEXT_OFFSET + chunk * CHUNK;
                    return Err(CodeFileError::Chunk { chunk, at, section: section(header, at) });
                }
            }
        }
    };
    if count < WORTH_A_THREAD {
        return work();
    }
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, work) {
        Ok(other) => {
            let mine = work();
            // A panic there is a panic here.
            mine.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        }
        Err(_) => work(),
    })
}

/// The last section that begins at or before an offset.
fn section(header: &CodeHeader, at: u64) -> Section {
    let begins = |section: &Section| header.sections[*section as usize].offset;
    let before = Section::ALL.into_iter().filter(|section| begins(section) <= at);
    before.max_by_key(begins).unwrap_or(Section::Text)
}
