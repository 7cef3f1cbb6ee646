//! Functions whose type is known to the embedder's compiler.

use super::Instance;
use crate::{Error, HostValues};
use executor_model::FuncRef;
use std::{fmt, marker::PhantomData};

/// A function of an [`Instance`] that takes `P` and returns `R`, which are numbers or tuples of numbers:
/// see [`Instance::typed`].
pub struct TypedFunc<P, R> {
    func: FuncRef,
    ty: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}

impl<P: HostValues, R: HostValues> TypedFunc<P, R> {
    pub(crate) fn new(func: FuncRef) -> Self {
        Self { func, ty: PhantomData }
    }

    /// Calls the function, in the instance that it is of.
    ///
    /// # Errors
    /// [`Error::Call`] when the call ends otherwise than by returning, or the function is of another
    /// instance; [`Error::TimedOut`].
    ///
    /// # Panics
    /// With the panic of a host function that panics.
    pub fn call(&self, instance: &mut Instance, params: P) -> Result<R, Error> {
        let Instance { store, clock, .. } = instance;
        clock.run(|| Ok(store.call_typed(self.func, params)?))
    }
}
