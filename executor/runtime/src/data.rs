//! The data that a store keeps for its host functions.
//!
//! Invariant: what the data says that it holds for the guest counts in the limit on the store's memory.

use std::{any::Any, fmt};

/// The data of a store.
pub(crate) struct HostData(Box<dyn Held>);

trait Held: Send {
    fn value(&self) -> &dyn Any;
    fn value_mut(&mut self) -> &mut dyn Any;
    fn held(&self) -> u64;
}

struct Counted<T> {
    value: T,
    held: fn(&T) -> u64,
}

impl<T: Any + Send> Held for Counted<T> {
    fn value(&self) -> &dyn Any {
        &self.value
    }

    fn value_mut(&mut self) -> &mut dyn Any {
        &mut self.value
    }

    fn held(&self) -> u64 {
        (self.held)(&self.value)
    }
}

impl HostData {
    /// Data, and how many bytes it holds for the guest.
    pub(crate) fn new<T: Any + Send>(value: T, held: fn(&T) -> u64) -> Self {
        Self(Box::new(Counted { value, held }))
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        self.0.value().downcast_ref()
    }

    pub(crate) fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.0.value_mut().downcast_mut()
    }

    /// How many bytes it holds for the guest.
    pub(crate) fn held(&self) -> u64 {
        self.0.held()
    }
}

impl fmt::Debug for HostData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostData").finish_non_exhaustive()
    }
}
