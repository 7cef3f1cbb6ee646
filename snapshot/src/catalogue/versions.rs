//! Versions of functions: which there are, which is current, and what else leads to one.
//!
//! Invariant: a version, once made, leads to one snapshot for as long as it is there; a function and its aliases
//! lead to a version by exactly its name, in one step. So which version is current is read from one link, and
//! changed by replacing one link. What a crash leaves between two changes is a version that nothing leads to.
//!
//! ```text
//! functions/NAME@1       a symbolic link to a snapshot: a version
//! functions/NAME         a symbolic link to `NAME@1`: the current version of a function that is deployed
//! functions/NAME@prod    a symbolic link to `NAME@1`: an alias
//! ```
//!
//! In a copy of a store that was made without links all three are snapshots, and what has the snapshot of a
//! version leads to the highest of that snapshot.

use super::{Adding, Catalogue, CatalogueError, FUNCTIONS, Swept, Target, snapshot_name, target};
use crate::SnapshotId;
use executor_files::{Entry, Lock, PrivateDir};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::UNIX_EPOCH,
};

/// The longest alias, in bytes.
const MAX_ALIAS: usize = 64;
/// The longest name with a tag, in bytes: that of a file.
const MAX_TAGGED: usize = 255;
/// The file that is locked while versions are made and switched.
const DEPLOYING: &str = "deploying";

/// What follows the `@` in the name of a version or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    Version(u32),
    Alias(&'a str),
}

/// The function that `NAME[@TAG]` names, and the tag.
pub(super) fn split(name: &str) -> Result<(&str, Option<Tag<'_>>), CatalogueError> {
    let Some((function, tag)) = name.split_once('@') else {
        Catalogue::check_name(name)?;
        return Ok((name, None));
    };
    Catalogue::check_name(function)?;
    let invalid = || CatalogueError::Tag { tag: tag.to_owned() };
    if name.len() > MAX_TAGGED {
        return Err(invalid());
    }
    parse(tag).map(|tag| (function, Some(tag))).ok_or_else(invalid)
}

fn parse(tag: &str) -> Option<Tag<'_>> {
    if tag.bytes().all(|c| c.is_ascii_digit()) {
        let number = tag.parse().ok().filter(|_| !tag.starts_with('0'))?;
        return Some(Tag::Version(number));
    }
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    let valid = tag.len() <= MAX_ALIAS
        && tag.starts_with(|c: char| c.is_ascii_lowercase())
        && tag.bytes().all(allowed)
        && !super::is_like_a_file(tag);
    valid.then_some(Tag::Alias(tag))
}

fn version_name(function: &str, number: u32) -> String {
    format!("{function}@{number}")
}

fn alias_name(function: &str, alias: &str) -> Result<String, CatalogueError> {
    let name = format!("{function}@{alias}");
    match split(&name)? {
        (_, Some(Tag::Alias(_))) => Ok(name),
        _ => Err(CatalogueError::Tag { tag: alias.to_owned() }),
    }
}

/// The version of the same function that a link of this name leads to.
pub(super) fn version_led_to<'a>(name: &str, to: &'a Path) -> Option<&'a str> {
    let to = to.to_str()?;
    let leads = |(function, _): &(&str, &str)| name.split('@').next() == Some(function);
    let (_, tag) = to.split_once('@').filter(leads)?;
    let is_version =
        matches!(parse(name.split_once('@').map_or("", |(_, tag)| tag)), Some(Tag::Version(_)));
    (matches!(parse(tag), Some(Tag::Version(_))) && !is_version).then_some(to)
}

/// Whether this is the name of an alias, which only leads to versions.
pub(super) fn is_alias(name: &str) -> bool {
    matches!(split(name), Ok((_, Some(Tag::Alias(_)))))
}

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Whether it is what the function's name leads to.
    pub current: bool,
    /// The aliases that lead to it, sorted.
    pub aliases: Vec<String>,
}

/// What a deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// The version that is current now.
    pub version: u32,
    /// Whether another one was current before.
    pub is_new: bool,
}

/// What a name leads to.
#[derive(Debug, Clone, Copy)]
enum Leads {
    Version(u32),
    /// A snapshot, by a link or as a file.
    Snapshot(SnapshotId),
}

/// The versions of a function as the directory has them.
#[derive(Debug, Default)]
struct Versions {
    /// The snapshot of each, and when it was made.
    made: BTreeMap<u32, (SnapshotId, u64)>,
    /// What the function's name leads to.
    current: Option<Leads>,
    aliases: BTreeMap<String, Leads>,
}

impl Versions {
    fn of(functions: &PrivateDir, function: &str) -> Result<Self, CatalogueError> {
        let mut versions = Self::default();
        for name in functions.names()? {
            let Some(name) = name.to_str() else { continue };
            match split(name) {
                Ok((of, Some(Tag::Version(number)))) if of == function => {
                    let made = functions.look(name)?.and_then(|look| {
                        look.written.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
                    });
                    if let Some(id) = snapshot_of(functions, name)? {
                        versions.made.insert(number, (id, made.unwrap_or(0)));
                    }
                }
                Ok((of, Some(Tag::Alias(alias)))) if of == function => {
                    if let Some(leads) = leads(functions, name)? {
                        versions.aliases.insert(alias.to_owned(), leads);
                    }
                }
                _ => {}
            }
        }
        versions.current = leads(functions, function)?;
        Ok(versions)
    }

    fn number(&self, leads: Leads) -> Option<u32> {
        match leads {
            Leads::Version(number) => Some(number),
            Leads::Snapshot(id) => {
                self.made.iter().rev().find(|(_, (made, _))| *made == id).map(|(number, _)| *number)
            }
        }
    }

    /// The number of the current version.
    fn current(&self) -> Option<u32> {
        self.number(self.current?)
    }

    /// The version that would be made next.
    fn next(&self, function: &str) -> Result<u32, CatalogueError> {
        let last = self.made.keys().next_back().copied().unwrap_or(0);
        let full = || CatalogueError::NoNextVersion { name: function.to_owned() };
        last.checked_add(1).ok_or_else(full)
    }

    /// The tags and names that lead to a version, to be told.
    fn leading_to<'a>(&'a self, function: &'a str, number: u32) -> Vec<String> {
        let current = (self.current() == Some(number)).then(|| function.to_owned());
        let aliases = self.aliases.iter().filter(|(_, leads)| self.number(**leads) == Some(number));
        current.into_iter().chain(aliases.map(|(alias, _)| format!("{function}@{alias}"))).collect()
    }

    /// The old versions that nothing leads to, beyond so many.
    fn beyond(&self, keep: u32) -> Vec<u32> {
        let led: BTreeSet<u32> = self
            .aliases
            .values()
            .chain(&self.current)
            .filter_map(|leads| self.number(*leads))
            .collect();
        let old = self.made.keys().rev().skip(keep as usize);
        old.copied().filter(|number| !led.contains(number)).collect()
    }
}

fn leads(functions: &PrivateDir, name: &str) -> Result<Option<Leads>, CatalogueError> {
    if let Some(Entry::Link(to)) = functions.entry(name)?
        && let Some(version) = version_led_to(name, &to)
        && let Ok((_, Some(Tag::Version(number)))) = split(version)
    {
        return Ok(Some(Leads::Version(number)));
    }
    Ok(snapshot_of(functions, name)?.map(Leads::Snapshot))
}

fn snapshot_of(functions: &PrivateDir, name: &str) -> Result<Option<SnapshotId>, CatalogueError> {
    Ok(match target(functions, name)? {
        Some(Target::Link(id)) => Some(id),
        Some(Target::File(file)) => Some(file.id()),
        Some(Target::Gone) | None => None,
    })
}

impl Catalogue {
    /// The snapshot that a name leads to, without looking at it.
    ///
    /// # Errors
    /// When nothing has the name, or it does not lead to a snapshot of the store.
    pub fn current(&self, name: &str) -> Result<SnapshotId, CatalogueError> {
        split(name)?;
        let Some(functions) = self.sub(FUNCTIONS)? else { return Err(unknown(name)) };
        let mut gone = false;
        loop {
            match target(&functions, name)? {
                Some(Target::Link(id)) => return Ok(id),
                Some(Target::File(file)) => return Ok(file.id()),
                None => return Err(unknown(name)),
                // Who removes a version has changed what leads to it before: it is read again.
                Some(Target::Gone) if gone => {
                    return Err(CatalogueError::Dangling { name: name.to_owned() });
                }
                Some(Target::Gone) => gone = true,
            }
        }
    }

    /// The versions of a function, by number; none where it was never deployed.
    ///
    /// # Errors
    /// When there is no such function, or a version does not lead to a snapshot of the store.
    pub fn versions(&self, function: &str) -> Result<Vec<Version>, CatalogueError> {
        Self::check_name(function)?;
        let Some(functions) = self.sub(FUNCTIONS)? else { return Err(unknown(function)) };
        let versions = Versions::of(&functions, function)?;
        if versions.made.is_empty() && versions.current.is_none() {
            return Err(unknown(function));
        }
        let aliases = |number| {
            let leads = versions.aliases.iter();
            let leads = leads.filter(|(_, leads)| versions.number(**leads) == Some(number));
            leads.map(|(alias, _)| alias.clone()).collect()
        };
        let version = |(number, (snapshot, created)): (&u32, &(SnapshotId, u64))| Version {
            number: *number,
            snapshot: *snapshot,
            created: *created,
            current: versions.current() == Some(*number),
            aliases: aliases(*number),
        };
        Ok(versions.made.iter().map(version).collect())
    }

    /// Whether a function has versions, and so is changed by deploying it.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn is_deployed(&self, function: &str) -> Result<bool, CatalogueError> {
        match self.sub(FUNCTIONS)? {
            Some(functions) => is_deployed(&functions, function),
            None => Ok(false),
        }
    }

    /// Removes the old versions of a function beyond so many that neither it nor an alias leads to, and every file
    /// that nothing refers to any more.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn prune(&self, function: &str, keep: u32) -> Result<Swept, CatalogueError> {
        Self::check_name(function)?;
        let Some(store) = self.store()? else { return Ok(Swept::default()) };
        let Some(functions) = store.sub(FUNCTIONS)? else { return Ok(Swept::default()) };
        if Versions::of(&functions, function)?.beyond(keep).is_empty() {
            return Ok(Swept::default());
        }
        // Nobody switches now: who does has the lock on adding.
        let _lock = store.lock_exclusively()?;
        for number in Versions::of(&functions, function)?.beyond(keep) {
            functions.remove(version_name(function, number))?;
        }
        functions.sync()?;
        self.sweep_locked(&store, |_| false)
    }

    /// Removes the names that are meant by `name`: all of a function, or one version or alias.
    pub(super) fn remove_names(functions: &PrivateDir, name: &str) -> Result<(), CatalogueError> {
        let (function, tag) = split(name)?;
        if let Some(tag) = tag {
            if let Tag::Version(number) = tag {
                let by = Versions::of(functions, function)?.leading_to(function, number);
                if !by.is_empty() {
                    return Err(CatalogueError::VersionInUse { name: name.to_owned(), by });
                }
            }
            functions.remove(name)?.ok_or_else(|| unknown(name))?;
            return Ok(functions.sync()?);
        }
        let (mut leading, mut versions) = (Vec::new(), Vec::new());
        for found in functions.names()? {
            match found.to_str().map(split) {
                Some(Ok((of, Some(Tag::Version(_))))) if of == function => versions.push(found),
                // The function's own name goes first: then it is not there any more.
                Some(Ok((of, None))) if of == function => leading.insert(0, found),
                Some(Ok((of, Some(Tag::Alias(_))))) if of == function => leading.push(found),
                _ => {}
            }
        }
        if leading.is_empty() && versions.is_empty() {
            return Err(unknown(name));
        }
        for names in [leading, versions] {
            for name in &names {
                functions.remove(name)?;
            }
            if !names.is_empty() {
                // Or a crash could bring back a link after what it leads to has gone.
                functions.sync()?;
            }
        }
        Ok(())
    }
}

fn is_deployed(functions: &PrivateDir, function: &str) -> Result<bool, CatalogueError> {
    Ok(match functions.entry(function)? {
        Some(Entry::Link(to)) => version_led_to(function, &to).is_some(),
        // In a copy without links only the versions tell.
        Some(Entry::NoLink) => !Versions::of(functions, function)?.made.is_empty(),
        None => false,
    })
}

pub(super) fn unknown(name: &str) -> CatalogueError {
    match name.split_once('@') {
        None => CatalogueError::UnknownFunction { name: name.to_owned() },
        Some((function, tag)) => {
            CatalogueError::UnknownTag { name: function.to_owned(), tag: tag.to_owned() }
        }
    }
}

impl Adding<'_> {
    /// Makes a version of a function of a snapshot that was put here, and switches the function to it. A function
    /// that was not deployed so far becomes the version before. Where the current version or the latest has the same
    /// snapshot, none is made. `before` is called between the two.
    ///
    /// # Errors
    /// When `name` cannot be that of a function, the snapshot is not here, or a link cannot be written; and that of
    /// `before`.
    pub fn deploy(
        &self,
        function: &str,
        id: SnapshotId,
        before: impl FnOnce() -> Result<(), CatalogueError>,
    ) -> Result<Switched, CatalogueError> {
        Catalogue::check_name(function)?;
        self.ensure_snapshot(function, id)?;
        let dir = self.store.make_sub(FUNCTIONS)?;
        let _turn = self.turn()?;
        let mut versions = Versions::of(&dir, function)?;
        if let Some(Leads::Snapshot(old)) = versions.current
            && versions.current().is_none()
        {
            self.ensure_snapshot(function, old)?;
            let number = versions.next(function)?;
            make_version(&dir, function, number, old)?;
            versions.made.insert(number, (old, 0));
        }
        let same = |number: &u32| versions.made.get(number).is_some_and(|(made, _)| *made == id);
        let is_new = versions.current().filter(same).is_none();
        // A deployment that was cut off has left its version, as the latest.
        let latest = versions.made.keys().next_back().copied();
        let version = match versions.current().filter(same).or(latest.filter(same)) {
            Some(number) => number,
            None => {
                let number = versions.next(function)?;
                make_version(&dir, function, number, id)?;
                number
            }
        };
        before()?;
        if is_new || !matches!(versions.current, Some(Leads::Version(_))) {
            switch(&dir, function, function, version)?;
        }
        Ok(Switched { version, is_new })
    }

    /// Switches a function to another of its versions, and returns which: the highest below the current one where
    /// none is named.
    ///
    /// # Errors
    /// When there is no such function or version, its snapshot is gone, or the link cannot be written.
    pub fn rollback(&self, function: &str, to: Option<u32>) -> Result<u32, CatalogueError> {
        let (dir, _turn, versions) = self.deployed(function)?;
        let number = match to {
            Some(number) => number,
            None => {
                let current = versions.current();
                let below = current.and_then(|at| versions.made.range(..at).next_back());
                let none = || CatalogueError::NoEarlierVersion { name: function.to_owned() };
                *below.ok_or_else(none)?.0
            }
        };
        self.ensure_version(function, &versions, number)?;
        switch(&dir, function, function, number)?;
        Ok(number)
    }

    /// Makes an alias of a version, or has it lead to another.
    ///
    /// # Errors
    /// When there is no such function or version, its snapshot is gone, `alias` cannot be one, or the link cannot be
    /// written.
    pub fn set_alias(
        &self,
        function: &str,
        alias: &str,
        number: u32,
    ) -> Result<(), CatalogueError> {
        Catalogue::check_name(function)?;
        let name = alias_name(function, alias)?;
        let (dir, _turn, versions) = self.deployed(function)?;
        self.ensure_version(function, &versions, number)?;
        switch(&dir, function, &name, number)
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// When there is none, or it cannot be removed.
    pub fn remove_alias(&self, function: &str, alias: &str) -> Result<(), CatalogueError> {
        Catalogue::check_name(function)?;
        let name = alias_name(function, alias)?;
        let dir = self.store.sub(FUNCTIONS)?.ok_or_else(|| unknown(&name))?;
        let _turn = self.turn()?;
        dir.remove(&name)?.ok_or_else(|| unknown(&name))?;
        Ok(dir.sync()?)
    }

    /// The versions of a function, which nobody else changes as long as the lock is held.
    fn deployed(&self, function: &str) -> Result<(PrivateDir, Lock, Versions), CatalogueError> {
        Catalogue::check_name(function)?;
        let dir = self.store.sub(FUNCTIONS)?.ok_or_else(|| unknown(function))?;
        let turn = self.turn()?;
        let versions = Versions::of(&dir, function)?;
        if versions.made.is_empty() {
            return Err(match versions.current {
                None => unknown(function),
                Some(_) => CatalogueError::NotDeployed { name: function.to_owned() },
            });
        }
        Ok((dir, turn, versions))
    }

    fn turn(&self) -> Result<Lock, CatalogueError> {
        Ok(self.store.lock_number(DEPLOYING, 0)?)
    }

    fn ensure_snapshot(&self, name: &str, id: SnapshotId) -> Result<(), CatalogueError> {
        match self.snapshot(id)? {
            Some(_) => Ok(()),
            None => Err(CatalogueError::Dangling { name: name.to_owned() }),
        }
    }

    fn ensure_version(
        &self,
        function: &str,
        versions: &Versions,
        number: u32,
    ) -> Result<(), CatalogueError> {
        let name = version_name(function, number);
        let (id, _) = versions.made.get(&number).ok_or_else(|| unknown(&name))?;
        self.ensure_snapshot(&name, *id)
    }

    /// Refuses to give a name another snapshot where versions would be passed over.
    pub(super) fn ensure_not_deployed(
        functions: &PrivateDir,
        name: &str,
    ) -> Result<(), CatalogueError> {
        match is_deployed(functions, name)? {
            true => Err(CatalogueError::Deployed { name: name.to_owned() }),
            false => Ok(()),
        }
    }
}

fn make_version(
    dir: &PrivateDir,
    function: &str,
    number: u32,
    id: SnapshotId,
) -> Result<(), CatalogueError> {
    let to = Path::new("../snapshots").join(snapshot_name(id));
    Ok(dir.publish_link(version_name(function, number), &to)?)
}

fn switch(dir: &PrivateDir, function: &str, name: &str, number: u32) -> Result<(), CatalogueError> {
    Ok(dir.publish_link(name, Path::new(&version_name(function, number)))?)
}
