//! How much room a store takes, and what takes it.
//!
//! Invariant: every file is counted under one kind, so the kinds add up to the whole.

use super::{
    Catalogue, CatalogueError,
    survey::{Found, Kind, Leads, Survey},
};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

/// Some files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// How much room a store takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All files.
    pub total: Count,
    /// The most bytes that the files may have together.
    pub quota: Option<u64>,
    /// Code that this build uses on this machine.
    pub code: Count,
    /// Code of other builds or for other processors.
    pub other_code: Count,
    /// Markers of code that was checked.
    pub markers: Count,
    /// Modules.
    pub modules: Count,
    /// Snapshots.
    pub snapshots: Count,
    /// The names of functions, of their versions and aliases, and their settings.
    pub names: Count,
    /// Entries of automatic snapshots.
    pub automatic: Count,
    /// Entries of the index of module files.
    pub index: Count,
    /// What is being written, or crashes left.
    pub temporary: Count,
    /// What the store needs for itself: its locks and its key.
    pub own: Count,
    /// Of all these, what nothing refers to.
    pub garbage: Count,
    /// The functions, by name.
    pub functions: Vec<FunctionUsage>,
}

/// How much room a function takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionUsage {
    /// Its name.
    pub name: String,
    /// The bytes of its snapshot, the current one.
    pub snapshot: u64,
    /// The bytes of all that it and its versions need: of its snapshot, those that this refers to, and the modules.
    pub needed: u64,
    /// The bytes of what goes when it is removed.
    pub own: u64,
    /// How many other functions need some of the rest.
    pub shared_with: u64,
}

impl Catalogue {
    /// How much room the store takes.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn usage(&self) -> Result<Usage, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Usage::default()) };
        let survey = Survey::of(self, &store)?;
        let mut usage = Usage { quota: store.quota()?, ..Usage::default() };
        for found in &survey.found {
            let count = match &found.kind {
                Kind::Function(_) | Kind::Settings(_) => &mut usage.names,
                Kind::Auto(_) => &mut usage.automatic,
                Kind::Snapshot(_) => &mut usage.snapshots,
                Kind::Module(_) => &mut usage.modules,
                Kind::Code { usable: true, .. } => &mut usage.code,
                Kind::Code { usable: false, .. } => &mut usage.other_code,
                Kind::Marker { .. } => &mut usage.markers,
                Kind::Index => &mut usage.index,
                Kind::Temporary => &mut usage.temporary,
                Kind::Own => &mut usage.own,
            };
            for count in [count, &mut usage.total] {
                count.files += 1;
                count.bytes += found.len;
            }
        }
        let garbage = survey.garbage(&HashSet::new());
        usage.garbage = Count { files: garbage.len() as u64, bytes: survey.bytes_of(&garbage) };
        usage.functions = functions(&survey);
        Ok(usage)
    }
}

fn functions(survey: &Survey) -> Vec<FunctionUsage> {
    // A function is all that has its name: versions and aliases.
    let mut named: BTreeMap<String, Vec<&Found>> = BTreeMap::new();
    let roots = survey.found.iter().filter(|found| matches!(found.kind, Kind::Function(_)));
    for root in roots {
        let name = root.function().map_or_else(|| root.name.to_string_lossy(), Cow::from);
        named.entry(name.into_owned()).or_default().push(root);
    }
    let needs: Vec<HashSet<usize>> = named
        .values()
        .map(|roots| {
            let needed = survey.needed_by(roots.iter().copied());
            survey.positions(|found| needed.has(found))
        })
        .collect();
    let mut functions = Vec::with_capacity(named.len());
    for (at, (name, roots)) in named.into_iter().enumerate() {
        let current = roots.iter().find(|root| root.name == *name);
        let snapshot = match current.map(|root| (&root.kind, root.len)) {
            Some((Kind::Function(Leads::To(id)), _)) => survey.len_of(*id),
            Some((Kind::Function(Leads::Is(_)), len)) => len,
            _ => 0,
        };
        let without = survey.positions(|found| roots.iter().any(|root| std::ptr::eq(found, *root)));
        let mut goes = survey.garbage(&without);
        goes.retain(|position| needs[at].contains(position));
        let others = needs.iter().enumerate().filter(|(of, _)| *of != at);
        functions.push(FunctionUsage {
            name,
            snapshot,
            needed: survey.bytes_of(&needs[at]),
            own: survey.bytes_of(&goes),
            shared_with: others.filter(|(_, other)| !other.is_disjoint(&needs[at])).count() as u64,
        });
    }
    functions
}
