//! Makes fsync and its kin succeed without effect in a sandbox. dpkg syncs after every change of state, on a tree
//! that is thrown away if the run is broken off: the disk's time for it is time lost.

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

/// AUDIT_ARCH_* of <linux/audit.h>: the filter looks at calls of the builder's own architecture only.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const SYNCS: [libc::c_long; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
];

/// Length of the filter: load and compare the architecture, load the number, compare each, allow, ignore.
const LENGTH: usize = SYNCS.len() + 5;

/// Installs the filter for this process and all that it starts; -1 and errno on failure. Allocates nothing.
///
/// # Safety
/// Makes a system call that changes the process for good; it needs CAP_SYS_ADMIN in the process's user namespace.
pub unsafe fn ignore_syncs() -> libc::c_int {
    let mut filter = [op(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0); LENGTH];
    // seccomp_data: the call's number at offset 0, the architecture at offset 4.
    filter[0] = op(BPF_LD | BPF_W | BPF_ABS, 4, 0, 0);
    filter[1] = op(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, (LENGTH - 4) as u8);
    filter[2] = op(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0);
    for (at, call) in SYNCS.iter().enumerate() {
        let to_the_end = (LENGTH - 2 - (at + 3)) as u8;
        filter[at + 3] = op(BPF_JMP | BPF_JEQ | BPF_K, *call as u32, to_the_end, 0);
    }
    filter[LENGTH - 1] = op(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO, 0, 0);
    let program = sock_fprog { len: LENGTH as u16, filter: filter.as_mut_ptr() };
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) }
}

const fn op(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
