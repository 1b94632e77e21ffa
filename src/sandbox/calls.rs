//! System calls (seccomp(2)): the ones that the program has a use for; all others fail with EPERM.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

use super::SandboxError;

/// What runs the program once it serves: the runtime, sockets, the record, SQLite, and threads. No call
/// that runs a program, traces one, mounts, loads modules or keys, or makes namespaces is among them.
#[rustfmt::skip]
pub const ALLOWED: &[libc::c_long] = &[
    // Sockets.
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_sendto, libc::SYS_recvfrom,
    libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    // Bytes.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_pipe2, libc::SYS_lseek, libc::SYS_close, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sendfile,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_futex,
    // Files.
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_flock, libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_unlinkat,
    libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_getcwd, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_umask, libc::SYS_utimensat, libc::SYS_fadvise64,
    // Memory and threads.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_brk, libc::SYS_clone, libc::SYS_clone3, libc::SYS_set_robust_list, libc::SYS_rseq,
    libc::SYS_set_tid_address, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_membarrier, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_prctl, libc::SYS_getrandom,
    libc::SYS_restart_syscall, libc::SYS_sysinfo, libc::SYS_uname, libc::SYS_prlimit64,
    libc::SYS_getrusage, libc::SYS_wait4, libc::SYS_waitid,
    // Signals to itself, and who it is.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_tgkill, libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid, libc::SYS_capget, libc::SYS_capset,
    // Time, where the vDSO does not serve.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday,
];

/// The older names of some of them, which this machine's libraries may still use.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink,
    libc::SYS_unlink, libc::SYS_rename, libc::SYS_chmod, libc::SYS_chown, libc::SYS_mkdir,
    libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_pipe, libc::SYS_dup2,
    libc::SYS_getdents, libc::SYS_arch_prctl, libc::SYS_time,
];

/// See above.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Takes all system calls but [`ALLOWED`] from the whole program, every thread of it and for good.
///
/// # Errors
/// Tells that the kernel has no seccomp, or what it said.
pub fn restrict_calls() -> Result<(), SandboxError> {
    let failed = |error: String| SandboxError::Calls(error);
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|&call| (call, Vec::new()))
        .collect();
    let machine = std::env::consts::ARCH;
    let arch = machine
        .try_into()
        .map_err(|_| failed(format!("it is not known for {machine}")))?;
    let denied = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, arch);
    let filter = filter.map_err(|error| failed(error.to_string()))?;
    let program: BpfProgram = filter
        .try_into()
        .map_err(|error: seccompiler::BackendError| failed(error.to_string()))?;
    apply_filter_all_threads(&program).map_err(|error| failed(error.to_string()))
}
