//! One file of a snapshot that has pages of others.
//!
//! Invariant: no guest runs and no code is needed: what is written is read from the files, after all of them were
//! checked. It is the snapshot that would have been made without a base.

use crate::{
    Created, Error, Runtime, Snapshot,
    event::{Event, Listener, Work},
    function::{Function, Place, keep_capture},
    report::Report,
};
use executor_files::check_output;
use executor_snapshot::{Capture, Catalogue, CatalogueError, Flat};
use std::path::Path;

impl Runtime {
    /// Stores a function whose snapshot is that of `name` in one file. It replaces what `flat` was, which can be
    /// `name` itself.
    ///
    /// # Errors
    /// When there is no such function, anything of it is missing or damaged, or the store cannot be written.
    pub fn flatten(&self, name: &str, flat: &str) -> Result<Created, Error> {
        let listener = &self.shared.listener;
        let snapshot = self.snapshot_of(name)?;
        if let Some(catalogue) = self.shared.directory() {
            Catalogue::check_name(flat)?;
            if catalogue.is_deployed(flat)? {
                return Err(CatalogueError::Deployed { name: flat.to_owned() }.into());
            }
            let adding = catalogue.add()?;
            // Its modules are here, and stay as long as the lock on adding is held.
            let created = write(&snapshot, &mut [Place::Store(&adding, &[])], listener)?;
            adding.set_function(flat, created.id)?;
            return Ok(created);
        }
        let mut file = None;
        let created = write(&snapshot, &mut [Place::Memory(&mut file)], listener)?;
        if let Some(file) = file {
            let (snapshot, report) = (Snapshot::new(file), &mut Report::default());
            let function = Function::of_store(self, flat, snapshot, &[], report)?;
            self.kept().insert(flat.to_owned(), function);
        }
        Ok(created)
    }

    /// Writes a snapshot to one file: a new one, or in place of a regular file.
    ///
    /// # Errors
    /// When anything of it is missing or damaged, or the file cannot be written.
    pub fn flatten_to(&self, snapshot: &Snapshot, path: &Path) -> Result<Created, Error> {
        check_output(path).map_err(|source| Error::Output { path: path.to_owned(), source })?;
        write(snapshot, &mut [Place::File(path)], &self.shared.listener)
    }
}

fn write(
    snapshot: &Snapshot,
    places: &mut [Place<'_>],
    listener: &Listener,
) -> Result<Created, Error> {
    let flat = Flat::read(snapshot.file())?;
    let state = flat.state();
    listener.work(Work::Snapshot, || {
        let report = |done: u64, total: u64| listener.tell(Event::Progress { done, total });
        let (manifest, runs) = (flat.manifest().clone(), flat.working_set());
        let capture = Capture::with_working_set(&state, manifest, runs, &report)?;
        keep_capture(&capture, places, &report)?;
        Ok(Created { id: capture.id(), len: capture.file_len(), warnings: Vec::new() })
    })
}
