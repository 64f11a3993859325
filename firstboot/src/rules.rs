//! Which paths are meant by rules such as `/a/b`, `/a/b*` and `/a/**`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One rule, as `profiles::act::Install` says it.
enum Rule {
    /// `/a/b`
    Path(PathBuf),
    /// `/a/b*`: in the folder, names that begin so.
    Names(PathBuf, Vec<u8>),
    /// `/a/**`: all files below the folder.
    Files(PathBuf),
}

pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub fn new(rules: &[String]) -> Self {
        let rule = |text: &String| match (text.strip_suffix("/**"), text.strip_suffix('*')) {
            (Some(folder), _) => Rule::Files(folder.into()),
            (None, Some(names)) => {
                let (folder, start) = names.rsplit_once('/').unwrap_or(("", names));
                let folder = if folder.is_empty() { "/" } else { folder };
                Rule::Names(folder.into(), start.as_bytes().to_vec())
            }
            (None, None) => Rule::Path(text.into()),
        };
        Rules(rules.iter().map(rule).collect())
    }

    /// Whether a path is meant; what is in a folder that is meant is not asked for.
    pub fn mean(&self, path: &Path, is_folder: bool) -> bool {
        let begins = |name: Option<&OsStr>, start: &[u8]| name.is_some_and(|name| name.as_bytes().starts_with(start));
        self.0.iter().any(|rule| match rule {
            Rule::Path(meant) => path == meant,
            Rule::Names(folder, start) => path.parent() == Some(folder) && begins(path.file_name(), start),
            Rule::Files(folder) => !is_folder && path.starts_with(folder),
        })
    }

    /// The folders in which there is something that is meant, each once.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> = self
            .0
            .iter()
            .map(|rule| match rule {
                Rule::Path(path) => path.parent().unwrap_or(path),
                Rule::Names(folder, _) | Rule::Files(folder) => folder,
            })
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_rule_means_what_it_says() {
        let rules: Vec<String> =
            ["/etc/machine-id", "/etc/ssh/ssh_host_*", "/tmp/*", "/var/log/**", "/swap*"].map(str::to_owned).into();
        let rules = Rules::new(&rules);
        for path in
            ["/etc/machine-id", "/etc/ssh/ssh_host_rsa_key", "/tmp/x", "/var/log/a/b", "/var/log/a", "/swapfile"]
        {
            assert!(rules.mean(Path::new(path), false), "{path}");
        }
        for path in
            ["/etc/machine-id2", "/etc/ssh/sshd_config", "/tmp", "/tmpx", "/var/lo", "/var/logs/a", "/a/swapfile"]
        {
            assert!(!rules.mean(Path::new(path), false), "{path}");
        }
        assert!(rules.mean(Path::new("/tmp/folder"), true) && !rules.mean(Path::new("/var/log/folder"), true));
        let folders: Vec<&Path> = ["/", "/etc", "/etc/ssh", "/tmp", "/var/log"].map(Path::new).into();
        assert_eq!(rules.folders(), folders);
    }
}
