//! What a host lacks for emulated machines, and the Debian package that brings it.

use std::fmt;
use std::path::Path;

/// A program or file that is not there. It stands at the root of the error, so that a test can tell "cannot run here"
/// from "failed" by `error.downcast_ref::<Missing>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    pub package: &'static str,
}

impl Missing {
    /// Checks that `program` is in a folder of PATH.
    pub fn check_program(program: &str, package: &'static str) -> Result<(), Missing> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        if found { Ok(()) } else { Err(Missing { what: format!("the program {program}"), package }) }
    }

    /// The first of `candidates` that is a file.
    pub fn check_files(candidates: &[&'static str], package: &'static str) -> Result<&'static Path, Missing> {
        let found = candidates.iter().copied().map(Path::new).find(|path| path.is_file());
        found.ok_or_else(|| Missing { what: format!("any of the files {}", candidates.join(", ")), package })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not on this host: apt install {}", self.what, self.package)
    }
}

impl std::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::Missing;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let missing = Missing::check_program("no-such-program-anywhere", "some-package").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the program no-such-program-anywhere is not on this host: apt install some-package"
        );
    }

    #[test]
    fn the_first_file_that_exists_is_taken() {
        assert_eq!(
            Missing::check_files(&["/nowhere/a", "/proc/self/stat"], "x").unwrap().to_str(),
            Some("/proc/self/stat")
        );
    }
}
