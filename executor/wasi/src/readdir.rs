//! Listing directories.
//!
//! Invariant: one listing, from cookie 0 to its end, shows the directory as it was at its
//! beginning, so that entries come neither twice nor get lost while the guest changes them.

use crate::descriptor::{Descriptor, Directory, Entry, filetype, wasi_filetype};
use crate::{Errno, Memory, WasiCtx};
use cap_std::fs::MetadataExt;
use std::os::unix::fs::DirEntryExt;

/// The size of a `dirent` before its name.
const DIRENT_SIZE: usize = 24;

/// `fd_readdir`. Names that are not UTF-8 are left out: no path the guest can give names them.
pub(crate) fn fd_readdir(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    buffer: u32,
    len: u32,
    cookie: u64,
    used: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a directory was listed");
    let Descriptor::Directory(directory) = ctx.descriptors.get_mut(fd)? else {
        return Err(Errno::NOTDIR);
    };
    let listing = match directory.listing.take() {
        Some(listing) if cookie != 0 => listing,
        _ => list(directory)?,
    };
    let listing = directory.listing.insert(listing);
    let start = usize::try_from(cookie).unwrap_or(usize::MAX).min(listing.len());

    // An entry cut short by the end of the buffer tells the guest to ask again for it.
    let mut rest = memory.bytes_mut(buffer, len)?;
    for (next, entry) in (start as u64 + 1..).zip(&listing[start..]) {
        let mut dirent = [0; DIRENT_SIZE];
        dirent[..8].copy_from_slice(&next.to_le_bytes());
        dirent[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        dirent[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
        dirent[20] = entry.filetype;
        rest = fill(fill(rest, &dirent), entry.name.as_bytes());
        if rest.is_empty() {
            break;
        }
    }
    let left = rest.len() as u32;
    memory.write_u32(used, len - left)
}

/// Copies what fits to the front of `buffer`; returns what is left of it.
fn fill<'a>(buffer: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let n = bytes.len().min(buffer.len());
    let (front, rest) = buffer.split_at_mut(n);
    front.copy_from_slice(&bytes[..n]);
    rest
}

fn list(directory: &Directory) -> Result<Vec<Entry>, Errno> {
    // What lies above may be out of the guest's reach, so `..` is given the directory's own number.
    let inode = directory.dir.dir_metadata()?.ino();
    let dot = |name: &str| Entry { name: name.to_owned(), inode, filetype: filetype::DIRECTORY };
    let mut entries = vec![dot("."), dot("..")];
    for entry in directory.dir.entries()? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            let filetype = wasi_filetype(entry.file_type()?);
            entries.push(Entry { name, inode: entry.ino(), filetype });
        }
    }
    Ok(entries)
}
