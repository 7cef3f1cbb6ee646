//! Snapshots over another: what they hold of their own, and that what comes back is the state.

use super::*;
use crate::{
    Catalogue, Flat, FormatError, Layers, SnapshotError, SnapshotFile, SnapshotId,
    format::{MAX_BASES, MAX_LAYERED_EXTENTS, Section, reseal},
};
use executor_runtime::Extent;
use std::{
    fs,
    path::{Path, PathBuf},
};

const WASM_PAGE: usize = 65536;

/// Pages of a memory, by number, that hold this byte throughout.
fn fill(areas: &mut [Areas; 2], pages: impl IntoIterator<Item = usize>, byte: u8) {
    for page in pages {
        areas[1].memories[0][page * 4096..(page + 1) * 4096].fill(byte);
    }
}

/// Two instances, with a memory of so many 4 KiB pages that are all different.
fn full(pages: usize) -> [Areas; 2] {
    let mut areas = areas();
    areas[1].memories[0] = memory(pages.div_ceil(16), &[]);
    for page in 0..pages {
        fill(&mut areas, [page], page as u8 | 1);
        areas[1].memories[0][page * 4096] = (page / 256) as u8;
    }
    areas
}

/// Captures over a base, and opens what was written.
fn over(areas: &[Areas], base: &SnapshotFile, path: &Path) -> Result<SnapshotFile, SnapshotError> {
    let state = state(areas);
    let layers = Layers::find(&state, base)?;
    let capture = Capture::layered(&state, manifest(), &[], &layers, &quiet).unwrap();
    capture.publish(path, &quiet).unwrap();
    let file = capture.opened(fs::File::open(path).unwrap(), path.to_owned()).unwrap();
    assert_eq!(file.id(), capture.id());
    Ok(file)
}

fn alone(areas: &[Areas], path: &Path) -> SnapshotFile {
    with_capture(areas, |capture| capture.publish(path, &quiet).unwrap());
    SnapshotFile::open(path).unwrap()
}

/// Holds that a file is a snapshot of the state, by its identity once it is flat.
fn assert_is(file: &SnapshotFile, areas: &[Areas]) {
    file.verify().unwrap();
    let flat = Flat::read(file).unwrap();
    for (instance, areas) in flat.state().instances.iter().zip(areas) {
        assert!(instance.memories == areas.memories.iter().map(|m| &m[..]).collect::<Vec<_>>());
        assert!(instance.tables == areas.tables.iter().map(|t| &t[..]).collect::<Vec<_>>());
    }
    let state = flat.state();
    let captured = Capture::new(&state, flat.manifest().clone(), &quiet).unwrap();
    assert_eq!(captured.id(), with_capture(areas, |capture| capture.id()));
}

fn extents(file: &SnapshotFile) -> &[Extent] {
    &file.instances()[1].memories[0].extents
}

fn own_pages(file: &SnapshotFile) -> u64 {
    extents(file).iter().filter(|e| e.source == 0).map(|e| e.len / PAGE).sum()
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn only_what_differs_is_stored_and_the_state_comes_back() {
    let dir = Dir::new();
    let first = full(1024);
    let base = alone(&first, &dir.path("base.snap"));
    let same = over(&first, &base, &dir.path("same.snap")).unwrap();
    assert_is(&same, &first);
    assert_eq!((own_pages(&same), extents(&same).len()), (0, 1));
    // Head, state blocks and the hash of a chunk.
    assert!(same.file_len() <= 5 * PAGE, "{}", same.file_len());

    let mut changed = first.clone();
    fill(&mut changed, [0, 500, 501, 1023], 99);
    let file = over(&changed, &base, &dir.path("changed.snap")).unwrap();
    assert_is(&file, &changed);
    assert_eq!(own_pages(&file), 4);
    assert_ne!(file.id(), alone(&changed, &dir.path("flat.snap")).id());

    // A table of which nothing is in the base, and a memory that has grown, by a page that is not zero.
    let mut grown = changed.clone();
    grown[0].tables[0][8] ^= 1;
    grown[1].memories[0].resize(1030 * 4096, 0);
    fill(&mut grown, [1028], 3);
    let file = over(&grown, &base, &dir.path("grown.snap")).unwrap();
    assert_is(&file, &grown);
    // Two pages between are zero.
    assert_eq!(own_pages(&file), 4 + 5);

    // A smaller one, as of another run of the guest.
    let mut smaller = changed;
    smaller[1].memories[0].truncate(WASM_PAGE);
    let file = over(&smaller, &base, &dir.path("smaller.snap")).unwrap();
    assert_is(&file, &smaller);
    assert_eq!((own_pages(&file), extents(&file).len()), (1, 2));
}

#[test]
fn pages_that_became_zero_are_zero_and_long_runs_of_them_are_in_no_file() {
    let dir = Dir::new();
    let first = full(1024);
    let base = alone(&first, &dir.path("base.snap"));
    let mut changed = first;
    fill(&mut changed, (100..600).chain([900]), 0);
    let file = over(&changed, &base, &dir.path("changed.snap")).unwrap();
    assert_is(&file, &changed);
    assert_eq!(own_pages(&file), 0, "{:?}", extents(&file));
    assert_eq!(extents(&file).len(), 3);
}

#[test]
fn scattered_differences_cost_no_more_extents_than_a_restore_maps() {
    let dir = Dir::new();
    let first = full(4096);
    let base = alone(&first, &dir.path("base.snap"));
    let mut last = base;
    let mut changed = first;
    // Each in other places, so that the pieces become more and more.
    for layer in 0..MAX_BASES {
        fill(&mut changed, (0..4096 / 40).map(|i| i * 40 + layer * 3), 200 + layer as u8);
        let path = dir.path(&format!("{layer}.snap"));
        last = over(&changed, &last, &path).unwrap();
        assert_is(&last, &changed);
        let count = extents(&last).len();
        assert!(count <= MAX_LAYERED_EXTENTS, "{count}");
        assert!(own_pages(&last) < 4096);
    }
}

#[test]
fn a_chain_names_every_file_itself_and_has_an_end() {
    let dir = Dir::new();
    let mut areas = full(640);
    let mut last = alone(&areas, &dir.path("base.snap"));
    let base = last.id();
    for layer in 1..=MAX_BASES {
        fill(&mut areas, [layer * 40], 200);
        last = over(&areas, &last, &dir.path(&format!("{layer}.snap"))).unwrap();
        assert_is(&last, &areas);
        assert_eq!(last.bases().len(), layer);
        assert!(last.bases().iter().any(|named| named.id == base));
    }
    fill(&mut areas, [1], 200);
    let refused = over(&areas, &last, &dir.path("more.snap")).unwrap_err();
    assert!(matches!(refused, SnapshotError::Chain { .. }), "{refused}");
    assert!(refused.to_string().contains("snapshot flatten"), "{refused}");
    // What it no longer has pages of is not named.
    let mut other = areas.clone();
    fill(&mut other, 0..640, 7);
    let file = over(&other, &last, &dir.path("other.snap")).unwrap();
    assert!(file.bases().len() <= 1);
    assert_is(&file, &other);
}

#[test]
fn instances_of_other_modules_share_nothing() {
    let dir = Dir::new();
    let areas = full(64);
    let base = alone(&areas, &dir.path("base.snap"));
    let mut state = state(&areas);
    state.instances[1].module = ModuleHash::of(b"another");
    let layers = Layers::find(&state, &base).unwrap();
    let capture = Capture::layered(&state, manifest(), &[], &layers, &quiet).unwrap();
    capture.publish(&dir.path("s.snap"), &quiet).unwrap();
    let file = capture.opened(fs::File::open(dir.path("s.snap")).unwrap(), dir.path("s.snap"));
    let file = file.unwrap();
    assert_eq!(own_pages(&file), 64);
    let shared = |i: usize| file.instances()[i].tables.iter().flat_map(|t| &t.extents);
    assert!(shared(0).any(|extent| extent.source == 1));
}

#[test]
fn a_base_is_found_beside_the_file_and_known_by_its_data() {
    let dir = Dir::new();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    let mut changed = first.clone();
    fill(&mut changed, [30], 99);
    let path = dir.path("s.snap");
    over(&changed, &base, &path).unwrap();
    assert_is(&SnapshotFile::open(&path).unwrap(), &changed);
    // By its identity.
    let by_id = dir.path(&format!("{}.snap", base.id()));
    fs::rename(dir.path("base.snap"), &by_id).unwrap();
    assert_is(&SnapshotFile::open(&path).unwrap(), &changed);
    // Another file of that name is not it.
    let mut other = first;
    fill(&mut other, [5], 98);
    alone(&other, &by_id);
    for missing in [by_id.as_path(), Path::new("/nowhere")] {
        let file = SnapshotFile::open(&path).unwrap();
        let error = file.verify().unwrap_err();
        let SnapshotError::MissingBase { id, .. } = &error else { panic!("{error}") };
        assert_eq!(*id, base.id());
        let text = error.to_string();
        for word in ["s.snap", &id.to_string(), "base.snap", "beside it as"] {
            assert!(text.contains(word), "{text}");
        }
        let _ = fs::remove_file(missing);
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_not_followed() {
    let dir = Dir::new();
    fs::create_dir(dir.path("inner")).unwrap();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    let path = dir.path("inner/s.snap");
    let file = over(&first, &base, &path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let origin = file.head().section(Section::Origin);
    let origin = &mut bytes[origin.start as usize..origin.end as usize];
    let at = origin.windows(9).position(|word| word == b"base.snap").unwrap();
    fs::hard_link(dir.path("base.snap"), dir.path("e.snap")).unwrap();
    origin[at..at + 9].copy_from_slice(b"../e.snap");
    reseal(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let error = SnapshotFile::open(&path).unwrap().verify().unwrap_err();
    assert!(matches!(error, SnapshotError::MissingBase { .. }), "{error}");
}

#[test]
fn damage_of_a_base_is_found_and_said_to_be_its() {
    let dir = Dir::new();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    let mut changed = first;
    fill(&mut changed, [30], 99);
    let path = dir.path("s.snap");
    over(&changed, &base, &path).unwrap();
    let mut bytes = fs::read(dir.path("base.snap")).unwrap();
    let extent = extents(&base)[0];
    let at = base.head().data_start() + extent.offset + 50 * PAGE;
    bytes[at as usize] ^= 1;
    fs::write(dir.path("base.snap"), &bytes).unwrap();
    let error = SnapshotFile::open(&path).unwrap().verify().unwrap_err();
    let SnapshotError::Format { path: named, source: FormatError::Chunk { holds, .. } } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(named, &dir.path("base.snap"));
    assert!(holds.contains("of memory 0 of instance 2"), "{holds}");
}

fn put(catalogue: &Catalogue, name: &str, areas: &[Areas], base: Option<&SnapshotFile>) {
    let state = state(areas);
    let layers = base.map(|base| Layers::find(&state, base).unwrap()).unwrap_or_default();
    let capture = Capture::layered(&state, manifest(), &[], &layers, &quiet).unwrap();
    let adding = catalogue.add().unwrap();
    let id = adding.put_snapshot(&capture, &quiet).unwrap();
    adding.set_function(name, id).unwrap();
}

fn stored(catalogue: &Catalogue) -> Vec<SnapshotId> {
    let names = names_in(&catalogue.dir().join("snapshots"));
    names.iter().map(|name| name.strip_suffix(".snap").unwrap().parse().unwrap()).collect()
}

#[test]
fn the_store_keeps_bases_as_long_as_they_are_needed() {
    let dir = Dir::new();
    let catalogue = Catalogue::open(dir.path("store")).unwrap();
    let first = full(64);
    put(&catalogue, "base", &first, None);
    let base = catalogue.open_function("base").unwrap();
    let mut changed = first.clone();
    fill(&mut changed, [30], 99);
    put(&catalogue, "f", &changed, Some(&base));
    assert_eq!(catalogue.remove("base").unwrap().files, 0, "the other function needs it");
    assert!(stored(&catalogue).contains(&base.id()));
    assert_is(&catalogue.open_function("f").unwrap(), &changed);
    assert_eq!(catalogue.remove("f").unwrap().files, 2);
    assert!(stored(&catalogue).is_empty());
}

#[test]
fn a_base_from_elsewhere_is_put_into_the_store_with_what_needs_it() {
    let dir = Dir::new();
    let catalogue = Catalogue::open(dir.path("store")).unwrap();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    put(&catalogue, "f", &first, Some(&base));
    fs::remove_file(dir.path("base.snap")).unwrap();
    assert_is(&catalogue.open_function("f").unwrap(), &first);
    assert_eq!(stored(&catalogue).len(), 2);

    // A damaged one is not, and nothing of what needs it either; one in the store is replaced.
    let path = catalogue.snapshot_path(base.id());
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[base.head().data_start() as usize + 50_000] ^= 1;
    fs::write(&path, &bad).unwrap();
    catalogue.open_function("f").unwrap().verify().unwrap_err();
    fs::write(dir.path("good.snap"), &good).unwrap();
    put(&catalogue, "f", &first, Some(&SnapshotFile::open(dir.path("good.snap")).unwrap()));
    catalogue.open_function("f").unwrap().verify().unwrap();
    let other = Catalogue::open(dir.path("other")).unwrap();
    let state = state(&first);
    let layers = Layers::find(&state, &base).unwrap();
    let capture = Capture::layered(&state, manifest(), &[], &layers, &quiet).unwrap();
    drop(layers);
    fs::write(dir.path("base.snap"), &bad).unwrap();
    let damaged = SnapshotFile::open(dir.path("base.snap")).unwrap();
    let layers = Layers::find(&state, &damaged).unwrap();
    let of_damaged = Capture::layered(&state, manifest(), &[], &layers, &quiet).unwrap();
    let error = other.add().unwrap().put_snapshot(&of_damaged, &quiet).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(stored(&other).is_empty());
    // The first one's file is open still, whatever became of its name.
    other.add().unwrap().put_snapshot(&capture, &quiet).unwrap();
    assert_eq!(stored(&other).len(), 2);
}

#[test]
fn a_base_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    fs::set_permissions(dir.path("base.snap"), fs::Permissions::from_mode(0o666)).unwrap();
    let error = over(&first, &base, &dir.path("s.snap")).unwrap_err();
    assert!(error.to_string().contains("base.snap"), "{error}");
}

#[test]
fn a_forged_extent_of_a_base_is_refused() {
    let dir = Dir::new();
    let first = full(64);
    let base = alone(&first, &dir.path("base.snap"));
    let path = dir.path("s.snap");
    let file = over(&first, &base, &path).unwrap();
    let good = fs::read(&path).unwrap();
    let records = file.head().section(Section::Extents);
    let record = records.start as usize..records.start as usize + 28;
    for (at, word, reason) in [
        (24, 2u64, "in a file that it does not name"),
        (24, u64::from(u32::MAX), "in a file that it does not name"),
        (16, base.head().data_len() + PAGE, "outside the file"),
        (8, base.head().data_len(), "outside the file"),
    ] {
        let mut bytes = good.clone();
        let len = if at == 24 { 4 } else { 8 };
        let place = record.start + at;
        bytes[place..place + len].copy_from_slice(&word.to_le_bytes()[..len]);
        reseal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = SnapshotFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
