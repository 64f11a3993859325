//! Embeds what goes into images, so that `mimg` is one file that needs nothing beside it: the repository's overlays/ as a
//! tar, modes kept, and firstboot.
//!
//! firstboot is compiled by a cargo of its own: into one folder below target/ that all profiles of mimg share, and with every
//! path of the building machine taken out, so that the same sources give the same binary.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        "firstboot/Cargo.toml",
        "firstboot/src",
        "profiles/Cargo.toml",
        "profiles/src",
        "profiles/catalog",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed={}", workspace.join("overlays").display());
    let binary = compile(&workspace, &out)?;
    std::fs::copy(binary, out.join("firstboot"))?;
    pack(&workspace.join("overlays"), &out.join("overlays.tar"))
}

fn pack(overlays: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut archive = tar::Builder::new(std::fs::File::create(out)?);
    archive.follow_symlinks(false);
    let mut open = vec![overlays.to_path_buf()];
    while let Some(folder) = open.pop() {
        let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let path = entry.path();
            archive.append_path_with_name(&path, path.strip_prefix(overlays)?)?;
            if entry.file_type()?.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(archive.finish()?)
}

fn compile(workspace: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    // target/PROFILE/build/PACKAGE/out
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not below a target folder")?.join("embedded");
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let flags = format!("--remap-path-prefix={home}=/cargo --remap-path-prefix={}=/mimg", workspace.display());
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--quiet", "--locked", "--profile", "image", "--package", "firstboot", "--bin", "firstboot"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace)
        // What this build was called with (clippy, coverage, other flags) is not meant for the image's binary.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env("RUSTFLAGS", flags)
        .status()?;
    if !status.success() {
        return Err(format!("cargo could not build firstboot: {status}").into());
    }
    Ok(target.join("image/firstboot"))
}
