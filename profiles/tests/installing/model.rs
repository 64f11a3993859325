//! A machine with a medium and a disk of its own, as far as plans can see it: what it answers, and what an act changes.

use crate::disks::{self, found};
use profiles::act::{Act, Install, Source};
use profiles::ask::{Answer, Ask, Leaf, Probe, Ran, Signature, Slice, Table};
use profiles::facts::Facts;
use profiles::file::File;
use profiles::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// The Parts that are looked at.
pub const NAMES: [&str; 3] = ["disk system", "system", "root"];
const GB: u64 = 1_000_000_000;

/// The machine and its state: all that is not said lies on its disks.
#[derive(Clone, Debug)]
pub struct Machine {
    pub disks: disks::Machine,
    /// What the medium's image was built from.
    pub image: String,
    pub command_line: String,
    /// Counts boots.
    pub boot: u32,
    pub stopping: bool,
    /// What is in a slot beside its file system's UUID: its name, and its machine-id. By the partition's GUID.
    pub systems: BTreeMap<String, (String, String)>,
    pub esp: BTreeMap<String, Leaf>,
    /// The ESP's file system is damaged.
    pub esp_damaged: bool,
    pub core: bool,
    pub boot_code: bool,
    /// udev has not made links to partitions yet.
    pub links_late: bool,
}

/// A stick with an image, which the machine booted from.
fn stick() -> disks::Disk {
    let mut disk = disks::Disk::usb("Ultra Fit", "4C530001230415117044", 30_752_636_928);
    image_on(&mut disk);
    disk
}

/// Writes an image to a disk, and boots from it.
pub fn image_on(disk: &mut disks::Disk) {
    let lba = |mib: u64| (mib << 20) / disk.sector;
    let slice = |number: u32, kind: &str, name: &str, first: u64, end: u64| Slice {
        number,
        guid: format!("00000000-0000-5000-8000-00000000000{number}"),
        kind: kind.to_owned(),
        name: name.to_owned(),
        first: lba(first),
        last: lba(end) - 1,
    };
    let partitions = vec![
        slice(1, "21686148-6449-6e6f-744e-656564454649", "bios", 1, 2),
        slice(2, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "esp", 2, 258),
        slice(3, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "root", 258, 2000),
    ];
    let sectors = disk.size / disk.sector;
    let guid = "00000000-0000-5000-8000-000000000000".to_owned();
    disk.table = Some(Table { guid, primary: true, sector: disk.sector, sectors, backup: lba(2001) - 1, partitions });
    disk.parts = [(1, disks::BLANK), (2, found("vfat", None)), (3, found("ext4", None))].into();
    disk.mounts = [(3, "/")].into();
}

pub fn ssd() -> disks::Disk {
    disks::Disk::sata("Samsung SSD 870 EVO 250GB", "S6PENL0T902341K", 250 * GB / 4096 * 4096)
}

impl Machine {
    /// With a stick, from which it booted, and this disk.
    pub fn with(disk: disks::Disk) -> Machine {
        Machine {
            disks: disks::Machine::default().with("sda", stick()).with("sdb", disk),
            image: "1111".to_owned(),
            command_line: "BOOT_IMAGE=/vmlinuz root=PARTUUID=x ro".to_owned(),
            boot: 1,
            stopping: false,
            systems: BTreeMap::new(),
            esp: BTreeMap::new(),
            esp_damaged: false,
            core: false,
            boot_code: false,
            links_late: false,
        }
    }

    /// The power goes, and the medium is booted again.
    pub fn reset(mut self) -> Machine {
        (self.boot, self.stopping) = (self.boot + 1, false);
        self
    }

    /// The machine boots from this partition of its own disk, with the medium still in.
    pub fn runs_from(mut self, number: u32) -> Machine {
        self.disks.disks[0].1.mounts.clear();
        self.disks.disks[1].1.mounts = [(number, "/")].into();
        self.reset()
    }

    /// All that it answers.
    pub fn facts(&self, spec: &Spec) -> Facts {
        let mut facts = Facts::default();
        let parts = spec.parts();
        loop {
            let wanted = parts.iter().filter(|part| NAMES.contains(&part.name().as_str()));
            let asks: BTreeSet<Ask> = wanted.flat_map(|part| part.asks(spec, &facts)).collect();
            let new: Vec<Ask> = asks.into_iter().filter(|ask| !facts.knows(ask)).collect();
            if new.is_empty() {
                return facts;
            }
            for ask in new {
                // What is not answered stays a question.
                let answer = self.answer(&ask).unwrap_or(Answer::File(None));
                facts.note(ask, answer);
            }
        }
    }

    fn answer(&self, ask: &Ask) -> Option<Answer> {
        let boot = format!("{:08}-b007", self.boot);
        let ran = |rc: i32, out: &str| Answer::Ran(Ran { rc, out: out.to_owned(), err: String::new() });
        Some(match ask {
            Ask::File(path) => Answer::File(match path.as_str() {
                "/usr/share/mimg/image" => Some(File::new(path, format!("{}\n", self.image))),
                "/etc/fstab" => {
                    Some(File::new(path, "PARTUUID=old / ext4 defaults 0 1\n/dev/data /data xfs nofail 0 0\n"))
                }
                "/proc/cmdline" => Some(File::new(path, self.command_line.as_str())),
                "/proc/sys/kernel/random/boot_id" => Some(File::new(path, format!("{boot}\n"))),
                path if path.starts_with("/sys/class/block/") => Some(File::new(path, self.kernel(path)?)),
                other => panic!("nobody asked for {other} before"),
            }),
            Ask::Probe(path) if path.starts_with(LINKS) => {
                if self.links_late {
                    return Some(Answer::Probe(None));
                }
                match self.node(path) {
                    Some(node) => self.disks.answer(&Ask::Probe(node)),
                    None => Answer::Probe(None),
                }
            }
            Ask::Esp(_) if self.esp_damaged => return None,
            Ask::Esp(_) => Answer::Esp(Some(self.esp.clone())),
            Ask::Run(argv) => match argv.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["systemctl", "is-system-running"] if self.stopping => ran(1, "stopping\n"),
                ["systemctl", "is-system-running"] => ran(1, "starting\n"),
                ["sha256sum", "--", paths @ ..] => ran(0, &paths.iter().map(|path| sum(path)).collect::<String>()),
                ["cmp", "--silent", "--bytes=1048576", ..] => ran(i32::from(!self.core), ""),
                ["cmp", "--silent", "--bytes=440", ..] => ran(i32::from(!self.boot_code), ""),
                ["debugfs", "-R", command, device] => {
                    let (name, machine) = self.systems.get(device.strip_prefix(LINKS)?).cloned().unwrap_or_default();
                    ran(0, if *command == "cat /usr/share/mimg/slot" { &name } else { &machine })
                }
                ["findmnt", ..] => {
                    ran(0, &format!(r#"{{"filesystems": [{{"source":"{}","fstype":"ext4"}}]}}"#, self.root()))
                }
                ["readlink", path] => {
                    let name = path.rsplit('/').next()?;
                    ran(0, &format!("../../devices/block/{}/{name}\n", name.trim_end_matches(char::is_numeric)))
                }
                ["dumpe2fs", ..] => ran(0, &format!("Block count: {}\nBlock size: 4096\n", self.blocks())),
                _ => self.disks.answer(ask),
            },
            other => self.disks.answer(other),
        })
    }

    /// The device node that is mounted at /.
    fn root(&self) -> String {
        let holding = self.disks.disks.iter().find_map(|(name, disk)| Some((name, disk.mounts.keys().next()?)));
        holding.map(|(name, number)| format!("/dev/{name}{number}")).expect("a disk with /")
    }

    /// Blocks of the file system at /: as many as the image has, or what there is room for in a slot.
    fn blocks(&self) -> u64 {
        let own = &self.disks.disks.last().expect("a disk").1;
        let slices = own.table.iter().flat_map(|table| &table.partitions);
        let mut slots =
            slices.filter(|slice| own.mounts.contains_key(&slice.number) && self.systems.contains_key(&slice.guid));
        slots.next().map_or(445_952, |slot| (slot.last + 1 - slot.first) * own.sector / 4096)
    }

    /// What the kernel says in /sys of a partition.
    fn kernel(&self, path: &str) -> Option<String> {
        let (folder, file) = path.strip_prefix("/sys/class/block/")?.split_once('/')?;
        let (name, number) = folder.split_at(3);
        let table = self.disks.disks.iter().find(|(known, _)| known == name)?.1.table.clone()?;
        let slice = table.partitions.iter().find(|slice| slice.number.to_string() == number)?;
        let sectors = (slice.last + 1 - slice.first) * table.sector / 512;
        Some(if file == "partition" { number.to_owned() } else { sectors.to_string() })
    }

    /// The kernel's name of a partition that is known by its link.
    fn node(&self, link: &str) -> Option<String> {
        let guid = link.strip_prefix(LINKS)?;
        self.disks.disks.iter().find_map(|(name, disk)| {
            let slices = &disk.table.as_ref()?.partitions;
            let slice = slices.iter().find(|slice| slice.guid == guid)?;
            Some(format!("/dev/{name}{}", slice.number))
        })
    }

    /// Does what firstboot would do.
    pub fn act(&mut self, spec: &Spec, act: &Act) {
        match act {
            Act::Install(install) => self.install(install),
            Act::Esp { device, make, files } => {
                if let Some(fat) = make {
                    self.esp.clear();
                    let uuid = format!("{:04X}-{:04X}", fat.serial >> 16, fat.serial & 0xffff);
                    self.hold(device, "vfat", &uuid);
                }
                for file in files {
                    let leaf = match &file.from {
                        Source::Text(text) => Leaf::new(text.as_bytes()),
                        Source::File(path) => Leaf { sha256: sum(path)[..64].to_owned(), text: None },
                    };
                    self.esp.insert(file.path.clone(), leaf);
                }
            }
            Act::Run(argv) if argv[0] == "dd" && argv.contains(&"bs=440".to_owned()) => self.boot_code = true,
            Act::Run(argv) if argv[0] == "dd" => self.core = true,
            Act::Run(argv) if argv[..] == ["systemctl", "reboot"] => self.stopping = true,
            other => self.disks.act(other),
        }
        self.stay_bootable(spec);
    }

    fn install(&mut self, install: &Install) {
        let guid = install.device.strip_prefix(LINKS).expect("a link").to_owned();
        self.hold(&install.device, "ext4", &install.uuid);
        let file = |path: &str| install.files.iter().find(|file| file.path == path).map(|file| file.content.clone());
        let kept = install.kept.iter().find_map(|kept| self.systems.get(kept.device.strip_prefix(LINKS)?));
        let machine = kept.map_or_else(|| format!("{:032x}", 7 + self.systems.len()), |(_, machine)| machine.clone());
        self.systems.insert(guid, (file("/usr/share/mimg/slot").expect("its name"), machine));
    }

    /// The power goes in the middle of an act.
    pub fn cut(&mut self, act: &Act) {
        match act {
            Act::Install(install) => {
                self.systems.remove(install.device.strip_prefix(LINKS).expect("a link"));
                self.hold(&install.device, "ext4", &install.draft);
            }
            Act::Esp { make: None, files, .. } => {
                if let Some(Source::Text(text)) = files.first().map(|file| &file.from) {
                    self.esp.insert(files[0].path.clone(), Leaf::new(text.as_bytes()));
                }
            }
            // Others leave what was there before, or are known by the model of disks.
            _ => {}
        }
    }

    /// Puts one file system with this UUID on a partition.
    pub fn hold(&mut self, link: &str, kind: &str, uuid: &str) {
        let node = self.node(link).expect("a partition");
        let number = node.trim_start_matches("/dev/sdb").parse().expect("a partition of the own disk");
        let find = Signature { offset: 1, kind: kind.to_owned(), uuid: Some(uuid.to_owned()), label: None };
        self.disks.disks[1].1.parts.insert(number, Probe { signatures: vec![find], blank: false });
    }

    pub fn pointer(&self) -> Option<String> {
        let text = self.esp.get("EFI/debian/grubenv")?.text.clone()?;
        profiles::grub::values(&text).get("slot").map(|slot| (*slot).to_owned())
    }

    /// Whatever the boot pointer names is a system that is whole.
    fn stay_bootable(&self, spec: &Spec) {
        let Some(slot) = self.pointer() else { return };
        let disk = &spec.settings.disk[0];
        let guid = disk.partition_guid(spec, 0, &slot).to_string();
        let node = self.node(&format!("{LINKS}{guid}")).expect("the slot that the pointer names");
        let Answer::Probe(Some(probe)) = self.disks.answer(&Ask::Probe(node)) else { panic!("{slot} is not there") };
        let name = &self.systems.get(&guid).unwrap_or_else(|| panic!("no system in {slot}")).0;
        assert_eq!(probe.signatures[0].uuid, Some(spec.uuid(name.trim()).to_string()), "{slot} is not whole");
    }
}

pub const LINKS: &str = "/dev/disk/by-partuuid/";

fn sum(path: &str) -> String {
    format!("{:064x}  {path}\n", path.bytes().map(u64::from).sum::<u64>())
}
