//! A guest that does as it is told: its module imports every function and exports it again.
//!
//! Layout of its memory: results from [`OUT`], strings from [`PATH`] and [`PATH2`], arrays of
//! buffers from [`IOVS`], data from [`DATA`].

use executor_compiler::NativeCompiler;
use executor_model::{CallError, InstanceId, Listeners, ModuleHash, Val};
use executor_runtime::{
    CompiledModule, EngineConfig, Interrupter, Linker, NativeEngine, Store, StoreConfig,
};
use executor_wasi::{
    CaptureOptions, Input, MODULE, Output, WasiCtx, WasiCtxBuilder, WasiState, WasiStateError,
    add_to_linker,
};
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock};

pub const OUT: u32 = 64;
pub const PATH: u32 = 1024;
pub const PATH2: u32 = 8192;
pub const IOVS: u32 = 16384;
pub const DATA: u32 = 32768;
pub const SIZE: u32 = 65536;

/// An address from which nothing of two bytes or more fits.
pub const END: u32 = SIZE - 1;

pub const READ: u64 = 1 << 1;
pub const SEEK: u64 = 1 << 2;
pub const WRITE: u64 = 1 << 6;
/// All that a file can have.
pub const FILE: u64 = 0x0880_01ff | 1 << 21 | 1 << 22;

pub const CREAT: u32 = 1;
pub const DIRECTORY: u32 = 2;
pub const EXCL: u32 = 4;
pub const TRUNC: u32 = 8;

pub const APPEND: u32 = 1;
pub const NONBLOCK: u32 = 4;
pub const SYNC: u32 = 16;

/// Every function with the types of its parameters, `w` for i32 and `d` for i64. All return an
/// error number but `proc_exit`.
const FUNCTIONS: [(&str, &str); 46] = [
    ("args_get", "ww"),
    ("args_sizes_get", "ww"),
    ("clock_res_get", "ww"),
    ("clock_time_get", "wdw"),
    ("environ_get", "ww"),
    ("environ_sizes_get", "ww"),
    ("fd_advise", "wddw"),
    ("fd_allocate", "wdd"),
    ("fd_close", "w"),
    ("fd_datasync", "w"),
    ("fd_fdstat_get", "ww"),
    ("fd_fdstat_set_flags", "ww"),
    ("fd_fdstat_set_rights", "wdd"),
    ("fd_filestat_get", "ww"),
    ("fd_filestat_set_size", "wd"),
    ("fd_filestat_set_times", "wddw"),
    ("fd_pread", "wwwdw"),
    ("fd_prestat_dir_name", "www"),
    ("fd_prestat_get", "ww"),
    ("fd_pwrite", "wwwdw"),
    ("fd_read", "wwww"),
    ("fd_readdir", "wwwdw"),
    ("fd_renumber", "ww"),
    ("fd_seek", "wdww"),
    ("fd_sync", "w"),
    ("fd_tell", "ww"),
    ("fd_write", "wwww"),
    ("path_create_directory", "www"),
    ("path_filestat_get", "wwwww"),
    ("path_filestat_set_times", "wwwwddw"),
    ("path_link", "wwwwwww"),
    ("path_open", "wwwwwddww"),
    ("path_readlink", "wwwwww"),
    ("path_remove_directory", "www"),
    ("path_rename", "wwwwww"),
    ("path_symlink", "wwwww"),
    ("path_unlink_file", "www"),
    ("poll_oneoff", "wwww"),
    ("proc_exit", "w"),
    ("proc_raise", "w"),
    ("random_get", "ww"),
    ("sched_yield", ""),
    ("sock_accept", "www"),
    ("sock_recv", "wwwwww"),
    ("sock_send", "wwwww"),
    ("sock_shutdown", "ww"),
];

/// What a function answers: an error number, or nothing.
pub type Answer<T> = Result<T, u16>;

macro_rules! errnos {
    ($($name:ident)*) => {
        $(pub const $name: u16 = executor_wasi::Errno::$name.raw();)*
    };
}
errnos! {
    AGAIN BADF EXIST FAULT FBIG ILSEQ INVAL ISDIR LOOP NAMETOOLONG NOENT NOTCAPABLE NOTCONN NOTDIR
    NOTEMPTY NOTSOCK NOTSUP PERM PIPE SPIPE STALE
}

fn module() -> &'static (NativeEngine, Arc<CompiledModule>) {
    static MODULE_CODE: OnceLock<(NativeEngine, Arc<CompiledModule>)> = OnceLock::new();
    MODULE_CODE.get_or_init(|| {
        let mut wat = String::from("(module $told ");
        for (name, params) in FUNCTIONS {
            let types = params.replace('w', "i32 ").replace('d', "i64 ");
            let result = if name == "proc_exit" { "" } else { "(result i32)" };
            // Those of preview 0 are exported as `0.NAME`.
            for (module, prefix) in [(MODULE, ""), ("wasi_unstable", "0.")] {
                if (prefix, name) == ("0.", "sock_accept") {
                    continue;
                }
                write!(
                    wat,
                    r#"(import "{module}" "{name}" (func ${prefix}{name} (param {types}) {result}))
                       (export "{prefix}{name}" (func ${prefix}{name}))"#
                )
                .unwrap();
            }
        }
        // One that calls, so that there is a function to be named in a backtrace.
        wat.push_str(
            r#"(memory (export "memory") 1)
               (func $draws (export "draw") (param i32 i32) (result i32)
                   (call $random_get (local.get 0) (local.get 1))))"#,
        );
        let compiler = Arc::new(NativeCompiler::new().unwrap());
        let config = EngineConfig { compiler: Some(compiler), ..EngineConfig::default() };
        let engine = NativeEngine::new(config).unwrap();
        let module = compile(&engine, &wat);
        (engine, module)
    })
}

fn compile(engine: &NativeEngine, wat: &str) -> Arc<CompiledModule> {
    let wasm = wat::parse_str(wat).unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    engine.compile(&module, &Listeners::none(), true, &|_| {}).unwrap().0
}

/// Calls the `_start` of a module.
pub fn start(wat: &str, ctx: Option<WasiCtx>) -> (Result<Vec<Val>, CallError>, Store) {
    start_with(wat, ctx, drop)
}

/// As [`start`], and hands out what interrupts the call.
pub fn start_with(
    wat: &str,
    ctx: Option<WasiCtx>,
    watch: impl FnOnce(Interrupter),
) -> (Result<Vec<Val>, CallError>, Store) {
    let engine = &module().0;
    let module = compile(engine, wat);
    let mut linker = Linker::new();
    add_to_linker(&mut linker);
    let mut store = Store::new(engine, linker, StoreConfig::default()).unwrap();
    if let Some(ctx) = ctx {
        store.set_data(ctx);
    }
    let instance = store.instantiate(&module).unwrap();
    let start = store.exported_func(instance, "_start").unwrap();
    watch(store.interrupter());
    (store.call(start, &[]), store)
}

pub struct Guest {
    pub store: Store,
    pub instance: InstanceId,
    pub stdout: Arc<Mutex<Vec<u8>>>,
}

impl Guest {
    pub fn new(build: impl FnOnce(&mut WasiCtxBuilder)) -> Self {
        Self::with(build, |builder| builder.build().unwrap())
    }

    /// A guest with `dir` at `/`, as descriptor 3.
    pub fn at(dir: &tempfile::TempDir) -> Self {
        Self::new(|builder| {
            builder.preopen(dir.path(), "/").unwrap();
        })
    }

    /// A guest that goes on from a state, and from the memory of the guest that had it.
    pub fn restored(
        from: &Self,
        state: &WasiState,
        build: impl FnOnce(&mut WasiCtxBuilder),
    ) -> Self {
        let state = WasiState::decode(&state.encode()).unwrap();
        let mut guest = Self::with(build, |builder| builder.restore(&state).unwrap());
        let bytes = from.store.memory(from.instance, 0).unwrap();
        guest.store.memory_mut(guest.instance, 0).unwrap().copy_from_slice(bytes);
        guest
    }

    fn with(
        build: impl FnOnce(&mut WasiCtxBuilder),
        make: impl FnOnce(WasiCtxBuilder) -> WasiCtx,
    ) -> Self {
        let (engine, module) = module();
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let mut builder = WasiCtxBuilder::new();
        builder.stdin(Input::Bytes(b"input".to_vec().into()));
        builder.stdout(Output::Capture(stdout.clone())).stderr(Output::Capture(stdout.clone()));
        build(&mut builder);
        let mut linker = Linker::new();
        add_to_linker(&mut linker);
        let mut store = Store::new(engine, linker, StoreConfig::default()).unwrap();
        store.set_data(make(builder));
        let instance = store.instantiate(module).unwrap();
        Self { store, instance, stdout }
    }

    pub fn ctx(&mut self) -> &mut WasiCtx {
        self.store.data_mut().unwrap()
    }

    pub fn state(&self) -> Result<WasiState, WasiStateError> {
        self.capture(&CaptureOptions::default())
    }

    pub fn capture(&self, options: &CaptureOptions) -> Result<WasiState, WasiStateError> {
        let ctx = self.store.data::<WasiCtx>().unwrap();
        ctx.state(|instance, memory| self.store.memory(instance, memory), options)
    }

    /// Calls a function by its name.
    pub fn try_call(&mut self, name: &str, args: &[u64]) -> Result<Vec<Val>, CallError> {
        let plain = name.trim_start_matches("0.");
        let params = FUNCTIONS.iter().find(|(n, _)| *n == plain).map_or("ww", |(_, params)| params);
        assert_eq!(params.len(), args.len(), "{name}");
        let value = |(ty, arg): (char, &u64)| match ty {
            'w' => Val::I32(u32::try_from(*arg).unwrap().cast_signed()),
            _ => Val::I64(arg.cast_signed()),
        };
        let args: Vec<Val> = params.chars().zip(args).map(value).collect();
        let func = self.store.exported_func(self.instance, name).unwrap();
        self.store.call(func, &args)
    }

    /// Calls a function that answers with an error number.
    pub fn call(&mut self, name: &str, args: &[u64]) -> Answer<()> {
        match self.try_call(name, args).unwrap()[..] {
            [Val::I32(0)] => Ok(()),
            [Val::I32(errno)] => Err(errno as u16),
            ref other => panic!("{name} returned {other:?}"),
        }
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) -> u32 {
        let mut memory = self.store.memory_mut(self.instance, 0).unwrap();
        memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
        bytes.len() as u32
    }

    pub fn bytes(&self, at: u32, len: u32) -> &[u8] {
        &self.store.memory(self.instance, 0).unwrap()[at as usize..][..len as usize]
    }

    pub fn u16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.bytes(at, 2).try_into().unwrap())
    }

    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    /// Puts an array of buffers at [`IOVS`]; returns its address and length, as arguments.
    pub fn iovecs(&mut self, iovecs: &[(u32, u32)]) -> [u64; 2] {
        for (i, (at, len)) in (0..).zip(iovecs) {
            self.put(IOVS + i * 8, &at.to_le_bytes());
            self.put(IOVS + i * 8 + 4, &len.to_le_bytes());
        }
        [IOVS.into(), iovecs.len() as u64]
    }

    /// Puts a path at [`PATH`]; returns its address and length, as arguments.
    pub fn path(&mut self, path: &str) -> [u64; 2] {
        [PATH.into(), self.put(PATH, path.as_bytes()).into()]
    }

    fn path2(&mut self, path: &str) -> [u64; 2] {
        [PATH2.into(), self.put(PATH2, path.as_bytes()).into()]
    }

    /// Opens a path below descriptor `fd`.
    #[expect(clippy::too_many_arguments, reason = "as many as `path_open` has")]
    pub fn open_at(
        &mut self,
        fd: u32,
        lookup: u32,
        path: &str,
        oflags: u32,
        base: u64,
        inheriting: u64,
        flags: u32,
    ) -> Answer<u32> {
        let [at, len] = self.path(path);
        let args = [fd.into(), lookup.into(), at, len, oflags.into(), base, inheriting];
        self.call("path_open", &[&args[..], &[flags.into(), OUT.into()]].concat())?;
        Ok(self.u32(OUT))
    }

    /// Opens a path below descriptor 3, following links, with whatever rights beside reading and
    /// writing a file can have.
    pub fn open(&mut self, path: &str, oflags: u32, rights: u64, flags: u32) -> Answer<u32> {
        let base = (FILE & !(READ | WRITE)) | rights;
        self.open_at(3, 1, path, oflags, base, !0, flags)
    }

    pub fn write(&mut self, fd: u32, data: &[u8]) -> Answer<u32> {
        let len = self.put(DATA, data);
        let [at, count] = self.iovecs(&[(DATA, len)]);
        self.call("fd_write", &[fd.into(), at, count, OUT.into()])?;
        Ok(self.u32(OUT))
    }

    pub fn read(&mut self, fd: u32, len: u32) -> Answer<Vec<u8>> {
        let [at, count] = self.iovecs(&[(DATA, len)]);
        self.call("fd_read", &[fd.into(), at, count, OUT.into()])?;
        Ok(self.bytes(DATA, self.u32(OUT)).to_vec())
    }

    pub fn pread(&mut self, fd: u32, len: u32, offset: u64) -> Answer<Vec<u8>> {
        let [at, count] = self.iovecs(&[(DATA, len)]);
        self.call("fd_pread", &[fd.into(), at, count, offset, OUT.into()])?;
        Ok(self.bytes(DATA, self.u32(OUT)).to_vec())
    }

    pub fn pwrite(&mut self, fd: u32, data: &[u8], offset: u64) -> Answer<u32> {
        let len = self.put(DATA, data);
        let [at, count] = self.iovecs(&[(DATA, len)]);
        self.call("fd_pwrite", &[fd.into(), at, count, offset, OUT.into()])?;
        Ok(self.u32(OUT))
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Answer<u64> {
        let args = [fd.into(), offset.cast_unsigned(), whence.into(), OUT.into()];
        self.call("fd_seek", &args)?;
        Ok(self.u64(OUT))
    }

    pub fn tell(&mut self, fd: u32) -> Answer<u64> {
        self.call("fd_tell", &[fd.into(), OUT.into()])?;
        Ok(self.u64(OUT))
    }

    pub fn close(&mut self, fd: u32) -> Answer<()> {
        self.call("fd_close", &[fd.into()])
    }

    /// Calls a function of a descriptor and a path: one below descriptor 3.
    pub fn on(&mut self, name: &str, path: &str) -> Answer<()> {
        let [at, len] = self.path(path);
        self.call(name, &[3, at, len])
    }

    pub fn rename(&mut self, old: &str, new: &str) -> Answer<()> {
        let ([old, old_len], [new, new_len]) = (self.path(old), self.path2(new));
        self.call("path_rename", &[3, old, old_len, 3, new, new_len])
    }

    pub fn link(&mut self, old: &str, new: &str) -> Answer<()> {
        let ([old, old_len], [new, new_len]) = (self.path(old), self.path2(new));
        self.call("path_link", &[3, 0, old, old_len, 3, new, new_len])
    }

    pub fn symlink(&mut self, text: &str, link: &str) -> Answer<()> {
        let ([text, text_len], [link, link_len]) = (self.path(text), self.path2(link));
        self.call("path_symlink", &[text, text_len, 3, link, link_len])
    }

    pub fn readlink(&mut self, link: &str, room: u32) -> Answer<String> {
        let [at, len] = self.path(link);
        self.call("path_readlink", &[3, at, len, DATA.into(), room.into(), OUT.into()])?;
        Ok(String::from_utf8(self.bytes(DATA, self.u32(OUT)).to_vec()).unwrap())
    }

    /// The status of a path below descriptor 3.
    pub fn stat(&mut self, lookup: u32, path: &str) -> Answer<Stat> {
        let [at, len] = self.path(path);
        self.call("path_filestat_get", &[3, lookup.into(), at, len, DATA.into()])?;
        Ok(self.filestat())
    }

    /// The status of a descriptor.
    pub fn fstat(&mut self, fd: u32) -> Answer<Stat> {
        self.call("fd_filestat_get", &[fd.into(), DATA.into()])?;
        Ok(self.filestat())
    }

    fn filestat(&self) -> Stat {
        Stat {
            inode: self.u64(DATA + 8),
            filetype: self.bytes(DATA + 16, 1)[0],
            links: self.u64(DATA + 24),
            size: self.u64(DATA + 32),
            accessed: self.u64(DATA + 40),
            modified: self.u64(DATA + 48),
        }
    }

    /// Type, flags and rights of a descriptor.
    pub fn fdstat(&mut self, fd: u32) -> Answer<(u8, u16, u64, u64)> {
        self.call("fd_fdstat_get", &[fd.into(), DATA.into()])?;
        let filetype = self.bytes(DATA, 1)[0];
        Ok((filetype, self.u16(DATA + 2), self.u64(DATA + 8), self.u64(DATA + 16)))
    }

    /// What a directory holds from `cookie` on, as far as it fits `room`: the entries that are
    /// whole, and whether the end was reached.
    pub fn list(&mut self, fd: u32, room: u32, cookie: u64) -> Answer<(Vec<Dirent>, bool)> {
        let args = [fd.into(), DATA.into(), room.into(), cookie, OUT.into()];
        self.call("fd_readdir", &args)?;
        let used = self.u32(OUT);
        let (mut entries, mut at) = (Vec::new(), 0);
        while at + 24 <= used {
            let size = self.u32(DATA + at + 16);
            if at + 24 + size > used {
                break;
            }
            entries.push(Dirent {
                next: self.u64(DATA + at),
                inode: self.u64(DATA + at + 8),
                filetype: self.bytes(DATA + at + 20, 1)[0],
                name: String::from_utf8(self.bytes(DATA + at + 24, size).to_vec()).unwrap(),
            });
            at += 24 + size;
        }
        Ok((entries, used < room))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub inode: u64,
    pub filetype: u8,
    pub links: u64,
    pub size: u64,
    pub accessed: u64,
    pub modified: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirent {
    pub next: u64,
    pub inode: u64,
    pub filetype: u8,
    pub name: String,
}
