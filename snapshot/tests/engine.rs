//! Snapshots of real instances: captured, written, restored, compared.

use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{
    CallError, ExternRef, FuncRef, InstanceId, Module, ModuleHash, TrapCode, Val,
};
use executor_runtime::{CompiledModule, EngineConfig, Linker, NativeEngine, Store, StoreConfig};
use executor_snapshot::{
    Capture, EntryKind, Hook, HookError, InstanceNames, Manifest, SnapshotError, SnapshotFile,
    SnapshotId, restore, restore_untrusted,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

/// What others import: a memory, a table, a global, and a function over state of its own.
const LIBRARY: &str = r#"
(module $library
  (memory (export "memory") 1 10)
  (table (export "table") 4 20 funcref)
  (global (export "shared") (mut i64) (i64.const 5))
  (global $hidden (mut i32) (i32.const 100))
  (func (export "bump") (result i32)
    (global.set $hidden (i32.add (global.get $hidden) (i32.const 1)))
    (global.get $hidden))
  (func $start
    (i32.store8 (i32.const 10) (i32.add (i32.load8_u (i32.const 10)) (i32.const 1)))
    (drop (memory.grow (i32.const 2))))
  (start $start))
"#;

/// One of everything.
const MAIN: &str = r#"
(module $main
  (type $unary (func (param i32) (result i32)))
  (type $nullary (func (result i32)))
  (import "library" "memory" (memory 1))
  (import "library" "table" (table $shared 4 funcref))
  (import "library" "shared" (global $imported (mut i64)))
  (import "library" "bump" (func $bump (type $nullary)))
  (import "host" "tick" (func $tick (type $nullary)))
  (table $own 3 8 funcref)
  (table $externs 2 externref)
  (global $i (mut i32) (i32.const 1))
  (global $f (mut f32) (f32.const 1.5))
  (global $d (mut f64) (f64.const -0))
  (global $r (mut funcref) (ref.func $double))
  (data $passive "payload")
  (data $dropped "gone")
  (elem $segment func $double $bump)
  (elem $lost func $double)
  (func $double (export "double") (type $unary) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "init")
    (global.set $i (i32.const -7))
    (global.set $f (f32.const nan:0x200001))
    (global.set $d (f64.const 2.5))
    (global.set $imported (i64.const 0x123456789abcdef0))
    (table.set $own (i32.const 2) (ref.func $bump))
    (table.set $shared (i32.const 1) (global.get $r))
    (drop (table.grow $own (ref.func $double) (i32.const 2)))
    (drop (table.grow $shared (ref.null func) (i32.const 3)))
    (data.drop $dropped)
    (elem.drop $lost)
    (i32.store (i32.const 131072) (i32.const 77))
    (drop (call $tick)))
  (func (export "globals") (result i32 i32 f64 i64)
    (global.get $i) (i32.reinterpret_f32 (global.get $f)) (global.get $d) (global.get $imported))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "sizes") (result i32 i32 i32)
    (memory.size) (table.size $own) (table.size $shared))
  (func (export "call own") (param i32) (result i32)
    (call_indirect $own (type $nullary) (local.get 0)))
  (func (export "call own unary") (param i32 i32) (result i32)
    (call_indirect $own (type $unary) (local.get 1) (local.get 0)))
  (func (export "call shared") (param i32 i32) (result i32)
    (call_indirect $shared (type $unary) (local.get 1) (local.get 0)))
  (func (export "use passive") (memory.init $passive (i32.const 500) (i32.const 0) (i32.const 7)))
  (func (export "use dropped") (memory.init $dropped (i32.const 500) (i32.const 0) (i32.const 4)))
  (func (export "use segment") (table.init $own $segment (i32.const 0) (i32.const 0) (i32.const 2)))
  (func (export "use lost") (table.init $own $lost (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "grow") (result i32) (memory.grow (i32.const 3)))
  (func (export "grow table") (result i32) (table.grow $own (ref.null func) (i32.const 3)))
  (func (export "bump") (result i32) (call $bump))
  (func (export "tick") (result i32) (call $tick))
  (func (export "keep extern") (param externref)
    (table.set $externs (i32.const 1) (local.get 0))))
"#;

/// Every export that tells one state from another, with its arguments, in an order that looks
/// before it changes.
const PROBES: &[(&str, &[i32])] = &[
    ("globals", &[]),
    ("sizes", &[]),
    ("load", &[8]),
    ("load", &[131_072]),
    ("load", &[196_604]),
    ("load", &[196_608]),
    ("call own", &[0]),
    ("call own", &[2]),
    ("call own", &[3]),
    ("call own unary", &[4, 21]),
    ("call own unary", &[5, 21]),
    ("call shared", &[1, 4]),
    ("call shared", &[0, 4]),
    ("use dropped", &[]),
    ("use passive", &[]),
    ("load", &[500]),
    ("use lost", &[]),
    ("use segment", &[]),
    ("call own", &[1]),
    ("call own unary", &[0, 5]),
    ("store", &[196_604, 9]),
    ("load", &[196_604]),
    ("grow", &[]),
    ("load", &[393_212]),
    ("load", &[393_216]),
    ("grow", &[]),
    ("grow table", &[]),
    ("grow table", &[]),
    ("bump", &[]),
    ("globals", &[]),
    ("sizes", &[]),
];

struct Fixture {
    engine: NativeEngine,
    library: Arc<CompiledModule>,
    main: Arc<CompiledModule>,
    ticks: Arc<AtomicI32>,
    dir: tempfile::TempDir,
}

const LIBRARY_ID: InstanceId = InstanceId::from_position(0);
const MAIN_ID: InstanceId = InstanceId::from_position(1);

impl Fixture {
    fn new() -> Self {
        Self::of(LIBRARY, MAIN)
    }

    fn of(library: &str, main: &str) -> Self {
        let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
        let engine = NativeEngine::new(EngineConfig {
            compiler: Some(Arc::clone(&compiler)),
            ..EngineConfig::default()
        })
        .unwrap();
        let compile = |text: &str| {
            let wasm = wat::parse_str(text).unwrap();
            let module: Module = compiler
                .decode(&wasm, ModuleHash::of(&wasm), executor_model::Features::default())
                .unwrap();
            engine.compile(&module, &Default::default(), false, &|_| ()).unwrap().0
        };
        let (library, main) = (compile(library), compile(main));
        let dir = tempfile::tempdir().unwrap();
        Self { engine, library, main, ticks: Arc::default(), dir }
    }

    fn linker(&self) -> Linker {
        let ticks = Arc::clone(&self.ticks);
        let mut linker = Linker::new();
        linker.func("host", "tick", move |_: &mut executor_runtime::Caller<'_>| {
            Ok(ticks.fetch_add(1, Ordering::Relaxed) + 1)
        });
        linker
    }

    /// Both modules, instantiated, linked and initialised.
    fn store(&self) -> Store {
        let mut store = Store::new(&self.engine, self.linker(), StoreConfig::default()).unwrap();
        let library = store.instantiate(&self.library).unwrap();
        store.linker_mut().instance("library", library);
        assert_eq!((library, store.instantiate(&self.main).unwrap()), (LIBRARY_ID, MAIN_ID));
        call(&mut store, "init", &[]).unwrap();
        store
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("s.snap")
    }

    fn module(&self, hash: ModuleHash) -> Result<Arc<CompiledModule>, SnapshotError> {
        let modules = [&self.library, &self.main];
        Ok(Arc::clone(modules.into_iter().find(|m| m.hash() == hash).unwrap()))
    }

    fn restore(&self) -> Store {
        let file = SnapshotFile::open(self.path()).unwrap();
        let (linker, config) = (self.linker(), StoreConfig::default());
        restore(&self.engine, linker, config, &file, |hash| self.module(hash)).unwrap()
    }

    fn restore_untrusted(&self) -> Result<Store, SnapshotError> {
        let file = SnapshotFile::open(self.path())?;
        let (linker, config) = (self.linker(), StoreConfig::default());
        restore_untrusted(&self.engine, linker, config, &file, |hash| self.module(hash))
    }
}

fn call(store: &mut Store, name: &str, params: &[i32]) -> Result<Vec<Val>, CallError> {
    let func = store.exported_func(MAIN_ID, name).unwrap();
    let params: Vec<_> = params.iter().map(|&n| Val::I32(n)).collect();
    store.call(func, &params)
}

fn answers(store: &mut Store) -> Vec<Result<Vec<Val>, TrapCode>> {
    let answer = |&(name, params): &(&str, &[i32])| match call(store, name, params) {
        Ok(values) => Ok(values),
        Err(CallError::Trap(trap)) => Err(trap.code),
        Err(e) => panic!("{name}: {e}"),
    };
    PROBES.iter().map(answer).collect()
}

fn manifest() -> Manifest {
    Manifest::new(MAIN_ID, EntryKind::Reactor, vec![InstanceNames::default(); 2])
}

fn write(store: &Store, path: &Path) -> SnapshotId {
    let state = store.capture().unwrap();
    let capture = Capture::new(&state, manifest(), &|_, _| ()).unwrap();
    capture.publish(path, &|_, _| ()).unwrap();
    capture.id()
}

#[test]
fn a_restored_store_answers_as_the_original() {
    let fixture = Fixture::new();
    let mut original = fixture.store();
    write(&original, &fixture.path());
    assert_eq!(fixture.ticks.load(Ordering::Relaxed), 1);
    let mut restored = fixture.restore();
    let mut checked = fixture.restore_untrusted().unwrap();
    assert_eq!(fixture.ticks.load(Ordering::Relaxed), 1, "nothing of the guest ran");

    let expected = answers(&mut original);
    assert!(expected.iter().any(Result::is_err) && expected.iter().any(Result::is_ok));
    assert_eq!(answers(&mut restored), expected);
    assert_eq!(answers(&mut checked), expected);
    // The start function ran once, in the original.
    assert_eq!(restored.memory(LIBRARY_ID, 0).unwrap()[10], 1);
    // Host functions are bound again by name.
    assert_eq!(call(&mut restored, "tick", &[]).unwrap(), [Val::I32(2)]);
}

#[test]
fn a_restored_store_can_be_captured_again_and_is_the_same_snapshot() {
    let fixture = Fixture::new();
    let id = write(&fixture.store(), &fixture.path());
    let restored = fixture.restore();
    assert_eq!(write(&restored, &fixture.dir.path().join("again.snap")), id);
    assert_eq!(SnapshotFile::open(fixture.path()).unwrap().id(), id);

    let mut moved_on = fixture.restore();
    call(&mut moved_on, "bump", &[]).unwrap();
    assert_ne!(write(&moved_on, &fixture.dir.path().join("later.snap")), id);
}

#[test]
fn restored_stores_share_nothing_and_leave_the_file_as_it_is() {
    let fixture = Fixture::new();
    write(&fixture.store(), &fixture.path());
    let before = fs::read(fixture.path()).unwrap();
    let mut first = fixture.restore();
    let expected = answers(&mut first);
    assert_eq!(answers(&mut fixture.restore()), expected);
    assert!(fs::read(fixture.path()).unwrap() == before);
    SnapshotFile::open(fixture.path()).unwrap().verify().unwrap();
}

#[test]
fn a_restored_store_outlives_its_file_and_can_capture_over_it() {
    let fixture = Fixture::new();
    write(&fixture.store(), &fixture.path());
    let mut restored = fixture.restore();
    call(&mut restored, "store", &[0, 42]).unwrap();
    write(&restored, &fixture.path());
    let mut again = fixture.restore();
    assert_eq!(call(&mut again, "load", &[0]).unwrap(), [Val::I32(42)]);
    fs::remove_file(fixture.path()).unwrap();
    assert_eq!(answers(&mut again)[1..], answers(&mut restored)[1..]);
}

#[test]
fn hooks_run_in_every_instance_and_their_state_is_captured() {
    // Each appends a digit to a number that both share.
    let hooks = |import: &str, digit: u32| {
        format!(
            r#"(module {import}
              (func $append (param i32)
                (global.set $n (i32.add (i32.mul (global.get $n) (i32.const 10)) (local.get 0))))
              (func (export "init") (call $append (i32.const {digit})))
              (func (export "executor_before_snapshot") (call $append (i32.const {})))
              (func (export "executor_after_restore") (call $append (i32.const {})))
              (func (export "n") (result i32) (global.get $n)))"#,
            digit + 1,
            digit + 2
        )
    };
    let library = hooks(r#"(global $n (export "n") (mut i32) (i32.const 0))"#, 1);
    let library = library.replace(r#"(func (export "n")"#, r#"(func (export "get n")"#);
    let main = hooks(r#"(import "library" "n" (global $n (mut i32)))"#, 4);
    let fixture = Fixture::of(&library, &main);
    let mut store = fixture.store();
    Hook::BeforeSnapshot.run(&mut store).unwrap();
    write(&store, &fixture.path());
    assert_eq!(call(&mut store, "n", &[]).unwrap(), [Val::I32(452)]);
    let mut restored = fixture.restore();
    Hook::AfterRestore.run(&mut restored).unwrap();
    assert_eq!(call(&mut restored, "n", &[]).unwrap(), [Val::I32(45236)]);
}

#[test]
fn a_hook_that_is_none_is_refused_and_one_that_fails_says_how() {
    let main = r#"(module
      (func (export "init"))
      (func (export "executor_before_snapshot") unreachable)
      (global (export "executor_after_restore") i32 (i32.const 0)))"#;
    let fixture = Fixture::of(LIBRARY, main);
    let mut store = fixture.store();
    match Hook::BeforeSnapshot.run(&mut store) {
        Err(HookError::Call { export, source: CallError::Trap(trap) }) => {
            assert_eq!(
                (export.as_str(), trap.code),
                ("executor_before_snapshot", TrapCode::Unreachable)
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(Hook::AfterRestore.run(&mut store), Err(HookError::NotAFunction { .. })));
    assert!(!Hook::AfterRestore.is_in(&fixture.library).unwrap());
}

#[test]
fn a_live_host_reference_is_refused_by_name() {
    let fixture = Fixture::new();
    let mut store = fixture.store();
    let keep = store.exported_func(MAIN_ID, "keep extern").unwrap();
    let handle = store.new_extern("of this process");
    store.call(keep, &[Val::ExternRef(Some(ExternRef::Host(handle)))]).unwrap();
    let message = store.capture().unwrap_err().to_string();
    assert!(message.contains("element 1 of table 2"), "{message}");
    store.call(keep, &[Val::ExternRef(None)]).unwrap();
    write(&store, &fixture.path());
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let fixture = Fixture::new();
    write(&fixture.store(), &fixture.path());
    fs::set_permissions(fixture.path(), Permissions::from_mode(0o666)).unwrap();
    let refused = fixture.restore_untrusted().map(drop).unwrap_err();
    assert!(matches!(refused, SnapshotError::Restore { .. }), "{refused}");
    assert!(refused.to_string().contains("s.snap"), "{refused}");
}

#[test]
fn state_that_does_not_fit_its_module_is_refused() {
    let fixture = Fixture::new();
    write(&fixture.store(), &fixture.path());
    let file = SnapshotFile::open(fixture.path()).unwrap();
    let wrong = file.plan(|_| Ok::<_, SnapshotError>(Arc::clone(&fixture.main)));
    assert!(matches!(wrong, Err(SnapshotError::Misfit { instance: 1, .. })));
}

#[test]
fn damage_anywhere_is_refused_for_a_file_from_elsewhere() {
    let fixture = Fixture::new();
    write(&fixture.store(), &fixture.path());
    let good = fs::read(fixture.path()).unwrap();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(fixture.path(), bad).unwrap();
        let refused = fixture.restore_untrusted().map(drop).unwrap_err();
        assert!(matches!(refused, SnapshotError::Format { .. }), "byte {at}: {refused}");
    }
}

/// The main instance's state, open to change.
struct Forgery {
    block: Vec<u8>,
    own_table: Vec<u8>,
}

impl Forgery {
    fn word(&mut self, offset: u64) -> &mut [u8; 8] {
        self.block[offset as usize..].first_chunk_mut().unwrap()
    }

    fn add(&mut self, offset: u64, n: u64) {
        let word = self.word(offset);
        *word = u64::from_le_bytes(*word).wrapping_add(n).to_le_bytes();
    }
}

#[test]
fn a_forger_who_makes_the_hashes_right_gets_no_further() {
    let fixture = Fixture::new();
    let counts = *fixture.main.code().counts();
    let own = |store: &Store, name| store.exported_func(MAIN_ID, name).unwrap();
    type Forge<'a> = &'a dyn Fn(&Store, &mut Forgery);
    let forgeries: [(&str, Forge<'_>); 11] = [
        ("a table element of no instance", &|_, f| f.own_table[5] = 9),
        ("a table element of no function", &|_, f| f.own_table[..2].fill(0xff)),
        ("a table element of another type", &|store, f| {
            let bits = own(store, "double").to_bits() ^ 1 << FuncRef::TYPE_SHIFT;
            f.own_table[..8].copy_from_slice(&bits.to_le_bytes());
        }),
        ("a global of no instance", &|_, f| f.word(counts.global(3))[5] = 9),
        ("an import bound to a function of another type", &|store, f| {
            *f.word(counts.binding(0)) = own(store, "load").to_bits().to_le_bytes();
        }),
        ("a link to half a global", &|_, f| f.add(counts.global_link(0), 8)),
        ("a link to no table", &|_, f| f.add(counts.table_link(0), 4096)),
        ("a link to another size of a table", &|_, f| f.add(counts.table_link(0) + 8, 8)),
        ("a link to no memory", &|_, f| f.add(counts.memory_link(0), 1 << 40)),
        ("a table larger than it may be", &|_, f| f.add(counts.table_size(0), 4)),
        ("a table smaller than it must be", &|_, f| {
            f.add(counts.table_size(0), 3u64.wrapping_neg())
        }),
    ];
    let store = fixture.store();
    for (what, forge) in forgeries {
        let mut state = store.capture().unwrap();
        let instance = &mut state.instances[MAIN_ID.position()];
        let block = std::mem::take(&mut instance.block);
        let mut forgery = Forgery { block, own_table: instance.tables[0].to_vec() };
        forge(&store, &mut forgery);
        instance.block = forgery.block;
        instance.tables[0] = &forgery.own_table;
        let capture = Capture::new(&state, manifest(), &|_, _| ()).unwrap();
        capture.publish(&fixture.path(), &|_, _| ()).unwrap();
        match fixture.restore_untrusted() {
            Err(SnapshotError::Restore { .. }) => {}
            Err(e) => panic!("{what}: {e}"),
            Ok(_) => panic!("{what}: restored"),
        }
    }
}
