//! What a guest does of its own accord at a capture and at a restore: it closes what cannot be
//! captured, and draws randomness anew.
//!
//! Invariant: a hook is an export of a known name that takes and returns nothing; an export of such a
//! name that is anything else is refused, never passed over. Hooks of linked instances run so that
//! each finds the instances it depends on ready: after a restore in the order of instantiation, before
//! a capture the other way round.

use executor_model::{CallError, ExternKind, FuncType, InstanceId};
use executor_runtime::{CompiledModule, Store};

/// A moment at which guests are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before the state is captured, when initialisation is done.
    BeforeSnapshot,
    /// After the state is restored, before the first call.
    AfterRestore,
}

/// A hook that cannot run, or that did not return.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The export is not a function.
    #[error(
        "export `{export}` is to be a function without parameters and results, and is a {kind}"
    )]
    NotAFunction {
        /// Its name.
        export: &'static str,
        /// What it is, in the specification's word.
        kind: String,
    },
    /// The function is of another type.
    #[error("`{export}` is to be a function without parameters and results, and is of type {ty}")]
    Type {
        /// Its name.
        export: &'static str,
        /// Its type.
        ty: FuncType,
    },
    /// It trapped, exited or was interrupted.
    #[error("`{export}`: {source}")]
    Call {
        /// Its name.
        export: &'static str,
        /// How it ended.
        source: CallError,
    },
}

impl Hook {
    /// The name of the export.
    #[must_use]
    pub const fn export(self) -> &'static str {
        match self {
            Self::BeforeSnapshot => "executor_before_snapshot",
            Self::AfterRestore => "executor_after_restore",
        }
    }

    /// Whether a module has this hook.
    ///
    /// # Errors
    /// When its export of that name is not what a hook is.
    pub fn is_in(self, module: &CompiledModule) -> Result<bool, HookError> {
        let (code, export) = (module.code(), self.export());
        let index = match code.export(export) {
            None => return Ok(false),
            Some((ExternKind::Func, index)) => index,
            Some((kind, _)) => {
                let kind = format!("{kind:?}").to_lowercase();
                return Err(HookError::NotAFunction { export, kind });
            }
        };
        match code.function_type(index).and_then(|ty| code.func_type(ty)) {
            Some(ty) if !(ty.params.is_empty() && ty.results.is_empty()) => {
                Err(HookError::Type { export, ty })
            }
            _ => Ok(true),
        }
    }

    /// Calls the hook of every instance of a store that has it.
    ///
    /// # Errors
    /// At the first that cannot be called or does not return. The store's state is then neither
    /// that of before nor that of after, and is to be discarded.
    pub fn run(self, store: &mut Store) -> Result<(), HookError> {
        let count = store.instance_count();
        for i in 0..count {
            let position = match self {
                Self::BeforeSnapshot => count - 1 - i,
                Self::AfterRestore => i,
            };
            let instance = InstanceId::from_position(position);
            let Some(module) = store.module(instance) else { continue };
            if !self.is_in(module)? {
                continue;
            }
            // An instance whose imports were not all found can run nothing.
            let Some(func) = store.exported_func(instance, self.export()) else { continue };
            store
                .call(func, &[])
                .map_err(|source| HookError::Call { export: self.export(), source })?;
        }
        Ok(())
    }
}
