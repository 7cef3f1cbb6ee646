//! Handles: how a host holds objects.
//!
//! Invariant: what a handle stands for is a root as long as the handle is good, and follows its object. No handle
//! stands for a second object, so one that has ended finds nothing.

use super::roots::Visit;
use crate::store::StoreInner;
use executor_model::ObjectRef;
use std::{
    cell::RefCell,
    num::NonZeroU64,
    sync::{Arc, Weak},
};

/// The handles of a store.
#[derive(Debug, Default)]
pub(crate) struct Handles(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// Those of scopes, ascending, and where their objects lie.
    scoped: Vec<(NonZeroU64, u32)>,
    /// Those that are kept, likewise.
    kept: Vec<(NonZeroU64, u32, Weak<()>)>,
}

/// Keeps an object until it is dropped, whatever scope ends meanwhile.
#[derive(Debug, Clone)]
pub struct KeptObject {
    object: ObjectRef,
    _keeps: Arc<()>,
}

impl KeptObject {
    /// The object, to be used with its store while this is there.
    #[must_use]
    pub fn get(&self) -> ObjectRef {
        self.object
    }
}

impl Inner {
    fn next(&mut self) -> NonZeroU64 {
        self.last += 1;
        NonZeroU64::MIN.saturating_add(self.last - 1)
    }

    fn find(&self, handle: NonZeroU64) -> Option<u32> {
        let scoped = self.scoped.binary_search_by_key(&handle, |(handle, _)| *handle);
        let kept = || {
            let at = self.kept.binary_search_by_key(&handle, |(handle, ..)| *handle).ok()?;
            let (_, offset, keeps) = &self.kept[at];
            (keeps.strong_count() > 0).then_some(*offset)
        };
        scoped.map_or_else(|_| kept(), |at| Some(self.scoped[at].1))
    }
}

impl Handles {
    /// A handle of the object at an offset, good until the scope ends.
    pub(crate) fn give(&self, offset: u32) -> NonZeroU64 {
        let mut inner = self.0.borrow_mut();
        let handle = inner.next();
        inner.scoped.push((handle, offset));
        handle
    }

    /// Where the object of a handle lies.
    pub(crate) fn find(&self, handle: NonZeroU64) -> Option<u32> {
        self.0.borrow().find(handle)
    }

    /// What [`Self::end_scope`] goes back to.
    pub(crate) fn scope(&self) -> usize {
        self.0.borrow().scoped.len()
    }

    /// Ends the handles that were given since.
    pub(crate) fn end_scope(&self, scope: usize) {
        self.0.borrow_mut().scoped.truncate(scope);
    }

    /// Visits what the handles stand for.
    pub(super) fn visit(&self, visit: Visit<'_>) {
        let mut inner = self.0.borrow_mut();
        let Inner { scoped, kept, .. } = &mut *inner;
        let scoped = scoped.iter_mut().map(|(_, offset)| offset);
        for offset in scoped.chain(kept.iter_mut().map(|(_, offset, _)| offset)) {
            *offset = visit(u64::from(*offset)) as u32;
        }
    }
}

impl StoreInner {
    /// Forgets the handles of what was kept and is not any more.
    pub(super) fn forget_handles(&mut self) {
        self.objects.0.get_mut().kept.retain(|(.., keeps)| keeps.strong_count() > 0);
    }

    /// The handle of the object at an offset.
    pub(crate) fn give_object(&self, offset: u32) -> ObjectRef {
        ObjectRef::new(self.objects.give(offset), self.id)
    }

    /// Where an object of this store lies.
    pub(crate) fn find_object(&self, object: ObjectRef) -> Option<u32> {
        self.objects.find(object.handle()).filter(|_| object.store() == self.id)
    }

    /// Keeps an object.
    pub(crate) fn keep_object(&self, object: ObjectRef) -> Option<KeptObject> {
        let offset = self.find_object(object)?;
        let mut inner = self.objects.0.borrow_mut();
        let (handle, keeps) = (inner.next(), Arc::new(()));
        inner.kept.push((handle, offset, Arc::downgrade(&keeps)));
        Some(KeptObject { object: ObjectRef::new(handle, self.id), _keeps: keeps })
    }
}
