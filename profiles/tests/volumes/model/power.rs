//! Power cuts in the middle of an act, and what comes up by itself afterwards.

use super::{Array, Machine, words};
use profiles::act::Act;
use profiles::file::File;

impl Machine {
    /// What a power cut in the middle of an act may leave, beside nothing of it and all of it.
    pub fn halves(&self, act: &Act) -> Vec<Machine> {
        let Act::Run(argv) = act else { return Vec::new() };
        let argv = words(argv);
        let half = |change: &dyn Fn(&mut Machine)| {
            let mut machine = self.clone();
            change(&mut machine);
            machine
        };
        match argv.as_slice() {
            ["mdadm", "--create", path, ..] => {
                let one = half(&|machine| machine.create_array(path, &argv, 1));
                let all = half(&|machine| {
                    machine.create_array(path, &argv, usize::MAX);
                    let array = machine.arrays.get_mut(path.trim_start_matches("/dev/md/")).unwrap();
                    (array.running, array.events) = (false, 0);
                });
                vec![one, all]
            }
            [tool, .., path] if tool.starts_with("mkfs.") => vec![half(&|machine| {
                machine.act(act);
                let uuid = machine.probe(path).unwrap().signatures[0].uuid.clone().unwrap();
                machine.torn.insert(uuid);
            })],
            ["cryptsetup", "luksFormat", .., path] => vec![half(&|machine| {
                machine.act(act);
                machine.crypts.get_mut(*path).unwrap().key = None;
            })],
            _ => Vec::new(),
        }
    }

    /// The next boot: what comes up by itself.
    pub fn reboot(&mut self) {
        let listed = |array: &Array| {
            let words = |file: &File| file.content.replace(':', "").contains(&array.uuid.replace('-', ""));
            self.files.values().any(|file| file.path.contains("mdadm.conf.d") && words(file))
        };
        let up: Vec<bool> =
            self.arrays.values().map(|array| listed(array) && array.members.len() == array.count).collect();
        self.arrays.values_mut().zip(up).for_each(|(array, up)| array.running = up);
        self.groups.values_mut().flat_map(|vg| vg.lvs.values_mut()).for_each(|lv| lv.active = false);
        self.crypts.values_mut().for_each(|crypt| crypt.open = false);
        self.mounts.clear();
        self.services.values_mut().for_each(|service| service.active = "inactive");
        self.reload();
        let crypts: Vec<String> =
            self.services.keys().filter(|name| name.starts_with("systemd-cryptsetup@")).cloned().collect();
        let enabled: Vec<String> =
            self.services.iter().filter(|(_, s)| s.enabled).map(|(name, _)| name.clone()).collect();
        let groups = enabled.iter().filter(|name| name.starts_with("mimg-vg-"));
        let mounts = enabled.iter().filter(|name| !name.starts_with("mimg-vg-"));
        for name in crypts.iter().chain(groups).chain(mounts) {
            self.start(name);
        }
    }
}
