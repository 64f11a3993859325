//! What another verifier thinks: `sqv`, by its exit code. It writes its output even for a bad signature.

use std::process::Command;

/// Does sqv believe a detached signature (armored) over a text by a key (armored)? `None` where it is not installed,
/// which is a failure in CI.
pub fn second_opinion(key: &str, signature: &str, text: &str) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (key, signature, text) = (file("key", key), file("signature", signature), file("text", text));
    match Command::new("sqv").arg("--keyring").args([key, signature, text]).output() {
        Ok(output) => Some(output.status.success()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "running sqv: {error}");
            eprintln!("no second opinion: sqv is not installed");
            None
        }
    }
}

/// A clear-signed text taken apart by RFC 9580, section 7, and by nothing of ours: the signature block, and the text as
/// it is signed. What is outside of both is lost, as it has to be.
pub fn taken_apart(clear: &str) -> (String, String) {
    let lines = clear.lines().skip_while(|line| *line != "-----BEGIN PGP SIGNED MESSAGE-----");
    let mut lines = lines.skip_while(|line| !line.is_empty()).skip(1).peekable();
    let mut text = Vec::new();
    while let Some(line) = lines.next_if(|line| *line != "-----BEGIN PGP SIGNATURE-----") {
        text.push(line.strip_prefix("- ").unwrap_or(line).trim_end_matches([' ', '\t']));
    }
    let mut signature = String::new();
    for line in lines {
        signature += &format!("{line}\n");
        if line == "-----END PGP SIGNATURE-----" {
            break;
        }
    }
    (signature, text.join("\r\n"))
}
