//! Damaged code files: whatever bytes are wrong, the hashes say so; and reading what is wrong outside the machine
//! code is an error or an answer that leads nowhere else.

use executor_code::{
    CompileOptions, Compiler, OptLevel,
    file::{
        CallSite, CodeFile, CodeFileError, CodeHeader, ExportRecord, Section, TEXT_OFFSET,
        TypeRecord,
    },
};
use executor_compiler::NativeCompiler;
use executor_model::{Features, Module, ModuleHash};

/// Something for every section of a code file.
const EVERYTHING: &str = r#"
    (module $everything
      (type $base (sub (func (param i32) (result i32))))
      (type $derived (sub $base (func (param i32) (result i32))))
      (import "host" "log" (func $log (param i32)))
      (import "host" "other" (global $imported i32))
      (memory (export "memory") 1 4)
      (memory $second 1)
      (table $table (export "table") 4 funcref)
      (table $handles 2 externref)
      (tag $tag (export "tag") (param i32))
      (global $counter (export "counter") (mut i32) (i32.const 7))
      (elem (table $table) (i32.const 0) func $divide $throws)
      (elem declare func $derived)
      (data (i32.const 8) "hello")
      (data $passive "passive")
      (func $divide (export "divide") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1)))
      (func $derived (type $derived) (i32.load (local.get 0)))
      (type $box (struct (field i32) (field anyref)))
      (type $row (array (mut (ref null $box))))
      (global $kept (mut anyref) (ref.null any))
      (func $throws (param i32) (result i32) (local $box (ref null $box))
        (local.set $box (struct.new $box (local.get 0) (ref.null any)))
        (block $caught (result i32)
          (try_table (result i32) (catch $tag $caught)
            (call $log (local.get 0))
            (call $log (local.get 0))
            (global.set $kept (local.get $box))
            (throw $tag (local.get 0)))))
      (func (export "init") (param i32)
        (memory.init $passive (local.get 0) (i32.const 0) (i32.const 7))
        (call_indirect $table (param i32) (result i32) (local.get 0) (local.get 0))
        (drop)))"#;

fn compiler() -> NativeCompiler {
    NativeCompiler::new().expect("this machine is supported")
}

fn module() -> Module {
    let wasm = wat::parse_str(EVERYTHING).expect("valid text");
    compiler().decode(&wasm, ModuleHash::of(&wasm), Features::default()).expect("valid module")
}

fn options() -> CompileOptions {
    CompileOptions {
        listeners: false,
        frame_maps: true,
        opt_level: OptLevel::Less,
        features: Features::DEFAULT,
    }
}

fn code_file() -> Vec<u8> {
    compiler().compile(&module(), options(), &|_| {}).expect("compiled")
}

/// The calls that the frame maps of a file know, by the functions that they are in.
fn sites(file: &CodeFile<&[u8]>) -> Vec<CallSite> {
    let mut sites: Vec<CallSite> = (0..file.section(Section::Text).len() as u32)
        .filter_map(|at| {
            let (func, offset) = (file.function_at(at)?, file.wasm_offset_at(at)?);
            file.frame_at(at + 1, offset).map(|_| CallSite { func, offset })
        })
        .collect();
    sites.push(CallSite { func: 0, offset: CallSite::IMPORT });
    sites.sort_unstable();
    sites.dedup();
    sites
}

fn continuations(sites: &[CallSite]) -> Vec<u8> {
    let module = module();
    let made = compiler().compile_continuations(&module.bytes, module.hash, sites, options());
    made.expect("compiled")
}

/// Asks a file all that it can be asked, about each of `pcs`.
fn read_all(bytes: &[u8], sites: &[CallSite], pcs: impl Iterator<Item = u32>) {
    let Ok(file) = CodeFile::new(bytes) else { return };
    let text = file.section(Section::Text).len() as u32;
    let types = (file.range(Section::Types).len() / size_of::<TypeRecord>()) as u32;
    let inside = |offset: Option<u32>| assert!(offset.is_none_or(|offset| offset < text));
    // One more than there are of each, and the largest number.
    let some = |count: u32| (0..=count).chain([u32::MAX]);
    for func in some(file.function_count()) {
        inside(file.function_offset(func));
        assert!(file.function_type(func).is_none_or(|ty| ty < types));
        let _ = (file.import(func), file.function_name(func));
    }
    for ty in some(types) {
        inside(file.enter_offset(ty));
        let _ = (file.type_words(ty), file.func_type(ty), file.object_type(ty));
        if let Some(digest) = file.type_digest(ty) {
            some(types).for_each(|ty| _ = file.is_subtype(ty, digest));
        }
    }
    assert!(some(8).filter_map(|tag| file.tag_type(tag)).all(|ty| ty < types));
    for name in ["", "divide", "memory", "table", "tag", "nothing"] {
        let _ = file.export(name);
    }
    assert!(
        file.exports().count() <= file.range(Section::Exports).len() / size_of::<ExportRecord>()
    );
    for record in file.objects() {
        let _ = record.references_in(file.object_references());
    }
    let _ = (file.object_globals(), file.counts().memories());
    let _ = (file.module_name(), file.data(), file.verify());
    let _ = file.info();
    for site in sites {
        inside(file.continuation(*site).map(|resumption| resumption.code));
    }
    for pc in pcs.chain([u32::MAX]) {
        let _ = (file.trap_at(pc), file.stack_map_at(pc));
        if let Some((_, handlers)) = file.handlers_at(pc) {
            handlers.iter().for_each(|handler| inside(Some(handler.landing)));
        }
        let _ = file.function_at(pc);
        if let Some(offset) = file.wasm_offset_at(pc) {
            let _ = file.frame_at(pc, offset);
        }
        sites.iter().for_each(|site| _ = file.frame_at(pc, site.offset));
    }
}

/// Reads a file once for each way in which bytes outside its machine code can be damaged.
fn damage_each_byte(whole: &[u8], sites: &[CallSite]) {
    let text = {
        let file = CodeFile::new(whole).expect("a code file");
        for section in Section::ALL {
            let continued = !file.continuations().is_empty();
            let here = match section {
                Section::Exports | Section::Data => !continued,
                Section::Continuations => continued,
                _ => true,
            };
            assert_eq!(!file.section(section).is_empty(), here, "{section:?}");
        }
        file.range(Section::Text)
    };
    read_all(whole, sites, 0..text.len() as u32);
    let mut bytes = whole.to_vec();
    let read = |bytes: &[u8]| read_all(bytes, sites, 0..text.len() as u32);
    for at in (0..whole.len()).filter(|at| !text.contains(at)) {
        bytes[at] ^= 0xff;
        read(&bytes);
        if whole[at] != 0 {
            bytes[at] = 0;
            read(&bytes);
        }
        bytes[at] = whole[at];
        if at % 8 == 0 {
            let word = at..(at + 8).min(whole.len());
            for fill in [0, 0xff] {
                bytes[word.clone()].fill(fill);
                read(&bytes);
            }
            bytes[word.clone()].copy_from_slice(&whole[word]);
        }
    }
    assert_eq!(bytes, whole);
}

#[test]
fn no_damage_to_the_tables_of_a_module_is_more_than_an_error() {
    let whole = code_file();
    let sites = sites(&CodeFile::new(&whole[..]).expect("a code file"));
    assert!(sites.len() > 2, "{sites:?}");
    damage_each_byte(&whole, &sites);
}

#[test]
fn no_damage_to_the_tables_of_continuations_is_more_than_an_error() {
    let whole = code_file();
    let sites = sites(&CodeFile::new(&whole[..]).expect("a code file"));
    damage_each_byte(&continuations(&sites), &sites);
}

#[test]
fn a_file_that_was_cut_is_refused_at_every_length() {
    let whole = code_file();
    for len in (0..whole.len()).step_by(64) {
        let refused = CodeFile::new(&whole[..len]).expect_err("cut short");
        let header = CodeHeader::OFFSET + size_of::<CodeHeader>();
        let expected = match len < header {
            true => CodeFileError::NotCode,
            false => CodeFileError::Length { expected: whole.len() as u64, actual: len as u64 },
        };
        assert_eq!(refused, expected);
    }
    // What was added is not read either.
    let longer = [&whole[..], &[0; 64]].concat();
    assert!(matches!(CodeFile::new(&longer[..]), Err(CodeFileError::Length { .. })));
}

#[test]
fn a_wrong_byte_anywhere_behind_the_first_page_is_found_and_located() {
    let whole = code_file();
    let file = CodeFile::new(&whole[..]).expect("a code file");
    file.verify().expect("undamaged");
    let hashes = file.header().body_end as usize;
    assert_eq!(whole.len() - hashes, 32, "one chunk");
    let mut bytes = whole.clone();
    for at in TEXT_OFFSET as usize..whole.len() {
        bytes[at] ^= 1 << (at % 8);
        let damaged = CodeFile::new(&bytes[..]).and_then(|file| file.verify());
        let expected = match at < hashes {
            true => CodeFileError::Chunk { chunk: 0, at: TEXT_OFFSET, section: Section::Text },
            false => CodeFileError::Hashes,
        };
        assert_eq!(damaged, Err(expected), "at {at}");
        bytes[at] = whole[at];
    }
    assert_eq!(bytes, whole);
}

#[test]
fn a_large_file_is_read_whole_and_the_chunk_that_is_wrong_is_named() {
    const CHUNK: usize = 64 << 10;
    let functions: String = (0..6000)
        .map(|i| format!("(func (export \"f{i}\") (result i32) (i32.const {i}))"))
        .collect();
    let wasm = wat::parse_str(format!(
        "(module (memory 1) (data (i32.const 0) \"{}\") {functions})",
        "x".repeat(5 << 20)
    ));
    let wasm = wasm.expect("valid text");
    let module =
        compiler().decode(&wasm, ModuleHash::of(&wasm), Features::default()).expect("valid");
    let mut bytes = compiler().compile(&module, options(), &|_| {}).expect("compiled");
    let (end, data) = {
        let file = CodeFile::new(&bytes[..]).expect("a code file");
        file.verify().expect("undamaged");
        (file.header().body_end as usize, file.range(Section::Data))
    };
    assert!(end > 64 * CHUNK, "two threads read it");
    let last = (end - 1 - TEXT_OFFSET as usize) / CHUNK;
    for chunk in [0, 1, 63, last - 1, last] {
        let at = TEXT_OFFSET as usize + chunk * CHUNK;
        let byte = at.max(TEXT_OFFSET as usize + 1).min(end - 1);
        bytes[byte] ^= 0x10;
        let damaged = CodeFile::new(&bytes[..]).and_then(|file| file.verify());
        let Err(CodeFileError::Chunk { chunk: found, at: begin, section }) = damaged else {
            panic!("{damaged:?}");
        };
        assert_eq!((found, begin), (chunk as u64, at as u64));
        assert!(!data.contains(&at) || section == Section::Data, "{section:?}");
        bytes[byte] ^= 0x10;
    }
}
