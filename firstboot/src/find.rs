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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium;
    use profiles::spec::Membership;
    use tempfile::{TempDir, tempdir};
    use uuid::Uuid;

    fn spec(fleet: Option<u128>, node: Option<&str>) -> Spec {
        let member = |id| Membership { id: Uuid::from_u128(id), name: format!("fleet{id}") };
        let (node, profile) = (node.map(str::to_owned), "nuc".to_owned());
        Spec { format: Spec::FORMAT, fleet: fleet.map(member), node, profile, settings: Default::default() }
    }

    /// A machine whose image has `image`, with a folder for what is on the medium.
    struct Case {
        root: TempDir,
        medium: TempDir,
    }

    impl Case {
        fn new(image: &Spec) -> Self {
            let case = Case { root: tempdir().unwrap(), medium: tempdir().unwrap() };
            case.put(SPEC, &image.json());
            case
        }

        fn put(&self, path: &str, text: &str) {
            file::replace(self.root.path(), path, text.as_bytes(), 0o644, None).unwrap();
        }

        fn seed(self, text: &str) -> Self {
            fs_err::write(self.medium.path().join("spec.json"), text).unwrap();
            self
        }

        fn find(&self) -> Found {
            find(self.root.path(), |_| medium::text(self.medium.path()).map(Some)).unwrap()
        }

        fn saw(&self) -> String {
            let found = self.find();
            assert_eq!((found.spec.node, found.source.as_str()), (None, SPEC));
            found.refusal.expect("a refusal").saw
        }
    }

    #[test]
    fn an_image_that_was_built_for_a_node_is_that_node_whatever_else_there_is() {
        let case = Case::new(&spec(Some(1), Some("ana"))).seed(&spec(Some(1), Some("bob")).json());
        case.put(ADOPTED, &spec(Some(1), Some("cid")).json());
        let mut found = case.find();
        assert_eq!((found.spec.node.as_deref(), found.source.as_str()), (Some("ana"), SPEC));
        found.adopt(case.root.path()).unwrap();
        assert!(file::read(case.root.path(), ADOPTED).unwrap().unwrap().content.contains("cid"), "it was overwritten");
    }

    #[test]
    fn a_bare_image_without_a_medium_waits_and_refuses_nothing() {
        let case = Case::new(&spec(Some(1), None));
        let found = find(case.root.path(), medium::read).unwrap();
        assert_eq!((found.spec.node, found.source.as_str(), found.refusal), (None, SPEC, None));
    }

    #[test]
    fn a_good_seed_is_adopted_once_and_found_without_the_medium_from_then_on() {
        for (image, seed) in [(Some(1), Some(1)), (None, Some(5)), (None, None)] {
            let case = Case::new(&spec(image, None)).seed(&spec(seed, Some("ana")).json());
            let mut found = case.find();
            assert_eq!((found.spec.node.as_deref(), found.source.as_str()), (Some("ana"), SEED_LABEL));
            assert_eq!(file::read(case.root.path(), ADOPTED).unwrap(), None, "finding must not write");
            found.adopt(case.root.path()).unwrap();
            assert_eq!(found.source, ADOPTED);
            let later = find(case.root.path(), |_| panic!("a medium was looked for")).unwrap();
            assert_eq!((later.spec, later.source.as_str()), (found.spec, ADOPTED));
        }
    }

    #[test]
    fn a_bad_seed_is_refused_with_what_is_wrong_with_it() {
        let bare = || Case::new(&spec(Some(1), None));
        let good = spec(Some(1), Some("ana")).json();
        let seeds = [
            (bare(), "it has no file spec.json"),
            (bare().seed(&good[..good.len() / 2]), "it is not a Spec: EOF"),
            (bare().seed(""), "it is not a Spec: EOF"),
            (
                bare().seed(&good.replace("\"format\": 1", "\"format\": 99")),
                "it has format 99, this mimg reads format 1",
            ),
            (bare().seed(&good.replace("\"profile\"", "\"profil\"")), "it is damaged: unknown field `profil`"),
            (bare().seed(&spec(Some(2), Some("ana")).json()), "a Spec of fleet fleet2"),
            (bare().seed(&spec(None, Some("ana")).json()), "a Spec of no fleet"),
            (bare().seed(&spec(Some(1), None).json()), "names no node"),
        ];
        for (case, why) in seeds {
            let saw = case.saw();
            assert!(saw.starts_with("on the medium MIMG-SEED: ") && saw.contains(why), "{saw}");
        }
    }

    #[test]
    fn an_adopted_spec_that_cannot_be_used_is_refused_until_a_good_seed_replaces_it() {
        for bad in ["{", &spec(Some(2), Some("ana")).json()] {
            let case = Case::new(&spec(Some(1), None));
            case.put(ADOPTED, bad);
            let found = find(case.root.path(), medium::read).unwrap();
            assert!(found.refusal.is_some_and(|refusal| refusal.saw.starts_with("in /var/lib/mimg/spec.json: ")));
            let case = case.seed(&spec(Some(1), Some("bob")).json());
            let mut found = case.find();
            found.adopt(case.root.path()).unwrap();
            assert_eq!(case.find().spec.node.as_deref(), Some("bob"));
        }
    }

    #[test]
    fn an_image_without_a_usable_spec_is_an_error_that_says_what_to_do() {
        let case = Case::new(&spec(None, None));
        case.put(SPEC, "{}");
        let error = find(case.root.path(), medium::read).unwrap_err().to_string();
        assert!(
            error.contains("missing field `format`") && error.ends_with("build the image again with mimg"),
            "{error}"
        );
        fs_err::remove_file(case.root.path().join(&SPEC[1..])).unwrap();
        let error = find(case.root.path(), medium::read).unwrap_err().to_string();
        assert_eq!(error, "there is no /usr/share/mimg/spec.json: build the image again with mimg");
    }
}
