//! A code file that is cut while a store uses it, at each of its pages: machine code runs into the hole, or
//! reads the function table there; the host looks for functions, types, traps, handlers, names and frame maps
//! there. Each call ends as it would have, or with the trap that says that a page is lost.

use crate::*;
use executor_code::{Check, CodeCache};
use executor_model::{CallError, TrapCode};
use executor_runtime::{Caller, HostCall, HostError, Reached, SuspendError};
use std::{fmt::Write as _, fs, fs::File, path::PathBuf};
use tempfile::TempDir;

/// So many that the function table has more than one page.
const FUNCTIONS: usize = 1100;
const PAGE: u64 = 4096;

/// Everything that the exports use lies at the end of what the module declares, apart from the code before.
fn wat() -> String {
    let mut fillers = String::new();
    for i in 0..FUNCTIONS {
        write!(fillers, "(func $filler{i} (result i32) (i32.const {i}))").unwrap();
    }
    format!(
        r#"(module $cut
          (import "host" "cut" (func $cut))
          (import "host" "other" (func $other (param i32) (result i32)))
          (import "host" "back" (func $back (result i32)))
          (memory 1)
          (table $t 1 funcref)
          (global $g (mut i32) (i32.const 3))
          (tag $tag (param i32))
          (elem (i32.const 0) func $last)
          (elem declare func $last)
          {fillers}
          (func $last (export "last") (result i32) (i32.const 7))
          (func $throw (throw $tag (i32.const 5)))
          (func (export "call") (result i32) (call $cut) (call $last))
          (func (export "call_indirect") (result i32)
            (call $cut) (call_indirect $t (result i32) (i32.const 0)))
          (func (export "call_ref") (result i32) (call $cut)
            (call_ref $value (ref.func $last)))
          (func (export "import") (result i32) (call $cut) (call $other (i32.const 4)))
          (func (export "back") (result i32) (call $cut) (call $back))
          (func (export "catch") (result i32) (call $cut)
            (block $handler (result i32)
              (try_table (catch $tag $handler) (call $throw)) (i32.const 0)))
          (func (export "throw") (result i32) (call $cut) (call $throw) (i32.const 0))
          (func (export "unreachable") (result i32) (call $cut) (unreachable))
          (func (export "divide") (result i32) (call $cut)
            (i32.div_s (i32.const 1) (i32.load (i32.const 0))))
          (func (export "grow") (result i32) (call $cut) (memory.grow (i32.const 1)))
          (type $value (func (result i32))))"#
    )
}

const CUT_BY_THE_GUEST: [&str; 10] = [
    "call",
    "call_indirect",
    "call_ref",
    "import",
    "back",
    "catch",
    "throw",
    "unreachable",
    "divide",
    "grow",
];

/// A store directory with the code of the module.
struct Scene {
    dir: TempDir,
    wasm: Vec<u8>,
    path: PathBuf,
    whole: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let wasm = wat::parse_str(wat()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut scene = Self { dir, wasm, path: PathBuf::new(), whole: Vec::new() };
        let engine = scene.engine();
        let hash = ModuleHash::of(&scene.wasm);
        let module = engine.decode(&scene.wasm, hash).unwrap();
        engine.compile(&module, &Listeners::none(), true, QUIET).unwrap();
        scene.path = engine.code_path(&hash, None).unwrap();
        scene.whole = fs::read(&scene.path).unwrap();
        scene
    }

    fn engine(&self) -> NativeEngine {
        let config = EngineConfig {
            compiler: Some(Arc::new(NativeCompiler::new().unwrap())),
            cache: Some(CodeCache::new(self.dir.path().to_owned())),
            frame_maps: true,
            ..EngineConfig::default()
        };
        NativeEngine::new(config).unwrap()
    }

    /// A store that uses the whole file, and what cuts it, which the guest can call too.
    fn store(&self, left: u64) -> (Store, InstanceId, impl Fn() + Send + use<>) {
        // Another file than the one that was cut before.
        let _ = fs::remove_file(&self.path);
        fs::write(&self.path, &self.whole).unwrap();
        let engine = self.engine();
        let (module, _) = engine.load(&ModuleHash::of(&self.wasm)).unwrap().unwrap();
        let file = File::options().write(true).open(&self.path).unwrap();
        let cut = file.try_clone().unwrap();
        let cut = move || cut.set_len(left).unwrap();
        let mut linker = Linker::new();
        linker.func("host", "cut", move |_: &mut Caller<'_>| {
            file.set_len(left).unwrap();
            Ok(())
        });
        linker.func("host", "other", |_: &mut Caller<'_>, n: i32| Ok(n + 1));
        linker.func("host", "back", |caller: &mut Caller<'_>| {
            let last = caller.exported_func("last").ok_or_else(|| HostError::new("no export"))?;
            match caller.call(last, &[]).map_err(HostError::new)?[..] {
                [Val::I32(value)] => Ok(value),
                _ => Err(HostError::new("no value")),
            }
        });
        let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
        let id = store.instantiate(&module).unwrap();
        (store, id, cut)
    }

    /// Does something with a store whose code is cut after each of its pages, and then with one whose code is
    /// whole. Both do the same, or the former loses a page; it does so at least without any page.
    fn check<T: std::fmt::Debug>(
        &self,
        what: &str,
        act: impl Fn(&mut Store, InstanceId, &dyn Fn()) -> Result<T, CallError>,
    ) {
        let len = self.whole.len() as u64;
        let act = |left| {
            let (mut store, id, cut) = self.store(left);
            let result = act(&mut store, id, &cut);
            let lost = is_lost(&result);
            let found = match result {
                Ok(found) => format!("{found:?}"),
                Err(error) => error.to_string(),
            };
            (found, lost, store.ensure_intact().is_err())
        };
        let (expected, lost, void) = act(len);
        assert!(!lost && !void, "{what}: {expected}");
        for left in (0..len).step_by(PAGE as usize) {
            let (found, lost, void) = act(left);
            assert!(lost == void && (lost || found == expected), "{what}, {left} left: {found}");
            assert!(lost || left > 0, "{what}: {found}");
        }
    }
}

fn is_lost<T>(result: &Result<T, CallError>) -> bool {
    matches!(result, Err(CallError::Trap(trap)) if trap.code == TrapCode::PageLost)
}

#[test]
fn a_guest_whose_code_is_cut_goes_on_or_traps() {
    let scene = Scene::new();
    assert!(scene.whole.len() as u64 > 8 * PAGE);
    for export in CUT_BY_THE_GUEST {
        scene.check(export, |store, id, _| call(store, id, export, &[]));
    }
}

#[test]
fn a_host_that_calls_into_code_that_was_cut_is_told() {
    Scene::new().check("a call", |store, id, cut| {
        let last = store.exported_func(id, "last").unwrap();
        cut();
        store.call(last, &[])
    });
}

#[test]
fn what_the_host_looks_up_in_code_that_was_cut_is_known_to_be_void() {
    Scene::new().check("names and types", |store, id, cut| {
        let last = store.exported_func(id, "last").unwrap();
        cut();
        let found = (store.export(id, "last"), store.func_type(last), store.export(id, "none"));
        store.ensure_intact().map_err(CallError::Trap)?;
        Ok(found)
    });
}

#[test]
fn a_state_that_is_captured_by_code_that_was_cut_is_known_to_be_void() {
    Scene::new().check("a capture", |store, _, cut| {
        cut();
        let captured = store.capture().map(|state| state.instances[0].block.clone());
        store.ensure_intact().map_err(CallError::Trap)?;
        Ok(captured.unwrap())
    });
}

#[test]
fn a_call_whose_code_is_cut_is_suspended_or_traps() {
    Scene::new().check("a suspension", |store, id, _| {
        let func = store.exported_func(id, "import").unwrap();
        let mut calls = 0;
        let reached = store.call_until(func, &[], move |_, _| {
            calls += 1;
            calls == 2
        });
        match reached {
            Ok(Reached::Point) => Ok(format!("{:?}", store.suspended())),
            Ok(reached) => panic!("{reached:?}"),
            Err(SuspendError::Call(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn a_call_whose_continuations_are_cut_goes_on_or_traps() {
    let scene = Scene::new();
    let (hash, none) = (ModuleHash::of(&scene.wasm), Listeners::none());
    let suspended = || {
        let (mut store, id, _) = scene.store(scene.whole.len() as u64);
        let func = store.exported_func(id, "import").unwrap();
        let mut calls = 0;
        let second = move |_: &mut Caller<'_>, _: &HostCall<'_>| {
            calls += 1;
            calls == 2
        };
        assert!(matches!(store.call_until(func, &[], second).unwrap(), Reached::Point));
        store
    };
    let sites = suspended().suspended_sites().remove(&hash).unwrap();
    let engine = scene.engine();
    engine.compile_continuations(&scene.wasm, hash, &sites, &none).unwrap();
    let path = engine.code_path(&hash, Some(&sites)).unwrap();
    let whole = fs::read(&path).unwrap();
    let resume = |left| {
        let mut store = suspended();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &whole).unwrap();
        let code = engine.load_continuations(&hash, &sites, &none, Check::Once).unwrap().unwrap();
        File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
        let result = store.resume(vec![code]);
        let lost = is_lost(&result);
        assert_eq!(lost, store.ensure_intact().is_err(), "{left} left: {result:?}");
        if !lost {
            assert_eq!(result.unwrap(), [Val::I32(5)], "{left} left");
        }
        lost
    };
    let len = whole.len() as u64;
    let lost = (0..len).step_by(PAGE as usize).filter(|left| resume(*left)).count() as u64;
    assert!(lost > 1 && resume(0) && !resume(len), "{lost} of {} pages", len / PAGE);
}
