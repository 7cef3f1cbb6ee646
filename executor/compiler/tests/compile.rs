//! The compiler from outside: modules in, code files out.

use executor_code::{
    CompileError, CompileEvent, CompileOptions, Compiler, OptLevel,
    file::{CodeFile, Section},
};
use executor_compiler::NativeCompiler;
use executor_model::{ExternKind, Features, Module, ModuleHash, TrapCode};
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

const PLAIN: CompileOptions = CompileOptions {
    listeners: false,
    frame_maps: false,
    opt_level: OptLevel::Speed,
    features: Features::DEFAULT,
};
const LISTENERS: CompileOptions = CompileOptions { listeners: true, ..PLAIN };

fn compiler() -> NativeCompiler {
    NativeCompiler::new().expect("this machine is supported")
}

fn decode(wat: &str) -> Module {
    let wasm = wat::parse_str(wat).expect("valid text");
    compiler().decode(&wasm, ModuleHash::of(&wasm), Features::default()).expect("valid module")
}

fn compile(wat: &str, options: CompileOptions) -> CodeFile<Vec<u8>> {
    let bytes = compiler().compile(&decode(wat), options, &|_| {}).expect("compiled");
    let file = CodeFile::new(bytes).expect("a code file");
    file.verify().expect("undamaged");
    file
}

fn refusal(wat: &str) -> CompileError {
    let wasm = wat::parse_str(wat).expect("valid text");
    compiler().decode(&wasm, ModuleHash::of(&wasm), Features::default()).expect_err("refused")
}

/// The code of a function, up to where the next function or the first trampoline begins.
fn code(file: &CodeFile<Vec<u8>>, func: u32) -> &[u8] {
    let text = file.section(Section::Text);
    let start = file.function_offset(func).expect("in range") as usize;
    let types = file.range(Section::Enter).len() as u32 / 4;
    let trampolines = (0..types).filter_map(|ty| file.enter_offset(ty)).min();
    let end = file.function_offset(func + 1).or(trampolines).expect("a function has a type");
    &text[start..end as usize]
}

const SAMPLE: &str = r#"
    (module $sample
      (type $binary (func (param i32 i32) (result i32)))
      (type $same (func (param i32 i32) (result i32)))
      (import "host" "log" (func $log (param i32)))
      (memory (export "memory") 1 4)
      (table (export "table") 4 funcref)
      (global $counter (export "counter") (mut i32) (i32.const 7))
      (elem (i32.const 0) $add $divide)
      (data (i32.const 8) "some bytes")
      (data "passive")
      (func $add (export "add") (type $binary) local.get 0 local.get 1 i32.add)
      (func $divide (type $same) local.get 0 local.get 1 i32.div_s)
      (func (export "apply") (param i32) (result i32)
        (call $log (local.get 0))
        (global.set $counter (i32.add (global.get $counter) (i32.const 1)))
        (call_indirect (type $same) (i32.const 6) (i32.load (local.get 0)) (local.get 0)))
      (func $load (param i32) (result i32) local.get 0 i32.load offset=4))"#;

#[test]
fn a_code_file_tells_what_the_module_declares() {
    let file = compile(SAMPLE, PLAIN);
    assert_eq!(file.function_count(), 5);
    assert_eq!(file.export("add"), Some((ExternKind::Func, 1)));
    assert_eq!(file.export("memory"), Some((ExternKind::Memory, 0)));
    assert_eq!(file.export("nothing"), None);
    assert_eq!(file.import(0), Some(("host", "log")));
    let names: Vec<_> = (0..5).map(|func| file.function_name(func)).collect();
    assert_eq!(names, [Some("log"), Some("add"), Some("divide"), Some("apply"), Some("load")]);
    assert_eq!(file.data(), b"some bytespassive");
    let info = file.info().expect("decodes");
    assert_eq!(info.names.module.as_deref(), Some("sample"));
    assert_eq!(info.data[1].range, 10..17);
}

#[test]
fn equal_types_are_one_type_with_one_trampoline() {
    let file = compile(SAMPLE, PLAIN);
    assert_eq!(file.function_type(1), file.function_type(2));
    assert!(file.enter_offset(0).is_some());
    assert_eq!(file.enter_offset(1), None);
    let text = file.section(Section::Text).len() as u32;
    let last = file.function_offset(4).expect("in range");
    let trampoline = file.enter_offset(0).expect("in use");
    assert!((last..text).contains(&trampoline));
    assert_eq!(file.function_at(trampoline), None);
}

#[test]
fn functions_follow_one_another_and_are_found_by_address() {
    for options in [PLAIN, LISTENERS] {
        let file = compile(SAMPLE, options);
        for func in 0..5 {
            let start = file.function_offset(func).expect("in range");
            assert_eq!(start % 16, 0);
            let last = start + code(&file, func).len() as u32 - 1;
            assert_eq!((file.function_at(start), file.function_at(last)), (Some(func), Some(func)));
        }
    }
}

#[test]
fn traps_name_their_code_and_operator() {
    let file = compile(SAMPLE, PLAIN);
    let module = decode(SAMPLE);
    let text = file.section(Section::Text).len() as u32;
    let traps: Vec<_> = (0..text).filter_map(|at| Some((at, file.trap_at(at)?))).collect();
    for (func, code) in [
        (2, TrapCode::IntegerDivideByZero),
        (3, TrapCode::UndefinedElement),
        (3, TrapCode::MemoryOutOfBounds),
        (4, TrapCode::MemoryOutOfBounds),
    ] {
        let (at, _) = traps
            .iter()
            .find(|(at, c)| *c == code && file.function_at(*at) == Some(func))
            .unwrap_or_else(|| panic!("function {func} has no {code:?}: {traps:?}"));
        let offset = file.wasm_offset_at(*at).expect("an operator") as usize;
        assert!(module.bodies[func as usize - 1].contains(&offset));
    }
    assert_eq!(file.trap_at(file.function_offset(1).expect("in range")), None);
}

#[test]
fn thunks_and_trampolines_belong_to_no_operator() {
    let file = compile(SAMPLE, PLAIN);
    let thunk = file.function_offset(0).expect("in range");
    let trampoline = file.enter_offset(0).expect("in use");
    assert_eq!((file.wasm_offset_at(thunk), file.wasm_offset_at(trampoline)), (None, None));
}

#[test]
fn the_same_module_gives_the_same_bytes() {
    let module = decode(SAMPLE);
    for options in [PLAIN, LISTENERS] {
        let once = compiler().compile(&module, options, &|_| {}).expect("compiled");
        let twice = compiler().compile(&module, options, &|_| {}).expect("compiled");
        assert!(once == twice);
    }
}

#[test]
fn listeners_wrap_defined_functions_only() {
    let (plain, wrapped) = (compile(SAMPLE, PLAIN), compile(SAMPLE, LISTENERS));
    assert_eq!(code(&plain, 0), code(&wrapped, 0));
    for func in 1..5 {
        assert!(code(&wrapped, func).len() > code(&plain, func).len());
    }
    assert_eq!(wrapped.header().listeners, 1);
}

#[test]
fn a_load_of_the_first_memory_is_one_instruction() {
    // push rbp; mov rbp, rsp; mov eax, esi; mov eax, [rdi + rax + 0x1004]; leave the frame; ret
    let file = compile(
        "(module (memory 1) (func (param i32) (result i32) local.get 0 i32.load offset=4))",
        PLAIN,
    );
    let load = [0x8b, 0x84, 0x37, 0x04, 0x10, 0x00, 0x00];
    let found = code(&file, 0).windows(load.len()).any(|w| w == load);
    assert!(found, "{:02x?}", code(&file, 0));
}

#[test]
fn a_module_without_functions_compiles() {
    let file = compile("(module (memory (export \"m\") 1))", PLAIN);
    assert_eq!((file.function_count(), file.section(Section::Text).len()), (0, 0));
}

#[test]
fn more_results_than_registers_compile() {
    let types = "i32 i64 f32 f64 funcref externref ".repeat(5);
    let values = "i32.const 1 i64.const 2 f32.const 3 f64.const 4 ref.null func ref.null extern ";
    let values = values.repeat(5);
    let wat = format!(
        r#"(module
             (type $t (func (param {types}) (result {types})))
             (import "a" "b" (func $imported (type $t)))
             (table 1 funcref)
             (func $many (type $t) {values})
             (func (type $t) {values} call $many)
             (func (type $t) {values} call $imported)
             (func (type $t) {values} i32.const 0 call_indirect (type $t)))"#
    );
    for options in [PLAIN, LISTENERS] {
        assert_eq!(compile(&wat, options).function_count(), 5);
    }
}

#[test]
fn a_very_large_body_compiles() {
    let step = "local.get 0 i32.const 1 i32.add local.set 0 ".repeat(40_000);
    let wat = format!("(module (func (param i32) (result i32) {step} local.get 0))");
    assert!(decode(&wat).bodies[0].len() > 256 << 10);
    assert_eq!(compile(&wat, PLAIN).function_count(), 1);
}

#[test]
fn calls_with_more_handlers_than_can_be_are_refused() {
    let (begin, end) = ("(block (try_table (catch 0 0) ".repeat(1500), "))".repeat(1500));
    let wat = format!("(module (tag) (func $f {begin} {} {end}))", "(call $f)".repeat(1000));
    let error = compiler().compile(&decode(&wat), PLAIN, &|_| {}).expect_err("refused");
    let expected = "the calls of function 0 have more than 1048576 exception handlers";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn deeply_nested_loops_compile() {
    let (begin, end) = ("loop ".repeat(1000), "local.get 0 br_if 0 end ".repeat(1000));
    let file = compile(&format!("(module (func (param i32) {begin} {end}))"), PLAIN);
    assert_eq!(file.function_count(), 1);
}

#[test]
fn progress_ends_with_everything_done() {
    let last = AtomicUsize::new(0);
    compiler()
        .compile(&decode(SAMPLE), PLAIN, &|event| match event {
            CompileEvent::Progress { done, total } if done == total => {
                last.store(total, Ordering::Relaxed);
            }
            CompileEvent::Progress { .. } => {}
            other => panic!("{other:?}"),
        })
        .expect("compiled");
    assert!(last.into_inner() >= 5);
}

#[test]
fn a_function_too_large_to_optimise_is_told() {
    let body = "local.get 0 i32.const 3 i32.mul local.set 0 ".repeat(50_000);
    let module = decode(&format!("(module (func) (func (param i32) {body}))"));
    let told = |opt_level| {
        let events = Mutex::new(Vec::new());
        let options = CompileOptions { opt_level, ..PLAIN };
        let observe = |event| {
            if let CompileEvent::Simplified { func, .. } = event {
                events.lock().unwrap().push(func);
            }
        };
        compiler().compile(&module, options, &observe).expect("compiled");
        events.into_inner().unwrap()
    };
    assert_eq!(told(OptLevel::Speed), [1]);
    assert_eq!(told(OptLevel::None), []);
}

#[test]
fn levels_give_different_code_of_the_same_module() {
    let module = decode(SAMPLE);
    let mut texts: Vec<_> = OptLevel::ALL
        .iter()
        .map(|level| {
            let options = CompileOptions { opt_level: *level, ..PLAIN };
            let file = compiler().compile(&module, options, &|_| {}).expect("compiled");
            let file = CodeFile::new(file).expect("a code file");
            assert_eq!(file.header().opt_level, *level as u32);
            file.section(Section::Text).to_vec()
        })
        .collect();
    assert_ne!(texts[OptLevel::None as usize], texts[OptLevel::Speed as usize]);
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 1);
}

#[test]
fn invalid_bytes_are_refused_with_an_offset() {
    let decode =
        |bytes: &[u8]| compiler().decode(bytes, ModuleHash::of(bytes), Features::default());
    for bytes in [&b"\0asm"[..], b"not wasm", b"\0asm\x01\0\0\0\x01\xff"] {
        let error = decode(bytes).expect_err("refused");
        assert!(matches!(error, CompileError::Invalid { .. }), "{error}");
    }
    let error = refusal("(module (func) (func (result i32) nop))");
    assert!(matches!(error, CompileError::Invalid { offset: 32, .. }), "{error:?}");
}

/// Whether code holds a conditional move (in what is compiled below nothing else looks like one).
fn has_conditional_move(code: &[u8]) -> bool {
    code.windows(2).any(|pair| pair[0] == 0x0f && pair[1] >> 4 == 4)
}

#[test]
fn every_comparison_with_a_bound_is_followed_by_a_mask() {
    let module = |items: &str, params: &str, body: &str| {
        let wat = format!("(module {items} (func (param {params}) (result i32) {body}))");
        let wasm = wat::parse_str(&wat).expect("valid text");
        let all = Features::ALL;
        let module = compiler().decode(&wasm, ModuleHash::of(&wasm), all).expect("valid module");
        let options = CompileOptions { features: all, ..PLAIN };
        let bytes = compiler().compile(&module, options, &|_| {}).expect("compiled");
        CodeFile::new(bytes).expect("a code file")
    };
    let compared = [
        ("(memory i64 1)", "i64", "(i32.load (local.get 0))"),
        ("(memory i64 1)", "i64", "(i32.load offset=0x1fffffc (local.get 0))"),
        ("(memory i64 1)", "i64", "(i32.load offset=0x2000000 (local.get 0))"),
        ("(memory i64 1)", "i64", "(i32.atomic.load (local.get 0))"),
        ("(memory 1)", "i32", "(i32.load offset=0x2000000 (local.get 0))"),
        ("(memory 1 1 (pagesize 1))", "i32", "(i32.load8_u (local.get 0))"),
        ("(memory i64 1 1 (pagesize 1))", "i64", "(i32.load8_u (local.get 0))"),
        ("(memory i64 1 1 shared)", "i64", "(i32.load8_u (local.get 0))"),
        ("(import \"a\" \"b\" (memory i64 1))", "i64", "(i32.load (local.get 0))"),
        ("(table 2 funcref)", "i32", "(ref.is_null (table.get 0 (local.get 0)))"),
        ("(table i64 2 funcref)", "i64", "(ref.is_null (table.get 0 (local.get 0)))"),
    ];
    for (items, params, body) in compared {
        assert!(has_conditional_move(code(&module(items, params, body), 0)), "{items} {body}");
    }
    let array =
        "(type $a (array (mut i8))) (global $a (ref $a) (array.new_default $a (i32.const 9)))";
    for body in [
        "(array.fill $a (global.get $a) (local.get 0) (i32.const 1) (i32.const 2)) (i32.const 0)",
        "(array.copy $a $a (global.get $a) (local.get 0) (global.get $a) (i32.const 1) (i32.const 2))
         (i32.const 0)",
    ] {
        assert!(has_conditional_move(code(&module(array, "i32", body), 0)), "{body}");
    }
    for (items, body) in [
        // Its place is a number of 32 bits, and so much is reserved for the heap.
        (array, "(array.get_u $a (global.get $a) (local.get 0))"),
        ("(memory 1)", "(i32.load offset=0x1fffffc (local.get 0))"),
        ("(memory 1 1 shared)", "(i32.atomic.load (local.get 0))"),
        ("(import \"a\" \"b\" (memory 1))", "(i32.load (local.get 0))"),
    ] {
        let within_reservation = module(items, "i32", body);
        assert!(!has_conditional_move(code(&within_reservation, 0)), "{items} {body}");
    }
}

#[test]
fn a_module_with_what_no_machine_has_is_compiled_and_says_so() {
    let file =
        compile("(module (memory i64 0x1000000000000) (table i64 5000000000 funcref))", PLAIN);
    assert_eq!(
        file.memories()[0].check(0).expect_err("too large").to_string(),
        "memory 0 begins with 281474976710655 pages of 65536 bytes or more; \
         at most 1048576 such pages are supported"
    );
    assert_eq!(
        file.tables()[0].check(0).expect_err("too large").to_string(),
        "table 0 begins with 5000000000 elements; at most 4294967295 are supported"
    );
}

#[test]
fn features_that_are_off_are_named_with_their_switches() {
    for (wat, needed) in [
        ("(module (memory 1) (memory 1))", Features::MULTI_MEMORY),
        ("(module (memory i64 1))", Features::MEMORY64),
        ("(module (tag))", Features::EXCEPTIONS),
        ("(module (memory 1 1 shared))", Features::THREADS),
        ("(module (memory i64 1 1 shared))", Features::THREADS.with(Features::MEMORY64)),
        ("(module (func (param v128)))", Features::SIMD),
        ("(module (type $t (func)) (func (param (ref $t))))", Features::FUNCTION_REFERENCES),
        ("(module (memory 1 1 (pagesize 1)))", Features::CUSTOM_PAGE_SIZES),
        ("(module (type (struct)))", Features::GC),
    ] {
        let wasm = wat::parse_str(wat).expect("valid text");
        let decode = |features| compiler().decode(&wasm, ModuleHash::of(&wasm), features);
        match decode(Features::ALL.without(needed)) {
            Err(CompileError::FeatureOff { features }) => assert_eq!(features, needed, "{wat}"),
            other => panic!("{wat}: {other:?}"),
        }
        decode(Features::ALL).expect("valid");
    }
    let off = CompileError::FeatureOff { features: Features::SIMD };
    assert_eq!(off.to_string(), "the module needs simd, which is off; switch it on with -W simd");
}

#[test]
fn what_no_switch_helps_is_named_too() {
    // A tag with results is of stack switching.
    let error = refusal("(module (type $t (func)) (type $c (cont $t)))");
    assert_eq!(error.to_string(), "the module needs stack switching, which is not supported");
    // A plain error stays what it is.
    assert!(matches!(refusal("(module (func (result i32)))"), CompileError::Invalid { .. }));
}
