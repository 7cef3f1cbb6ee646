//! What the code of a module is made from, the same for all of its functions.
//!
//! Invariant: it is read only, so functions can be compiled in any order and at the same time.

use crate::{deadline::Deadline, isa::Target, reach::Reach, types::ModuleTypes};
use executor_code::{CompileError, layout::InstanceLayout, objects::ObjectTypes};
use executor_model::{FuncIndex, Module, ModuleInfo};

/// What every function of a module is compiled against.
#[derive(Clone, Copy)]
pub(crate) struct ModuleContext<'a> {
    pub(crate) module: &'a Module,
    pub(crate) layout: &'a InstanceLayout,
    pub(crate) target: &'a Target,
    /// Where the fields of objects lie.
    pub(crate) objects: &'a ObjectTypes,
    /// Whether frames can hold references to objects.
    pub(crate) stack_maps: bool,
    /// What values are typed by, where stack maps, frame maps or continuations are asked for.
    pub(crate) types: Option<&'a ModuleTypes>,
    /// Which calls the frame maps have, where they are asked for.
    pub(crate) reach: Option<&'a Reach>,
    /// How many bytes of memory a function may take.
    pub(crate) allowance: u64,
    /// When all of them have to be done.
    pub(crate) deadline: Deadline,
}

impl<'a> ModuleContext<'a> {
    pub(crate) fn info(&self) -> &'a ModuleInfo {
        &self.module.info
    }

    /// That a function takes more memory than it may.
    pub(crate) fn too_large(&self, func: FuncIndex) -> CompileError {
        let names = &self.info().names.functions;
        let at = names.binary_search_by_key(&func, |(index, _)| *index);
        let name = at.ok().map(|at| names[at].1.clone());
        CompileError::TooLarge { func, name, limit: self.allowance }
    }
}
