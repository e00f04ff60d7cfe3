//! System calls that code in a sandbox has no business making.
//!
//! A deny list: the walls are the namespaces, the uid and the missing capabilities. This one keeps
//! kernel code out of reach that has a history of holes and no use in here. Refusals are errors,
//! not kills, so that programs which only try go on.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::super::wire::Isolation;
use super::{Fault, NAMESPACES, Step, neighbours};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "riscv64")]
const ARCH: TargetArch = TargetArch::riscv64;

const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces (also by clone's flags, below).
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes' insides.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Whole subsystems.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mq_open,
    libc::SYS_memfd_secret,
    // Pages between NUMA nodes and processes.
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_lookup_dcookie,
    libc::SYS_vserver,
    libc::SYS_nfsservctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Memory that belongs to no process's size: only a memory cgroup counts it.
const UNMAPPED_MEMORY: &[libc::c_long] = &[libc::SYS_memfd_create, libc::SYS_shmget];

/// Calls that make a file of any kind, and which argument says the kind.
#[cfg(target_arch = "x86_64")]
const NODES: &[(libc::c_long, u8)] = &[(libc::SYS_mknod, 1), (libc::SYS_mknodat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const NODES: &[(libc::c_long, u8)] = &[(libc::SYS_mknodat, 2)];

/// ioctls that put words into a terminal's mouth (the kernel compares 32 bits, and so do we).
const TERMINAL_INJECTION: [u32; 2] = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];

/// personality(2) may be asked, and set to what it is.
const PERSONALITIES: [u32; 2] = [0, 0xffff_ffff];

/// Installs the filters, for this process and all that it starts; there is no way back.
pub(super) fn install(isolation: Isolation, unmapped_memory: bool) -> Result<(), Fault> {
    let mut refused = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        refused.insert(*call, Vec::new());
    }
    refused.insert(libc::SYS_clone, namespace_flags()?);
    for (call, argument) in NODES {
        refused.insert(*call, device_nodes(*argument)?);
    }
    refused.insert(libc::SYS_ioctl, one_of(1, TERMINAL_INJECTION)?);
    refused.insert(libc::SYS_personality, vec![none_of(0, PERSONALITIES)?]);
    let mut families = BTreeMap::new();
    let mut pairs = vec![none_of(0, [libc::AF_UNIX.cast_unsigned()])?];
    // libc takes "no such call" as the reason to fall back, to clone, whose flags can be seen.
    let mut absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    match isolation {
        Isolation::Namespaces => {
            let known =
                [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(libc::c_int::cast_unsigned);
            families.insert(libc::SYS_socket, vec![none_of(0, known)?]);
        }
        // Landlock does not cover UDP, nor sockets that have a path: here there is nothing to connect with.
        Isolation::Process => {
            families.insert(libc::SYS_socket, Vec::new());
            pairs.extend(neighbours::unconnected_pairs()?);
            refused.extend(neighbours::forbidden()?);
            apply(neighbours::unsupported()?, libc::EOPNOTSUPP)?;
            absent.extend(neighbours::ABSENT.iter().map(|call| (*call, Vec::new())));
        }
    }
    families.insert(libc::SYS_socketpair, pairs);
    apply(refused, libc::EPERM)?;
    apply(families, libc::EAFNOSUPPORT)?;
    if !unmapped_memory {
        absent.extend(UNMAPPED_MEMORY.iter().map(|call| (*call, Vec::new())));
    }
    apply(absent, libc::ENOSYS)?;
    refuse_x32()
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<(), Fault> {
    let action = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, action, ARCH)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
        .and_then(|program| apply_filter(&program).map_err(io::Error::other))
        .step("installing a seccomp filter")
}

/// clone with any flag that makes a namespace: rules of one call are alternatives.
fn namespace_flags() -> Result<Vec<SeccompRule>, Fault> {
    NAMESPACES
        .iter()
        .map(|flag| {
            let bit = u64::from(flag.bits().cast_unsigned());
            rule([condition(0, SeccompCmpOp::MaskedEq(bit), bit)?])
        })
        .collect()
}

/// A device is root's to make; gVisor of 2024 lets everybody, and opens it also where a mount forbids.
fn device_nodes(argument: u8) -> Result<Vec<SeccompRule>, Fault> {
    [libc::S_IFCHR, libc::S_IFBLK]
        .map(|kind| {
            let masked = SeccompCmpOp::MaskedEq(libc::S_IFMT.into());
            rule([condition(argument, masked, kind.into())?])
        })
        .into_iter()
        .collect()
}

/// Matches a call whose argument is any of these.
pub(super) fn one_of<const N: usize>(
    argument: u8,
    values: [u32; N],
) -> Result<Vec<SeccompRule>, Fault> {
    values
        .into_iter()
        .map(|value| rule([condition(argument, SeccompCmpOp::Eq, value.into())?]))
        .collect()
}

/// Matches a call whose argument is none of these.
pub(super) fn none_of<const N: usize>(
    argument: u8,
    values: [u32; N],
) -> Result<SeccompRule, Fault> {
    let conditions: Result<Vec<_>, Fault> = values
        .into_iter()
        .map(|value| condition(argument, SeccompCmpOp::Ne, value.into()))
        .collect();
    rule(conditions?)
}

/// Matches a call that meets all of these.
pub(super) fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> Result<SeccompRule, Fault> {
    SeccompRule::new(conditions.into()).map_err(io::Error::other).step("making a seccomp rule")
}

/// Compares the lower half of an argument.
pub(super) fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, Fault> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .map_err(io::Error::other)
        .step("making a seccomp condition")
}

/// x32 gives every call a second number on `x86_64`, which a list of the first ones does not see.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> Result<(), Fault> {
    use seccompiler::sock_filter;

    const X32_BIT: u32 = 0x4000_0000;
    let code = |bits: u32| u16::try_from(bits).expect("BPF opcodes have 16 bits");
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let jump = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    let refusal = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let program = [
        // The call's number is the first word of what a filter sees.
        sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        sock_filter { code: jump, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: answer, jt: 0, jf: 0, k: refusal },
        sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    apply_filter(&program).map_err(io::Error::other).step("installing the x32 filter")
}

#[cfg(not(target_arch = "x86_64"))]
fn refuse_x32() -> Result<(), Fault> {
    Ok(())
}
