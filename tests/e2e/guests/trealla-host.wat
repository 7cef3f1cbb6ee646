;; What Trealla Prolog imports, by which a program calls its embedder: there is nobody to answer.
(module
  (func (export "host-call") (param i32 i32 i32 i32 i32) (result i32) (i32.const 0))
  (func (export "host-resume") (param i32 i32 i32) (result i32) (i32.const 0)))
