//! What commands that only read say.

use super::{Array, Lv, MIB, Machine, Vg, ran};
use profiles::ask::{Answer, Unit};
use serde_json::json;

impl Machine {
    pub(super) fn unit(&self, name: &str) -> Unit {
        let generated = name.starts_with("systemd-cryptsetup@");
        match self.services.get(name) {
            None => {
                Unit { load: "not-found".to_owned(), active: "inactive".to_owned(), condition: true, ..Unit::default() }
            }
            Some(service) => Unit {
                load: "loaded".to_owned(),
                active: service.active.to_owned(),
                file: if generated {
                    "generated"
                } else if service.enabled {
                    "enabled"
                } else {
                    "disabled"
                }
                .to_owned(),
                condition: true,
                stale: service.stale,
                ..Unit::default()
            },
        }
    }

    /// What a command that only reads says.
    pub(super) fn command(&self, argv: &[&str]) -> Answer {
        let gone = || ran(1, "");
        let said = |out: Option<String>| out.map_or_else(gone, |out| ran(0, out));
        match argv {
            ["mdadm", "--detail", "--scan"] => said(Some(String::new())),
            ["mdadm", "--detail", path] => said(self.array_at(path).map(detail)),
            ["mdadm", "--examine", "--export", path] => {
                let uuid = self.uuid(path, "linux_raid_member");
                let array = self.arrays.values().find(|array| Some(array.uuid.as_str()) == uuid);
                said(array.map(|array| format!("MD_EVENTS={}\n", array.events)))
            }
            ["pvs", devices, ..] => ran(0, self.pvs(devices)),
            ["lvs", devices, ..] => ran(0, self.lvs(devices)),
            ["blockdev", "--getsize64", path] => said(self.size(path).map(|size| format!("{size}\n"))),
            ["findmnt", .., mount] => said(
                self.mounts
                    .get(*mount)
                    .map(|(source, uuid)| json!({"filesystems": [{"source": source, "uuid": uuid}]}).to_string()),
            ),
            ["e2fsck", .., path] => ran(if self.is_torn(path, "ext4") { 8 } else { 0 }, ""),
            ["xfs_repair", .., path] => ran(i32::from(self.is_torn(path, "xfs")), ""),
            ["btrfs", "check", .., path] => ran(i32::from(self.is_torn(path, "btrfs")), ""),
            ["fsck.vfat", .., path] => ran(i32::from(self.is_torn(path, "vfat")), ""),
            ["dumpe2fs", "-h", path] => said(
                self.filled(path, "ext4").map(|bytes| format!("Block count: {}\nBlock size: 4096\n", bytes / 4096)),
            ),
            ["xfs_info", mount] => said(
                self.mounts
                    .get(*mount)
                    .and_then(|(path, _)| self.filled(path, "xfs"))
                    .map(|bytes| format!("data     =      bsize=4096   blocks={}, imaxpct=25\n", bytes / 4096)),
            ),
            ["btrfs", "filesystem", "show", _, mount] => said(self.mounts.get(*mount).and_then(|(path, _)| {
                let bytes = self.filled(path, "btrfs")?;
                Some(format!("\tdevid    1 size {bytes} used 92274688 path {path}\n"))
            })),
            ["stat", .., key] => said(
                self.keys
                    .get(*key)
                    .map(|key| if key.is_empty() { "regular empty file\n" } else { "regular file\n" }.to_owned()),
            ),
            ["dmsetup", "info", .., name] => {
                said(self.crypts.iter().find(|(_, crypt)| crypt.open).map(|(below, _)| {
                    let uuid = self.uuid(below, "crypto_LUKS").unwrap_or("").replace('-', "");
                    format!("CRYPT-LUKS2-{uuid}-{name}\n")
                }))
            }
            ["cryptsetup", "open", "--test-passphrase", "--key-file", key, path] => match self.keys.get(*key) {
                None => ran(1, ""),
                Some(key) => {
                    ran(if self.crypts.get(*path).and_then(|crypt| crypt.key) == Some(key) { 0 } else { 2 }, "")
                }
            },
            ["cryptsetup", "luksDump", .., path] => said(self.crypts.get(*path).map(|crypt| match crypt.tpm {
                true => "{\"tokens\":{\"0\":{\"type\":\"systemd-tpm2\"}}}".to_owned(),
                false => "{\"tokens\":{}}".to_owned(),
            })),
            ["systemd-cryptenroll", "--tpm2-device=list"] => {
                ran(0, if self.has_tpm { "PATH        DEVICE\n/dev/tpmrm0 MSFT0101:00\n" } else { "" })
            }
            other => panic!("nobody asked {other:?} before"),
        }
    }

    fn is_torn(&self, path: &str, kind: &str) -> bool {
        self.uuid(path, kind).is_none_or(|uuid| self.torn.contains(uuid))
    }

    fn filled(&self, path: &str, kind: &str) -> Option<u64> {
        self.filled.get(self.uuid(path, kind)?).copied()
    }

    fn pvs(&self, devices: &str) -> String {
        let mut rows = Vec::new();
        let paths: Vec<&str> = devices.trim_start_matches("--devices=").split(',').collect();
        let labels: Vec<(&str, u64)> =
            paths.iter().filter_map(|path| Some((self.uuid(path, "LVM2_member")?, self.size(path)?))).collect();
        let seen = |vg: &&Vg| vg.pvs.keys().any(|pv| labels.iter().any(|(label, _)| label == pv));
        let row = |pv: &str, size: u64, device: u64, name: &str, vg: &Vg| {
            json!({"pv_uuid": pv, "vg_name": name, "vg_uuid": vg.uuid, "pv_size": size.to_string(),
                "vg_tags": vg.tags.iter().cloned().collect::<Vec<_>>().join(","), "dev_size": device.to_string(),
                "pe_start": MIB.to_string(), "vg_free": vg.free().to_string()})
        };
        for (name, vg) in self.groups.iter().filter(|(_, vg)| seen(vg)) {
            for (pv, size) in &vg.pvs {
                let device = labels.iter().find(|(label, _)| label == pv).map_or(0, |(_, size)| *size);
                rows.push(row(pv, *size, device, name, vg));
            }
        }
        let grouped = |label: &str| self.groups.values().any(|vg| vg.pvs.contains_key(label));
        for (label, size) in labels.iter().filter(|(label, _)| !grouped(label)) {
            rows.push(row(label, *size, *size, "", &Vg::default()));
        }
        json!({"report": [{"pv": rows}], "log": []}).to_string()
    }

    fn lvs(&self, devices: &str) -> String {
        let paths: Vec<&str> = devices.trim_start_matches("--devices=").split(',').collect();
        let labels: Vec<&str> = paths.iter().filter_map(|path| self.uuid(path, "LVM2_member")).collect();
        let groups = self.groups.values().filter(|vg| labels.iter().any(|label| vg.pvs.contains_key(*label)));
        let row = |(name, lv): (&String, &Lv)| {
            json!({"lv_name": name, "lv_uuid": lv.uuid, "lv_size": lv.size.to_string(),
                "lv_tags": lv.tags.iter().cloned().collect::<Vec<_>>().join(","),
                "lv_active": if lv.active { "active" } else { "" }})
        };
        let rows: Vec<_> = groups.flat_map(|vg| &vg.lvs).map(row).collect();
        json!({"report": [{"lv": rows}], "log": []}).to_string()
    }
}

/// As `mdadm --detail` tells of an array.
fn detail(array: &Array) -> String {
    let state = if array.members.len() < array.count { "clean, degraded" } else { "clean" };
    let uuid = array.uuid.replace('-', "");
    format!(
        "/dev/md/x:\n           Version : 1.2\n        Raid Level : {}\n      Raid Devices : {}\n             State : {state} \n    \
         Active Devices : {}\n   Working Devices : {}\n              UUID : {}:{}:{}:{}\n",
        array.level,
        array.count,
        array.members.len(),
        array.members.len(),
        &uuid[..8],
        &uuid[8..16],
        &uuid[16..24],
        &uuid[24..]
    )
}
