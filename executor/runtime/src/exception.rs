//! The exceptions of a store: their handles, what keeps them, and what a host sees of them.
//!
//! Invariant: a handle never stands for a second exception, so one that outlives its exception finds
//! nothing. An exception that guest code can still reach is never freed.
//!
//! Most exceptions are caught without a reference and never get a handle. Those that do are kept until
//! there are many; then every word that could be a handle of one keeps it (of stacks, state blocks,
//! tables, objects and payloads), and the rest are freed. Handles look like nothing else, so few are kept for
//! a word that only looks like theirs.

use crate::{
    host::{Caller, HostError},
    store::{Store, StoreInner},
};
use executor_code::layout::TablePlan;
use executor_model::{
    CallError, Escaped, ExternKind, InstanceId, LimitError, RawValue, StoreId, Thrown, Val,
    ValType, WasmBacktrace,
};
use std::num::NonZeroU64;

/// The first handle. The others follow.
const FIRST: NonZeroU64 = NonZeroU64::new(0xe8ce_0000_0000_0001).expect("not 0");
/// How many bytes of exceptions are kept before the first search for those that can be freed.
const MANY: u64 = 64 << 10;

/// Which tag it is, whoever imports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagIdentity {
    /// The instance that declares it.
    pub(crate) owner: InstanceId,
    /// Its index there.
    pub(crate) index: u32,
}

impl TagIdentity {
    /// As a store gives it out.
    fn of(self, store: StoreId) -> Self {
        Self { owner: self.owner.of(store), ..self }
    }

    /// As the state block holds it.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.owner.get()) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        Some(Self { owner: InstanceId::new((bits >> 32) as u32)?, index: bits as u32 })
    }
}

/// An exception.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) tag: TagIdentity,
    pub(crate) payload: Vec<RawValue>,
}

/// An exception on its way.
#[derive(Debug)]
pub(crate) enum InFlight {
    /// Thrown for the first time, and nothing refers to it.
    New(Exception),
    /// The store keeps it.
    Kept(NonZeroU64),
}

/// The exceptions of a store.
#[derive(Debug)]
pub(crate) struct Exceptions {
    /// Those with a handle, ascending by handle.
    kept: Vec<(NonZeroU64, Exception)>,
    next: NonZeroU64,
    /// What they take, in bytes.
    bytes: u64,
    /// At how many bytes the next search is due.
    due: u64,
    /// The one that was caught last without a reference. A handler is about to read its payload.
    passed: Option<Exception>,
    /// Handles that the host was given: they stay until the host function returns, or outside of
    /// calls until the next call.
    given: Vec<NonZeroU64>,
}

impl Default for Exceptions {
    fn default() -> Self {
        Self { kept: Vec::new(), next: FIRST, bytes: 0, due: MANY, passed: None, given: Vec::new() }
    }
}

impl Exception {
    /// What it takes while it is kept.
    fn bytes(&self) -> u64 {
        (size_of::<(NonZeroU64, Self)>() + size_of_val(&*self.payload)) as u64
    }
}

impl Exceptions {
    /// What those that are kept take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The exception of a handle.
    pub(crate) fn get(&self, handle: NonZeroU64) -> Option<&Exception> {
        Some(&self.kept[self.position(handle)?].1)
    }

    fn position(&self, handle: NonZeroU64) -> Option<usize> {
        self.kept.binary_search_by_key(&handle, |(handle, _)| *handle).ok()
    }

    /// The tag of an exception on its way; `None` when it is no longer kept.
    pub(crate) fn tag(&self, exception: &InFlight) -> Option<TagIdentity> {
        match exception {
            InFlight::New(exception) => Some(exception.tag),
            InFlight::Kept(handle) => Some(self.get(*handle)?.tag),
        }
    }

    /// The payload of a caught exception, for a handler that reads it before anything else happens.
    /// It is lent to machine code by its address.
    pub(crate) fn pass(&mut self, exception: InFlight) -> *const RawValue {
        match exception {
            InFlight::New(exception) => self.passed.insert(exception).payload.as_ptr(),
            InFlight::Kept(handle) => {
                self.get(handle).map_or(std::ptr::null(), |exception| exception.payload.as_ptr())
            }
        }
    }

    /// All that have handles, to be changed.
    pub(crate) fn kept_mut(&mut self) -> impl Iterator<Item = &mut Exception> {
        self.kept.iter_mut().map(|(_, exception)| exception)
    }

    /// Notes that the host knows a handle.
    pub(crate) fn give(&mut self, handle: NonZeroU64) {
        self.given.push(handle);
    }

    /// How many handles the host was given: what [`Self::end_scope`] goes back to.
    pub(crate) fn scope(&self) -> usize {
        self.given.len()
    }

    /// Forgets what the host was given since.
    pub(crate) fn end_scope(&mut self, scope: usize) {
        self.given.truncate(scope);
    }
}

/// What a search for reachable exceptions has found.
struct Marks<'a> {
    kept: &'a [(NonZeroU64, Exception)],
    marked: Vec<bool>,
    /// Those whose payload has not been looked at.
    left: Vec<usize>,
}

impl Marks<'_> {
    /// Marks what a word may be the handle of.
    fn word(&mut self, word: u64) {
        if word >> 48 != FIRST.get() >> 48 {
            return;
        }
        if let Ok(at) = self.kept.binary_search_by_key(&word, |(handle, _)| handle.get())
            && !std::mem::replace(&mut self.marked[at], true)
        {
            self.left.push(at);
        }
    }

    fn payload(&mut self, payload: &[RawValue]) {
        payload.iter().for_each(|value| self.word(value.0 as u64));
    }
}

impl StoreInner {
    /// Keeps an exception that a reference will refer to.
    pub(crate) fn keep(&mut self, exception: InFlight) -> Result<NonZeroU64, LimitError> {
        let exception = match exception {
            InFlight::Kept(handle) => return Ok(handle),
            InFlight::New(exception) => exception,
        };
        let bytes = exception.bytes();
        if self.exceptions.bytes + bytes > self.exceptions.due {
            self.free_exceptions(&exception.payload);
            // What is free now, memories and tables may have taken before the next search.
            let room = self.room();
            if bytes > room {
                return Err(LimitError::Exceptions { limit: self.config.max_memory });
            }
            let kept = self.exceptions.bytes;
            self.exceptions.due = MANY.max(kept * 2).min(kept.saturating_add(room));
        }
        let handle = self.exceptions.next;
        self.exceptions.next = handle.saturating_add(1);
        self.exceptions.bytes += bytes;
        self.exceptions.kept.push((handle, exception));
        Ok(handle)
    }

    /// Makes the next exception that is kept look for its room again, since others have taken of it.
    pub(crate) fn room_shrank(&mut self) {
        let most = self.exceptions.bytes.saturating_add(self.room());
        self.exceptions.due = self.exceptions.due.min(most);
    }

    /// Frees every exception that nothing refers to. What `payload` refers to stays.
    fn free_exceptions(&mut self, payload: &[RawValue]) {
        let kept = &self.exceptions.kept;
        let mut marks = Marks { kept, marked: vec![false; kept.len()], left: Vec::new() };
        marks.payload(payload);
        self.exceptions.given.iter().for_each(|handle| marks.word(handle.get()));
        if let Some(stack) = &self.calls.stack {
            self.header.live_words(stack).iter().for_each(|word| marks.word(*word));
        }
        for instance in &self.instances {
            instance.vm.words().for_each(|word| marks.word(word));
            for owned in 0..instance.vm.counts().owned_tables {
                let plan = instance.vm.table_plan(owned);
                if plan.is_some_and(|plan| plan.elements == TablePlan::EXCEPTIONS) {
                    let table = instance.vm.counts().imported_tables + owned;
                    let elements = instance.vm.table(table).unwrap_or_default();
                    elements.iter().for_each(|element| marks.word(*element));
                }
            }
        }
        if let Some(header) = self.heap_header() {
            let used = self.heap_bytes().get(..header.next as usize).unwrap_or_default();
            let (words, _) = used.as_chunks::<8>();
            words.iter().for_each(|word| marks.word(u64::from_le_bytes(*word)));
        }
        while let Some(at) = marks.left.pop() {
            marks.payload(&kept[at].1.payload);
        }
        let mut marked = marks.marked.into_iter();
        self.exceptions.kept.retain(|_| marked.next().unwrap_or(true));
        self.exceptions.bytes = self.exceptions.kept.iter().map(|(_, e)| e.bytes()).sum();
    }

    /// What a host is told of an exception that left a call; the host then has its handle.
    pub(crate) fn thrown(
        &mut self,
        exception: InFlight,
        backtrace: WasmBacktrace,
    ) -> Result<Thrown, LimitError> {
        let exception = self.keep(exception)?;
        self.exceptions.give(exception);
        let description = self.exception(exception).map_or_else(String::new, |(tag, payload)| {
            let payload: Vec<String> = payload.iter().map(Val::to_string).collect();
            format!("{}({})", self.tag_name(tag), payload.join(", "))
        });
        Ok(Thrown { exception, description, backtrace })
    }

    /// How messages call a tag: its name in the name section, the first it is exported under, or its index.
    fn tag_name(&self, TagIdentity { owner, index }: TagIdentity) -> String {
        let named = || {
            let module = self.instance(owner)?.vm.module();
            let tags = module.info().ok().map_or(&[][..], |info| &info.names.tags);
            if let Ok(at) = tags.binary_search_by_key(&index, |(index, _)| *index) {
                return Some(Escaped(&tags[at].1).to_string());
            }
            let mut exports = module.code().exports();
            let (name, ..) =
                exports.find(|(_, kind, i)| (*kind, *i) == (ExternKind::Tag, index))?;
            Some(Escaped(name).to_string())
        };
        named().unwrap_or_else(|| format!("<tag {index}>"))
    }

    fn exported_tag(&self, instance: InstanceId, name: &str) -> Option<TagIdentity> {
        match self.instance(instance)?.vm.module().code().export(name)? {
            (ExternKind::Tag, index) => Some(self.tag(instance, index)?.of(self.id)),
            _ => None,
        }
    }

    /// The types of the values that exceptions of a tag carry.
    pub(crate) fn payload_types(&self, tag: TagIdentity) -> Option<Vec<ValType>> {
        let code = self.instance(tag.owner)?.vm.module().code();
        Some(code.func_type(code.tag_type(tag.index)?)?.params)
    }

    fn exception(&self, handle: NonZeroU64) -> Option<(TagIdentity, Vec<Val>)> {
        let Exception { tag, payload } = self.exceptions.get(handle)?;
        let types = self.payload_types(*tag)?;
        let values = payload.iter().zip(&types);
        let values = values.map(|(raw, ty)| self.val(*raw, *ty));
        Some((tag.of(self.id), values.collect()))
    }

    fn new_exception(
        &mut self,
        tag: TagIdentity,
        payload: &[Val],
    ) -> Result<NonZeroU64, CallError> {
        let types = self.payload_types(tag);
        let no_tag = || CallError::Usage("the store has no such tag".to_owned());
        let types = types.ok_or_else(no_tag)?;
        if types.len() != payload.len() {
            let (wanted, given) = (types.len(), payload.len());
            let message = format!("the tag has {wanted} parameters, not {given}");
            return Err(CallError::Usage(message));
        }
        for (value, ty) in payload.iter().zip(&types) {
            self.check_value(value, *ty, tag.owner).map_err(CallError::Usage)?;
        }
        let payload = payload.iter().map(|value| self.raw(value)).collect::<Option<_>>();
        let payload = payload.ok_or_else(no_tag)?;
        let handle = self.keep(InFlight::New(Exception { tag, payload }))?;
        self.exceptions.give(handle);
        Ok(handle)
    }
}

impl Store {
    /// A tag that an instance exports.
    #[must_use]
    pub fn exported_tag(&self, instance: InstanceId, name: &str) -> Option<TagIdentity> {
        self.inner.exported_tag(instance, name)
    }

    /// The tag and the payload of an exception, by its handle. A handle that the host was given is
    /// good until the next call of a function of the store, and after that as long as the guest can
    /// reach the exception.
    #[must_use]
    pub fn exception(&self, handle: NonZeroU64) -> Option<(TagIdentity, Vec<Val>)> {
        self.inner.exception(handle)
    }

    /// How many exceptions have handles: those that are in use and those not yet found not to be.
    #[must_use]
    pub fn kept_exceptions(&self) -> usize {
        self.inner.exceptions.kept.len()
    }

    /// Makes an exception, and returns the handle that exnrefs hold. It is good as
    /// long as one from [`Self::exception`].
    ///
    /// # Errors
    /// [`CallError::Usage`] when the payload does not fit the tag; [`CallError::Limit`].
    pub fn new_exception(
        &mut self,
        tag: TagIdentity,
        payload: &[Val],
    ) -> Result<NonZeroU64, CallError> {
        self.inner.new_exception(tag, payload)
    }
}

impl Caller<'_> {
    /// A tag that the calling instance exports.
    #[must_use]
    pub fn exported_tag(&self, name: &str) -> Option<TagIdentity> {
        self.store().exported_tag(self.instance(), name)
    }

    /// The tag and the payload of an exception, by its handle. A handle that a host function was
    /// given is good until it returns, and after that as long as the guest can reach the exception.
    #[must_use]
    pub fn exception(&self, handle: NonZeroU64) -> Option<(TagIdentity, Vec<Val>)> {
        self.store().exception(handle)
    }

    /// Makes an exception that the host function throws by returning it as its error. A payload that
    /// does not fit the tag makes it another error.
    pub fn throw(&mut self, tag: TagIdentity, payload: &[Val]) -> HostError {
        match self.store_mut().new_exception(tag, payload) {
            Ok(handle) => HostError::Exception(handle),
            Err(error) => HostError::new(error),
        }
    }
}
