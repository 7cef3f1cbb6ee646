//! Functions that are small as WebAssembly and large as IR: they are compiled without optimisation, or
//! refused, before they take much time or memory.

use executor_code::{CompileError, CompileEvent, CompileOptions, Compiler, file::CallSite};
use executor_compiler::NativeCompiler;
use executor_model::{Features, Module, ModuleHash};
use std::{fmt::Write, sync::Mutex, time::Duration};

fn decode(wat: &str) -> Module {
    let wasm = wat::parse_str(wat).unwrap_or_else(|_| panic!("the text is wrong"));
    let compiler = NativeCompiler::new().unwrap();
    compiler.decode(&wasm, ModuleHash::of(&wasm), Features::default()).unwrap()
}

/// Compiles with so much memory; the functions that were not optimised.
fn compile(module: &Module, memory: u64) -> Result<Vec<u32>, CompileError> {
    let compiler = NativeCompiler::new().unwrap().with_max_memory(memory);
    let simplified = Mutex::new(Vec::new());
    let observe = |event| {
        if let CompileEvent::Simplified { func, .. } = event {
            simplified.lock().unwrap().push(func);
        }
    };
    compiler.compile(module, CompileOptions::default(), &observe)?;
    Ok(simplified.into_inner().unwrap())
}

/// `n` loops in a loop, and `n` locals that all of them pass on.
fn loops(n: usize) -> String {
    let mut body = String::new();
    for i in 0..n {
        write!(body, "(loop (br_if 0 (local.tee {i} (i32.sub (local.get {i}) (i32.const 1)))))")
            .unwrap();
    }
    for i in 0..n {
        write!(body, "(br_if 0 (local.get {i}))").unwrap();
    }
    format!("(func $loops (local {}) (loop {body}))", "i32 ".repeat(n))
}

/// `n` blocks, one in the other, left by a table of branches that passes `k` values to each.
fn table(n: usize, k: usize) -> String {
    let results = "i32 ".repeat(k);
    let depths: Vec<String> = (0..n).map(|depth| depth.to_string()).collect();
    format!(
        "(func $table {} {} (br_table {} (i32.const 0)) {} {})",
        format!("(block (result {results})").repeat(n),
        "(i32.load (i32.const 0))".repeat(k),
        depths.join(" "),
        ")".repeat(n),
        "drop ".repeat(k),
    )
}

/// `n` decisions in a row, each of which changes one of as many locals, and then all are read.
fn decisions(n: usize) -> String {
    let mut body = String::new();
    for i in 0..n {
        write!(body, "(if (local.get {i}) (then (local.set {} (i32.const 1))))", (i * 7) % n)
            .unwrap();
    }
    for i in 0..n {
        write!(body, "(drop (local.get {i}))").unwrap();
    }
    format!("(func $decisions (local {}) (loop {body} (br_if 0 (local.get 0))))", "i32 ".repeat(n))
}

#[test]
fn what_is_large_only_as_ir_is_not_optimised() {
    let wat = format!(
        "(module (memory 1) {} {} {} {})",
        loops(40).replace("$loops", ""),
        loops(200),
        table(100, 300),
        decisions(1000)
    );
    let mut simplified = compile(&decode(&wat), NativeCompiler::MAX_MEMORY).unwrap();
    simplified.sort_unstable();
    assert_eq!(simplified, [1, 2, 3]);
}

#[test]
fn what_would_take_more_than_the_limit_is_refused_by_name() {
    for (function, name) in
        [(loops(600), "loops"), (table(500, 500), "table"), (decisions(1000), "decisions")]
    {
        let module = decode(&format!("(module (memory 1) (func) {function})"));
        match compile(&module, 8 << 20) {
            Err(error @ CompileError::TooLarge { func: 1, limit, .. }) => {
                assert_eq!(limit, 8 << 20);
                let expected = format!("function 1 ({name}) needs more memory");
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_takes_more_than_its_share_is_compiled_alone() {
    // Each needs some 10 MiB; a share is an eighth of the limit.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    let module = decode(&format!("(module {})", loops(150).replace("$loops", "").repeat(4)));
    pool.install(|| compile(&module, 64 << 20)).unwrap();
}

#[test]
fn what_takes_longer_than_the_limit_is_refused() {
    let compile = |wat: &str, time| {
        let compiler = NativeCompiler::new().unwrap().with_max_time(time);
        compiler.compile(&decode(wat), CompileOptions::default(), &|_| {})
    };
    let site = CallSite { func: 1, offset: 0 };
    for wat in ["(module)", r#"(module (import "m" "f" (func)) (func call 0))"#] {
        let error = compile(wat, Duration::ZERO).unwrap_err();
        assert!(matches!(error, CompileError::TooSlow { limit: Duration::ZERO }), "{error}");
        assert!(error.to_string().contains("limit of 0ns (--max-compile-time)"), "{error}");
        // The longest there is, which no clock can tell.
        compile(wat, Duration::MAX).unwrap();
    }
    let wasm = wat::parse_str("(module (func) (func call 0))").unwrap();
    let compiler = NativeCompiler::new().unwrap().with_max_time(Duration::ZERO);
    let options = CompileOptions::default();
    let refused = compiler.compile_continuations(&wasm, ModuleHash::of(&wasm), &[site], options);
    assert!(matches!(refused, Err(CompileError::TooSlow { .. })));
}

#[test]
fn deep_nesting_takes_no_stack() {
    // Without branches, what the code generator makes of it is little.
    for begin in ["block ", "loop "] {
        let (begin, end) = (begin.repeat(100_000), "end ".repeat(100_000));
        let module = decode(&format!("(module (func {begin} {end}))"));
        compile(&module, NativeCompiler::MAX_MEMORY).unwrap();
    }
}
