//! From a frozen Spec to an image: the whole way on one page.

use crate::archive::Archive;
use crate::archive::cache::Cache;
use crate::archive::fetch::fetch;
use crate::archive::mirror::Mirror;
use crate::archive::solve::Wanted;
use crate::archive::source::Source;
use crate::claim::Claim;
use crate::image::boot::Boot;
use crate::image::identity::Identity;
use crate::image::manifest::Manifest;
use crate::image::{Image, Layout};
use crate::progress::Progress;
use crate::room;
use crate::tree::Tree;
use crate::tree::overlay::Overlay;
use crate::tree::root::Attributes;
use crate::tree::scan;
use crate::work::Work;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use profiles::file::File;
use profiles::fleet;
use profiles::problem::{Problem, Problems};
use profiles::profile::Repository;
use profiles::spec::Spec;
use std::path::Path;
use uuid::Uuid;

/// firstboot as build.rs compiled it.
const FIRSTBOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firstboot"));

/// What is built, of what, and where to.
pub struct Order<'a> {
    pub spec: &'a Spec,
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
    let _claim = Claim::of(order.out, order.cache, progress)?;
    let cache = Cache::open(&order.cache.join("debs"))?;
    let work = Work::in_cache(order.cache)?;
    room::check_kind(work.path())?;
    let archive = Archive::open(&sources(spec, order.archive)?, &cache, progress, Timestamp::now())?;
    let epoch = archive.epoch();
    let packages = archive.solve(&wanted(spec)).map_err(asked_for_in_vain)?;
    room::check(&packages, &cache, order.cache, order.out)?;
    let debs = fetch(&packages, &cache, progress)?;

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
    Ok(Manifest::new(spec, epoch, archive.suites(), &packages, image))
}

/// Debian's suites and the Spec's own repositories.
fn sources(spec: &Spec, archive: &fleet::Archive) -> Result<Vec<Source>> {
    let mirror = Mirror::new(archive.mirror.as_deref(), archive.security_mirror.as_deref())?;
    let mut sources = Source::debian(&mirror, &spec.settings.components)?;
    for repository in &spec.settings.repository {
        let source = extra(repository)
            .with_context(|| format!("reading the repository {:?} of the profile", repository.name))?;
        sources.push(source);
    }
    for source in &mut sources {
        source.check_valid_until = archive.check_valid_until.unwrap_or(true);
    }
    Ok(sources)
}

fn extra(repository: &Repository) -> Result<Source> {
    let Repository { uri, suite, components, key, fingerprint, priority, .. } = repository;
    let mut source = Source::extra(uri, suite, components, key.as_bytes(), &[fingerprint])?;
    source.priority = *priority;
    Ok(source)
}

fn wanted(spec: &Spec) -> Vec<Wanted> {
    let each = |(name, by): (String, Vec<String>)| Wanted { name, by: by.join(", ") };
    spec.packages().into_iter().map(each).collect()
}

/// Packages that do not exist, or not together, are bad input: the settings have to change.
fn asked_for_in_vain(error: anyhow::Error) -> Problems {
    let cure = "change the packages of the profile or node that asks for them";
    Problems(vec![Problem::of_none(format!("{error:#}"), "packages that exist, and can be installed together", cure)])
}

/// Puts into the tree what no package brings: overlays, the Parts' files, firstboot and its Spec.
fn furnish(tree: &Tree, order: &Order) -> Result<()> {
    let spec = order.spec;
    let replaces: Vec<&str> = spec.settings.replaces.iter().map(String::as_str).collect();
    tree.overlays(&Overlay::of(spec, order.overlays)?, &replaces)?;
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
