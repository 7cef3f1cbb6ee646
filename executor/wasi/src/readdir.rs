//! Listing a directory.
//!
//! Invariant: what a guest lists is the directory as it was when it began: the list is made at its
//! beginning, so that entries come neither twice nor get lost while the guest changes them.

use crate::abi::{Dirent, filetype, filetype_of, rights};
use crate::descriptor::{Directory, Entry, Kind};
use crate::{Errno, Memory, Span, WasiCtx};
use cap_std::fs::MetadataExt;
use std::os::unix::fs::DirEntryExt;
use zerocopy::IntoBytes;

/// `fd_readdir`. A directory with a name that is not UTF-8 cannot be listed (`ILSEQ`): no path that a
/// guest can give is that name, and a list without it would be wrong.
pub(crate) fn fd_readdir(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    buffer: Span,
    cookie: u64,
) -> Result<u32, Errno> {
    ctx.observed.other("a directory was listed");
    let mut rest = memory.bytes_mut(buffer)?;
    ctx.descriptors.directory(fd, rights::FD_READDIR)?;
    let Kind::Directory(directory) = &mut ctx.descriptors.get(fd)?.kind else {
        return Err(Errno::NOTDIR);
    };
    let listing = match directory.listing.take() {
        Some(listing) if cookie != 0 => listing,
        _ => list(directory, ctx.room)?,
    };
    let listing = directory.listing.insert(listing);
    let start = usize::try_from(cookie).unwrap_or(usize::MAX).min(listing.len());

    // An entry cut short by the end of the buffer tells the guest to ask again for it.
    for (next, entry) in (start as u64 + 1..).zip(&listing[start..]) {
        let dirent = Dirent {
            next: next.into(),
            ino: entry.inode.into(),
            namlen: (entry.name.len() as u32).into(),
            filetype: entry.filetype,
            ..Dirent::default()
        };
        rest = fill(fill(rest, dirent.as_bytes()), entry.name.as_bytes());
        if rest.is_empty() {
            break;
        }
    }
    Ok(buffer.len - rest.len() as u32)
}

/// Copies what fits to the front of `buffer`; returns what is left of it.
fn fill<'a>(buffer: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let n = bytes.len().min(buffer.len());
    let (front, rest) = buffer.split_at_mut(n);
    front.copy_from_slice(&bytes[..n]);
    rest
}

/// The list of a directory, which takes at most `room` bytes.
fn list(directory: &Directory, room: u64) -> Result<Vec<Entry>, Errno> {
    // What lies above may be out of the guest's reach, so `..` is given the directory's own number.
    let inode = directory.dir.dir_metadata()?.ino();
    let dot = |name: &str| Entry { name: name.to_owned(), inode, filetype: filetype::DIRECTORY };
    let mut entries = vec![dot("."), dot("..")];
    let mut taken = 0;
    for entry in directory.dir.entries()? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| Errno::ILSEQ)?;
        let filetype = filetype_of(entry.file_type()?);
        let entry = Entry { name, inode: entry.ino(), filetype };
        taken += entry.bytes();
        if taken > room {
            return Err(Errno::NOMEM);
        }
        entries.push(entry);
    }
    Ok(entries)
}
