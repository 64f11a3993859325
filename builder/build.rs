//! Packs the repository's overlays/ into the binary, modes kept, so that mimg runs from anywhere.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let overlays = Path::new("../overlays");
    println!("cargo::rerun-if-changed={}", overlays.display());
    let out = std::env::var_os("OUT_DIR").map(|folder| Path::new(&folder).join("overlays.tar"));
    let out = out.ok_or_else(|| std::io::Error::other("cargo sets OUT_DIR"))?;
    let mut archive = tar::Builder::new(std::fs::File::create(out)?);
    archive.follow_symlinks(false);
    let mut open = vec![overlays.to_path_buf()];
    while let Some(folder) = open.pop() {
        let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let path = entry.path();
            let name = path.strip_prefix(overlays).map_err(std::io::Error::other)?.to_owned();
            archive.append_path_with_name(&path, name)?;
            if entry.file_type()?.is_dir() {
                open.push(path);
            }
        }
    }
    archive.finish()
}
