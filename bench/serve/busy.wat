;; The page of hello.wat after some milliseconds of work, for bench/serve/run.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "Content-Type: text/plain\n\nHello, world!\n")
  (func (export "_start") (local $n i32) (local $x i64)
    (local.set $n (i32.const 3000000))
    (local.set $x (i64.const 88172645463325252))
    (loop $more
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.store (i32.const 64) (local.get $x))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 40))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then unreachable))))
