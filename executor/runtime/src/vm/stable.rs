//! A value at a stable address that raw pointers may share.

use std::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// Owns a heap value, like `Box`, without `Box`'s promise that nobody else has a pointer to it.
#[derive(Debug)]
pub(crate) struct Stable<T>(NonNull<T>);

// SAFETY: it owns its value, as `Box` does.
unsafe impl<T: Send> Send for Stable<T> {}

impl<T> Stable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }
}

impl<T> Deref for Stable<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the value lives until `drop`. Other pointers to it are used only while the
        // owner's exclusive borrow is lent to them.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Stable<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Stable<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a `Box` and is dropped once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
