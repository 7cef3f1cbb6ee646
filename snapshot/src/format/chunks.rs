//! The hashes of the data, a chunk at a time.
//!
//! Invariant: the data's hash is the hash of the list of its chunks' hashes, so that damage is found where it
//! is, and a reader need not look at the data to know which data it is.

/// How many bytes of the data have a hash of their own.
pub const CHUNK: usize = 64 << 10;

/// Hashes data that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct ChunkHasher {
    hashes: Vec<u8>,
    /// What the chunk that is not whole yet has had.
    hasher: blake3::Hasher,
    filled: usize,
}

impl ChunkHasher {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            self.hasher.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == CHUNK {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.hashes.extend(self.hasher.finalize().as_bytes());
        self.hasher.reset();
        self.filled = 0;
    }

    /// The hashes of all chunks, the last of which can be short.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.close();
        }
        self.hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_do_not_depend_on_how_the_data_comes() {
        let data: Vec<u8> = (0..CHUNK * 2 + 4096).map(|i| (i * 7 / 5) as u8).collect();
        let of = |step: usize| {
            let mut hasher = ChunkHasher::default();
            data.chunks(step).for_each(|piece| hasher.update(piece));
            hasher.finish()
        };
        let expected: Vec<u8> =
            data.chunks(CHUNK).flat_map(|chunk| *blake3::hash(chunk).as_bytes()).collect();
        assert_eq!(expected.len(), 3 * 32);
        for step in [4096, 5000, CHUNK, data.len()] {
            assert_eq!(of(step), expected, "{step}");
        }
        assert!(ChunkHasher::default().finish().is_empty());
    }
}
