;; Relaxed operators give the results of the deterministic profile, on every processor. The
;; proposal's scripts accept the others too.

(module
  (func (export "swizzle") (param v128 v128) (result v128)
    (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))
  (func (export "trunc-s") (param v128) (result v128)
    (i32x4.relaxed_trunc_f32x4_s (local.get 0)))
  (func (export "trunc-u") (param v128) (result v128)
    (i32x4.relaxed_trunc_f32x4_u (local.get 0)))
  (func (export "trunc-s-zero") (param v128) (result v128)
    (i32x4.relaxed_trunc_f64x2_s_zero (local.get 0)))
  (func (export "trunc-u-zero") (param v128) (result v128)
    (i32x4.relaxed_trunc_f64x2_u_zero (local.get 0)))
  (func (export "f32x4-madd") (param v128 v128 v128) (result v128)
    (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "f32x4-nmadd") (param v128 v128 v128) (result v128)
    (f32x4.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "f64x2-madd") (param v128 v128 v128) (result v128)
    (f64x2.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "f64x2-nmadd") (param v128 v128 v128) (result v128)
    (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "i8x16-laneselect") (param v128 v128 v128) (result v128)
    (i8x16.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
  (func (export "i16x8-laneselect") (param v128 v128 v128) (result v128)
    (i16x8.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
  (func (export "i32x4-laneselect") (param v128 v128 v128) (result v128)
    (i32x4.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
  (func (export "i64x2-laneselect") (param v128 v128 v128) (result v128)
    (i64x2.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
  (func (export "f32x4-min") (param v128 v128) (result v128)
    (f32x4.relaxed_min (local.get 0) (local.get 1)))
  (func (export "f32x4-max") (param v128 v128) (result v128)
    (f32x4.relaxed_max (local.get 0) (local.get 1)))
  (func (export "f64x2-min") (param v128 v128) (result v128)
    (f64x2.relaxed_min (local.get 0) (local.get 1)))
  (func (export "f64x2-max") (param v128 v128) (result v128)
    (f64x2.relaxed_max (local.get 0) (local.get 1)))
  (func (export "q15mulr") (param v128 v128) (result v128)
    (i16x8.relaxed_q15mulr_s (local.get 0) (local.get 1)))
  (func (export "dot") (param v128 v128) (result v128)
    (i16x8.relaxed_dot_i8x16_i7x16_s (local.get 0) (local.get 1)))
  (func (export "dot-add") (param v128 v128 v128) (result v128)
    (i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get 0) (local.get 1) (local.get 2))))

;; An index out of range picks 0, whichever bits are set in it.
(assert_return
  (invoke "swizzle"
    (v128.const i8x16 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115)
    (v128.const i8x16 15 0 16 17 31 32 64 127 128 129 143 144 240 255 7 8))
  (v128.const i8x16 115 100 0 0 0 0 0 0 0 0 0 0 0 0 107 108))

;; NaN becomes 0, and what is out of range the nearest integer.
(assert_return (invoke "trunc-s" (v128.const f32x4 nan -1.9 3e9 -3e9))
  (v128.const i32x4 0 -1 0x7fffffff 0x80000000))
(assert_return (invoke "trunc-u" (v128.const f32x4 -nan -1.9 3e9 5e9))
  (v128.const i32x4 0 0 3000000000 0xffffffff))
(assert_return (invoke "trunc-s-zero" (v128.const f64x2 nan -3e9))
  (v128.const i32x4 0 0x80000000 0 0))
(assert_return (invoke "trunc-s-zero" (v128.const f64x2 inf 2147483646.9))
  (v128.const i32x4 0x7fffffff 0x7ffffffe 0 0))
(assert_return (invoke "trunc-u-zero" (v128.const f64x2 nan -3e9)) (v128.const i32x4 0 0 0 0))
(assert_return (invoke "trunc-u-zero" (v128.const f64x2 5e9 4294967294.9))
  (v128.const i32x4 0xffffffff 0xfffffffe 0 0))

;; The product is rounded before the sum: fused, the first lane would be 0x1p-37, or 0x1p-54.
(assert_return
  (invoke "f32x4-madd"
    (v128.const f32x4 0x1.000004p+0 0x1.fffffep+127 2 -3)
    (v128.const f32x4 0x1.0002p+0 2 3 4)
    (v128.const f32x4 -0x1.000204p+0 -0x1.fffffep+127 1 1))
  (v128.const f32x4 0 inf 7 -11))
(assert_return
  (invoke "f32x4-nmadd"
    (v128.const f32x4 -0x1.000004p+0 -0x1.fffffep+127 2 -3)
    (v128.const f32x4 0x1.0002p+0 2 3 4)
    (v128.const f32x4 -0x1.000204p+0 -0x1.fffffep+127 1 1))
  (v128.const f32x4 0 inf -5 13))
(assert_return
  (invoke "f64x2-madd"
    (v128.const f64x2 0x1.0000001p+0 0x1.fffffffffffffp+1023)
    (v128.const f64x2 0x1.0000001p+0 2)
    (v128.const f64x2 -0x1.0000002p+0 -0x1.fffffffffffffp+1023))
  (v128.const f64x2 0 inf))
(assert_return
  (invoke "f64x2-nmadd"
    (v128.const f64x2 -0x1.0000001p+0 5)
    (v128.const f64x2 0x1.0000001p+0 6)
    (v128.const f64x2 -0x1.0000002p+0 7))
  (v128.const f64x2 0 -23))

;; Every bit of the mask counts.
(assert_return
  (invoke "i8x16-laneselect"
    (v128.const i64x2 0x1212121212121212 -1)
    (v128.const i64x2 0x3434343434343434 0)
    (v128.const i64x2 0xff00f00f80017ffe 0x80017ffe00fff00f))
  (v128.const i64x2 0x1234143234341212 0x80017ffe00fff00f))
(assert_return
  (invoke "i16x8-laneselect"
    (v128.const i64x2 -1 0) (v128.const i64x2 0 -1)
    (v128.const i64x2 0xff00f00f80017ffe 0x80017ffe00fff00f))
  (v128.const i64x2 0xff00f00f80017ffe 0x7ffe8001ff000ff0))
(assert_return
  (invoke "i32x4-laneselect"
    (v128.const i64x2 -1 0) (v128.const i64x2 0 -1)
    (v128.const i64x2 0xff00f00f80017ffe 0x80017ffe00fff00f))
  (v128.const i64x2 0xff00f00f80017ffe 0x7ffe8001ff000ff0))
(assert_return
  (invoke "i64x2-laneselect"
    (v128.const i64x2 -1 0) (v128.const i64x2 0 -1)
    (v128.const i64x2 0xff00f00f80017ffe 0x80017ffe00fff00f))
  (v128.const i64x2 0xff00f00f80017ffe 0x7ffe8001ff000ff0))

;; NaN spreads, and zeros of different signs differ.
(assert_return (invoke "f32x4-min" (v128.const f32x4 nan 1 0 -0) (v128.const f32x4 1 nan -0 0))
  (v128.const f32x4 nan:canonical nan:canonical -0 -0))
(assert_return (invoke "f32x4-max" (v128.const f32x4 nan 1 0 -0) (v128.const f32x4 1 nan -0 0))
  (v128.const f32x4 nan:canonical nan:canonical 0 0))
(assert_return (invoke "f64x2-min" (v128.const f64x2 nan 0) (v128.const f64x2 1 -0))
  (v128.const f64x2 nan:canonical -0))
(assert_return (invoke "f64x2-min" (v128.const f64x2 1 -0) (v128.const f64x2 nan 0))
  (v128.const f64x2 nan:canonical -0))
(assert_return (invoke "f64x2-max" (v128.const f64x2 nan 0) (v128.const f64x2 1 -0))
  (v128.const f64x2 nan:canonical 0))
(assert_return (invoke "f64x2-max" (v128.const f64x2 1 -0) (v128.const f64x2 nan 0))
  (v128.const f64x2 nan:canonical 0))

;; The one product out of range saturates.
(assert_return
  (invoke "q15mulr"
    (v128.const i16x8 -32768 -32768 32767 16384 0 1 -1 8192)
    (v128.const i16x8 -32768 32767 32767 16384 9 1 16384 8192))
  (v128.const i16x8 32767 -32767 32766 8192 0 0 0 2048))

;; Both operands have signs, and a sum out of range saturates.
(assert_return
  (invoke "dot"
    (v128.const i8x16 -128 -128 -128 -128 -128 -128 127 127 1 2 -3 4 0 0 0 -1)
    (v128.const i8x16 -127 -127 -128 -128 127 127 127 127 3 4 5 -6 0 0 1 -1))
  (v128.const i16x8 32512 32767 -32512 32258 11 -39 0 1))
(assert_return
  (invoke "dot-add"
    (v128.const i8x16 -128 -128 -128 -128 -128 -128 127 127 1 2 -3 4 0 0 0 -1)
    (v128.const i8x16 -127 -127 -128 -128 127 127 127 127 3 4 5 -6 0 0 1 -1)
    (v128.const i32x4 1 2 -3 0x7fffffff))
  (v128.const i32x4 65280 -252 -31 0x80000000))
