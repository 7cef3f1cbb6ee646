;; Runs QuickJS, preloaded as `qjs`, as its own command line would: `js.wat [OPTIONS] SCRIPT [ARGS]`.
;; The reactor has no `_start`; what it offers is `qjs_init_argv`, and its memory to put the arguments in.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "qjs" "memory" (memory 0))
  (import "qjs" "malloc" (func $malloc (param i32) (result i32)))
  (import "qjs" "qjs_init_argv" (func $init (param i32 i32) (result i32)))
  (export "memory" (memory 0))
  (func (export "_start") (local $at i32) (local $argv i32) (local $status i32)
    (local.set $at (call $malloc (i32.const 8)))
    (if (call $sizes (local.get $at) (i32.add (local.get $at) (i32.const 4)))
      (then (call $exit (i32.const 70))))
    ;; One pointer more than there are arguments: the last is null.
    (local.set $argv (call $malloc
      (i32.mul (i32.add (i32.load (local.get $at)) (i32.const 1)) (i32.const 4))))
    (i32.store (i32.add (local.get $argv) (i32.mul (i32.load (local.get $at)) (i32.const 4)))
      (i32.const 0))
    (if (call $args (local.get $argv) (call $malloc (i32.load offset=4 (local.get $at))))
      (then (call $exit (i32.const 71))))
    (local.set $status (call $init (i32.load (local.get $at)) (local.get $argv)))
    (if (local.get $status) (then (call $exit (i32.const 1))))))
