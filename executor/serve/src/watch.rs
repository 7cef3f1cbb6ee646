//! Noticing that functions of the store were deployed, or are gone.
//!
//! Invariant: what changes after [`Watch::new`] is noticed, once or more often.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    thread,
};
use tokio::sync::mpsc;

/// The directories of the store that say what functions there are.
const WATCHED: [&str; 2] = ["functions", "settings"];

/// What notices it.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: mpsc::Receiver<io::Result<BTreeSet<String>>>,
}

impl Watch {
    /// Begins to watch a store.
    ///
    /// # Errors
    /// When the system has no watch left, or the store cannot be watched.
    pub(crate) fn new(store: &Path) -> io::Result<Self> {
        let watched =
            Watched { store: store.to_owned(), inotify: Inotify::init(InitFlags::IN_CLOEXEC)? };
        watched.add()?;
        let (sender, changes) = mpsc::channel(16);
        let thread = thread::Builder::new().name("watch".to_owned());
        thread.spawn(move || {
            loop {
                let changed = watched.changed();
                let failed = changed.is_err();
                // Without a receiver the server has ended.
                if sender.blocking_send(changed).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { changes })
    }

    /// Waits for changes, and names the functions that they are of.
    ///
    /// # Errors
    /// When the store cannot be watched any more. It is said once; after that, nothing changes.
    pub(crate) async fn changed(&mut self) -> io::Result<BTreeSet<String>> {
        match self.changes.recv().await {
            Some(changed) => changed,
            None => std::future::pending().await,
        }
    }
}

/// What the thread that watches has.
struct Watched {
    store: PathBuf,
    inotify: Inotify,
}

impl Watched {
    /// Watches what is there. A directory that is not yet is seen to come in the store itself.
    fn add(&self) -> io::Result<()> {
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM;
        self.inotify
            .add_watch(&self.store, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        for name in WATCHED {
            match self.inotify.add_watch(&self.store.join(name), changes) {
                Ok(_) | Err(nix::Error::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for changes, and names the functions that they are of.
    fn changed(&self) -> io::Result<BTreeSet<String>> {
        loop {
            let mut changed = BTreeSet::new();
            for event in self.inotify.read_events()? {
                let Some(name) = event.name.as_deref().and_then(|name| name.to_str()) else {
                    continue;
                };
                if WATCHED.contains(&name) {
                    self.add()?;
                    // What was put into it before it was watched was not seen.
                    let entries = std::fs::read_dir(self.store.join(name)).into_iter().flatten();
                    for entry in entries.flatten() {
                        changed.extend(entry.file_name().to_str().and_then(function));
                    }
                }
                changed.extend(function(name));
            }
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }
}

/// The function that a file of those directories belongs to. Temporary ones begin with a dot.
fn function(file: &str) -> Option<String> {
    let name = file.strip_suffix(".json").unwrap_or(file);
    let name = name.split('@').next().unwrap_or(name);
    (!name.starts_with('.') && !WATCHED.contains(&name)).then(|| name.to_owned())
}
