//! What an editor needs to complete and check a fleet's files while they are written: their JSON Schemas, and a word on
//! which file has which.
//!
//! Each file that `mimg init` writes names its schema in a first line `#:schema PATH`, which taplo, tombi and the editors'
//! extensions made of them read. `.tombi.toml` says the same of files that are added without one.

use anyhow::Result;
use fs_err as fs;
use profiles::schema::Document;
use std::path::Path;

/// The files, by their path within the fleet.
pub fn files() -> Vec<(String, String)> {
    let schemas = Document::ALL.map(|document| (path(document), document.text()));
    schemas.into_iter().chain([(".tombi.toml".to_owned(), tombi())]).collect()
}

/// The first line of a document, which names its schema.
pub fn directive(document: Document) -> String {
    let up = "../".repeat(document.files().matches('/').count());
    format!("#:schema {up}{}\n", path(document))
}

/// Puts this mimg's schemas in the place of those that are in the fleet's folder. Returns the paths of all.
pub fn write(folder: &Path) -> Result<Vec<String>> {
    let mut written = Vec::new();
    for (path, text) in files() {
        let target = folder.join(&path);
        // Which schema is whose may have been changed by hand, and does not change with mimg.
        if path == ".tombi.toml" && target.exists() {
            continue;
        }
        fs::create_dir_all(target.parent().unwrap_or(folder))?;
        fs::write(&target, text)?;
        written.push(path);
    }
    Ok(written)
}

/// Whether the fleet's folder has schemas, and they are those of another mimg.
pub fn is_outdated(folder: &Path) -> bool {
    let differs = |document| fs::read_to_string(folder.join(path(document))).is_ok_and(|text| text != document.text());
    Document::ALL.into_iter().any(differs)
}

fn path(document: Document) -> String {
    format!("schemas/{}.json", document.name())
}

fn tombi() -> String {
    let entry = |document: Document| {
        format!("\n[[schemas]]\npath = {:?}\ninclude = [{:?}]\n", path(document), document.files())
    };
    let head =
        "# Which schema is whose, for editors that use tombi. `mimg schema --write` renews the schemas.\n".to_owned();
    Document::ALL.into_iter().map(entry).fold(head, |text, entry| text + &entry)
}
