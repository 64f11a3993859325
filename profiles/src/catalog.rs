//! The profiles that come with mimg: `catalog/NAME.toml`, embedded.

use include_dir::{Dir, include_dir};

static CATALOG: Dir = include_dir!("$CARGO_MANIFEST_DIR/catalog");

/// Name and text of each.
pub fn profiles() -> Vec<(&'static str, &'static str)> {
    CATALOG
        .files()
        .filter_map(|file| Some((file.path().to_str()?.strip_suffix(".toml")?, file.contents_utf8()?)))
        .collect()
}
