//! Finding the Spec: who this machine is.
//!
//! | image's own Spec | adopted Spec | what counts |
//! |---|---|---|
//! | names a node | any or none | the image's: it was built for this node, later than anything that was adopted before it was booted; no medium is looked for |
//! | bare profile | of our fleet and format | the adopted one; no medium is looked for |
//! | bare profile | cannot be used | a good seed replaces it; without one, that is refused |
//! | bare profile | none | a seed is adopted; without one, the image's own: the machine waits |
//!
//! So a rebuilt bare image keeps the node that it once adopted, and an image that is built for a node never loses
//! against a file that an older system left on a kept volume.

use crate::file;
use crate::place::{ADOPTED, SPEC};
use anyhow::{Context, Result};
use profiles::part::SEED_LABEL;
use profiles::plan::Refusal;
use profiles::spec::Spec;
use std::path::Path;

/// What was found.
#[derive(Debug)]
pub struct Found {
    pub spec: Spec,
    /// The path of the Spec, or the label of the medium that it is on.
    pub source: String,
    /// A seed, or what was adopted earlier, that cannot be used. `spec` is the image's own then.
    pub refusal: Option<Refusal>,
}

impl Found {
    /// Keeps a seed's Spec, so that the next pass finds it without the medium. Does nothing with other Specs.
    pub fn adopt(&mut self, root: &Path) -> Result<()> {
        if self.source == SEED_LABEL {
            file::replace(root, ADOPTED, self.spec.json().as_bytes(), 0o644, None)
                .context("keeping the seed's Spec")?;
            self.source = ADOPTED.to_owned();
        }
        Ok(())
    }
}

/// Finds the Spec below `root`. `medium` gives the text of the seed medium's Spec, as `medium::read` does. Nothing is
/// written: see `Found::adopt`.
///
/// Fails where the image's own Spec cannot be read.
pub fn find(root: &Path, medium: impl FnOnce(&Path) -> Result<Option<String>>) -> Result<Found> {
    let image = image(root)?;
    let own = |spec, refusal| Found { spec, source: SPEC.to_owned(), refusal };
    if image.node.is_some() {
        return Ok(own(image, None));
    }
    let kept = adopted(root, &image);
    if let Some(Ok(spec)) = kept {
        return Ok(Found { spec, source: ADOPTED.to_owned(), refusal: None });
    }
    let seed = medium(root).transpose().map(|text| judge(&image, text));
    match (seed, kept) {
        (Some(Ok(spec)), _) => Ok(Found { spec, source: SEED_LABEL.to_owned(), refusal: None }),
        (Some(Err(saw)), _) => Ok(own(image, Some(refusal(&format!("on the medium {SEED_LABEL}: {saw}"))))),
        (None, Some(Err(saw))) => Ok(own(image, Some(refusal(&format!("in {ADOPTED}: {saw}"))))),
        (None, _) => Ok(own(image, None)),
    }
}

/// The Spec that the image was built with.
fn image(root: &Path) -> Result<Spec> {
    let wanted = "build the image again with mimg";
    let file = file::read(root, SPEC)?.with_context(|| format!("there is no {SPEC}: {wanted}"))?;
    Spec::read(&file.content).map_err(|saw| anyhow::anyhow!("{SPEC} cannot be used: {saw}; {wanted}"))
}

fn adopted(root: &Path, image: &Spec) -> Option<Result<Spec, String>> {
    match file::read(root, ADOPTED) {
        Ok(None) => None,
        Ok(Some(file)) => Some(judge(image, Ok(file.content))),
        Err(error) => Some(Err(format!("{error:#}"))),
    }
}

/// The Spec of `text`, where this image may adopt it; else what is wrong with it.
fn judge(image: &Spec, text: Result<String>) -> Result<Spec, String> {
    let text = text.map_err(|error| format!("{error:#}"))?;
    let spec = Spec::read(&text)?;
    if spec.node.is_none() {
        return Err(format!("a Spec of profile {} that names no node", spec.profile));
    }
    let Some(ours) = &image.fleet else { return Ok(spec) };
    match &spec.fleet {
        Some(theirs) if theirs.id == ours.id => Ok(spec),
        Some(theirs) => Err(format!(
            "a Spec of fleet {} ({}); this image was built for fleet {} ({})",
            theirs.name, theirs.id, ours.name, ours.id
        )),
        None => Err(format!("a Spec of no fleet; this image was built for fleet {} ({})", ours.name, ours.id)),
    }
}

fn refusal(saw: &str) -> Refusal {
    Refusal {
        saw: saw.to_owned(),
        wanted: format!("a node's Spec of format {}, of the fleet that the image was built for", Spec::FORMAT),
        cure: "make the medium again with `mimg seed NODE --out FILE` from that fleet, and plug it in: it is looked at all \
             the time"
            .to_owned(),
    }
}
