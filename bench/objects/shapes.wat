;; Casts: `run(n)` n times goes through an array of 1,024 objects of eight types, and tells what each is by `br_on_cast`,
;; `ref.test` and `ref.cast`. The answer is a checksum of their fields.
(module
  (rec
    (type $shape (sub (struct (field $tag i32))))
    (type $round (sub $shape (struct (field $tag i32) (field $radius i32))))
    (type $straight (sub $shape (struct (field $tag i32) (field $width i32))))
    (type $circle (sub final $round (struct (field $tag i32) (field $radius i32))))
    (type $ellipse (sub final $round (struct (field $tag i32) (field $radius i32) (field $other i32))))
    (type $square (sub final $straight (struct (field $tag i32) (field $width i32))))
    (type $oblong (sub final $straight (struct (field $tag i32) (field $width i32) (field $height i32))))
    (type $prism (sub final $straight
      (struct (field $tag i32) (field $width i32) (field $height i32) (field $depth i32)))))
  (type $shapes (array (mut (ref null $shape))))
  (global $shapes (mut (ref null $shapes)) (ref.null $shapes))

  (func $make (param $i i32) (result (ref $shape))
    (local $kind i32)
    (local.set $kind
      (i32.rem_u (i32.shr_u (i32.mul (local.get $i) (i32.const 0x9e3779b1)) (i32.const 16)) (i32.const 8)))
    (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
      (br_table $0 $1 $2 $3 $4 $5 $6 $7 (local.get $kind)))
      (return (struct.new $shape (local.get $i))))
      (return (struct.new $round (i32.const 1) (local.get $i))))
      (return (struct.new $straight (i32.const 2) (local.get $i))))
      (return (struct.new $circle (i32.const 3) (local.get $i))))
      (return (struct.new $ellipse (i32.const 4) (local.get $i) (i32.const 9))))
      (return (struct.new $square (i32.const 5) (local.get $i))))
      (return (struct.new $oblong (i32.const 6) (local.get $i) (i32.const 7))))
    (struct.new $prism (i32.const 7) (local.get $i) (i32.const 3) (i32.const 2)))

  (func $area (param $shape (ref $shape)) (result i32)
    (local $ellipse (ref $ellipse)) (local $square (ref $square)) (local $prism (ref $prism))
    (local $oblong (ref $oblong))
    (block $is_circle (result (ref $circle))
      (block $is_ellipse (result (ref $ellipse))
        (block $is_square (result (ref $square))
          (block $is_oblong (result (ref $oblong))
            (block $is_prism (result (ref $prism))
              (br_on_cast $is_circle (ref $shape) (ref $circle) (local.get $shape))
              (br_on_cast $is_ellipse (ref $shape) (ref $ellipse))
              (br_on_cast $is_square (ref $shape) (ref $square))
              (br_on_cast $is_oblong (ref $shape) (ref $oblong))
              (br_on_cast $is_prism (ref $shape) (ref $prism))
              (drop)
              (if (ref.test (ref $round) (local.get $shape))
                (then (return (struct.get $round $radius (ref.cast (ref $round) (local.get $shape))))))
              (if (ref.test (ref $straight) (local.get $shape))
                (then (return (struct.get $straight $width (ref.cast (ref $straight) (local.get $shape))))))
              (return (struct.get $shape $tag (local.get $shape))))
            (local.set $prism)
            (return
              (i32.mul (struct.get $prism $width (local.get $prism))
                (i32.mul (struct.get $prism $height (local.get $prism))
                  (struct.get $prism $depth (local.get $prism))))))
          (local.set $oblong)
          (return (i32.mul (struct.get $oblong $width (local.get $oblong)) (struct.get $oblong $height (local.get $oblong)))))
        (local.set $square)
        (return (i32.mul (struct.get $square $width (local.get $square)) (struct.get $square $width (local.get $square)))))
      (local.set $ellipse)
      (return
        (i32.mul (struct.get $ellipse $radius (local.get $ellipse)) (struct.get $ellipse $other (local.get $ellipse)))))
    (i32.mul (struct.get $circle $radius) (i32.const 3)))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32) (local $shapes (ref $shapes))
    (local.set $shapes (array.new_default $shapes (i32.const 1024)))
    (global.set $shapes (local.get $shapes))
    (loop $fill
      (array.set $shapes (local.get $shapes) (local.get $i) (call $make (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 1024))))
    (loop $round
      (local.set $i (i32.const 0))
      (loop $each
        (local.set $sum
          (i32.add (i32.mul (local.get $sum) (i32.const 31))
            (call $area (ref.as_non_null (array.get $shapes (local.get $shapes) (local.get $i))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $each (i32.lt_u (local.get $i) (i32.const 1024))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $sum)))
