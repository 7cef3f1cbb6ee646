//! Images: a captured store, checked once and shared, of which any number of stores are made.
//!
//! Invariant: an [`Image`] has been checked against its modules, its file and the limits of its
//! stores, so making a store of it maps and never looks. The number of system calls depends on the
//! number of instances and extents only, and no work on the size of code, memories, tables or
//! globals. References and links, which could lead outside, are trusted in files of our own and
//! checked by [`Store::validate`] in any other.
//!
//! [`Image::restore`] makes a store that is used once. [`Image::acquire`] takes one that is kept
//! ([`crate::pool`]): its slot is made once, and reset in place when the store is dropped.

use crate::{
    engine::NativeEngine,
    linker::Linker,
    placement::Placement,
    pool::{Idle, Lease},
    released::{Released, SlotReset},
    reset::Watched,
    state::{CallState, Extent, InstancePlan, RestorePlan, dense_placement, nonzero},
    store::{Store, StoreConfig, StoreInner},
    sys::{self, Access, Reservation},
    vm::{CompiledModule, OpenPages, Slot, Stable},
};
use executor_code::layout::{PAGE, align_up};
use executor_files::{Trust, ensure_trusted};
use executor_model::{CallError, EngineError, InstanceId, TrapCode};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// The most parts of a memory of a module that are mapped apart from each other.
const MOST_EXTENTS: usize = 4;
/// Open pages that are no further apart are opened together in new slots.
const GAP: u64 = 4 * PAGE;

/// Why a store cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Someone else could have written the file.
    #[error("the snapshot is not used, because {0}")]
    Untrusted(io::Error),
    /// The file contradicts itself or the module.
    #[error("the snapshot does not fit its module: {0}")]
    Mismatch(String),
    /// The system refused.
    #[error("cannot map the snapshot: {0}")]
    Io(#[from] io::Error),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The start function did not return.
    #[error(transparent)]
    Start(#[from] CallError),
}

/// A captured store with its code and its imports. Cloning shares it; with the last handle go the stores
/// that are kept of it.
#[derive(Debug, Clone)]
pub struct Image(Arc<Handle>);

/// What the handles of an image share.
#[derive(Debug)]
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.store(true, SeqCst);
        self.0.engine.pool().forget(self.0.id);
    }
}

/// An image, as one kept store of it knows it. Each store has one of its own, so that counting references to it brings no
/// threads together.
#[derive(Debug)]
pub(crate) struct Home(Arc<Inner>);

/// An image.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Which image it is, of all of this process.
    id: u64,
    engine: NativeEngine,
    linker: Linker,
    config: StoreConfig,
    plan: RestorePlan,
    /// Where the instances lie in a slot.
    places: Vec<Placement>,
    /// The length of a slot.
    len: u64,
    /// It is the state of a store that has run, not of a module.
    captured: bool,
    /// The start function, which each store of the image has yet to run.
    start: Option<(InstanceId, u32)>,
    /// No memory is shared between threads, which a reset could not account for. Found out by the first that
    /// wants to know: a store that is used once has no need of the modules' declarations.
    keeps: OnceLock<bool>,
    /// The image itself, mapped to be read.
    mapped: OnceLock<Arc<Reservation>>,
    /// What the slots so far were written to.
    learned: Mutex<Arc<OpenPages>>,
    /// The last handle is gone.
    closed: AtomicBool,
}

impl Image {
    /// Checks a captured store that lies in files, whose stores find their imports through `linker`.
    ///
    /// # Errors
    /// When a file is not private to this user, contradicts itself or the modules, or exceeds the limits of
    /// `config`.
    pub fn new(
        engine: &NativeEngine,
        linker: Linker,
        config: StoreConfig,
        plan: RestorePlan,
    ) -> Result<Self, RestoreError> {
        let len = |file: &Arc<File>| Ok(ensure_trusted(file, plan.trust)?.len());
        let lens = plan.files.iter().map(len).collect::<io::Result<Vec<u64>>>();
        Self::checked(engine, linker, config, plan, &lens.map_err(RestoreError::Untrusted)?, None)
    }

    /// `fresh` is for an instance that has not run: its start function, if it has one.
    fn checked(
        engine: &NativeEngine,
        linker: Linker,
        config: StoreConfig,
        plan: RestorePlan,
        file_lens: &[u64],
        fresh: Option<Option<u32>>,
    ) -> Result<Self, RestoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        engine.ensure_open()?;
        let (origins, len) = dense_placement(plan.instances.iter().map(|i| &i.module));
        let Some(first) = plan.files.first() else {
            return Err(RestoreError::Mismatch("there is no file".to_owned()));
        };
        let mut used = 0;
        let places = plan.instances.iter().zip(origins).map(|(instance, origin)| {
            Placement::check(instance, origin, (first, file_lens), &config, &mut used)
        });
        let places = places.collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Handle(Arc::new(Inner {
            id: NEXT.fetch_add(1, Relaxed),
            engine: engine.clone(),
            linker,
            config,
            plan,
            places,
            len: len.max(PAGE),
            captured: fresh.is_none(),
            start: fresh.flatten().map(|start| (InstanceId::from_position(0), start)),
            keeps: OnceLock::new(),
            mapped: OnceLock::new(),
            learned: Mutex::default(),
            closed: AtomicBool::new(false),
        })))))
    }

    /// The image of an instance of a module as it is before its start function runs, all of whose imports
    /// are host functions: its globals, tables and segments are laid out once, and mapped by each store.
    ///
    /// # Errors
    /// As `Store::instantiate`; and when the module imports what belongs to an instance or is shared.
    pub fn of_module(
        engine: &NativeEngine,
        linker: Linker,
        config: StoreConfig,
        module: &Arc<CompiledModule>,
    ) -> Result<Self, crate::InstantiateError> {
        let info = module.info()?;
        let mut store = Store::new(engine, linker.clone(), config.clone())?;
        store.prepare(module)?;
        store.prepare_capture();
        let failed = |what: String| EngineError::Unsupported(what);
        let state = store.capture().map_err(|e| failed(e.to_string()))?;
        let resource =
            |source| EngineError::Resource { what: "make the image of a module", source };
        let (file, instances) = lay_out(&state.instances, module).map_err(resource)?;
        let file_len = file.metadata().map_err(resource)?.len();
        store.ensure_intact().map_err(CallError::Trap)?;
        let plan =
            RestorePlan { trust: Trust::Own, files: vec![Arc::new(file)], instances, call: None };
        let image = Self::checked(engine, linker, config, plan, &[file_len], Some(info.start));
        Ok(image?)
    }

    /// A store of the image that is used once.
    ///
    /// # Errors
    /// When the engine is closed, the system refuses memory, or the start function does not return.
    pub fn restore(&self) -> Result<Store, RestoreError> {
        self.restore_with(|_| {})
    }

    /// As [`Self::restore`]; `prepare` is called before the start function.
    ///
    /// # Errors
    /// As for [`Self::restore`].
    pub fn restore_with(&self, prepare: impl FnOnce(&mut Store)) -> Result<Store, RestoreError> {
        let mut store = self.0.0.restore()?;
        prepare(&mut store);
        self.0.0.begin(&mut store)?;
        Ok(store)
    }

    /// A store of the image whose slot is kept: when it is dropped, the slot is reset in place for
    /// the next one. At most what the engine's [`crate::PoolConfig`] allows is kept.
    ///
    /// # Errors
    /// As for [`Self::restore`].
    pub fn acquire(&self) -> Result<Store, RestoreError> {
        self.acquire_with(|_| {})
    }

    /// As [`Self::acquire`]; `prepare` is called before the start function.
    ///
    /// # Errors
    /// As for [`Self::restore`].
    pub fn acquire_with(&self, prepare: impl FnOnce(&mut Store)) -> Result<Store, RestoreError> {
        let inner = &self.0.0;
        if !inner.keeps()? {
            return self.restore_with(prepare);
        }
        inner.engine.ensure_open()?;
        let kept = inner.engine.pool().take(inner.id);
        let reused = kept.is_some();
        let mut store = match kept {
            Some(lease) => Store { inner: lease },
            None => inner.make()?,
        };
        if let Some(watched) = &mut store.inner.watched {
            watched.hand_out(reused);
        }
        prepare(&mut store);
        inner.begin(&mut store)?;
        Ok(store)
    }

    /// Its stores that wait to be acquired.
    #[must_use]
    pub fn idle(&self) -> Idle {
        self.0.0.engine.pool().idle(self.0.0.id)
    }
}

impl Inner {
    fn restore(&self) -> Result<Store, RestoreError> {
        let slot = Arc::new(Slot::from(Reservation::new(self.len)?));
        let mut store = self.empty()?;
        self.add_instances(&mut store.inner, &slot)?;
        for (instance, place) in self.plan.instances.iter().zip(&self.places) {
            let state = place.state.end - place.state.start;
            let file = &*self.plan.files[0];
            slot.map_file(place.state.start, state, (file, instance.block), Access::Write)?;
            self.map_items(&slot, instance, place, Access::Write)?;
            for (memory, ranges) in place.memories.iter().zip(&instance.working_set) {
                for range in ranges {
                    let inside = range.end <= memory.end - memory.start;
                    if range.start < range.end && inside {
                        slot.populate(memory.start + range.start, range.end - range.start);
                    }
                }
            }
        }
        Ok(store)
    }

    fn keeps(&self) -> Result<bool, EngineError> {
        if let Some(keeps) = self.keeps.get() {
            return Ok(*keeps);
        }
        let mut keeps = true;
        for instance in &self.plan.instances {
            keeps &= instance.module.info()?.memories.iter().all(|memory| !memory.shared);
        }
        Ok(*self.keeps.get_or_init(|| keeps))
    }

    /// Takes back a store, to be handed out again.
    pub(crate) fn release(home: Arc<Home>, mut store: Stable<StoreInner>) -> Released {
        let Home(image) = &*home;
        let pool = image.engine.pool();
        let reused = store.watched.as_ref().is_some_and(Watched::is_reused);
        let Some(reset) = store.reset(image, pool.config()) else {
            pool.dropped();
            return Released { reused, reset: None };
        };
        let done = SlotReset { pages: reset.open, write_faults: reset.faults };
        if reset.changed && reset.copied * PAGE <= pool.config().keep_resident {
            let slot = store.header.slot.as_ref().map(|slot| slot.open_pages());
            *image.learned() = Arc::new(slot.unwrap_or_default().into_iter().map(joined).collect());
        }
        let lease = Lease::kept(store, Arc::clone(&home));
        pool.put(image.id, lease, reset, || image.closed.load(SeqCst));
        Released { reused, reset: Some(done) }
    }

    /// The call that is suspended in the stores of the image.
    pub(crate) fn call(&self) -> Option<&Arc<CallState>> {
        self.plan.call.as_ref()
    }

    /// Whether each instance has reached DoneInstantiation.
    pub(crate) fn instantiated(&self) -> impl Iterator<Item = bool> {
        self.plan.instances.iter().map(|instance| instance.instantiated)
    }

    fn learned(&self) -> MutexGuard<'_, Arc<OpenPages>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn empty(&self) -> Result<Store, RestoreError> {
        let Self { engine, linker, config, .. } = self;
        Ok(Store::new(engine, linker.clone(), config.clone())?)
    }

    /// Adds the instances to a store, over a slot of which only the headers are accessible after.
    fn add_instances(&self, store: &mut StoreInner, slot: &Arc<Slot>) -> Result<(), RestoreError> {
        for (instance, place) in self.plan.instances.iter().zip(&self.places) {
            let start = place.origin - instance.module.code().header().before;
            let id = store.add(Arc::clone(slot), start, &instance.module)?;
            let added = &mut store.instances[id.position()];
            // Only linked instances are captured.
            added.linked = true;
            added.instantiated = instance.instantiated;
        }
        store.suspension.call = self.plan.call.clone();
        store.restored = self.captured;
        Ok(())
    }

    /// Runs the start function, if there is one.
    fn begin(&self, store: &mut Store) -> Result<(), RestoreError> {
        let Some((instance, start)) = self.start else { return Ok(()) };
        let inner = &mut *store.inner;
        let func = inner.func(instance, start);
        let func = func.ok_or_else(|| RestoreError::Mismatch("no start function".to_owned()))?;
        inner.call_raw(func, &mut [])?;
        inner.instances[instance.position()].instantiated = true;
        Ok(())
    }

    /// Makes a store with a slot that can be reset.
    fn make(self: &Arc<Self>) -> Result<Store, RestoreError> {
        let image = self.mapped()?;
        let addresses = Reservation::new(self.len)?;
        for (instance, place) in self.plan.instances.iter().zip(&self.places) {
            self.map_items(&addresses, instance, place, Access::Read)?;
        }
        let parts = self.places.iter().flat_map(Placement::parts);
        let slot = Arc::new(Slot::watched(addresses, Arc::clone(image), parts)?);
        let Store { mut inner } = self.empty()?;
        self.add_instances(&mut inner, &slot)?;
        for (instance, place) in self.plan.instances.iter().zip(&self.places) {
            let file = &*self.plan.files[0];
            slot.fill(place.state.clone(), (file, instance.block))?;
        }
        if slot.image_lost() {
            return Err(io::Error::other(TrapCode::PageLost.message()).into());
        }
        let learned = Arc::clone(&self.learned());
        inner.header.slot = Some(slot);
        inner.watched = Some(Watched::new(learned));
        Ok(Store { inner: inner.of_image(Arc::new(Home(Arc::clone(self)))) })
    }

    /// The image, mapped to be read.
    fn mapped(&self) -> io::Result<&Arc<Reservation>> {
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped);
        }
        let addresses = Reservation::new(self.len)?;
        for (instance, place) in self.plan.instances.iter().zip(&self.places) {
            let state = place.state.end - place.state.start;
            let file = &*self.plan.files[0];
            addresses.map_file(place.state.start, state, (file, instance.block), Access::Read)?;
            self.map_items(&addresses, instance, place, Access::Read)?;
        }
        Ok(self.mapped.get_or_init(|| Arc::new(addresses)))
    }

    /// Maps the tables and memories of an instance.
    fn map_items(
        &self,
        slot: &Reservation,
        instance: &InstancePlan,
        place: &Placement,
        access: Access,
    ) -> io::Result<()> {
        let tables = place.tables.iter().zip(&instance.tables);
        let memories = place.memories.iter().zip(&instance.memories);
        for (item, extents) in tables.chain(memories) {
            let size = item.end - item.start;
            // What no extent covers is zero.
            if extents.iter().map(|e| e.len).sum::<u64>() != size {
                slot.protect(item.start, size, access)?;
            }
            for Extent { source, at, offset, len } in extents {
                let file = (&*self.plan.files[*source as usize], *offset);
                slot.map_file(item.start + at, *len, file, access)?;
            }
        }
        Ok(())
    }
}

/// Runs with the small gaps between them.
fn joined(runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.start - last.end <= GAP => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

/// Writes the state of instances to a file in memory, zero pages left out.
fn lay_out(
    states: &[crate::InstanceState<'_>],
    module: &Arc<CompiledModule>,
) -> io::Result<(File, Vec<InstancePlan>)> {
    let mut file = sys::anonymous_file(c"wasm-image")?;
    let mut end = 0;
    let mut append = |bytes: &[u8]| -> io::Result<u64> {
        let at = end;
        file.write_all(bytes)?;
        end = align_up(at + bytes.len() as u64, PAGE);
        file.seek(SeekFrom::Start(end))?;
        Ok(at)
    };
    let mut item = |bytes: &[u8]| -> io::Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        for run in nonzero(bytes, MOST_EXTENTS) {
            let offset = append(&bytes[run.clone()])?;
            let len = align_up(run.len() as u64, PAGE);
            extents.push(Extent { source: 0, at: run.start as u64, offset, len });
        }
        Ok(extents)
    };
    let mut plans = Vec::with_capacity(states.len());
    for state in states {
        let tables = state.tables.iter().map(|table| item(table)).collect::<io::Result<_>>()?;
        let memories =
            state.memories.iter().map(|memory| item(memory)).collect::<io::Result<_>>()?;
        plans.push((tables, memories));
    }
    let blocks = states.iter().map(|state| append(&state.block));
    let blocks = blocks.collect::<io::Result<Vec<u64>>>()?;
    let plans = plans.into_iter().zip(blocks).map(|((tables, memories), block)| InstancePlan {
        module: Arc::clone(module),
        instantiated: false,
        block,
        tables,
        memories,
        working_set: Vec::new(),
    });
    let plans = plans.collect();
    file.set_len(end)?;
    Ok((file, plans))
}
