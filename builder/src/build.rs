//! From a frozen Spec to an image: the whole way on one page.

use crate::archive::cache::Cache;
use crate::archive::fetch::fetch;
use crate::image::boot::Boot;
use crate::image::identity::Identity;
use crate::image::manifest::Manifest;
use crate::image::{Image, Layout};
use crate::lock::Locked;
use crate::progress::Progress;
use crate::tree::Tree;
use crate::tree::overlay::Overlay;
use crate::tree::root::Attributes;
use crate::tree::scan;
use crate::work::Work;
use anyhow::{Context, Result, bail};
use profiles::file::File;
use profiles::fleet;
use profiles::spec::Spec;
use std::path::Path;
use uuid::Uuid;

/// firstboot as build.rs compiled it.
const FIRSTBOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firstboot"));

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
    let tree = Tree::make(&root, &debs, epoch, progress)?;
    furnish(&tree, order)?;
    let layout = layout(spec);
    let run = |argv: &[&str]| Ok(tree.run(argv)?.stdout);
    let boot = Boot::install(tree.path(), &run, &layout, epoch, progress)?;
    tree.finish()?;
    refuse_identities(&tree)?;

    let image = Image::pack(tree.path(), &boot, &layout, order.out, epoch, progress)?;
    Ok(Manifest::new(spec, epoch, suites, packages, image))
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
        let own = order.overlays.map(|folder| folder.join(&profile)).filter(|folder| folder.is_dir());
        if let Some(own) = own {
            tree.overlay(&Overlay::from_folder(&profile, &own)?, &[])?;
        }
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
