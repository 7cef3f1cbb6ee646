//! What the built program is: a static one that is loaded anywhere.

use crate::process::Finish;
use std::{fs, path::Path, process::Command};

/// Where there is a static C library; see `.cargo/rustc`.
#[test]
fn the_program_needs_no_loader_and_has_no_fixed_address() {
    let found = Command::new("cc").arg("-print-file-name=libc.a").finish().stdout;
    if !Path::new(String::from_utf8(found).unwrap().trim()).is_absolute() {
        eprintln!("skipped: there is no static C library");
        return;
    }
    let elf = fs::read(env!("CARGO_BIN_EXE_executor")).unwrap();
    let half = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().unwrap());
    // ET_DYN, and no program header is PT_INTERP.
    assert_eq!(half(16), 3, "position-independent");
    let (size, count) = (usize::from(half(54)), usize::from(half(56)));
    let first = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    assert!((0..count).all(|i| half(first + i * size) != 3), "static");
}
