//! What acts change. A wrong one fails as the tool would.

use super::{Array, Crypt, Lv, MIB, Machine, Service, Vg, bytes, capacity, option, signed, words};
use crate::disks;
use profiles::act::{Act, Verb};
use profiles::ask::Probe;

impl Machine {
    /// Does what firstboot would do. Fails as the tool would.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Put(file) => drop(self.files.insert(file.path.clone(), file.clone())),
            Act::Unit { name, verb } => self.drive(name, *verb),
            Act::Run(argv) => self.run(&words(argv)),
            Act::Blank { device } if self.is_ours(device) => self.set(device, disks::BLANK),
            other => self.base.act(other),
        }
    }

    fn drive(&mut self, name: &str, verb: Verb) {
        match verb {
            Verb::Reload => self.reload(),
            Verb::Enable => self.services.get_mut(name).expect("a unit").enabled = true,
            Verb::Start => self.start(name),
            other => panic!("nobody wanted to {other:?} {name} before"),
        }
    }

    pub(super) fn reload(&mut self) {
        let units = self.files.keys().filter_map(|path| path.strip_prefix("/etc/systemd/system/"));
        let mut known: Vec<String> = units.map(str::to_owned).collect();
        known.extend(self.files.get("/etc/crypttab").map(|_| "systemd-cryptsetup@crypt.service".to_owned()));
        for name in known {
            self.services.entry(name).or_insert(Service { active: "inactive", ..Service::default() }).stale = false;
        }
    }

    pub(super) fn start(&mut self, name: &str) {
        let active = if let Some(group) = name.strip_prefix("mimg-vg-").and_then(|name| name.strip_suffix(".service")) {
            self.groups.get_mut(group).into_iter().flat_map(|vg| vg.lvs.values_mut()).for_each(|lv| lv.active = true);
            "active"
        } else if name.starts_with("systemd-cryptsetup@") {
            self.open()
        } else {
            self.mount(name)
        };
        self.services.get_mut(name).expect("a unit that was read").active = active;
    }

    /// As its line of crypttab says.
    fn open(&mut self) -> &'static str {
        let crypttab = self.files.get("/etc/crypttab").map_or(String::new(), |file| file.content.clone());
        let line = crypttab.lines().last().expect("a line").split(' ').collect::<Vec<_>>();
        let key = self.keys.get(line[2]).copied();
        let size = self.size(line[1]).unwrap_or(0);
        let Some(crypt) = self.crypts.get_mut(line[1]) else { return "failed" };
        let opens = (key.is_some() && crypt.key == key) || (line[2] == "-" && crypt.tpm && self.has_tpm);
        (crypt.open, crypt.size) = (opens, size.saturating_sub(16 * MIB));
        if opens { "active" } else { "failed" }
    }

    fn mount(&mut self, name: &str) -> &'static str {
        let file = self.files[&format!("/etc/systemd/system/{name}")].content.clone();
        let value = |key: &str| file.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("").to_owned();
        let uuid = value("What=").trim_start_matches("/dev/disk/by-uuid/").to_owned();
        let has = |path: &String| {
            self.probe(path)
                .is_some_and(|probe| probe.signatures.iter().any(|found| found.uuid.as_ref() == Some(&uuid)))
        };
        let Some(path) = self.paths().into_iter().find(has) else { return "inactive" };
        if name.ends_with(".mount") {
            self.mounts.insert(value("Where="), (path, uuid));
        }
        "active"
    }

    /// Every device that is there.
    fn paths(&self) -> Vec<String> {
        let slices =
            self.base.disks.iter().filter_map(|(_, disk)| disk.table.as_ref()).flat_map(|table| &table.partitions);
        let mut paths: Vec<String> = slices.map(|slice| format!("/dev/disk/by-partuuid/{}", slice.guid)).collect();
        paths.extend(self.arrays.keys().map(|name| format!("/dev/md/{name}")));
        paths.extend(
            self.groups.iter().flat_map(|(vg, group)| group.lvs.keys().map(move |lv| format!("/dev/{vg}/{lv}"))),
        );
        paths.push("/dev/mapper/crypt".to_owned());
        paths
    }

    fn run(&mut self, argv: &[&str]) {
        match argv {
            ["mdadm", "--create", path, ..] => self.create_array(path, argv, usize::MAX),
            ["mdadm", "--assemble", path, ..] => {
                let array = self.arrays.get_mut(path.trim_start_matches("/dev/md/")).expect("an array");
                assert!(!array.running, "it runs already");
                array.running = true;
            }
            ["mdadm", path, "--add", member] => {
                let array = self.arrays.get_mut(path.trim_start_matches("/dev/md/")).expect("an array");
                assert!(array.running && array.members.len() < array.count, "nothing is lost");
                array.members.insert(member.to_string());
                let uuid = array.uuid.clone();
                self.set(member, signed("linux_raid_member", &uuid));
            }
            ["pvcreate", .., path] => {
                assert!(self.probe(path).expect("a device").is_empty(), "{path} is not empty");
                self.set(path, signed("LVM2_member", option(argv, "--uuid").expect("a UUID")));
            }
            ["vgcreate", ..] => self.create_group(argv),
            ["vgextend", _, name, path] => {
                let (pv, size) =
                    (self.uuid(path, "LVM2_member").expect("a label").to_owned(), self.size(path).unwrap());
                self.groups.get_mut(*name).expect("a group").pvs.insert(pv, capacity(size));
            }
            ["pvresize", _, path] => {
                let (pv, size) =
                    (self.uuid(path, "LVM2_member").expect("a label").to_owned(), self.size(path).unwrap());
                let group = self.groups.values_mut().find(|vg| vg.pvs.contains_key(&pv)).expect("a group");
                group.pvs.insert(pv, capacity(size));
            }
            ["lvcreate", .., vg] => self.create_lv(vg, argv),
            ["lvextend", .., name] => {
                let bytes = bytes(argv);
                let lv = self.lv(name);
                assert!(bytes > lv.size);
                lv.size = bytes;
            }
            ["lvchange", _, "--activate=y", name] => self.lv(name).active = true,
            ["lvrename", _, vg, old, new] => {
                let group = self.groups.get_mut(*vg).expect("a group");
                let lv = group.lvs.remove(*old).expect("a volume");
                assert!(group.lvs.insert(new.to_string(), lv).is_none());
            }
            ["cryptsetup" | "systemd-cryptenroll", ..] => self.crypt(argv),
            ["resize2fs", path] => self.fill(path, "ext4"),
            ["btrfs", "filesystem", "resize", "max", mount] => self.fill(&self.mounts[*mount].0.clone(), "btrfs"),
            ["xfs_growfs", "-d", mount] => self.fill(&self.mounts[*mount].0.clone(), "xfs"),
            ["wipefs", ..] => panic!("nothing is ever wiped by a plan"),
            _ => self.format(argv),
        }
        let groups = self.groups.values();
        assert!(groups.clone().all(|vg| vg.used() <= vg.pvs.values().sum()), "more volumes than room");
    }

    pub fn lv(&mut self, name: &str) -> &mut Lv {
        let (vg, lv) = name.split_once('/').expect("VG/LV");
        self.groups.get_mut(vg).and_then(|vg| vg.lvs.get_mut(lv)).expect("a volume")
    }

    /// Writes what mdadm writes to the first `written` members, and runs it once all are written.
    pub(super) fn create_array(&mut self, path: &str, argv: &[&str], written: usize) {
        let uuid = option(argv, "--uuid").expect("a UUID").to_owned();
        let count: usize = option(argv, "--raid-devices").and_then(|text| text.parse().ok()).expect("a number");
        let members: Vec<&str> =
            argv[argv.len() - count..].iter().filter(|word| **word != "missing").copied().collect();
        let least = members.iter().filter_map(|path| self.size(path)).min().expect("members");
        for member in members.iter().take(written) {
            self.set(member, signed("linux_raid_member", &uuid));
        }
        let level = option(argv, "--level").expect("a level");
        let share = match level {
            "1" => 1,
            "5" => count as u64 - 1,
            _ => count as u64,
        };
        let array = Array {
            uuid,
            level: format!("raid{level}"),
            count,
            members: members.iter().take(written).map(|path| path.to_string()).collect(),
            running: written >= members.len(),
            events: if written >= members.len() { 5 } else { 0 },
            size: (least - MIB / 2) * share,
            probe: Probe { signatures: Vec::new(), blank: true },
        };
        self.arrays.insert(path.trim_start_matches("/dev/md/").to_owned(), array);
    }

    fn create_group(&mut self, argv: &[&str]) {
        let paths: Vec<&str> = argv.iter().filter(|word| word.starts_with("/dev/")).copied().collect();
        let name = argv[argv.len() - paths.len() - 1].to_owned();
        let mut vg = Vg { uuid: format!("{name}-made"), ..Vg::default() };
        vg.tags.insert(option(argv, "--addtag").expect("a tag").to_owned());
        for path in paths {
            let label = self.uuid(path, "LVM2_member").expect("a label").to_owned();
            vg.pvs.insert(label, capacity(self.size(path).expect("a device")));
        }
        assert!(self.groups.insert(name, vg).is_none(), "the group is there already");
    }

    fn create_lv(&mut self, vg: &str, argv: &[&str]) {
        let lv = Lv {
            uuid: "made".to_owned(),
            tags: [option(argv, "--addtag").expect("a tag").to_owned()].into(),
            size: bytes(argv),
            active: true,
            // What an earlier volume left where this one is now.
            probe: signed("ext4", "00000000-0000-4000-8000-000000000000"),
        };
        let name = option(argv, "--name").expect("a name").to_owned();
        assert!(self.groups.get_mut(vg).expect("a group").lvs.insert(name, lv).is_none(), "it is there already");
    }

    fn crypt(&mut self, argv: &[&str]) {
        let key = option(argv, "--key-file").and_then(|file| self.keys.get(file)).copied();
        match argv {
            ["cryptsetup", "luksFormat", .., path] => {
                self.set(path, signed("crypto_LUKS", option(argv, "--uuid").expect("a UUID")));
                self.crypts.insert(
                    path.to_string(),
                    Crypt { key, probe: Probe { blank: false, ..Probe::default() }, ..Crypt::default() },
                );
            }
            ["cryptsetup", "luksUUID", .., uuid, path] => self.set(path, signed("crypto_LUKS", uuid)),
            ["cryptsetup", "open", .., path, _] => {
                let size = self.size(path).expect("a device") - 16 * MIB;
                let crypt = self.crypts.get_mut(*path).expect("a header");
                assert_eq!(crypt.key, key);
                (crypt.open, crypt.size) = (true, size);
            }
            ["cryptsetup", "resize", ..] => {
                let path = self.crypts.keys().next().expect("one").clone();
                self.crypts.get_mut(&path).unwrap().size = self.size(&path).unwrap() - 16 * MIB;
            }
            ["systemd-cryptenroll", .., path] => self.crypts.get_mut(*path).expect("a header").tpm = true,
            other => panic!("nobody did {other:?} before"),
        }
    }

    /// Makes a file system, or gives it another UUID.
    fn format(&mut self, argv: &[&str]) {
        let (kind, uuid, path) = match argv {
            ["mkfs.ext4", .., "-U", uuid, path] | ["tune2fs", "-U", uuid, path] => ("ext4", uuid.to_string(), path),
            ["mkfs.xfs", .., id, path] => ("xfs", id.trim_start_matches("uuid=").to_owned(), path),
            ["xfs_admin", "-U", uuid, path] => ("xfs", uuid.to_string(), path),
            ["mkfs.btrfs", .., uuid, path] | ["btrfstune", "-M", uuid, path] => ("btrfs", uuid.to_string(), path),
            ["mkfs.vfat", "-i", id, path] | ["fatlabel", "-i", path, id] => {
                ("vfat", format!("{}-{}", &id[..4], &id[4..]), path)
            }
            ["mkswap" | "swaplabel", "-U", uuid, path] => ("swap", uuid.to_string(), path),
            other => panic!("nobody did {other:?} before"),
        };
        let old = self.probe(path).unwrap_or_else(|| panic!("there is no {path}")).clone();
        let forced = argv.contains(&"-F") || argv.contains(&"-f") || !argv[0].starts_with("mkfs");
        assert!(old.is_empty() || forced || kind == "vfat", "{argv:?} over {}", old.shown());
        self.torn.remove(&uuid);
        self.set(path, signed(kind, &uuid));
        self.fill(path, kind);
    }

    fn fill(&mut self, path: &str, kind: &str) {
        let uuid = self.uuid(path, kind).expect("a file system").to_owned();
        self.filled.insert(uuid, self.size(path).expect("a device"));
    }
}
