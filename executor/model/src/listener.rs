//! Function listeners: what an observer of calls implements.

use crate::{CallError, FuncIndex, Val};
use std::{fmt, sync::Arc};

/// What a listener is told about a call besides its values.
#[derive(Debug, Clone)]
pub struct ListenerContext<'a> {
    /// The function's index in its module.
    pub func: FuncIndex,
    /// The function's name, where known.
    pub name: Option<&'a str>,
}

/// An observer of the calls of functions. All methods are called on the thread of the call.
pub trait FunctionListener: Send + Sync {
    /// Before the function's body, with its arguments.
    fn before(&self, context: &ListenerContext<'_>, params: &[Val]);
    /// After it returned, with its results.
    fn after(&self, context: &ListenerContext<'_>, results: &[Val]);
    /// When it ends by a trap, an exit or a host error instead, innermost function first.
    fn abort(&self, context: &ListenerContext<'_>, error: &CallError);
}

/// The listeners of a module: which functions are observed, and by whom.
/// Calls are instrumented only in a module compiled with listeners.
#[derive(Clone, Default)]
pub struct Listeners {
    listener: Option<Arc<dyn FunctionListener>>,
}

impl Listeners {
    /// No listeners: nothing is compiled in.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// `listener` observes every function defined in the module.
    #[must_use]
    pub fn all(listener: Arc<dyn FunctionListener>) -> Self {
        Self { listener: Some(listener) }
    }

    /// The listener, if any.
    #[must_use]
    pub fn get(&self) -> Option<&Arc<dyn FunctionListener>> {
        self.listener.as_ref()
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("present", &self.listener.is_some()).finish()
    }
}
