//! Objects of a guest: structures and arrays, by handles.
//!
//! Invariant: a handle is good as long as the instance, or the scope that it was given in, and follows its object
//! wherever that is moved. No handle stands for a second object.

use super::Instance;
use crate::Error;
use executor_model::{ObjectRef, Val};
use executor_runtime::{Collections, KeptObject, ObjectType};

impl Instance {
    /// The type of an object, as its module declares it.
    ///
    /// # Errors
    /// [`Error::Call`] when its handle has ended or is of another instance.
    pub fn object_type(&self, object: ObjectRef) -> Result<ObjectType, Error> {
        Ok(self.store.object_type(object)?)
    }

    /// How many fields a structure has, or elements an array.
    ///
    /// # Errors
    /// As [`Self::object_type`].
    pub fn object_len(&self, object: ObjectRef) -> Result<u32, Error> {
        Ok(self.store.object_len(object)?)
    }

    /// A field of a structure, or an element of an array. Those of 8 and 16 bits are zero-extended.
    ///
    /// # Errors
    /// As [`Self::object_type`], and when there is none at `index`.
    pub fn field(&self, object: ObjectRef, index: u32) -> Result<Val, Error> {
        Ok(self.store.field(object, index)?)
    }

    /// Assigns a field or element.
    ///
    /// # Errors
    /// As [`Self::field`], and when it is not mutable or the value is of another type.
    pub fn set_field(&mut self, object: ObjectRef, index: u32, value: Val) -> Result<(), Error> {
        Ok(self.store.set_field(object, index, value)?)
    }

    /// Makes an object of the type of another: a structure of the values of its fields, or an array of its elements.
    ///
    /// # Errors
    /// [`Error::Call`] when the values do not fit the type, or the heap is full.
    pub fn new_object(&mut self, ty: &ObjectType, values: &[Val]) -> Result<ObjectRef, Error> {
        Ok(self.store.new_object(ty.instance, ty.index, values)?)
    }

    /// Whether two references are to one object.
    #[must_use]
    pub fn is_same_object(&self, first: ObjectRef, second: ObjectRef) -> bool {
        self.store.is_same_object(first, second)
    }

    /// Keeps an object beyond the scope of its handle, until what is returned is dropped; `None` when the handle has
    /// ended.
    #[must_use]
    pub fn keep_object(&self, object: ObjectRef) -> Option<KeptObject> {
        self.store.keep_object(object)
    }

    /// What the collections of its objects were since it was made.
    #[must_use]
    pub fn collections(&self) -> Collections {
        self.store.collections()
    }

    /// Runs `f`, and then ends the handles that were given meanwhile, so that their objects can be freed.
    pub fn object_scope<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.store.begin_object_scope();
        let result = f(self);
        self.store.end_object_scope(scope);
        result
    }
}
