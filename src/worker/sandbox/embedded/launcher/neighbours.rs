//! System calls that reach other processes and their files where there are no namespaces between.
//!
//! Landlock keeps code from opening what is not its own, from tracing and from signalling others. It does
//! not look at calls that name a process by its number, change a file that is never opened, or
//! share memory and messages by a key; and without root all sandboxes have the worker's uid.

use std::collections::BTreeMap;

use seccompiler::{SeccompCmpOp, SeccompRule};

use super::Fault;
use super::seccomp::{condition, none_of, one_of, rule};

/// Calls that the kernel shall seem not to have: programs then do without.
pub(super) const ABSENT: &[libc::c_long] = &[
    // Objects by key, which outlive the sandbox and belong to everybody.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_unlink,
    // Names of files in directories that cannot be opened.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_inotify_init,
    libc::SYS_inotify_init1,
];

/// Attributes of files, by names and by descriptors, which need not be open for writing; the newest have
/// the same number on every architecture.
const ATTRIBUTES: &[libc::c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    463, // setxattrat
    466, // removexattrat
    469, // file_setattr
];

/// ioctl(2): the types of requests to file systems, by which a file's owner changes flags, quotas and more.
/// With the others of these types, such as clones and lists of extents, copying is only faster.
const FILE_SYSTEMS: [u8; 4] = [b'f', b'v', b'X', 0x94];
/// The bits of a request that are its type.
const REQUEST_TYPE: u64 = 0xff00;

/// fcntl(2): while one holds a lease, or a delegation, others wait who open the file.
const LEASES: [libc::c_int; 2] = [libc::F_SETLEASE, 1040 /* F_SETDELEG */];

/// What these may do is for the calling process itself: its first argument is zero.
const FOR_ITSELF: &[libc::c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// One process, for `ioprio_set(2)`.
const IOPRIO_WHO_PROCESS: u32 = 1;

/// An `AF_UNIX` socket of one of these can be pointed at any other, though it was made as one of a pair.
const UNCONNECTED: [libc::c_int; 3] = [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM];
/// socket(2): the bits of a type that are no flags.
const TYPE_BITS: u64 = 0xf;

/// What is refused as not permitted.
pub(super) fn forbidden() -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, Fault> {
    let mut calls = BTreeMap::new();
    calls.insert(libc::SYS_fcntl, one_of(1, LEASES.map(libc::c_int::cast_unsigned))?);
    for call in FOR_ITSELF {
        calls.insert(*call, vec![none_of(0, [0])?]);
    }
    for (call, process) in
        [(libc::SYS_setpriority, libc::PRIO_PROCESS), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)]
    {
        calls.insert(call, vec![none_of(0, [process])?, none_of(1, [0])?]);
    }
    Ok(calls)
}

/// What is refused as on a file system that has no such thing: what copies files then does without.
pub(super) fn unsupported() -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, Fault> {
    let mut calls: BTreeMap<_, _> = ATTRIBUTES.iter().map(|call| (*call, Vec::new())).collect();
    let requests = FILE_SYSTEMS.map(|kind| {
        let kind = u64::from(kind) << 8;
        rule([condition(1, SeccompCmpOp::MaskedEq(REQUEST_TYPE), kind)?])
    });
    calls.insert(libc::SYS_ioctl, requests.into_iter().collect::<Result<_, _>>()?);
    Ok(calls)
}

/// The kinds of socket pairs that are refused.
pub(super) fn unconnected_pairs() -> Result<Vec<SeccompRule>, Fault> {
    UNCONNECTED
        .into_iter()
        .map(|kind| {
            let kind = u64::from(kind.cast_unsigned());
            rule([condition(1, SeccompCmpOp::MaskedEq(TYPE_BITS), kind)?])
        })
        .collect()
}
