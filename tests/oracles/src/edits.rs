//! Changes to a file, out of bytes.

use arbitrary::{Result, Unstructured};

/// How many words are changed at most.
const MAX_EDITS: usize = 8;

/// Changes a few words of a file from `begin` on to what is worth trying there, or cuts it short.
pub(crate) fn edit(bytes: &mut Vec<u8>, begin: usize, u: &mut Unstructured<'_>) -> Result<()> {
    if u.ratio(1, 16)? {
        bytes.truncate(u.int_in_range(0..=bytes.len())?);
    }
    for _ in 0..u.int_in_range(1..=MAX_EDITS)? {
        // Half of them where it matters most: at the beginning.
        let end = if u.arbitrary()? { bytes.len() } else { bytes.len().min(begin + 4096) };
        if end < begin + 8 {
            return Ok(());
        }
        let at = u.int_in_range(begin..=end - 8)?;
        let at = if u.ratio(3, 4)? { at & !7 } else { at };
        let old = word(bytes, at);
        let new = match u.int_in_range(0..=7)? {
            0 => 0,
            1 => u64::MAX,
            2 => old.wrapping_add(u.int_in_range(1..=8)?),
            3 => old ^ 1 << u.int_in_range(0..=63)?,
            4 => old.wrapping_mul(2),
            // A function reference, as likely as not to one that exists.
            5 => {
                u64::from(u.int_in_range(0..=3u8)?) << 40
                    | u64::from(u.int_in_range(0..=3u8)?) << 20
                    | old & 7
            }
            6 => u.arbitrary()?,
            _ => word(bytes, u.int_in_range(begin..=end - 8)?),
        };
        bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
