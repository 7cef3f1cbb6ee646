//! What the name section of a module says of items that only people want the names of.
//!
//! Invariant: best effort, never checked: a name may be of an item that is not there.

use crate::{FuncIndex, GlobalIndex, MemoryIndex, TableIndex};

/// The names of items that no message of the engine's needs, each list sorted by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemNames {
    /// Names of tables.
    pub tables: Vec<(TableIndex, String)>,
    /// Names of memories.
    pub memories: Vec<(MemoryIndex, String)>,
    /// Names of globals.
    pub globals: Vec<(GlobalIndex, String)>,
    /// Names of the locals of the functions that were asked for, sorted by function.
    pub locals: Vec<(FuncIndex, Vec<(u32, String)>)>,
}

impl ItemNames {
    /// The name of an index in one of the lists.
    #[must_use]
    pub fn find(names: &[(u32, String)], index: u32) -> Option<&str> {
        let at = names.binary_search_by_key(&index, |(named, _)| *named).ok()?;
        Some(&names[at].1)
    }

    /// The name of a local of a function.
    #[must_use]
    pub fn local(&self, func: FuncIndex, local: u32) -> Option<&str> {
        let at = self.locals.binary_search_by_key(&func, |(of, _)| *of).ok()?;
        Self::find(&self.locals[at].1, local)
    }
}
