;; What MoonBit's library prints through: characters one by one, ASCII here. Lines go to standard output.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  ;; An address and a length, how much was written, and from 16 on the line.
  (memory (export "memory") 1)
  (data (i32.const 0) "\10")
  (func (export "print_char") (param $char i32)
    (i32.store8 offset=16 (i32.load (i32.const 4)) (local.get $char))
    (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1)))
    (if (i32.eq (local.get $char) (i32.const 10))
      (then
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.const 0))))))
