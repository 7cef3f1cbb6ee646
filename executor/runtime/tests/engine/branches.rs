//! Tables of branches that are longer than the code generator is given at once.

use crate::*;

#[test]
fn a_long_table_goes_where_its_entries_say() {
    const LEN: usize = 10_000;
    let entries: String = (0..LEN).map(|i| format!("{} ", i * 7 % 3)).collect();
    let wat = format!(
        "(module (func (export \"to\") (param i32) (result i32)
           (block $3 (block $2 (block $1 (block $0
             (br_table {entries} 3 (local.get 0)))
             (return (i32.const 0))) (return (i32.const 1))) (return (i32.const 2)))
           (i32.const 3)))"
    );
    let engine = engine();
    let module = compile(&engine, &wat);
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    let ends = [LEN, LEN + 1, 12_287, 12_288, 1 << 20, 1 << 31, u32::MAX as usize];
    for index in (0..LEN).chain(ends) {
        let expected = if index < LEN { index * 7 % 3 } else { 3 };
        let to = call(&mut store, id, "to", &[Val::I32(index as u32 as i32)]).unwrap();
        assert_eq!(to, [Val::I32(expected as i32)], "{index}");
    }
}
