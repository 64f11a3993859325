//! A file that has no name until it is whole: whatever ends the run before, nothing is left of it.

use anyhow::{Context, Result};
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// A file to be, in the folder where it will lie.
pub struct Draft {
    file: File,
    out: PathBuf,
    /// Its name meanwhile, on the few file systems that cannot do without; removed when dropped.
    name: Option<TempPath>,
}

impl Draft {
    /// For a file at `out`, whose folder must exist.
    pub fn new(out: &Path) -> Result<Draft> {
        let unnamed =
            File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o644).open(folder(out));
        let (file, name) = match unnamed {
            Ok(file) => (file, None),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {
                let made = tempfile::Builder::new().prefix(".mimg-").tempfile_in(folder(out));
                let (file, name) =
                    made.with_context(|| format!("making a file in {}", folder(out).display()))?.into_parts();
                (file, Some(name))
            }
            Err(e) => return Err(e).with_context(|| format!("making a file in {}", folder(out).display())),
        };
        Ok(Draft { file, out: out.to_owned(), name })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// A path by which this process and its children can open it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Makes all of it durable, then gives it its name; a file that has this name is replaced at once.
    pub fn publish(self) -> Result<()> {
        let Draft { file, out, name } = self;
        file.sync_all().with_context(|| format!("writing {}", out.display()))?;
        let name = match name {
            Some(name) => name,
            None => match name_it(&file, &out) {
                Ok(()) => return sync_folder(&out),
                Err(Errno::EEXIST) => name_beside(&file, &out)?,
                Err(e) => return Err(e).with_context(|| format!("naming {}", out.display())),
            },
        };
        fs::set_permissions(&name, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        name.persist(&out).map_err(|e| e.error).with_context(|| format!("naming {}", out.display()))?;
        sync_folder(&out)
    }
}

fn name_it(file: &File, name: &Path) -> nix::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, unnamed.as_str(), AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)
}

/// A link cannot replace a file, a rename can: so it has another name for an instant.
fn name_beside(file: &File, out: &Path) -> Result<TempPath> {
    let name = folder(out).join(format!(".mimg-{}-{}", std::process::id(), file.as_raw_fd()));
    name_it(file, &name).with_context(|| format!("naming {}", name.display()))?;
    Ok(TempPath::try_from_path(name)?)
}

fn sync_folder(out: &Path) -> Result<()> {
    let folder = folder(out);
    File::open(folder).and_then(|f| f.sync_all()).with_context(|| format!("syncing the folder {}", folder.display()))
}

fn folder(out: &Path) -> &Path {
    out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("the folder").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_draft_has_no_name_until_it_is_published_and_replaces_the_file_before_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("disk.img");
        for content in ["first", "second"] {
            let mut draft = Draft::new(&out).expect("a draft");
            let before = names(folder.path());
            draft.file.write_all(content.as_bytes()).expect("writing");
            assert_eq!(std::fs::read_to_string(draft.path()).expect("reading by its path"), content);
            assert_eq!(draft.file().metadata().expect("the draft").nlink(), 0);
            assert_eq!(names(folder.path()), before);
            draft.publish().expect("publishing");
            assert_eq!(std::fs::read_to_string(&out).expect("reading"), content);
            assert_eq!(names(folder.path()), ["disk.img"]);
        }
    }

    #[test]
    fn a_draft_that_had_to_have_a_name_is_gone_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("disk.img");
        let named = || {
            let (file, name) = tempfile::NamedTempFile::new_in(folder.path()).expect("a file").into_parts();
            Draft { file, out: out.clone(), name: Some(name) }
        };
        drop(named());
        assert!(names(folder.path()).is_empty());
        named().publish().expect("publishing");
        assert_eq!(names(folder.path()), ["disk.img"]);
        assert_eq!(std::fs::metadata(&out).expect("the file").mode() & 0o777, 0o644);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let said = format!("{:#}", Draft::new(Path::new("/nowhere/at/all.img")).err().expect("no such folder"));
        assert!(said.contains("/nowhere/at"), "{said}");
    }
}
