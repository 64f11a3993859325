//! Packages made for a test, also such as dpkg-deb would refuse to make.

use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// A package under construction.
pub struct Made {
    control: Vec<(String, String)>,
    data: tar::Builder<Vec<u8>>,
    ending: &'static str,
}

impl Made {
    /// A package `name`, version 1, with more control fields given as lines.
    pub fn new(name: &str, more: &str) -> Made {
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n{more}Description: made\n"
        );
        let mut made = Made { control: Vec::new(), data: tar::Builder::new(Vec::new()), ending: "" };
        made.control.push(("control".to_owned(), control));
        made.entry("./", EntryType::Directory, "", b"")
    }

    pub fn member(mut self, name: &str, content: &str) -> Made {
        self.control.push((name.to_owned(), content.to_owned()));
        self
    }

    pub fn compressed(mut self, ending: &'static str) -> Made {
        self.ending = ending;
        self
    }

    pub fn file(self, path: &str, content: &str) -> Made {
        self.entry(path, EntryType::Regular, "", content.as_bytes())
    }

    pub fn dir(self, path: &str) -> Made {
        self.dir_with(path, 0o755)
    }

    pub fn dir_with(self, path: &str, mode: u32) -> Made {
        self.put(path, EntryType::Directory, mode, "", b"")
    }

    pub fn link(self, path: &str, target: &str) -> Made {
        self.entry(path, EntryType::Symlink, target, b"")
    }

    /// An entry with names exactly as given, whatever they hold.
    pub fn entry(self, path: &str, kind: EntryType, target: &str, content: &[u8]) -> Made {
        let mode = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        self.put(path, kind, mode, target, content)
    }

    fn put(mut self, path: &str, kind: EntryType, mode: u32, target: &str, content: &[u8]) -> Made {
        let mut header = Header::new_gnu();
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.data.append(&header, content).expect("writing to memory");
        self
    }

    /// Bytes into data.tar as they are: headers of its own among them.
    pub fn raw(mut self, bytes: &[u8]) -> Made {
        self.data.get_mut().extend_from_slice(bytes);
        self
    }

    /// Writes the package into `folder`.
    pub fn write(self, folder: &Path, name: &str) -> PathBuf {
        let mut control = tar::Builder::new(Vec::new());
        for (name, content) in &self.control {
            let mut header = Header::new_gnu();
            header.set_mode(0o755);
            header.set_mtime(1_700_000_000);
            header.set_size(content.len() as u64);
            control.append_data(&mut header, name, content.as_bytes()).expect("writing to memory");
        }
        let path = folder.join(format!("{name}.deb"));
        let mut archive = ar::Builder::new(std::fs::File::create(&path).expect("making a package"));
        let members = [
            ("debian-binary".to_owned(), b"2.0\n".to_vec()),
            (format!("control.tar{}", self.ending), compress(self.ending, control.into_inner().expect("a tar"))),
            (format!("data.tar{}", self.ending), compress(self.ending, self.data.into_inner().expect("a tar"))),
        ];
        for (name, content) in members {
            let header = ar::Header::new(name.into_bytes(), content.len() as u64);
            archive.append(&header, &content[..]).expect("writing a package");
        }
        path
    }
}

fn compress(ending: &str, content: Vec<u8>) -> Vec<u8> {
    use std::io::Read;
    let mut packed = Vec::new();
    match ending {
        ".xz" => liblzma::read::XzEncoder::new(&content[..], 1).read_to_end(&mut packed),
        ".gz" => flate2::read::GzEncoder::new(&content[..], flate2::Compression::fast()).read_to_end(&mut packed),
        ".zst" => zstd::stream::read::Encoder::new(&content[..], 1).and_then(|mut zst| zst.read_to_end(&mut packed)),
        _ => return content,
    }
    .expect("compressing in memory");
    packed
}
