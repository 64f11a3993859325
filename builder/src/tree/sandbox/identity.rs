//! Being root: as an ordinary user, in a user namespace with the user's subordinate ids; as root, just so.

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, User, fork, getgid, getpid, getuid, pipe, setgroups, setresgid, setresuid};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Ids that a Debian system needs besides 0: up to nobody, 65534.
const WANTED: u32 = 65_534;

/// Makes this process root in a user namespace unless it is root already, and makes sure that sandboxes can be made.
/// To be called once, before any thread is started. All that is missing on the host is said in one error.
pub fn become_root() -> Result<()> {
    if !getuid().is_root() {
        enter_user_namespace()?;
    }
    let what = match code_of(try_namespaces)? {
        0 => return Ok(()),
        1 => "make namespaces",
        2 => "mount in namespaces of its own",
        _ => "mount a /proc of its own (something hides parts of this one)",
    };
    bail!(
        "this machine does not let mimg {what}, in which packages are configured; \
         in a container, start it with `--privileged`, or run mimg outside of it"
    )
}

/// Tries what every sandbox does, in a process that is thrown away: 0, or the number of the first thing that failed.
fn try_namespaces() -> i32 {
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if unshare(spaces).is_err() {
        return 1;
    }
    let none = None::<&str>;
    let private = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    if private.and_then(|()| mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), none)).is_err() {
        return 2;
    }
    // Only a process of the new namespace may mount its /proc.
    let careful = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = || mount(Some("proc"), "/proc", Some("proc"), careful, none);
    code_of(|| if proc().is_ok() { 0 } else { 3 }).unwrap_or(1)
}

fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let [uids, gids] = ["/etc/subuid", "/etc/subgid"].map(|file| range(file, &name, uid));
    let missing = missing(&name, uids, gids);
    ensure!(missing.is_empty(), "mimg is not run by root, and needs on this machine:\n  {}", missing.join("\n  "));
    let maps = [("newuidmap", uid.as_raw(), uids), ("newgidmap", gid.as_raw(), gids)];
    let parent = getpid().to_string();
    let (wait, go) = pipe().context("making a pipe")?;
    // The maps are written from outside the namespace, by a child that stays there.
    // SAFETY: the process has one thread, so its child may do anything.
    match unsafe { fork() }.context("starting a process")? {
        ForkResult::Child => {
            drop(go);
            let ready = std::io::Read::read(&mut std::fs::File::from(wait), &mut [0]).is_ok_and(|n| n == 1);
            let mapped = ready && maps.iter().all(|(tool, own, start)| map(tool, &parent, *own, *start));
            std::process::exit(if mapped { 0 } else { 1 });
        }
        ForkResult::Parent { child } => {
            drop(wait);
            unshare(CloneFlags::CLONE_NEWUSER).context("making a user namespace")?;
            std::fs::File::from(go).write_all(b"1").context("starting newuidmap")?;
            let ended = waitpid(child, None).context("waiting for newuidmap")?;
            ensure!(
                ended == WaitStatus::Exited(child, 0),
                "newuidmap or newgidmap refused the ids of {name} in /etc/subuid and /etc/subgid"
            );
        }
    }
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).context("leaving groups in the user namespace")?;
    setresgid(group, group, group).context("becoming the root group in the user namespace")?;
    setresuid(root, root, root).context("becoming root in the user namespace")
}

fn map(tool: &str, pid: &str, own: u32, start: Option<u32>) -> bool {
    let Some(start) = start else { return false };
    let line = [0, own, 1, 1, start, WANTED].map(|number| number.to_string());
    Command::new(tool).arg(pid).args(line).status().is_ok_and(|status| status.success())
}

/// The first id of a range in /etc/subuid or /etc/subgid (`name:first:count`) that is long enough.
fn range(file: &str, name: &str, uid: Uid) -> Option<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let who = parts.next()?;
        let first: u32 = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.trim().parse().ok()?;
        ((who == name || who == uid.to_string()) && count >= WANTED).then_some(first)
    })
}

fn missing(name: &str, uids: Option<u32>, gids: Option<u32>) -> Vec<String> {
    let mut missing = Vec::new();
    let found = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    if !found("newuidmap") || !found("newgidmap") {
        missing.push("newuidmap and newgidmap: `apt install uidmap`".to_owned());
    }
    for (file, range, option) in [("/etc/subuid", uids, "--add-subuids"), ("/etc/subgid", gids, "--add-subgids")] {
        if range.is_none() {
            missing.push(format!(
                "{WANTED} ids for {name} in {file}: `usermod {option} 100000-165535 {name}` (a range that is free)"
            ));
        }
    }
    let forbidding = [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "10000"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    for (key, forbids, allows) in forbidding {
        let file = Path::new("/proc/sys").join(key.replace('.', "/"));
        if std::fs::read_to_string(file).is_ok_and(|value| value.trim() == forbids) {
            missing.push(format!("user namespaces, which {key}={forbids} forbids: `sysctl -w {key}={allows}`"));
        }
    }
    missing
}

/// What `act` answers in a child that ends thereafter.
fn code_of(act: impl Fn() -> i32) -> Result<i32> {
    // SAFETY: the process has one thread, so its child may do anything.
    match unsafe { fork() }.context("starting a process")? {
        ForkResult::Child => std::process::exit(act()),
        ForkResult::Parent { child } => match waitpid(child, None).context("waiting for a process")? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => bail!("a process that makes namespaces ended with {other:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Uid, missing, range};

    #[test]
    fn a_range_is_found_by_name_or_number_if_it_is_long_enough() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let lines = "ann:100000:1000\nnonsense\nann:200000:65536\n1001:300000:65536\n";
        std::fs::write(file.path(), lines).expect("writing it");
        let path = file.path().to_str().expect("a name in UTF-8");
        assert_eq!(range(path, "ann", Uid::from_raw(7)), Some(200_000));
        assert_eq!(range(path, "bob", Uid::from_raw(1001)), Some(300_000));
        assert_eq!(range(path, "bob", Uid::from_raw(7)), None);
        assert_eq!(range("/nonexistent", "ann", Uid::from_raw(7)), None);
    }

    #[test]
    fn what_is_missing_is_said_with_its_cure() {
        let said = missing("ann", None, Some(1)).join("\n");
        assert!(said.contains("/etc/subuid: `usermod --add-subuids"), "{said}");
        assert!(!said.contains("/etc/subgid"), "{said}");
    }
}
