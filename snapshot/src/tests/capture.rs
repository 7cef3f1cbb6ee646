//! What is captured is what is read back.

use super::*;
use crate::{
    FormatError, SnapshotFile,
    format::{Area, Instance, MAX_EXTENTS},
};
use executor_files::publish;
use std::{
    fs,
    io::{self, Write},
};

/// The bytes of an area as a restore would map them.
fn map(file: &[u8], data: usize, area: &Area) -> Vec<u8> {
    let mut bytes = vec![0; area.len.next_multiple_of(PAGE) as usize];
    for e in &area.extents {
        let (at, from, len) = (e.at as usize, data + e.offset as usize, e.len as usize);
        bytes[at..at + len].copy_from_slice(&file[from..from + len]);
    }
    assert!(bytes[area.len as usize..].iter().all(|&b| b == 0), "zero beyond the live bytes");
    bytes.truncate(area.len as usize);
    bytes
}

#[test]
fn every_byte_of_the_state_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let areas = areas();
    let state = state(&areas);
    let manifest = manifest();
    let capture = Capture::new(&state, manifest.clone(), &quiet).unwrap();
    capture.publish(&path, &quiet).unwrap();

    let bytes = fs::read(&path).unwrap();
    let file = SnapshotFile::open(&path).unwrap();
    file.verify().unwrap();
    assert_eq!(file.file_len(), bytes.len() as u64);
    assert_eq!(file.file_len(), capture.file_len());
    assert_eq!(file.id(), capture.id());
    assert_eq!(*file.manifest(), manifest);
    assert_eq!(file.instances().len(), state.instances.len());
    let data = file.head().data_start() as usize;
    assert_eq!(file.head().data_len(), file.instances().iter().map(stored).sum::<u64>());
    for (read, written) in file.instances().iter().zip(&state.instances) {
        assert_eq!(read.module, written.module);
        assert_eq!(read.instantiated, written.instantiated);
        let block = data + read.block.offset as usize;
        assert_eq!(bytes[block..block + read.block.len as usize], written.block);
        let map_all =
            |areas: &[Area]| -> Vec<_> { areas.iter().map(|a| map(&bytes, data, a)).collect() };
        assert_eq!(map_all(&read.tables), written.tables);
        assert_eq!(map_all(&read.memories), written.memories);
    }
}

fn stored(instance: &Instance) -> u64 {
    let areas = instance.tables.iter().chain(&instance.memories);
    instance.block.len + areas.flat_map(|a| &a.extents).map(|e| e.len).sum::<u64>()
}

#[test]
fn long_runs_of_zeroes_are_left_out() {
    let memory = memory(64, &[(0, 1), (63 * 65536, 1)]);
    let areas = [areas()[0].clone(), Areas { tables: Vec::new(), memories: vec![memory] }];
    with_capture(&areas, |capture| {
        // Two pages of head and table each, three of state blocks, and two of 1,024 memory pages; the
        // hash of a chunk.
        assert!(capture.file_len() <= 10 * PAGE + 32, "{}", capture.file_len());
    });
}

#[test]
fn scattered_bytes_need_no_more_extents_than_the_limit_and_the_longest_gaps_go() {
    // Gaps of 2 to 41 WebAssembly pages.
    let positions: Vec<usize> = (0..40).map(|i| (i * (i + 3) / 2) * 65536 + 17).collect();
    let bytes: Vec<_> = positions.iter().map(|&p| (p, 9)).collect();
    let memory = memory(positions[39] / 65536 + 1, &bytes);
    let areas = [areas()[0].clone(), Areas { tables: Vec::new(), memories: vec![memory] }];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    with_capture(&areas, |capture| capture.publish(&path, &quiet).unwrap());
    let file = SnapshotFile::open(&path).unwrap();
    let extents = &file.instances()[1].memories[0].extents;
    assert_eq!(extents.len(), MAX_EXTENTS);
    let (first, rest) = extents.split_first().unwrap();
    assert_eq!((first.at, first.len), (0, (positions[24] as u64 + 1).next_multiple_of(PAGE)));
    assert!(rest.iter().all(|e| e.len == PAGE), "the last fifteen stand alone");
}

#[test]
fn equal_states_have_one_identity_whenever_and_by_whomever_made() {
    let areas = areas();
    let state = state(&areas);
    let id = |m| Capture::new(&state, m, &quiet).unwrap().id();
    let first = id(manifest());
    let timeline = vec![("compile".to_owned(), std::time::Duration::from_nanos(1))];
    assert_eq!(id(Manifest { timeline, ..manifest() }), first);
    assert_eq!(id(Manifest { created: 5, engine: "other".to_owned(), ..manifest() }), first);
    assert_ne!(id(Manifest { inits: Vec::new(), ..manifest() }), first);
    assert_ne!(id(Manifest { wasi: None, ..manifest() }), first);
    let mut changed = areas.clone();
    changed[1].memories[0][77] ^= 1;
    assert_ne!(with_capture(&changed, |c| c.id()), first);
}

#[test]
fn a_manifest_that_does_not_fit_is_refused_before_anything_is_written() {
    let areas = areas();
    let state = state(&areas);
    let refused = |m| matches!(Capture::new(&state, m, &quiet), Err(FormatError::Unwritable(_)));
    assert!(refused(Manifest { instances: Vec::new(), ..manifest() }));
    assert!(refused(Manifest { main: 0, ..manifest() }));
    assert!(refused(Manifest { main: 3, ..manifest() }));
    assert!(refused(Manifest { main: 1, ..manifest() }), "its instantiation failed");
}

#[test]
fn a_write_that_fails_anywhere_leaves_the_file_before_and_nothing_else() {
    struct Full<W>(W, usize);
    impl<W: Write> Write for Full<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let n = self.0.write(&bytes[..bytes.len().min(self.1)])?;
            self.1 -= n;
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    with_capture(&areas(), |capture| capture.publish(&path, &quiet).unwrap());
    let before = fs::read(&path).unwrap();
    let mut changed = areas();
    changed[1].memories[0][77] ^= 1;
    with_capture(&changed, |capture| {
        for room in (0..capture.file_len() as usize).step_by(1111) {
            let result = publish(&path, |file| capture.write_to(&mut Full(file, room), &quiet));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!(names_in(dir.path()), ["s.snap"]);
            assert!(fs::read(&path).unwrap() == before);
        }
    });
}

#[test]
fn progress_ends_at_the_whole() {
    let last = std::cell::Cell::new((0, 1));
    let areas = areas();
    let state = state(&areas);
    let progress = |done, total| last.set((done, total));
    let capture = Capture::new(&state, manifest(), &progress).unwrap();
    let (done, total) = last.take();
    assert_eq!(done, total);
    capture.write_to(&mut io::sink(), &progress).unwrap();
    assert_eq!(last.get(), (done, total));
}
