//! Entries of a tar, and members of an ar, as no tool would write them.

/// A header of tar with these fields, and its checksum.
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    /// As the header says it: twelve bytes at most.
    pub size: Vec<u8>,
    pub link: Vec<u8>,
    pub uid: Vec<u8>,
    pub mtime: Vec<u8>,
}

/// A regular file of no bytes.
pub fn entry(name: &str) -> Entry {
    let octal = || b"0000000".to_vec();
    Entry { name: name.into(), kind: b'0', size: octal(), link: Vec::new(), uid: octal(), mtime: octal() }
}

impl Entry {
    pub fn kind(self, kind: u8) -> Self {
        Entry { kind, ..self }
    }

    pub fn size(self, size: &[u8]) -> Self {
        Entry { size: size.to_vec(), ..self }
    }

    pub fn link(self, link: &str) -> Self {
        Entry { link: link.into(), ..self }
    }

    pub fn uid(self, uid: &[u8]) -> Self {
        Entry { uid: uid.to_vec(), ..self }
    }

    pub fn mtime(self, mtime: &[u8]) -> Self {
        Entry { mtime: mtime.to_vec(), ..self }
    }

    pub fn name(self, name: &[u8]) -> Self {
        Entry { name: name.to_vec(), ..self }
    }

    /// The header's block.
    pub fn head(self) -> Vec<u8> {
        let mut block = vec![0; 512];
        let fields = [(0, self.name), (100, b"0000644".to_vec()), (108, self.uid), (116, b"0000000".to_vec())];
        let more =
            [(124, self.size), (136, self.mtime), (148, vec![b' '; 8]), (156, vec![self.kind]), (157, self.link)];
        for (at, bytes) in fields.into_iter().chain(more).chain([(257, b"ustar  \0".to_vec())]) {
            block[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// The header with content of the right size, padded.
    pub fn with(self, content: &[u8]) -> Vec<u8> {
        let size = format!("{:011o}", content.len());
        let mut bytes = self.size(size.as_bytes()).head();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// A GNU long name (`L`) or long target (`K`) for the entry that follows.
pub fn long(kind: u8, text: &str) -> Vec<u8> {
    entry("././@LongLink").kind(kind).with(&[text.as_bytes(), b"\0"].concat())
}

/// PAX records for the entry that follows.
pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length).unwrap_or_default();
        format!("{length}{rest}")
    };
    entry("./PaxHeaders/x").kind(b'x').with(records.iter().map(record).collect::<String>().as_bytes())
}

/// A number too large for digits, as GNU writes it: twelve bytes, the first bit set.
pub fn base256(number: u64) -> Vec<u8> {
    [vec![0x80, 0, 0, 0], number.to_be_bytes().to_vec()].concat()
}

/// An ar of members as named, each with the size that it is said to have.
pub fn ar(members: &[(&str, &[u8], usize)]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content, size) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100644).bytes());
        bytes.extend(*content);
        bytes.extend(vec![b'\n'; content.len() % 2]);
    }
    bytes
}
