;; The core module of a component that answers each request with a page, as ../hello.wat does for CGI. It says the
;; length of its page, and waits for nothing.
(module
  (import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $fields (param i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $stream (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish" (func $finish (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[resource-drop]incoming-request" (func $drop_request (param i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop_stream (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "content-type" "text/plain" "content-length" "14" "Hello, world!\n")
  ;; The list of headers: address and length of each name and value.
  (data (i32.const 128)
    "\40\00\00\00\0c\00\00\00" "\4c\00\00\00\0a\00\00\00"
    "\56\00\00\00\0e\00\00\00" "\64\00\00\00\02\00\00\00")
  ;; What is in the result at address 0.
  (func $ok (result i32)
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (i32.load (i32.const 4)))
  (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $outparam i32)
    (local $response i32) (local $body i32) (local $stream i32)
    (call $drop_request (local.get $request))
    (call $fields (i32.const 128) (i32.const 2) (i32.const 0))
    (local.set $response (call $response (call $ok)))
    (call $body (local.get $response) (i32.const 0))
    (local.set $body (call $ok))
    (call $stream (local.get $body) (i32.const 0))
    (local.set $stream (call $ok))
    (call $set (local.get $outparam) (i32.const 0) (local.get $response)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $check (local.get $stream) (i32.const 0))
    (drop (call $ok))
    (call $write (local.get $stream) (i32.const 102) (i32.const 14) (i32.const 0))
    (drop (call $ok))
    (call $drop_stream (local.get $stream))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 0))
    (drop (call $ok)))
  ;; Only errors have anything to allocate for.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))
