//! This machine: one executor for each kind of question and act. It decides nothing.

use crate::unit::Systemd;
use crate::{blank, command, esp, file, install, link, partition, probe};
use anyhow::{Context, Result};
use nix::unistd::syncfs;
use profiles::act::Act;
use profiles::ask::{Answer, Ask, Consent};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A machine whose files are below `root`, and whose units `systemd` drives.
pub struct Machine {
    root: PathBuf,
    systemd: Systemd,
    /// What a person allowed for as long as this runs.
    consents: BTreeSet<Consent>,
}

impl Machine {
    /// The one that this runs on.
    pub fn here() -> Self {
        Machine::new("/", Systemd::system())
    }

    pub fn new(root: impl Into<PathBuf>, systemd: Systemd) -> Self {
        Machine { root: root.into(), systemd, consents: BTreeSet::new() }
    }

    /// The same machine, with something allowed by the person who runs this.
    pub fn allowing(mut self, consent: Consent) -> Self {
        self.consents.insert(consent);
        self
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn systemd(&self) -> &Systemd {
        &self.systemd
    }

    /// Answers a question, as the machine says it. Fails where it says nothing.
    pub async fn answer(&self, ask: &Ask) -> Result<Answer> {
        Ok(match ask {
            Ask::Run(argv) => Answer::Ran(command::run(argv, command::ASK_LIMIT).await),
            Ask::File(path) => Answer::File(file::read(&self.root, path)?),
            Ask::Gpt(device) => Answer::Gpt(partition::read(device)?),
            Ask::Unit(name) => Answer::Unit(self.systemd.unit(name).await?),
            Ask::Probe(device) => Answer::Probe(probe::probe(device).await?),
            Ask::Esp(device) => Answer::Esp(esp::read(device)?),
            Ask::Consent => Answer::Consent(self.consents.clone()),
            Ask::Outdated { unit, path } => Answer::Outdated(self.systemd.outdated(unit, &self.below(path)).await?),
        })
    }

    /// Does one act. When it returns, a power cut cannot take it back.
    pub async fn act(&self, act: &Act) -> Result<()> {
        match act {
            Act::Run(argv) => {
                command::act(argv).await?;
                self.sync()
            }
            Act::Put(file) => file::put(&self.root, file).map(drop),
            Act::Unit { name, verb } => {
                self.systemd.drive(name, *verb).await?;
                self.sync()
            }
            Act::Grow { disk, number, last } => partition::grow(disk, *number, *last),
            Act::Table { disk, guid, slices, fresh } => {
                partition::set(disk, guid, slices, *fresh)?;
                link::wait(disk, slices).await
            }
            Act::Blank { device } => blank::blank(device),
            Act::Install(order) => install::install(&self.root, order).await,
            Act::Esp { device, make, files } => {
                install::wait_for(device).await?;
                esp::put(&self.root, device, make.as_ref(), files)
            }
        }
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Commands, and systemd's links, leave what they wrote in memory: the next step must not outlive its ground.
    fn sync(&self) -> Result<()> {
        syncfs(fs_err::File::open(&self.root)?).context("writing the root file system's changes to its disk")
    }
}
