//! The serial console as text.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// All of `file` from its start, whatever its position; what is not UTF-8 is replaced, what cannot be read left out.
pub(super) fn read(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1 << 16];
    while let Ok(n @ 1..) = file.read_at(&mut chunk, bytes.len() as u64) {
        bytes.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last `lines` lines that say something.
pub(super) fn tail(text: &str, lines: usize) -> String {
    let said: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    said[said.len().saturating_sub(lines)..].join("\n")
}

/// Without the escape sequences and carriage returns by which firmware, GRUB and systemd paint a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Skips an escape sequence (ECMA-48) whose ESC has been read: CSI to its final byte, OSC to its terminator, others of
/// intermediate bytes and one final byte.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {},
        Some(']') => {
            while chars.next_if(|c| *c != '\u{7}' && *c != '\u{1b}').is_some() {}
            // Ended by BEL, or by the two characters ESC \.
            chars.next_if_eq(&'\u{1b}');
        }
        Some(' '..='/') => while chars.next_if(|c| (' '..='/').contains(c)).is_some() {},
        _ => return,
    }
    chars.next();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_no_text() {
        let painted = "\u{1b}[2J\u{1b}[01;01H[  \u{1b}[0;32mOK\u{1b}[0m  ] Started \u{1b}]0;title\u{7}\u{1b}]3008;x\u{1b}\\it.\r\n\u{1b}(Bdone\u{1b}7!";
        assert_eq!(plain(painted), "[  OK  ] Started it.\ndone!");
    }

    #[test]
    fn the_tail_has_only_lines_that_say_something() {
        assert_eq!(tail("a\n\nb\n  \nc\n\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
