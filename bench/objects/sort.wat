;; Arrays of i32: `run(n)` n times fills an array of 20,000 numbers and sorts it by quicksort. The answer is a checksum of it.
(module
  (type $numbers (array (mut i32)))
  (func $sort (param $a (ref $numbers)) (param $from i32) (param $to i32)
    (local $i i32) (local $j i32) (local $pivot i32) (local $swap i32)
    (loop $part
      (if (i32.ge_s (local.get $from) (local.get $to)) (then (return)))
      (local.set $i (local.get $from))
      (local.set $j (local.get $to))
      (local.set $pivot
        (array.get $numbers (local.get $a) (i32.shr_u (i32.add (local.get $i) (local.get $j)) (i32.const 1))))
      (loop $partition
        (loop $up
          (if (i32.lt_s (array.get $numbers (local.get $a) (local.get $i)) (local.get $pivot))
            (then (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $up))))
        (loop $down
          (if (i32.gt_s (array.get $numbers (local.get $a) (local.get $j)) (local.get $pivot))
            (then (local.set $j (i32.sub (local.get $j) (i32.const 1))) (br $down))))
        (if (i32.le_s (local.get $i) (local.get $j))
          (then
            (local.set $swap (array.get $numbers (local.get $a) (local.get $i)))
            (array.set $numbers (local.get $a) (local.get $i) (array.get $numbers (local.get $a) (local.get $j)))
            (array.set $numbers (local.get $a) (local.get $j) (local.get $swap))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (local.set $j (i32.sub (local.get $j) (i32.const 1)))))
        (br_if $partition (i32.le_s (local.get $i) (local.get $j))))
      (call $sort (local.get $a) (local.get $from) (local.get $j))
      (local.set $from (local.get $i))
      (br $part)))

  (func (export "run") (param $n i32) (result i32)
    (local $a (ref $numbers)) (local $i i32) (local $random i32) (local $sum i32)
    (loop $round
      (local.set $a (array.new_default $numbers (i32.const 20000)))
      (local.set $i (i32.const 0))
      (loop $fill
        (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1664525)) (i32.const 1013904223)))
        (array.set $numbers (local.get $a) (local.get $i) (local.get $random))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $fill (i32.lt_u (local.get $i) (i32.const 20000))))
      (call $sort (local.get $a) (i32.const 0) (i32.const 19999))
      (local.set $i (i32.const 0))
      (loop $check
        (local.set $sum
          (i32.add (i32.rotl (local.get $sum) (i32.const 3)) (array.get $numbers (local.get $a) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $check (i32.lt_u (local.get $i) (array.len (local.get $a)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $sum)))
