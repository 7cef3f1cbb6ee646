//! Calls with the host's own numbers, which allocate nothing.
//!
//! Invariant: a function is entered only with values of its own types: they are compared before every
//! call, word by word in the code file, so a reference to a function that is used with another store
//! is at worst an error.

use crate::{
    host::HostValues,
    store::{Store, StoreInner},
};
use executor_code::file::type_word;
use executor_model::{CallError, FuncRef, RawValue, ValType};

/// The most values that a typed call takes or returns: the longest tuple that is a [`HostValues`].
const MOST: usize = 10;

impl StoreInner {
    fn takes<P: HostValues, R: HostValues>(&self, func: FuncRef) -> bool {
        let alike = |words: &[u32], types: &[ValType]| {
            words.iter().copied().eq(types.iter().map(|ty| type_word(*ty)))
        };
        let known = self.func(func.instance(), func.func()) == Some(func);
        let code = || Some(self.instance(func.instance())?.vm.module().code());
        let words = || code()?.type_words(func.ty());
        known
            && words().is_some_and(|(params, results)| {
                alike(params, P::TYPES) && alike(results, R::TYPES)
            })
    }
}

impl Store {
    /// Whether a function of this store takes `P` and returns `R`.
    #[must_use]
    pub fn takes<P: HostValues, R: HostValues>(&self, func: FuncRef) -> bool {
        self.inner.takes::<P, R>(func)
    }

    /// Calls a function that [takes](Self::takes) `P` and returns `R`. Nothing is allocated.
    ///
    /// # Errors
    /// [`CallError::Usage`] when it is of another type, or not of this store; otherwise as
    /// [`Self::call`].
    ///
    /// # Panics
    /// As [`Self::call`].
    pub fn call_typed<P: HostValues, R: HostValues>(
        &mut self,
        func: FuncRef,
        params: P,
    ) -> Result<R, CallError> {
        if !self.inner.takes::<P, R>(func) {
            let message = format!("{func} is not a function of this store, or of another type");
            return self.inner.unless_lost(Err(CallError::Usage(message)));
        }
        let mut values = [RawValue::default(); MOST];
        params.write(&mut values);
        let slots = P::TYPES.len().max(R::TYPES.len());
        self.inner.call_raw(func, &mut values[..slots])?;
        Ok(R::read(&values))
    }
}
