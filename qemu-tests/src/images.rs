//! The images under test, made by `mimg` as a user does it.

use anyhow::{Context, Result, bail};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The raw image of the catalog's `profile`. The first case that asks for it builds it, others wait and share it; it is
/// kept in Cargo's folder for tests' files until `mimg` changes. Cases boot snapshots of it and never write to it.
pub fn image(profile: &str) -> Result<PathBuf> {
    let mimg = mimg()?;
    let folder = target()?.join("tmp/images");
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join(format!("{profile}.lock")))?;
    lock.file().lock().with_context(|| format!("waiting for another case's image of {profile}"))?;
    let image = folder.join(format!("{profile}.img"));
    if !is_newer(&image, &mimg)? {
        run(Command::new(&mimg).args(["build", "--profile", profile, "--out"]).arg(&image))?;
    }
    Ok(image)
}

/// The program, built as these tests are: by itself Cargo builds it only for the tests of its own package.
pub fn mimg() -> Result<PathBuf> {
    let folder = profile()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", "mimg"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    run(&mut command)?;
    let mimg = folder.join("mimg");
    if !mimg.is_file() {
        bail!("Cargo built no {}", mimg.display());
    }
    Ok(mimg)
}

/// Cargo's target folder, in which these tests lie.
pub fn target() -> Result<PathBuf> {
    Ok(profile()?.parent().context("finding Cargo's target folder")?.to_path_buf())
}

/// target/debug or target/release: a test is in its deps, a program in it.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    let folder = program.parent().context("finding Cargo's target folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_path_buf())
}

fn is_newer(image: &Path, mimg: &Path) -> Result<bool> {
    Ok(image.exists() && fs::metadata(image)?.modified()? > fs::metadata(mimg)?.modified()?)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
