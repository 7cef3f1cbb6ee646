//! Modules: what is valid is compiled, always to the same code; what is not is refused.

use arbitrary::{Result, Unstructured};
use executor_code::{
    CompileError, CompileOptions, Compiler, OptLevel,
    file::{CodeFile, Section},
};
use executor_compiler::NativeCompiler;
use executor_model::{Features, ModuleHash, ModuleInfo};
use std::sync::OnceLock;
use wasm_smith::Config;
use wasmparser::{Validator, WasmFeatures};

/// What an input may take: inputs are small, and what grows out of them is to be small too.
const MAX_MEMORY: u64 = 128 << 20;

fn compiler() -> &'static NativeCompiler {
    static COMPILER: OnceLock<NativeCompiler> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let compiler = NativeCompiler::new().expect("a processor that code can be compiled for");
        compiler.with_max_memory(MAX_MEMORY)
    })
}

/// What the features are to wasmparser.
fn wasm_features() -> WasmFeatures {
    let mut features = WasmFeatures::default();
    features.set(WasmFeatures::WIDE_ARITHMETIC, true);
    features.set(WasmFeatures::CUSTOM_PAGE_SIZES, true);
    features.set(WasmFeatures::LEGACY_EXCEPTIONS, true);
    features
}

/// The module, or bytes that may be one, and how it is compiled.
fn input(bytes: &[u8]) -> Result<(Vec<u8>, CompileOptions)> {
    let mut u = Unstructured::new(bytes);
    let options = CompileOptions {
        listeners: u.ratio(1, 8)?,
        frame_maps: u.ratio(1, 4)?,
        opt_level: *u.choose(&OptLevel::ALL)?,
        features: Features::ALL,
    };
    if u.arbitrary()? {
        return Ok((u.take_rest().to_vec(), options));
    }
    let config = Config {
        allow_invalid_funcs: u.ratio(1, 16)?,
        max_funcs: 8,
        max_instructions: 200,
        max_memories: 3,
        max_tables: 4,
        max_types: 20,
        max_type_size: 200,
        compact_imports_enabled: false,
        custom_page_sizes_enabled: true,
        exceptions_enabled: true,
        gc_enabled: u.arbitrary()?,
        memory64_enabled: true,
        shared_everything_threads_enabled: false,
        threads_enabled: true,
        wide_arithmetic_enabled: true,
        ..Config::default()
    };
    let changes: u8 = if u.ratio(1, 4)? { u.int_in_range(1..=4)? } else { 0 };
    let places = (0..changes).map(|_| u.arbitrary()).collect::<Result<Vec<(u32, u8)>>>()?;
    let mut wasm = wasm_smith::Module::new(config, &mut u)?.to_bytes();
    for (at, byte) in places {
        let at = at as usize % wasm.len();
        wasm[at] = byte;
    }
    Ok((wasm, options))
}

/// A module is decoded exactly if wasmparser finds it valid and it is within what is supported; then it has code, the
/// same each time, which says the same of the module.
///
/// # Panics
/// When that is not so.
pub fn decode_compile(bytes: &[u8]) {
    let Ok((wasm, options)) = input(bytes) else { return };
    let hash = ModuleHash::of(&wasm);
    let valid = Validator::new_with_features(wasm_features()).validate_all(&wasm).map(drop);
    let module = match compiler().decode(&wasm, hash, options.features) {
        Ok(module) => {
            assert!(valid.is_ok(), "decoded, and invalid: {valid:?}");
            module
        }
        Err(error) => return check_refusal(&error, valid.is_ok()),
    };
    let code = match compiler().compile(&module, options, &|_| {}) {
        Ok(code) => code,
        Err(error) => return check_refusal(&error, true),
    };
    let again = compiler().compile(&module, options, &|_| {}).expect("compiled a moment ago");
    assert!(code == again, "the same module has other code");
    let file = CodeFile::new(&code[..]).expect("its own code file");
    file.verify().expect("its own code file is whole");
    let info = file.info().expect("its own declarations");
    // Bytes of data segments and names of functions have sections of their own.
    let lists = |info: &ModuleInfo| {
        let ModuleInfo { types, imports, functions, exports, elements, .. } = info.clone();
        (types, imports, functions, exports, elements, info.globals.clone(), info.data.len())
    };
    assert_eq!(lists(&info), lists(&module.info), "the code file says something else");
    assert_eq!(file.module(), hash);
    assert_eq!(file.function_count() as usize, info.functions.len());
    for func in info.imported_functions..file.function_count() {
        let offset = file.function_offset(func).expect("a function has code");
        assert!((offset as usize) < file.section(Section::Text).len());
    }
    for (name, kind, index) in file.exports() {
        assert_eq!(file.export(name), Some((kind, index)), "export {name:?}");
    }
}

/// Valid modules are refused for what is not supported only, and no refusal is a defect.
fn check_refusal(error: &CompileError, valid: bool) {
    match error {
        CompileError::Invalid { message, .. } => {
            assert!(!valid, "valid, and refused as invalid: {message}");
        }
        CompileError::Unsupported(_)
        | CompileError::Component
        | CompileError::TooLarge { .. }
        | CompileError::Unknown(_) => {}
        CompileError::FeatureOff { .. }
        | CompileError::Codegen { .. }
        | CompileError::TooSlow { .. }
        | CompileError::NoSuchCall(_)
        | CompileError::Host(_) => panic!("{error}"),
    }
}
