//! What a worker can do of the system, at most.
//!
//! Invariant: once [`confine`] has returned, this thread and those that it starts reach no file but those of the store,
//! which they only read, and of the directories that guests are given; they open no socket, start no process and send
//! no signal to another. What guests may do is decided before that, by WASI; this holds for machine code that has
//! broken out of it. A system call that is not needed fails with `EPERM`.

use crate::wire::Directory;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::Qword,
    SeccompCmpOp::{Eq, MaskedEq},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::{collections::BTreeMap, path::Path, process};

/// The newest of Landlock that is asked for; a kernel that has less gives what it has.
const NEWEST: ABI = ABI::V6;

/// Files beside the store that are read: whether the machine was started anew since code was checked.
const READ: &str = "/proc/sys/kernel/random/boot_id";

/// System calls that may be made whatever their arguments.
const ALLOWED: &[i64] = &[
    // Descriptors.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // Files, of which Landlock says which.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_memfd_create,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads, time and chance.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Refused by a filter of its own, in a way that the C library understands.
    libc::SYS_clone3,
];

/// Why a worker is not confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("landlock: {0}")]
    Landlock(#[from] RulesetError),
    #[error("this kernel has no Landlock")]
    NoLandlock,
    #[error("seccomp: {0}")]
    Seccomp(String),
    #[error("cannot limit core dumps: {0}")]
    Limit(nix::Error),
}

/// Confines the calling thread and those that it will start.
///
/// # Errors
/// When the kernel cannot do it. What it can do is done.
pub(crate) fn confine(store: &Path, directories: &[Directory]) -> Result<(), ConfineError> {
    // A dump would hold what guests were given.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(ConfineError::Limit)?;
    let files = files(store, directories);
    calls()?;
    files
}

/// Which files may be reached.
fn files(store: &Path, directories: &[Directory]) -> Result<(), ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let change: BitFlags<AccessFs> = AccessFs::from_all(NEWEST)
        & !(AccessFs::Execute
            | AccessFs::MakeChar
            | AccessFs::MakeBlock
            | AccessFs::MakeSock
            | AccessFs::IoctlDev);
    let of =
        |read_only| directories.iter().filter(move |directory| directory.read_only == read_only);
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules([store], read))?
        .add_rules(path_beneath_rules([READ], AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(of(true).map(|directory| &directory.host), read))?
        .add_rules(path_beneath_rules(of(false).map(|directory| &directory.host), change))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::NoLandlock),
        // An older kernel: what is missing there, the filter of system calls refuses too.
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Which system calls may be made.
fn calls() -> Result<(), ConfineError> {
    let failed = |e: seccompiler::BackendError| ConfineError::Seccomp(e.to_string());
    let rule = |conditions: Vec<Result<SeccompCondition, seccompiler::BackendError>>| {
        let conditions = conditions.into_iter().collect::<Result<Vec<_>, _>>();
        conditions.and_then(SeccompRule::new).map_err(failed)
    };
    let is = |arg, value| SeccompCondition::new(arg, Qword, Eq, value);
    let has = |arg, mask, value| SeccompCondition::new(arg, Qword, MaskedEq(mask), value);
    let (write, execute) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64;
    // `CLONE_NEWTIME` is none of `clone`'s.
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let namespaces = u64::from(namespaces.cast_unsigned());
    let own = u64::from(process::id());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Code files are mapped to be read, and made executable then; what can be written is not executed.
    let not = |bit| rule(vec![has(2, bit, 0)]);
    rules.insert(libc::SYS_mmap, vec![not(execute)?]);
    rules.insert(libc::SYS_mprotect, vec![not(execute)?, not(write)?]);
    // Threads, and no processes.
    rules.insert(libc::SYS_clone, vec![rule(vec![has(0, thread | namespaces, thread)])?]);
    // A thread of its own is interrupted by a signal.
    rules.insert(libc::SYS_tgkill, vec![rule(vec![is(0, own)])?]);
    rules.insert(libc::SYS_prlimit64, vec![rule(vec![is(0, 0), is(2, 0)])?]);
    // The names of threads and of mappings.
    let names = [libc::PR_SET_NAME as u64, 0x5356_4d41];
    let names = names.into_iter().map(|option| rule(vec![is(0, option)]));
    rules.insert(libc::SYS_prctl, names.collect::<Result<_, _>>()?);
    let requests = [libc::FIONREAD, libc::FIONBIO, libc::TCGETS];
    let requests = requests.into_iter().map(|request| rule(vec![is(1, request)]));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);

    let refuse = |errno: i32| SeccompAction::Errno(errno as u32);
    let allowed = filter(rules, refuse(libc::EPERM), SeccompAction::Allow)?;
    // Its arguments are in memory, where a filter cannot look; without it the C library uses `clone`.
    let clone3 = [(libc::SYS_clone3, Vec::new())].into();
    let clone3 = filter(clone3, SeccompAction::Allow, refuse(libc::ENOSYS))?;
    for program in [clone3, allowed] {
        apply_filter(&program).map_err(|e| ConfineError::Seccomp(e.to_string()))?;
    }
    Ok(())
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let failed = |e: seccompiler::BackendError| ConfineError::Seccomp(e.to_string());
    SeccompFilter::new(rules, otherwise, matching, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .map_err(failed)
}
