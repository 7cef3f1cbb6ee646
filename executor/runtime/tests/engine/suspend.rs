//! Suspended calls: at every call of the host a call is taken apart and made again, and ends as if
//! nothing had happened.

use crate::{listeners::Log, *};
use executor_model::{CallError, FunctionListener, Module, RawValue};
use executor_runtime::{CaptureError, Reached, SuspendError};
use std::sync::Mutex;

/// A module, and the engines that run it with and without frame maps.
struct Scene {
    plain: NativeEngine,
    mapped: NativeEngine,
    modules: Vec<(&'static str, Module)>,
    listeners: Listeners,
    config: StoreConfig,
}

/// What a run is seen to do: how it ended, backtraces included, and what it told the host.
type Seen = (String, Vec<String>);

fn engine_with(frame_maps: bool) -> NativeEngine {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    let features = executor_model::Features::ALL;
    let config =
        EngineConfig { compiler: Some(compiler), features, frame_maps, ..EngineConfig::default() };
    NativeEngine::new(config).unwrap()
}

impl Scene {
    /// The last module is the one that is called; those before are instantiated under their names.
    fn new(modules: &[(&'static str, &str)]) -> Self {
        let (plain, mapped) = (engine_with(false), engine_with(true));
        let decode = |wat: &str| {
            let wasm = wat::parse_str(wat).unwrap();
            plain.decode(&wasm, ModuleHash::of(&wasm)).unwrap()
        };
        let modules = modules.iter().map(|(name, wat)| (*name, decode(wat))).collect();
        Self {
            plain,
            mapped,
            modules,
            listeners: Listeners::none(),
            config: StoreConfig::default(),
        }
    }

    fn store(&self, engine: &NativeEngine) -> (Store, InstanceId, Arc<Mutex<Vec<String>>>) {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&log);
        let mut linker = Linker::new();
        linker.func("host", "point", move |_: &mut executor_runtime::Caller<'_>, n: i32| {
            told.lock().unwrap().push(n.to_string());
            Ok(n.wrapping_mul(3).wrapping_add(1))
        });
        let told = Arc::clone(&log);
        linker.func(
            "host",
            "mixed",
            move |_: &mut executor_runtime::Caller<'_>, a: i64, b: f32, v: u128| {
                told.lock().unwrap().push(format!("{a} {b} {v:x}"));
                Ok((v.rotate_left(8), a + 1))
            },
        );
        let throwing = |caller: &mut executor_runtime::Caller<'_>, n: i32| {
            let tag = caller.exported_tag("tag").expect("the guest has one");
            match n % 3 {
                0 => Err(caller.throw(tag, &[Val::I32(n)])),
                _ => Ok(n),
            }
        };
        linker.func("host", "throw", throwing);
        let mut store = Store::new(engine, linker, self.config.clone()).unwrap();
        let mut last = None;
        for (name, module) in &self.modules {
            let (compiled, _) = engine.compile(module, &self.listeners, true, QUIET).unwrap();
            let id = store.instantiate(&compiled).unwrap();
            store.linker_mut().instance(name, id);
            last = Some(id);
        }
        (store, last.unwrap(), log)
    }

    /// The code that goes on with the suspended call.
    fn continuations(&self, engine: &NativeEngine, store: &Store) -> Vec<Arc<CompiledModule>> {
        let sites = store.suspended_sites();
        let module = |hash| self.modules.iter().find(|(_, m)| m.hash == hash).unwrap();
        sites
            .into_iter()
            .map(|(hash, sites)| {
                let (_, module) = module(hash);
                let (bytes, hash) = (&module.bytes, module.hash);
                engine.compile_continuations(bytes, hash, &sites, &self.listeners).unwrap()
            })
            .collect()
    }

    fn seen(store: &Store, result: Result<Vec<Val>, CallError>, log: &Mutex<Vec<String>>) -> Seen {
        let id = InstanceId::from_position(store.instance_count() - 1);
        let memory = store.memory(id, 0).map(|m| format!("{:?}", &m[..64]));
        let result = match result {
            Ok(values) => format!("{values:?}"),
            Err(error) => error.to_string(),
        };
        let globals: Vec<_> = (0..4).map_while(|i| store.global(id, i)).collect();
        let all = format!("{result} {memory:?} {globals:?}");
        (all, std::mem::take(&mut *log.lock().unwrap()))
    }

    /// Runs `export` straight, then suspended once at each call of the host, then at all of them one
    /// after the other. Returns how many calls of the host there are.
    fn check(&self, export: &str, params: &[Val]) -> usize {
        let (mut store, id, log) = self.store(&self.plain);
        let func = store.exported_func(id, export).unwrap();
        let result = store.call(func, params);
        let straight = Self::seen(&store, result, &log);
        let mut points = 0;
        for n in 0.. {
            let (mut store, id, log) = self.store(&self.mapped);
            let func = store.exported_func(id, export).unwrap();
            let mut left = n;
            let reached = store.call_until(func, params, move |_, call| {
                assert_eq!(call.module, "host");
                left -= 1;
                left < 0
            });
            let result = match reached {
                Ok(Reached::Point) => {
                    // What its frames refer to moves.
                    store.prepare_capture();
                    let code = self.continuations(&self.plain, &store);
                    store.resume(code)
                }
                Ok(Reached::End(values)) => Ok(values),
                Err(SuspendError::Call(error)) => Err(error),
                Err(error) => panic!("{error}"),
            };
            let ended = store.suspended().is_none();
            assert!(ended);
            assert_eq!(Self::seen(&store, result, &log), straight, "{export}, point {n}");
            points = n as usize;
            if points >= straight.1.len() {
                break;
            }
        }
        let (mut store, id, log) = self.store(&self.mapped);
        let func = store.exported_func(id, export).unwrap();
        let mut reached = store.call_until(func, params, |_, _| true);
        let mut times = 0;
        let result = loop {
            match reached {
                Ok(Reached::Point) => {
                    let code = self.continuations(&self.mapped, &store);
                    reached = store.resume_until(code, |_, _| true);
                    times += 1;
                }
                Ok(Reached::End(values)) => break Ok(values),
                Err(SuspendError::Call(error)) => break Err(error),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(times >= straight.1.len(), "{times}");
        assert_eq!(Self::seen(&store, result, &log), straight, "{export}, at all points");
        points
    }
}

fn check(wat: &str, params: &[Val]) -> usize {
    Scene::new(&[("m", wat)]).check("f", params)
}

#[test]
fn loops_and_operands_go_on() {
    // Operands wait below loops and calls; locals are written before, in and after the loops.
    let points = check(
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (memory (export "memory") 1)
             (global $g (export "g") (mut i64) (i64.const 7))
             (func (export "f") (param $n i32) (result i32 i64 f64)
               (local $i i32) (local $sum i64) (local $x f64) (local $late i32)
               (i32.add (i32.const 1000)
                 (block (result i32)
                   (i32.const 5)
                   (loop $outer (param i32) (result i32)
                     (local.set $x (f64.add (local.get $x) (f64.const 0.5)))
                     (call $point (local.get $i))
                     i32.add
                     (local.set $i (i32.add (local.get $i) (i32.const 1)))
                     (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $i))))
                     (i64.store (i32.shl (local.get $i) (i32.const 3)) (local.get $sum))
                     (if (param i32) (result i32) (i32.and (local.get $i) (i32.const 1))
                       (then (i32.add (call $point (i32.const -1))))
                       (else (i32.mul (i32.const 2)) (global.set $g (local.get $sum))))
                     (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))))
               (local.set $late (call $point (i32.const 99)))
               (i64.add (local.get $sum) (i64.extend_i32_s (local.get $late)))
               (local.get $x)))"#,
        &[Val::I32(4)],
    );
    assert_eq!(points, 7);
}

#[test]
fn the_way_around_the_call_is_not_mistaken() {
    // The call may be passed by: what is below it comes from before the loop then.
    check(
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (func (export "f") (param $n i32) (result i32) (local $i i32)
               (call $point (i32.const 40))
               (block $out (result i32)
                 (i32.const 17)
                 (loop $again (param i32) (result i32)
                   (br_if $out (i32.ge_u (local.get $i) (local.get $n)))
                   (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (block $skip
                     (br_table $skip $again $skip (i32.const 2)
                       (drop (call $point (local.get $i)))
                       (i32.rem_u (local.get $i) (i32.const 3))))
                   (i32.add (i32.const 1))
                   (br $again)))
               i32.add))"#
            .replace("(br_table $skip $again $skip (i32.const 2)\n                       (drop (call $point (local.get $i)))\n                       (i32.rem_u (local.get $i) (i32.const 3)))", "(drop (call $point (local.get $i)))\n (br_table $skip $skip $skip (i32.rem_u (local.get $i) (i32.const 3)))")
            .as_str(),
        &[Val::I32(5)],
    );
}

#[test]
fn calls_of_every_kind_go_on() {
    let points = check(
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (type $unary (func (param i32) (result i32)))
             (table funcref (elem $direct $tail $through $point))
             (elem declare func $through)
             (func $direct (type $unary) (i32.add (local.get 0) (call $point (local.get 0))))
             (func $tail (type $unary)
               (drop (call $point (i32.const 11)))
               (return_call_indirect (type $unary) (i32.add (local.get 0) (i32.const 1)) (i32.const 0)))
             (func $through (type $unary)
               (i32.sub (local.get 0) (call_indirect (type $unary) (local.get 0) (i32.const 1))))
             (func $leaf (type $unary) (i32.mul (local.get 0) (i32.const 3)))
             (func (export "f") (param i32) (result i32 i32) (local $r (ref null $unary))
               (local.set $r (ref.func $through))
               (call $leaf (call $direct (local.get 0)))
               (call_indirect (type $unary) (i32.const 2) (i32.const 3))
               (i32.add (call_ref $unary (local.get 0) (local.get $r)))
               (i32.add (call_ref $unary (i32.const 9) (local.get $r)))))"#,
        &[Val::I32(3)],
    );
    assert_eq!(points, 6);
}

#[test]
fn recursion_goes_on_to_any_depth() {
    let scene = Scene::new(&[(
        "m",
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (func $f (export "f") (param $n i32) (result i64)
               (if (result i64) (i32.eqz (local.get $n))
                 (then (i64.extend_i32_s (call $point (i32.const 1))))
                 (else (i64.add (i64.extend_i32_u (local.get $n))
                                (call $f (i32.sub (local.get $n) (i32.const 1))))))))"#,
    )]);
    assert_eq!(scene.check("f", &[Val::I32(10_000)]), 1);
}

#[test]
fn values_of_every_type_go_on() {
    check(
        r#"(module
             (import "host" "mixed" (func $mixed (param i64 f32 v128) (result v128 i64)))
             (import "host" "point" (func $point (param i32) (result i32)))
             (global $g (export "g") (mut v128) (v128.const i64x2 1 2))
             (func (export "f") (param $a i64) (result i64 f32 i64)
               (local $v v128) (local $f f32) (local $d f64) (local $r funcref) (local $w v128)
               (local.set $v (v128.const i32x4 1 2 3 4))
               (local.set $w (v128.const i32x4 5 6 7 8))
               (local.set $f (f32.const 1.5))
               (local.set $d (f64.const -2.25))
               (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
               (f32.const 0.125)
               (local.get $a)
               (call $mixed (local.get $a) (local.get $f) (local.get $v))
               (local.set $a)
               (local.set $v)
               (drop (call $point (i32x4.extract_lane 0 (local.get $v))))
               i64.add (local.get $a)
               (local.set $a)
               (f32.add (f32.demote_f64 (local.get $d)))
               (local.set $f)
               (global.set $g (i32x4.add (i32x4.add (local.get $w)) (local.get $v)))
               (local.get $a) (local.get $f) (i64x2.extract_lane 1 (local.get $v))))"#
            .replace(
                "i64.add (local.get $a)\n               (local.set $a)\n",
                "(local.get $a) i64.add (local.set $a)\n",
            )
            .as_str(),
        &[Val::I64(12)],
    );
}

#[test]
fn exceptions_arrive_at_the_calls_of_resumed_frames() {
    let wat = r#"(module
         (import "host" "point" (func $point (param i32) (result i32)))
         (import "host" "throw" (func $throw (param i32) (result i32)))
         (tag $tag (export "tag") (param i32))
         (tag $other (param i64))
         (func $inner (param $n i32) (result i32)
           (drop (call $point (local.get $n)))
           (i32.add (local.get $n) (call $throw (local.get $n))))
         (func $middle (param $n i32) (result i32)
           (i32.const 100)
           (block $h (result i32)
             (try_table (result i32) (catch $other 1) (catch_all 2)
               (drop (call $point (i32.const -7)))
               (call $inner (local.get $n)))
             (br 1))
           REST)
         (func (export "f") (param $n i32) (result i32) (local $i i32) (local $sum i32)
           (loop $again
             (local.set $sum (i32.add (local.get $sum)
               (block $caught (result i32)
                 (i32.add (i32.const 10)
                   (try_table (result i32) (catch $tag $caught) (call $inner (local.get $i)))))))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
           (drop (call $inner (i32.const 6)))
           (local.get $sum)))"#;
    // The last call throws out of everything.
    let middle = wat.find("(func $middle").unwrap()..wat.find("(func (export").unwrap();
    check(&wat.replace(&wat[middle], ""), &[Val::I32(4)]);
}

#[test]
fn the_older_handlers_go_on_and_throw_again() {
    check(
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (import "host" "throw" (func $throw (param i32) (result i32)))
             (tag $tag (export "tag") (param i32))
             (func $f (export "f") (param $n i32) (result i32) (local $x i32)
               i32.const 1000
               try (result i32)
                 try (result i32)
                   local.get $n
                   local.set $x
                   local.get $n
                   call $throw
                 catch $tag
                   i32.const 1
                   i32.add
                   local.set $x
                   try (result i32)
                     local.get $x
                     call $point
                     call $point
                   delegate 0
                   call $throw
                   drop
                   local.get $x
                   call $point
                 catch_all
                   i32.const 5
                   call $point
                   drop
                   rethrow 0
                 end
               catch $tag
                 local.get $x
                 i32.add
                 call $point
               end
               i32.add))"#,
        &[Val::I32(5)],
    );
}

#[test]
fn a_caught_exception_that_is_thrown_again_is_refused_by_a_capture_and_goes_on_in_the_store() {
    let scene = Scene::new(&[(
        "m",
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (tag $tag (export "tag") (param i32))
             (func $named (export "f") (result i32)
               try (result i32)
                 try (result i32)
                   i32.const 4
                   throw $tag
                 catch $tag
                   call $point
                   drop
                   rethrow 0
                 end
               catch $tag
                 call $point
               end))"#,
    )]);
    assert_eq!(scene.check("f", &[]), 2);
    let (mut store, id, _) = scene.store(&scene.mapped);
    let func = store.exported_func(id, "f").unwrap();
    assert_eq!(store.call_until(func, &[], |_, _| true).unwrap(), Reached::Point);
    let error = store.capture().unwrap_err();
    assert!(matches!(error, CaptureError::HostReference { .. }), "{error}");
    assert!(error.to_string().contains("a caught exception of function 1 (\"named\")"), "{error}");
}

#[test]
fn traps_have_the_backtrace_of_the_resumed_frames() {
    check(
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (func $inner (param $n i32) (result i32)
               (i32.div_u (i32.const 1) (i32.sub (call $point (local.get $n)) (i32.const 1))))
             (func $outer (export "f") (result i32)
               (i32.add (call $inner (i32.const 3)) (call $inner (i32.const 0)))))"#,
        &[],
    );
}

#[test]
fn linked_instances_go_on() {
    let scene = Scene::new(&[
        (
            "library",
            r#"(module
                 (import "host" "point" (func $point (param i32) (result i32)))
                 (memory (export "memory") 1)
                 (table (export "table") 4 funcref)
                 (func (export "store") (param i32 i32) (result i32)
                   (i32.store (local.get 0) (call $point (local.get 1)))
                   (call_indirect (param i32) (result i32) (local.get 1) (i32.const 0))))"#,
        ),
        (
            "m",
            r#"(module
                 (import "library" "memory" (memory 1))
                 (import "library" "table" (table 4 funcref))
                 (import "library" "store" (func $store (param i32 i32) (result i32)))
                 (import "host" "point" (func $point (param i32) (result i32)))
                 (elem (i32.const 0) $back)
                 (func $back (param i32) (result i32)
                   (i32.add (local.get 0) (call $point (i32.const 2))))
                 (func (export "f") (param i32) (result i32)
                   (i32.add (call $store (i32.const 8) (local.get 0))
                            (call $store (i32.const 16) (call $point (local.get 0))))))"#,
        ),
    ]);
    assert_eq!(scene.check("f", &[Val::I32(21)]), 5);
}

#[test]
fn listeners_are_told_of_returns_of_resumed_functions() {
    let log = Arc::new(Log::default());
    let mut scene = Scene::new(&[(
        "m",
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (func $inner (param i32) (result i32) (call $point (local.get 0)))
             (func $outer (export "f") (param i32) (result i32)
               (i32.add (call $inner (local.get 0)) (i32.const 1))))"#,
    )]);
    scene.listeners = Listeners::all(Arc::clone(&log) as Arc<dyn FunctionListener>);
    let (mut store, id, _) = scene.store(&scene.mapped);
    let func = store.exported_func(id, "f").unwrap();
    assert_eq!(store.call_until(func, &[Val::I32(2)], |_, _| true).unwrap(), Reached::Point);
    assert_eq!(log.take(), ["> outer [I32(2)]", "> inner [I32(2)]"]);
    let code = scene.continuations(&scene.plain, &store);
    assert_eq!(store.resume(code).unwrap(), [Val::I32(8)]);
    assert_eq!(log.take(), ["< inner [I32(7)]", "< outer [I32(8)]"]);
}

#[test]
fn what_cannot_be_suspended_is_named() {
    let wat = r#"(module
         (import "host" "point" (func $point (param i32) (result i32)))
         (import "host" "back" (func $back))
         (func (export "inner") (drop (call $point (i32.const 1))))
         (func (export "f") (call $back)))"#;
    let scene = Scene::new(&[("m", wat)]);
    for (engine, expected) in [
        (&scene.mapped, "the host function `host.back` made"),
        (&scene.plain, "was compiled without frame maps"),
    ] {
        let mut linker = Linker::new();
        linker.func("host", "point", |_: &mut executor_runtime::Caller<'_>, n: i32| Ok(n));
        linker.func("host", "back", |caller: &mut executor_runtime::Caller<'_>| {
            let func = caller.exported_func("inner").unwrap();
            caller.call(func, &[])?;
            Ok(())
        });
        let (module, _) =
            engine.compile(&scene.modules[0].1, &Listeners::none(), true, QUIET).unwrap();
        let mut store = Store::new(engine, linker, StoreConfig::default()).unwrap();
        let id = store.instantiate(&module).unwrap();
        let export = if expected.contains("maps") { "inner" } else { "f" };
        let func = store.exported_func(id, export).unwrap();
        let error = store.call_until(func, &[], |_, call| call.name == "point").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(store.suspended().is_none());
        // The store is as good as before.
        store.call(func, &[]).unwrap();
    }
}

#[test]
fn a_point_that_is_not_reached_changes_nothing() {
    let scene = Scene::new(&[(
        "m",
        r#"(module
             (import "host" "point" (func $point (param i32) (result i32)))
             (func (export "f") (result i32) (call $point (i32.const 1))))"#,
    )]);
    let (mut store, id, log) = scene.store(&scene.mapped);
    let func = store.exported_func(id, "f").unwrap();
    let args = |call: &executor_runtime::HostCall<'_>| call.args.first() == Some(&RawValue(2));
    let reached = store.call_until(func, &[], move |_, call| args(call)).unwrap();
    assert_eq!(reached, Reached::End(vec![Val::I32(4)]));
    assert_eq!(*log.lock().unwrap(), ["1"]);
    let error = store.resume(Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no call is suspended"), "{error}");
}

#[test]
fn objects_in_frames_go_on_wherever_they_have_moved() {
    let wat = r#"(module
        (import "host" "point" (func $point (param i32) (result i32)))
        (type $list (struct (field (mut i32)) (field (ref null $list))))
        (type $row (array (mut (ref null $list))))
        (global $last (mut anyref) (ref.null any))
        (func $sum (param $list (ref null $list)) (result i32) (local $sum i32)
          (block $done (loop $more
            (br_if $done (ref.is_null (local.get $list)))
            (local.set $sum (i32.add (local.get $sum) (struct.get $list 0 (local.get $list))))
            (local.set $list (struct.get $list 1 (local.get $list)))
            (br $more)))
          (local.get $sum))
        ;; Operands and locals of each frame refer to objects made between the calls of the host.
        (func $down (param $n i32) (param $list (ref null $list)) (result (ref null $list))
          (local $row (ref $row)) (local $kept externref)
          (local.set $row (array.new $row (local.get $list) (i32.const 3)))
          (local.set $kept (extern.convert_any (struct.new $list (i32.const 1000) (local.get $list))))
          (drop (call $point (call $sum (local.get $list))))
          (struct.new $list (i32.const 7) (struct.new $list (i32.const 8) (ref.null $list)))
          (local.set $list (if (result (ref null $list)) (local.get $n)
            (then (call $down (i32.sub (local.get $n) (i32.const 1))
              (struct.new $list (local.get $n) (local.get $list))))
            (else (local.get $list))))
          (array.set $row (local.get $row) (i32.const 1) (local.get $list))
          (drop (call $point (call $sum)))
          (global.set $last (local.get $row))
          (struct.new $list
            (call $sum (ref.cast (ref $list) (any.convert_extern (local.get $kept))))
            (array.get $row (local.get $row) (i32.const 1))))
        (func (export "f") (param i32) (result i32)
          (call $sum (call $down (local.get 0) (ref.null $list)))
          (global.set $last (ref.null any))))"#;
    let mut scene = Scene::new(&[("m", wat)]);
    for every in [None, std::num::NonZeroU32::new(1), std::num::NonZeroU32::new(3)] {
        scene.config.collect_every = every;
        assert_eq!(scene.check("f", &[Val::I32(4)]), 10);
    }
}
