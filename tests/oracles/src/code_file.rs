//! Damaged code files: every look-up is an answer within the file, and verifying finds the damage.

use crate::edits::edit;
use arbitrary::Unstructured;
use executor_code::{
    CompileOptions, Compiler,
    file::{CodeFile, Section},
};
use executor_compiler::NativeCompiler;
use executor_model::{Features, ModuleHash};
use std::sync::OnceLock;

/// A little of everything that has a section.
const WAT: &str = r#"(module $everything
  (import "host" "log" (func $log (param i32)))
  (memory (export "memory") 1 4)
  (table $t (export "table") 4 funcref)
  (tag $tag (export "tag") (param i32))
  (global $g (export "global") (mut i32) (i32.const 7))
  (type $pair (sub (struct (field (mut i16)) (field (mut anyref)))))
  (type $triple (sub $pair (struct (field (mut i16)) (field (mut anyref)) (field funcref))))
  (type $row (array (mut (ref null $pair))))
  (global $row (mut (ref null $row)) (ref.null $row))
  (elem $pairs (ref null $pair) (item (struct.new_default $triple)))
  (func (export "objects") (local $pair (ref null $pair))
    (local.set $pair (struct.new $pair (i32.const 1) (ref.i31 (i32.const 2))))
    (global.set $row (array.new $row (local.get $pair) (i32.const 3)))
    (struct.set $pair 1 (local.get $pair) (array.new_elem $row $pairs (i32.const 0) (i32.const 1))))
  (elem (table $t) (i32.const 0) func $caught)
  (data (i32.const 8) "hello")
  (func $throw (param i32) (throw $tag (local.get 0)))
  (func $caught (export "caught") (param i32) (result i32)
    (call $log (i32.div_s (i32.const 1) (local.get 0)))
    (block $handler (result i32)
      (try_table (catch $tag $handler) (call $throw (local.get 0)))
      (i32.const 0))))"#;

/// The code files that are damaged: a plain one, and one with frame maps.
fn files() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let compiler = NativeCompiler::new().expect("a processor that code can be compiled for");
        let wasm = wat::parse_str(WAT).expect("a module");
        let decoded = compiler.decode(&wasm, ModuleHash::of(&wasm), Features::DEFAULT);
        let module = decoded.expect("a valid module");
        let compile = |frame_maps| {
            let options = CompileOptions { frame_maps, ..CompileOptions::default() };
            compiler.compile(&module, options, &|_| {}).expect("it compiles")
        };
        [false, true].map(compile).into()
    })
}

/// A damaged code file is refused when it is opened, or all that it answers lies within it and verifying it finds the
/// damage.
///
/// # Panics
/// When that is not so.
pub fn code_file(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let Ok(whole) = u.choose(files()) else { return };
    let mut damaged = whole.clone();
    // Of a header that is damaged most are refused: mostly it is left alone.
    let begin = match u.ratio(1, 16) {
        Ok(true) => 0,
        _ => CodeFile::new(&whole[..]).expect("it is whole").range(Section::Functions).start,
    };
    if edit(&mut damaged, begin, &mut u).is_err() {
        return;
    }
    let Ok(file) = CodeFile::new(&damaged[..]) else { return };
    // The first page is under the MAC of a store, which is not looked at here.
    let body = CodeFile::new(&whole[..]).expect("it is whole").range(Section::Text).start;
    let intact = damaged == *whole;
    if damaged[..body] == whole[..body] {
        assert_eq!(file.verify().is_ok(), intact, "verifying");
    }
    look_up(&file, intact, &mut u);
}

/// Asks for all there is, and for a few things that there may not be.
fn look_up(file: &CodeFile<&[u8]>, intact: bool, u: &mut Unstructured<'_>) {
    let text = file.section(Section::Text).len();
    let in_text = |offset: u32| assert!((offset as usize) < text, "{offset:#x} is not in the text");
    let odd = [u.arbitrary().unwrap_or(u32::MAX), u32::MAX];
    for func in (0..file.function_count().min(64)).chain(odd) {
        file.function_offset(func).map(in_text);
        let _ = (file.object_of_type(func), file.object_type(func));
        if let Some(record) = file.object(func) {
            let _ = record.references_in(file.object_references());
        }
        if let Some(ty) = file.function_type(func) {
            let words = file.type_words(ty);
            assert!(words.is_none() || file.type_digest(ty).is_some());
            let known = file.func_type(ty).is_some();
            assert!(!intact || words.is_some() == known, "words of no types");
            file.enter_offset(ty).map(in_text);
        }
        let _ = (file.import(func), file.function_name(func), file.tag_type(func));
    }
    for (name, kind, index) in file.exports().take(64) {
        // Names that are out of order are not all found.
        if let Some(found) = file.export(name) {
            assert!(!intact || found == (kind, index), "export {name:?}");
        }
    }
    for offset in (0..text as u32).step_by(7).take(512).chain(odd) {
        let _ = (file.trap_at(offset), file.stack_map_at(offset));
        if let Some((call, handlers)) = file.handlers_at(offset) {
            assert_eq!(call.count as usize, handlers.len());
            handlers.iter().for_each(|handler| in_text(handler.landing));
        }
        let _ = (file.function_at(offset), file.wasm_offset_at(offset));
    }
    let _ = (file.module_name(), file.tables(), file.memories(), file.data(), file.info().is_ok());
    let _ = (file.objects(), file.object_globals());
}
