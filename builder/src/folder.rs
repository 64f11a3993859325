//! A fleet's folder on disk: read for checking and building, and started by `mimg init`.

use crate::editor;
use anyhow::{Context, Result, bail};
use fs_err as fs;
use profiles::schema::Document;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use uuid::Uuid;

/// No file of a fleet comes near this; a larger one is somebody's mistake.
const LARGEST: u64 = 1 << 20;

/// The fleet's TOML files by their path within it: fleet.toml, nodes/*.toml, profiles/*.toml.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for name in ["fleet.toml"] {
        match fs::symlink_metadata(folder.join(name)) {
            Ok(_) => drop(files.insert(name.to_owned(), text(&folder.join(name))?)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    for kind in ["nodes", "profiles"] {
        let entries = match fs::read_dir(folder.join(kind)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                bail!("{}: a name that is not UTF-8; rename the file", path.display());
            };
            // Editors' backups and swap files end otherwise, or start with a dot.
            if name.ends_with(".toml") && !name.starts_with('.') {
                files.insert(format!("{kind}/{name}"), text(&path)?);
            }
        }
    }
    Ok(files)
}

fn text(path: &Path) -> Result<String> {
    let size = fs::metadata(path)?.len();
    if size > LARGEST {
        bail!("{} has {size} bytes, at most {LARGEST} are read; is it a TOML file?", path.display());
    }
    let bytes = fs::read(path)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8; save it again as UTF-8", path.display()))
}

/// Starts a fleet in `folder`, which may exist but must hold none of the files that are written. Nothing is replaced.
pub fn init(folder: &Path, id: Uuid) -> Result<Vec<String>> {
    let name = folder.canonicalize().ok().or_else(|| Some(folder.to_path_buf()));
    let name = name.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("home").to_owned();
    let fleet = FLEET.replace("@ID@", &id.to_string()).replace("@NAME@", &format!("{name:?}"));
    let mut files = vec![
        ("fleet.toml".to_owned(), editor::directive(Document::Fleet) + &fleet),
        ("nodes/eccles.toml".to_owned(), editor::directive(Document::Node) + NODE),
        (".gitignore".to_owned(), IGNORE.to_owned()),
        (".gitattributes".to_owned(), ATTRIBUTES.to_owned()),
    ];
    files.extend(editor::files());
    for (path, _) in &files {
        if fs::symlink_metadata(folder.join(path)).is_ok() {
            bail!("{} exists; mimg init replaces nothing: name another folder", folder.join(path).display());
        }
    }
    for (path, text) in &files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

const FLEET: &str = r#"# A fleet: the machines that are built and kept from this folder. Keep it in git.

[fleet]
# Every machine's partitions and file systems carry UUIDs made from this id: it is how mimg knows its own
# again. Never change it.
id = "@ID@"
name = @NAME@

# Where Debian packages come from. Without these lines: from the mirror that the building machine's apt uses.
# [archive]
# mirror = "https://mirror.example.org/debian"
# security-mirror = "https://mirror.example.org/debian-security"
# # Asked for locked packages that the mirrors have no more.
# snapshot = "https://snapshot.example.org"
# # What the finished machines' apt uses. Without it they have no apt sources.
# node-mirror = "https://mirror.example.org/debian"
# node-security-mirror = "https://mirror.example.org/debian-security"

# Who administers every machine. Without one, nobody can log in: images have no passwords.
# [[user]]
# name = "ana"
# ssh-keys = ["ssh-ed25519 AAAA… ana@laptop"]
# sudo = true
"#;

const NODE: &str = r#"# One machine; its host name is this file's name. Add one file for each machine.
# A setting here replaces what the profiles say; `mimg profiles` lists them.

profiles = ["nuc"]
timezone = "Etc/UTC"

# packages = ["htop"]

# [swap]
# size = "4G"

# [[unit]]
# name = "nginx.service"
"#;

/// Each line of a lock stands for itself: the union of two branches is what both want, and is checked when it is read.
const ATTRIBUTES: &str = "mimg.lock merge=union\n";

const IGNORE: &str =
    "*.img\n*.img.*\n*.part\n*.qcow2\n*.seed\n*.manifest.json\n*.spdx.json\n*.SHA256SUMS\n*.SHA256SUMS.minisig\n";

#[cfg(test)]
mod tests {
    use super::*;
    use profiles::fleet::Fleet;

    #[test]
    fn a_fleet_that_was_started_has_no_problem_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), Uuid::new_v4()).unwrap();
        let files = read(folder.path()).unwrap();
        let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(fleet.nodes().collect::<Vec<_>>(), ["eccles"]);
        let error = init(folder.path(), Uuid::new_v4()).unwrap_err().to_string();
        assert!(error.contains("replaces nothing"), "{error}");
        assert_eq!(read(folder.path()).unwrap(), files);
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), Uuid::new_v4()).unwrap();
        fs::write(folder.path().join("nodes/x.toml"), [0xff, 0xfe]).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("x.toml is not UTF-8"));
        fs::write(folder.path().join("nodes/x.toml"), vec![b'#'; LARGEST as usize + 1]).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("is it a TOML file?"));
    }
}
