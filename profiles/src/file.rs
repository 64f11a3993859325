//! A file that a Spec wants: put into the image when it is built, or by firstboot on the machine.

use serde::{Deserialize, Serialize};

/// One regular file. `path` is absolute, `mode` the permission bits, `owner` a `user:group` known to the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    pub path: String,
    pub content: String,
    #[serde(default = "File::plain")]
    pub mode: u32,
    #[serde(default = "File::root")]
    pub owner: String,
}

impl File {
    /// A file of root's that everybody may read.
    pub fn new(path: impl Into<String>, content: impl Into<String>) -> Self {
        File { path: path.into(), content: content.into(), mode: Self::plain(), owner: Self::root() }
    }

    fn plain() -> u32 {
        0o644
    }

    fn root() -> String {
        "root:root".to_owned()
    }
}
