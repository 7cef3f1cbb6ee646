//! Reading a whole store, and saying what is wrong with it.
//!
//! Invariant: nothing is changed, and one fault hides no other. What another process removes meanwhile is
//! no fault.

use super::{
    AUTO, Catalogue, CatalogueError, FUNCTIONS, INDEX, MODULES, SETTINGS, SNAPSHOTS, auto::entries,
    id_of_name, key_of_name, module_of_name, settings, stamp,
};
use executor_code::{CodeCache, CodeEntry};
use executor_files::{PrivateDir, is_temporary};
use serde::Serialize;
use std::{
    ffi::OsStr,
    fmt::Display,
    path::{Path, PathBuf},
};

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What mends it.
    pub mend: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many files were looked at.
    pub files: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

const REMOVE: &str = "remove it; nothing else is lost";
const COMPILED_AGAIN: &str = "remove it; the module is compiled again when it next runs";
const CREATE_AGAIN: &str =
    "create its functions again, from their modules; then `executor store gc`";

impl Checked {
    fn fault(&mut self, path: &Path, what: impl Display, mend: &str) {
        // Messages begin with their file.
        let what = what.to_string();
        let prefix = format!("{}: ", path.display());
        let what = what.strip_prefix(&prefix).unwrap_or(&what).to_owned();
        self.faults.push(Fault { path: path.to_owned(), what, mend: mend.to_owned() });
    }

    /// Opens a directory and checks each file in it that is no temporary one.
    fn each(
        &mut self,
        store: &PrivateDir,
        dir: &str,
        mend: &str,
        check: impl Fn(&PrivateDir, &OsStr) -> Result<(), CatalogueError>,
    ) {
        let path = store.path().join(dir);
        let listed = store.sub(dir).and_then(|dir| match dir {
            Some(dir) => dir.names().map(|names| Some((dir, names))),
            None => Ok(None),
        });
        let (dir, mut names) = match listed {
            Ok(Some(listed)) => listed,
            Ok(None) => return,
            Err(error) => return self.fault(&path, error, "make it this user's alone"),
        };
        names.sort_unstable();
        for name in names.iter().filter(|name| !is_temporary(name)) {
            self.files += 1;
            let Err(error) = check(&dir, name) else { continue };
            // Removed since.
            if !matches!(dir.look(name), Ok(None)) {
                self.fault(&path.join(name), error, mend);
            }
        }
    }
}

impl Catalogue {
    /// Reads every file of the store and checks it: names and hashes, what leads where, that what is needed is
    /// there, and that nobody else may write to it.
    ///
    /// # Errors
    /// When the store itself cannot be opened.
    pub fn check(&self) -> Result<Checked, CatalogueError> {
        let mut checked = Checked::default();
        let Some(store) = self.store()? else { return Ok(checked) };
        let misplaced = |dir: &PrivateDir, name: &OsStr| CatalogueError::Damaged {
            path: dir.path().join(name),
        };
        checked.each(&store, FUNCTIONS, "create the function again, or remove it", |dir, name| {
            let name = name.to_str().ok_or_else(|| misplaced(dir, name))?;
            self.open_function(name).map(drop)
        });
        checked.each(&store, SETTINGS, "remove it, and set them again", |dir, name| {
            settings::function_of_name(name).map(drop).ok_or_else(|| misplaced(dir, name))
        });
        checked.each(&store, SNAPSHOTS, CREATE_AGAIN, |dir, name| {
            let id = id_of_name(name).ok_or_else(|| misplaced(dir, name))?;
            let Some(file) = self.snapshot(id)? else { return Ok(()) };
            file.verify()?;
            for hash in file.modules() {
                if dir_has(&store, MODULES, &super::module_name(hash))? {
                    continue;
                }
                return Err(CatalogueError::MissingModule { path: self.module_path(hash) });
            }
            Ok(())
        });
        checked.each(&store, MODULES, CREATE_AGAIN, |dir, name| {
            let hash = module_of_name(name).ok_or_else(|| misplaced(dir, name))?;
            self.module(hash).map(drop)
        });
        checked.each(&store, AUTO, REMOVE, |dir, name| {
            let key = key_of_name(name).ok_or_else(|| misplaced(dir, name))?;
            entries(dir, &key.to_string()).map(drop)
        });
        checked.each(&store, INDEX, REMOVE, |dir, name| {
            let name = name.to_str().ok_or_else(|| misplaced(dir, name))?;
            stamp::read(dir, name)
        });
        self.check_code(&store, &mut checked);
        Ok(checked)
    }

    fn check_code(&self, store: &PrivateDir, checked: &mut Checked) {
        let dir = store.path().join(CodeCache::DIR);
        let mut listed = match CodeCache::list(store) {
            Ok(listed) => listed,
            Err(error) => return checked.fault(&dir, error, "make it this user's alone"),
        };
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for code in listed {
            if matches!(code.what, CodeEntry::Temporary) {
                continue;
            }
            checked.files += 1;
            if !matches!(code.what, CodeEntry::Code { .. }) {
                continue;
            }
            let path = dir.join(&code.name);
            match CodeCache::check(store, &code.name) {
                // Of another format: nobody but another release looks at it.
                Ok(None | Some(Ok(()))) => {}
                Ok(Some(Err(damage))) => checked.fault(&path, damage, COMPILED_AGAIN),
                Err(error) => checked.fault(&path, error, COMPILED_AGAIN),
            }
        }
    }
}

fn dir_has(store: &PrivateDir, dir: &str, name: &str) -> Result<bool, CatalogueError> {
    Ok(match store.sub(dir)? {
        Some(dir) => dir.look(name)?.is_some(),
        None => false,
    })
}
