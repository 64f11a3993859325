//! From a frozen Spec to an image: the whole way on one page.

use crate::archive::cache::Cache;
use crate::archive::fetch::fetch;
use crate::claim::Claim;
use crate::clean;
use crate::image::base::{Base, Damaged};
use crate::image::boot::Boot;
use crate::image::edit::Edit;
use crate::image::identity::Identity;
use crate::image::initramfs::{self, Initramfs};
use crate::image::manifest::Manifest;
use crate::image::{Image, Layout, Writing, ext4, stream};
use crate::lock::Locked;
use crate::progress::Progress;
use crate::room;
use crate::tree::layer;
use crate::tree::overlay::Overlay;
use crate::tree::root::Attributes;
use crate::tree::scan;
use crate::tree::shelf::{self, Shelf};
use crate::tree::{Making, Tree};
use crate::turn;
use crate::work::Work;
use anyhow::{Context, Result, bail};
use profiles::file::File;
use profiles::fleet;
use profiles::spec::Spec;
use std::cell::RefCell;
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
    /// Make all of it anew, without what earlier runs kept but for downloads.
    pub anew: bool,
}

impl Order<'_> {
    /// The fleet's overlays that go into this image: the profile's name and the folder.
    pub fn own_overlays(&self) -> impl Iterator<Item = (String, PathBuf)> + '_ {
        let folders = self.spec.profiles().into_iter().filter_map(|name| Some((self.overlays?.join(&name), name)));
        folders.filter(|(folder, _)| folder.is_dir()).map(|(folder, name)| (name, folder))
    }
}

/// Builds the image, and says what it was made of. Called as root of a namespace (`sandbox::become_root`).
pub fn build(order: &Order, progress: &Progress) -> Result<Manifest> {
    let spec = order.spec;
    let Locked { epoch, suites, packages } = order.locked;
    let _claim = Claim::of(order.out, order.cache, progress)?;
    let cache = Cache::open(&order.cache.join("debs"))?;
    room::check(packages, &cache, order.cache, order.out)?;
    let debs = fetch(packages, &cache, progress)?;
    let run = Run { order, debs: &debs, progress };
    let image = match run.image() {
        // What was damaged is out of the way now: the second time it is packed again.
        Err(error) if error.downcast_ref::<Damaged>().is_some() => run.image(),
        answer => answer,
    }?;
    Ok(Manifest::new(spec, *epoch, suites, packages, image))
}

/// One run from packages to an image.
struct Run<'a> {
    order: &'a Order<'a>,
    debs: &'a [PathBuf],
    progress: &'a Progress,
}

impl Run<'_> {
    fn image(&self) -> Result<Image> {
        let (order, progress, epoch) = (self.order, self.progress, self.order.locked.epoch);
        // Trees share the files that are kept, and a script may change one for a while: so one tree at a time.
        let turn = fs_err::File::create(order.cache.join("lock"))?;
        if !order.anew {
            turn::take(turn.file(), "builds with the same cache", progress)?;
        }
        let work = Work::in_cache(order.cache)?;
        let root = work.path().join("tree");
        fs_err::create_dir(&root)?;
        let kept = if order.anew { work.path().join("kept") } else { order.cache.to_owned() };
        let shelf = Shelf::new(&kept, &work.path().join("shelf"));
        let layout = layout(order.spec);

        // A file system that was packed before is copied beside all that follows.
        let writing = RefCell::new(None);
        let own = Own::of(order)?;
        let packed = |stem: &str| match self.packed(&shelf, stem).map(|base| Writing::begin(base, &layout, order.out)) {
            Some(begun) => writing.replace(Some(begun)).is_none() && !own.touches_bulk(),
            None => false,
        };
        let base = base()?;
        let making = Making { debs: self.debs, first: &base, epoch, shelf: &shelf, packed: &packed, progress };
        let mut initramfs = None;
        let begin = &mut |stem| initramfs = Some(Initramfs::begin(stem, &shelf, work.path(), progress));
        let (tree, stem) = Tree::make(&root, &making, begin)?;
        tree.finish()?;
        let (writing, unkept) = match writing.take() {
            Some(begun) => (begun?, None),
            None => {
                let (base, draft) = self.pack(&tree, &shelf)?;
                (Writing::begin(base, &layout, order.out)?, Some(draft))
            }
        };

        if !order.spec.settings.replaces.is_empty() {
            // What is diverted has to be there.
            stem.complete(tree.root())?;
        }
        let before = stem.state(tree.root())?;
        own.furnish(&tree, order)?;
        let furnished = Edit::between(tree.root(), &before, &stem.state(tree.root())?)?;
        let digest = furnished.digest(&stem.key, epoch);
        tree.put(&File::new(firstboot::place::IMAGE, format!("{digest}\n"))).context("putting the image's digest")?;
        let read = initramfs::reads(tree.path(), furnished.files())?;
        let initramfs = || match (read, initramfs) {
            (false, Some(initramfs)) => initramfs.end(),
            _ => {
                stem.complete(tree.root())?;
                initramfs::make(tree.path(), epoch, progress).context("making the initramfs")
            }
        };
        let run = |argv: &[&str]| Ok(tree.run(argv)?.stdout);
        let boot = Boot::install(tree.path(), &run, &layout, initramfs)?;
        refuse_identities(&tree)?;
        let edit = Edit::between(tree.root(), &before, &stem.state(tree.root())?)?;

        let key = self.key(&stem.key)?;
        let ended = writing.end(&edit, &boot, epoch, progress);
        if let Some(damage) = ended.as_ref().err().filter(|error| error.downcast_ref::<Damaged>().is_some()) {
            shelf.quarantine("bases", &key, &order.spec.owner(), damage, progress)?;
        }
        let (image, base) = ended?;
        if let Some(draft) = unkept {
            base.save()?;
            shelf.keep("bases", &key, draft)?;
        }
        work.leave();
        Ok(image)
    }

    /// The key of the root file system that follows from a tree.
    fn key(&self, stem: &str) -> Result<String> {
        let (uuid, epoch) = (layout(self.order.spec).identity.uuid("root"), self.order.locked.epoch);
        let own = self.own_size()?;
        Ok(shelf::key(&["base", stem, &uuid.to_string(), &own.to_string(), &epoch.to_string()]))
    }

    /// Bytes of the fleet's overlays, in large steps that begin beyond what the file system has to spare anyway: a small
    /// overlay, the first one too, leaves its size as it is.
    fn own_size(&self) -> Result<u64> {
        const STEP: u64 = 64 << 20;
        let bytes = self.order.own_overlays().map(|(_, folder)| clean::bytes(&folder)).sum::<Result<u64>>()?;
        Ok(if bytes < STEP { 0 } else { bytes.next_multiple_of(STEP) })
    }

    /// The root file system that an earlier run packed of the same tree.
    fn packed(&self, shelf: &Shelf, stem: &str) -> Option<Base> {
        let key = self.key(stem).ok()?;
        match Base::open(shelf.find("bases", &key)?) {
            Ok(base) => Some(base),
            Err(damage) => {
                let moved = shelf.quarantine("bases", &key, &self.order.spec.owner(), &damage, self.progress);
                if let Err(error) = moved {
                    self.progress.say(&format!("{error:#}"));
                }
                None
            }
        }
    }

    /// Packs the root file system, in a folder to be kept.
    fn pack(&self, tree: &Tree, shelf: &Shelf) -> Result<(Base, tempfile::TempDir)> {
        let (draft, stage) = (shelf.draft()?, self.progress.stage("packing"));
        let mut used = stream::used(tree.path()).context("measuring the tree")?;
        used.bytes += self.own_size()?;
        let identity = layout(self.order.spec).identity;
        let base = Base::pack(tree.path(), ext4::size_for(&used), &identity, tree.epoch(), draft.path(), &stage)?;
        stage.done(format!("{} files and folders", base.index.tree_entries));
        Ok((base, draft))
    }
}

/// The packages that the catalog's base profile asks for: what most trees share.
fn base() -> Result<BTreeSet<String>> {
    Ok(fleet::Fleet::catalog()?.profile("base")?.packages().into_keys().collect())
}

/// What no package brings: overlays, the Parts' files, firstboot and its Spec.
struct Own {
    overlays: Vec<Overlay>,
    /// Each with the name of what wants it.
    files: Vec<(String, File)>,
}

impl Own {
    fn of(order: &Order) -> Result<Own> {
        let spec = order.spec;
        let parts = spec.parts();
        let wanted = parts.iter().flat_map(|part| part.files().into_iter().map(|file| (part.name(), file)));
        let mut files: Vec<(String, File)> = wanted.collect();
        let sources = node_sources(order.archive, &spec.settings.components);
        files.extend(sources.map(|file| ("[archive]".to_owned(), file)));
        files.push(("firstboot".to_owned(), File::new(firstboot::place::SPEC, spec.json())));
        Ok(Own { overlays: Overlay::of(spec, order.overlays)?, files })
    }

    /// Whether any of it goes where a light tree has nothing; by its path in /usr too, where /lib is a link to.
    fn touches_bulk(&self) -> bool {
        let files = self.files.iter().map(|(_, file)| Path::new(file.path.trim_start_matches('/')));
        let mut paths = self.overlays.iter().flat_map(Overlay::paths).chain(files);
        paths.any(|path| layer::is_bulk(path) || layer::is_bulk(&Path::new("usr").join(path)))
    }

    fn furnish(&self, tree: &Tree, order: &Order) -> Result<()> {
        let replaces: Vec<&str> = order.spec.settings.replaces.iter().map(String::as_str).collect();
        tree.overlays(&self.overlays, &replaces)?;
        for (who, file) in &self.files {
            tree.put(file).with_context(|| format!("putting the files of {who}"))?;
        }
        let attributes = Attributes { uid: 0, gid: 0, mode: 0o755, mtime: tree.epoch() };
        tree.root().write(Path::new("usr/bin/firstboot"), FIRSTBOOT, attributes)
    }
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
    layout.installs = spec.settings.system.as_ref().is_some_and(|system| system.has_slots());
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
