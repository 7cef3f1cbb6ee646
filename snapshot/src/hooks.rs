//! What a guest does at a capture and at a restore: it closes what cannot be captured, and draws
//! randomness anew. It has exports of known names for that, and who makes the snapshot can name more
//! ([`AfterRestore`](Hook::AfterRestore) alone).
//!
//! Invariant: a hook is an export that takes and returns nothing; one of a known name that is anything
//! else is refused, never passed over. Hooks of linked instances run so that
//! each finds the instances it depends on ready: after a restore in the order of instantiation, before
//! a capture the other way round.

use executor_model::{CallError, Escaped, ExternKind, FuncType, InstanceId};
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
    /// The main instance's module does not export it.
    #[error("`{}` is to be called after each restore, and the module does not export it", Escaped(.export))]
    Missing {
        /// Its name.
        export: String,
    },
    /// The export is not a function.
    #[error(
        "export `{}` is to be a function without parameters and results, and is a {kind}",
        Escaped(.export)
    )]
    NotAFunction {
        /// Its name.
        export: String,
        /// What it is, in the specification's word.
        kind: String,
    },
    /// The function is of another type.
    #[error(
        "`{}` is to be a function without parameters and results, and is of type {ty}",
        Escaped(.export)
    )]
    Type {
        /// Its name.
        export: String,
        /// Its type.
        ty: FuncType,
    },
    /// It trapped, exited or was interrupted.
    #[error("`{}`: {source}", Escaped(.export))]
    Call {
        /// Its name.
        export: String,
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
        exports(module, self.export())
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
            let export = self.export().to_owned();
            store.call(func, &[]).map_err(|source| HookError::Call { export, source })?;
        }
        Ok(())
    }
}

/// Checks that exports of a module can be called after each restore.
///
/// # Errors
/// At the first that cannot be.
pub fn check_after_restore(module: &CompiledModule, names: &[String]) -> Result<(), HookError> {
    names.iter().try_for_each(|export| match exports(module, export)? {
        true => Ok(()),
        false => Err(HookError::Missing { export: export.clone() }),
    })
}

/// Calls the exports of the main instance that are to be called after each restore, in order and after
/// the guest's own hooks.
///
/// # Errors
/// As [`Hook::run`].
pub fn after_restore(
    store: &mut Store,
    main: InstanceId,
    names: &[String],
) -> Result<(), HookError> {
    names.iter().try_for_each(|name| {
        let export = name.clone();
        let Some(module) = store.module(main) else { return Err(HookError::Missing { export }) };
        exports(module, name)?;
        match store.exported_func(main, name) {
            None => Err(HookError::Missing { export }),
            Some(func) => {
                let called = store.call(func, &[]);
                called.map(drop).map_err(|source| HookError::Call { export, source })
            }
        }
    })
}

/// Whether a module has an export that is a hook.
///
/// # Errors
/// When the export is not what a hook is.
fn exports(module: &CompiledModule, name: &str) -> Result<bool, HookError> {
    let (code, export) = (module.code(), || name.to_owned());
    let index = match code.export(name) {
        None => return Ok(false),
        Some((ExternKind::Func, index)) => index,
        Some((kind, _)) => {
            let kind = format!("{kind:?}").to_lowercase();
            return Err(HookError::NotAFunction { export: export(), kind });
        }
    };
    match code.function_type(index).and_then(|ty| code.func_type(ty)) {
        Some(ty) if !(ty.params.is_empty() && ty.results.is_empty()) => {
            Err(HookError::Type { export: export(), ty })
        }
        _ => Ok(true),
    }
}
