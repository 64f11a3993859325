//! Debian 13's packages by the host's apt, in folders of our own: nothing of the host's apt is changed.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Archive {
    folder: PathBuf,
    mirror: String,
}

impl Archive {
    /// The mirror that the host's apt uses for Debian.
    pub fn of_host(folder: &Path) -> Result<Archive> {
        ensure!(Path::new(KEYS).exists(), "{KEYS} is missing: install the package debian-archive-keyring");
        let filter =
            ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"];
        let targets = Command::new("apt-get").args(filter).output().context("asking apt for its mirror")?;
        let targets = String::from_utf8(targets.stdout)?;
        let mirror = targets.lines().next().context("apt on this machine names no Debian mirror")?.to_owned();
        let archive = Archive { folder: folder.join("apt"), mirror };
        for sub in ["etc/apt/apt.conf.d", "etc/apt/preferences.d", "lists/partial", "archives/partial", "dpkg"] {
            std::fs::create_dir_all(archive.folder.join(sub))?;
        }
        std::fs::write(archive.folder.join("dpkg/status"), "")?;
        std::fs::write(archive.folder.join("etc/apt/sources.list"), archive.source() + "\n")?;
        std::fs::write(archive.folder.join("apt.conf"), archive.settings())?;
        archive.apt(&["update"])?;
        Ok(archive)
    }

    fn source(&self) -> String {
        format!("deb [signed-by={KEYS}] {} trixie main", self.mirror)
    }

    fn settings(&self) -> String {
        let folder = self.folder.display();
        format!(
            "Dir \"{folder}\";\nDir::State::lists \"{folder}/lists\";\nDir::State::status \"{folder}/dpkg/status\";\n\
             Dir::Cache::archives \"{folder}/archives\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAPT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n\
             APT::Sandbox::User \"\";\nDebug::NoLocking \"true\";\n"
        )
    }

    /// Downloads packages, all that they need, and what every Debian has; the folder that holds just these.
    pub fn download(&self, packages: &[&str]) -> Result<PathBuf> {
        let always = ["?essential", "?priority(required)"];
        self.apt(&[&["install", "--download-only", "--yes"], &always[..], packages].concat())?;
        let archives = self.folder.join("archives");
        std::fs::remove_dir_all(archives.join("partial"))?;
        Ok(archives)
    }

    /// Makes a tree of the same packages by mmdebstrap.
    pub fn mmdebstrap(&self, tree: &Path, packages: &[&str]) -> Result<()> {
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=required", "--mode=root", "--format=directory"]);
        command.arg(format!("--include={}", packages.join(","))).arg("trixie").arg(tree).arg(self.source());
        let output = command.output().context("running mmdebstrap")?;
        ensure!(output.status.success(), "mmdebstrap failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn apt(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.arg("--quiet=2").args(arguments).env("APT_CONFIG", self.folder.join("apt.conf"));
        let output = command.output().context("running apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "apt-get {} failed: {said}", arguments.join(" "));
        Ok(())
    }
}
