//! From a frozen Spec to an image: the whole way on one page.

use crate::archive::cache::Cache;
use crate::archive::fetch::fetch;
use crate::clean;
use crate::image::base::Base;
use crate::image::boot::Boot;
use crate::image::edit::Edit;
use crate::image::identity::Identity;
use crate::image::initramfs::{self, Initramfs};
use crate::image::manifest::Manifest;
use crate::image::{Image, Layout, ext4, stream};
use crate::lock::Locked;
use crate::progress::Progress;
use crate::tree::overlay::Overlay;
use crate::tree::root::Attributes;
use crate::tree::scan;
use crate::tree::shelf::{self, Shelf};
use crate::tree::{Making, Stem, Tree};
use crate::work::Work;
use anyhow::{Context, Result, bail};
use profiles::file::File;
use profiles::fleet;
use profiles::spec::Spec;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// firstboot as build.rs compiled it.
pub const FIRSTBOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firstboot"));

/// What is built, of what, and where to.
pub struct Order<'a> {
    pub spec: &'a Spec,
    /// The Spec's exact packages.
    pub locked: &'a Locked,
    /// `[archive]` of the fleet, or the defaults.
    pub archive: &'a fleet::Archive,
    /// The fleet's overlays: a folder for each profile that has one.
    pub overlays: Option<&'a Path>,
    /// The image's file; it appears when it is whole.
    pub out: &'a Path,
    /// Where downloads are kept and work in progress lies.
    pub cache: &'a Path,
}

impl Order<'_> {
    /// The fleet's overlays that go into this image: the profile's name and the folder.
    fn own_overlays(&self) -> impl Iterator<Item = (String, PathBuf)> + '_ {
        let folders = self.spec.profiles().into_iter().filter_map(|name| Some((self.overlays?.join(&name), name)));
        folders.filter(|(folder, _)| folder.is_dir()).map(|(folder, name)| (name, folder))
    }
}

/// Builds the image, and says what it was made of. Called as root of a namespace (`sandbox::become_root`).
pub fn build(order: &Order, progress: &Progress) -> Result<Manifest> {
    let spec = order.spec;
    let cache = Cache::open(&order.cache.join("debs"))?;
    let work = Work::in_cache(order.cache)?;
    let Locked { epoch, suites, packages } = order.locked;
    let epoch = *epoch;
    let debs = fetch(packages, &cache, progress)?;

    let root = work.path().join("tree");
    fs_err::create_dir(&root)?;
    let shelf = Shelf::new(order.cache, &work.path().join("shelf"));
    let base = base()?;
    let making = Making { debs: &debs, first: &base, epoch, shelf: &shelf, progress };
    let mut initramfs = None;
    let begin = &mut |stem| initramfs = Some(Initramfs::begin(stem, &shelf, work.path(), progress));
    let (tree, stem) = Tree::make(&root, &making, begin)?;
    tree.finish()?;
    let layout = layout(spec);
    let (mut base, unkept) = packed(&tree, &stem, order, &shelf, progress)?;

    let before = stem.state(tree.root())?;
    furnish(&tree, order)?;
    let own = Edit::between(tree.root(), &before, &stem.state(tree.root())?)?;
    let initramfs = || match (own.files().find(|path| initramfs::reads(path)), initramfs) {
        (None, Some(initramfs)) => initramfs.end(),
        _ => initramfs::make(tree.path(), epoch, progress).context("making the initramfs"),
    };
    let run = |argv: &[&str]| Ok(tree.run(argv)?.stdout);
    let boot = Boot::install(tree.path(), &run, &layout, initramfs)?;
    refuse_identities(&tree)?;
    let edit = Edit::between(tree.root(), &before, &stem.state(tree.root())?)?;
    let image = Image::write(&mut base, &edit, &boot, &layout, order.out, epoch, progress)?;
    if let Some((key, draft)) = unkept {
        base.save()?;
        shelf.keep("bases", &key, draft)?;
    }
    Ok(Manifest::new(spec, epoch, suites, packages, image))
}

/// The root file system of the finished tree: kept from an earlier run, or packed now, to be kept under the key.
fn packed(tree: &Tree, stem: &Stem, order: &Order, shelf: &Shelf, progress: &Progress) -> Result<(Base, Unkept)> {
    let identity = layout(order.spec).identity;
    let mut used = stream::used(tree.path()).context("measuring the tree")?;
    used.bytes += order.own_overlays().map(|(_, folder)| clean::size(&folder)).sum::<Result<u64>>()?;
    let size = ext4::size_for(&used);
    let (uuid, epoch) = (identity.uuid("root"), tree.epoch());
    let key = shelf::key(&["base", &stem.key, &uuid.to_string(), &size.to_string(), &epoch.to_string()]);
    if let Some(folder) = shelf.find("bases", &key) {
        match Base::open(folder) {
            Ok(base) => return Ok((base, None)),
            Err(damage) => shelf.quarantine("bases", &key, &order.spec.owner(), &damage, progress)?,
        }
    }
    let (draft, stage) = (shelf.draft()?, progress.stage("packing"));
    let base = Base::pack(tree.path(), size, &identity, epoch, draft.path(), &stage)?;
    stage.done(format!("{} files and folders", base.index.tree_entries));
    Ok((base, Some((key, draft))))
}

/// A base that is still to be kept: its key, and its folder.
type Unkept = Option<(String, tempfile::TempDir)>;

/// The packages that the catalog's base profile asks for: what most trees share.
fn base() -> Result<BTreeSet<String>> {
    Ok(fleet::Fleet::catalog()?.profile("base")?.packages().into_keys().collect())
}

/// Puts into the tree what no package brings: overlays, the Parts' files, firstboot and its Spec.
fn furnish(tree: &Tree, order: &Order) -> Result<()> {
    let spec = order.spec;
    let shipped = Overlay::embedded_names()?;
    for profile in spec.profiles() {
        // The base's own is in the tree since before its packages were configured.
        if shipped.contains(&profile) && profile != "base" {
            tree.overlay(&Overlay::embedded(&profile)?, &[])?;
        }
    }
    for (profile, folder) in order.own_overlays() {
        tree.overlay(&Overlay::from_folder(&profile, &folder)?, &[])?;
    }
    for part in spec.parts() {
        for file in part.files() {
            tree.put(&file).with_context(|| format!("putting the files of {}", part.name()))?;
        }
    }
    if let Some(sources) = node_sources(order.archive, &spec.settings.components) {
        tree.put(&sources)?;
    }
    tree.put(&File::new(firstboot::place::SPEC, spec.json()))?;
    let attributes = Attributes { uid: 0, gid: 0, mode: 0o755, mtime: tree.epoch() };
    tree.root().write(Path::new("usr/bin/firstboot"), FIRSTBOOT, attributes)
}

/// What the finished machine's apt uses; none unless the fleet says so.
fn node_sources(archive: &fleet::Archive, components: &[String]) -> Option<File> {
    let stanza = |uri: &str, suites: &str| {
        let components = components.join(" ");
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
    };
    let main = archive.node_mirror.as_deref().map(|uri| stanza(uri, "trixie trixie-updates"));
    let security = archive.node_security_mirror.as_deref().map(|uri| stanza(uri, "trixie-security"));
    let stanzas: Vec<String> = main.into_iter().chain(security).collect();
    (!stanzas.is_empty()).then(|| File::new("/etc/apt/sources.list.d/debian.sources", stanzas.join("\n")))
}

fn layout(spec: &Spec) -> Layout {
    let namespace = spec.fleet.as_ref().map_or(Uuid::nil(), |fleet| fleet.id);
    let mut layout = Layout::new(Identity { namespace, name: spec.owner() });
    layout.parameters = spec.settings.kernel_parameters.clone();
    layout
}

/// An image with somebody's identity or secret in it must not leave the house.
fn refuse_identities(tree: &Tree) -> Result<()> {
    let findings = scan::scan(tree.root())?;
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(|finding| format!("  {finding}")).collect();
    bail!(
        "the tree holds what no image may hold:\n{}\nfind the package, overlay or Part that puts it there, and take it out",
        lines.join("\n")
    )
}
