//! Damaged code files: whatever bytes are wrong outside the machine code, reading them is an error or
//! an answer that leads nowhere else.

use executor_code::{
    CompileOptions, Compiler, OptLevel,
    file::{CallSite, CodeFile, CodeFileError, CodeHeader, ExportRecord, Section, TypeRecord},
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
      (func $throws (param i32) (result i32)
        (block $caught (result i32)
          (try_table (result i32) (catch $tag $caught)
            (call $log (local.get 0))
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
        let _ = (file.type_words(ty), file.func_type(ty));
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
    let _ = (file.module_name(), file.data(), file.verify());
    if let Ok(info) = file.info() {
        let data = file.data();
        for segment in &info.data {
            assert!(data.get(segment.range.start as usize..segment.range.end as usize).is_some());
        }
        let own = file.continuations().is_empty();
        assert!(!own || info.functions.len() as u32 == file.function_count());
    }
    for site in sites {
        inside(file.continuation(*site).map(|resumption| resumption.code));
    }
    for pc in pcs.chain([u32::MAX]) {
        let _ = file.trap_at(pc);
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

/// What a damaged byte of a section leads to.
fn damaged(section: Section) -> (Vec<u8>, std::ops::Range<usize>) {
    let mut bytes = code_file();
    let range = CodeFile::new(&bytes[..]).expect("a code file").range(section);
    bytes[range.start] ^= 1;
    (bytes, range)
}

#[test]
fn plans_of_tables_and_memories_are_checked_when_the_file_is_opened() {
    for section in [Section::Tables, Section::Memories] {
        let (bytes, range) = damaged(section);
        for at in range {
            let mut bytes = bytes.clone();
            bytes[at] ^= 2;
            let refused = CodeFile::new(bytes).expect_err("damaged");
            assert_eq!(refused, CodeFileError::Checksum);
        }
    }
}

#[test]
fn declarations_are_checked_before_they_are_decoded() {
    let (bytes, _) = damaged(Section::Info);
    let refused = CodeFile::new(bytes).expect("the rest is whole").info().expect_err("damaged");
    assert_eq!(refused, CodeFileError::Section(Section::Info));
}

#[test]
fn a_type_of_another_number_of_values_is_none() {
    for section in [Section::Types, Section::TypeWords, Section::Enter] {
        let (bytes, _) = damaged(section);
        let file = CodeFile::new(bytes).expect("opened");
        let intact = |ty| file.type_words(ty).is_some() || file.enter_offset(ty).is_some();
        assert!(!intact(0), "{section:?}");
        assert!(intact(1), "{section:?}");
    }
}
