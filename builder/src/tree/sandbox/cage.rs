//! The inside of a sandbox: planned as a list of steps where memory may be allocated, carried out between fork and
//! exec where it may not.

use super::{Bind, quiet};
use anyhow::{Context, Result, bail};
use libc::{MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What will be done in the new namespaces, in order.
pub struct Cage {
    steps: Vec<Step>,
    parent: libc::pid_t,
}

enum Step {
    Dir(CString),
    File(CString),
    Link {
        target: CString,
        at: CString,
    },
    Mount {
        from: CString,
        at: CString,
        kind: CString,
        flags: libc::c_ulong,
        options: CString,
    },
    /// Makes the current directory's mount the root, and lets go of the old one.
    Pivot(CString),
}

/// Devices that hold nothing of the host.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of /proc through which root could change the host.
const READ_ONLY: [&str; 6] = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"];
/// Parts of /proc that tell what disks and modules the host has: an image must not depend on them.
const MASKED: [&str; 4] = ["cmdline", "mdstat", "modules", "partitions"];
/// Capabilities that maintainer scripts have use for; all others are dropped, also for what they start.
/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap.
const KEPT: [libc::c_ulong; 11] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];

impl Cage {
    /// Plans a sandbox in `root`. Binds have to lie below /run or /tmp.
    pub fn plan(root: &Path, binds: &[Bind]) -> Result<Cage> {
        let root = fs_err::canonicalize(root)?;
        let mut plan = Plan { root: root.as_path(), steps: Vec::new() };
        plan.mount(Path::new(""), "/".as_ref(), "", MS_REC | MS_PRIVATE, "")?;
        plan.mount(&root, &root, "", MS_BIND | MS_REC, "")?;
        plan.proc()?;
        plan.devices()?;
        plan.mount_at("tmpfs", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")?;
        plan.mount_at("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")?;
        plan.dir("run/lock")?;
        for bind in binds {
            plan.bind(bind)?;
        }
        plan.steps.push(Step::Pivot(c_path(&root)?));
        Ok(Cage { steps: plan.steps, parent: std::process::id() as libc::pid_t })
    }

    /// Called between fork and exec: returns only in the process that will be the command.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: system calls on our own memory, in a process with one thread.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != self.parent {
                libc::_exit(125);
            }
            libc::setsid();
            let spaces =
                libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
            or_say(libc::unshare(spaces), c"making namespaces", c"");
            let mut alive = [0; 2];
            or_say(libc::pipe2(alive.as_mut_ptr(), libc::O_CLOEXEC), c"making a pipe", c"");
            match libc::fork() {
                -1 => or_say(-1, c"starting a process", c""),
                0 => self.set_up(alive),
                child => wait_for(child, alive[1]),
            }
            match libc::fork() {
                -1 => or_say(-1, c"starting a process", c""),
                0 => {}
                child => wait_for(child, -1),
            }
        }
        Ok(())
    }

    /// As process 1 of the new namespaces. `alive` is a pipe whose other end the keeper holds while it lives.
    unsafe fn set_up(&self, alive: [libc::c_int; 2]) {
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(alive[1]);
            let mut end = libc::pollfd { fd: alive[0], events: 0, revents: 0 };
            if libc::poll(&mut end, 1, 0) != 0 {
                libc::_exit(125); // the keeper died before the line above that ties us to it
            }
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0); // our memory and environment are no script's business
            libc::umask(0);
            for step in &self.steps {
                step.take();
            }
            libc::umask(0o022);
            or_say(libc::sethostname(c"localhost".as_ptr(), 9), c"naming the host", c"");
            or_say(libc::setgroups(0, std::ptr::null()), c"leaving groups", c"");
            or_say(quiet::ignore_syncs(), c"filtering system calls", c"");
            for capability in (0..64).filter(|number| !KEPT.contains(number)) {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0); // EINVAL beyond the last one is fine
            }
        }
    }
}

impl Step {
    unsafe fn take(&self) {
        unsafe {
            match self {
                Step::Dir(at) => {
                    if libc::mkdir(at.as_ptr(), 0o755) != 0 && Errno::last() != Errno::EEXIST {
                        or_say(-1, c"making", at);
                    }
                }
                Step::File(at) => {
                    let flags = libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                    let file = libc::open(at.as_ptr(), flags, 0o644);
                    or_say(file, c"making", at);
                    libc::close(file);
                }
                Step::Link { target, at } => or_say(libc::symlink(target.as_ptr(), at.as_ptr()), c"linking", at),
                Step::Mount { from, at, kind, flags, options } => {
                    let options = options.as_ptr().cast();
                    or_say(libc::mount(from.as_ptr(), at.as_ptr(), kind.as_ptr(), *flags, options), c"mounting", at);
                }
                Step::Pivot(root) => {
                    or_say(libc::chdir(root.as_ptr()), c"entering", root);
                    // Both on ".": the old root lands on top of the new one, and is then taken away.
                    let here = c".".as_ptr();
                    or_say(libc::syscall(libc::SYS_pivot_root, here, here) as i32, c"changing the root to", root);
                    or_say(libc::umount2(here, libc::MNT_DETACH), c"leaving", c"the host's root");
                    or_say(libc::chdir(c"/".as_ptr()), c"entering", c"/");
                }
            }
        }
    }
}

/// Waits for `child`, collecting other children, and ends as it ended; keeps only the descriptor `keep` open.
unsafe fn wait_for(child: libc::pid_t, keep: libc::c_int) -> ! {
    unsafe {
        if keep >= 0 {
            libc::dup2(keep, 0);
        }
        libc::close_range(if keep >= 0 { 1 } else { 0 }, libc::c_uint::MAX, 0);
        loop {
            let mut status = 0;
            let ended = libc::wait(&mut status);
            if ended == child {
                let code =
                    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
                libc::_exit(code);
            }
            if ended < 0 && Errno::last() != Errno::EINTR {
                libc::_exit(125);
            }
        }
    }
}

/// Ends the process if `result` says failure, with what was being done, and why, on stderr.
unsafe fn or_say(result: libc::c_int, doing: &CStr, what: &CStr) {
    if result >= 0 {
        return;
    }
    let why = Errno::last().desc().as_bytes();
    for text in [b"mimg: sandbox: ", doing.to_bytes(), b" ", what.to_bytes(), b": ", why, b"\n"] {
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    unsafe { libc::_exit(126) }
}

struct Plan<'a> {
    root: &'a Path,
    steps: Vec<Step>,
}

impl Plan<'_> {
    fn proc(&mut self) -> Result<()> {
        let careful = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        self.mount_at("proc", "proc", "proc", careful, "")?;
        for part in READ_ONLY.iter().filter(|part| Path::new("/proc").join(part).exists()) {
            let at = self.root.join("proc").join(part);
            self.mount(&at, &at, "", MS_BIND | MS_REC, "")?;
            self.mount(Path::new(""), &at, "", MS_BIND | MS_REMOUNT | MS_RDONLY | careful, "")?;
        }
        for part in MASKED.iter().filter(|part| Path::new("/proc").join(part).exists()) {
            self.mount(Path::new("/dev/null"), &self.root.join("proc").join(part), "", MS_BIND, "")?;
        }
        Ok(())
    }

    fn devices(&mut self) -> Result<()> {
        self.mount_at("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")?;
        for device in DEVICES {
            let at = self.root.join("dev").join(device);
            self.steps.push(Step::File(c_path(&at)?));
            self.mount(&Path::new("/dev").join(device), &at, "", MS_BIND, "")?;
        }
        self.dir("dev/pts")?;
        self.dir("dev/shm")?;
        self.mount_at(
            "devpts",
            "dev/pts",
            "devpts",
            MS_NOSUID | MS_NOEXEC,
            "newinstance,ptmxmode=0666,mode=620,gid=5",
        )?;
        self.mount_at("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")?;
        let links = [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ];
        for (name, target) in links {
            let at = c_path(&self.root.join("dev").join(name))?;
            self.steps.push(Step::Link { target: CString::new(target)?, at });
        }
        Ok(())
    }

    fn bind(&mut self, bind: &Bind) -> Result<()> {
        let to = bind.to.strip_prefix("/").unwrap_or(&bind.to);
        let plain = to.components().all(|part| matches!(part, Component::Normal(_)));
        if !(plain && (to.starts_with("run") || to.starts_with("tmp")) && to.components().count() > 1) {
            bail!("{} cannot be shown at {}: wanted a path below /run or /tmp", bind.from.display(), bind.to.display());
        }
        let from = fs_err::canonicalize(&bind.from)?;
        let mut parents: Vec<&Path> = to.ancestors().skip(1).filter(|path| path.components().count() > 1).collect();
        parents.reverse();
        for parent in parents {
            self.dir(parent.to_str().context("binding at a path that is not UTF-8")?)?;
        }
        let at = self.root.join(to);
        self.steps.push(if from.is_dir() { Step::Dir(c_path(&at)?) } else { Step::File(c_path(&at)?) });
        self.mount(&from, &at, "", MS_BIND, "")?;
        if !bind.write {
            self.mount(Path::new(""), &at, "", MS_BIND | MS_REMOUNT | MS_RDONLY | flags_of(&from)?, "")?;
        }
        Ok(())
    }

    fn dir(&mut self, at: &str) -> Result<()> {
        self.steps.push(Step::Dir(c_path(&self.root.join(at))?));
        Ok(())
    }

    fn mount_at(&mut self, from: &str, at: &str, kind: &str, flags: libc::c_ulong, options: &str) -> Result<()> {
        self.mount(Path::new(from), &self.root.join(at), kind, flags, options)
    }

    fn mount(&mut self, from: &Path, at: &Path, kind: &str, flags: libc::c_ulong, options: &str) -> Result<()> {
        let (kind, options) = (CString::new(kind)?, CString::new(options)?);
        self.steps.push(Step::Mount { from: c_path(from)?, at: c_path(at)?, kind, flags, options });
        Ok(())
    }
}

/// What a mount forbids already: in a user namespace a remount may not leave it out.
fn flags_of(path: &Path) -> Result<libc::c_ulong> {
    use nix::sys::statvfs::FsFlags;
    let has = nix::sys::statvfs::statvfs(path).with_context(|| format!("looking at {}", path.display()))?.flags();
    let known = [
        (FsFlags::ST_NOSUID, MS_NOSUID),
        (FsFlags::ST_NODEV, MS_NODEV),
        (FsFlags::ST_NOEXEC, MS_NOEXEC),
        (FsFlags::ST_NOATIME, libc::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, libc::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, libc::MS_RELATIME),
    ];
    Ok(known.iter().filter(|(flag, _)| has.contains(*flag)).fold(0, |flags, (_, flag)| flags | flag))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).with_context(|| format!("using the path {}", path.display()))
}
