use super::*;
use tempfile::TempDir;

/// A log as QEMU writes it: `(first sector, sectors, flags, byte that fills the data)` for each entry.
fn log(folder: &TempDir, counted: u64, entries: &[(u64, u64, u64, u8)]) -> std::path::PathBuf {
    let mut bytes = Vec::new();
    for word in [MAGIC, 1, counted, 512] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(512, 0);
    for (sector, sectors, flags, fill) in entries {
        let start = bytes.len();
        for word in [sector, sectors, flags] {
            bytes.extend(word.to_le_bytes());
        }
        let data = if *flags == 0 { 512 * *sectors as usize } else { 0 };
        bytes.resize(start + 512, 0);
        bytes.resize(start + 512 + data, *fill);
    }
    let path = folder.path().join("log");
    fs::write(&path, bytes).unwrap();
    path
}

/// The first byte of each of the four sectors of the disk after `crash`; before the log all were 'o'.
fn after(folder: &TempDir, log: &Path, crash: Crash) -> String {
    let (base, out) = (folder.path().join("base"), folder.path().join("out"));
    fs::write(&base, [b'o'; 2048]).unwrap();
    WriteLog::open(log).unwrap().disk(&base, 2048, crash, &out).unwrap();
    fs::read(&out).unwrap().chunks(512).map(|sector| char::from(sector[0].max(b'.'))).collect()
}

#[test]
fn what_was_flushed_is_there_and_what_was_not_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 2, &[(0, 1, 0, b'a'), (0, 0, FLUSH, 0), (1, 2, 0, b'b')]);
    let crash = |entries, unflushed| after(&folder, &log, Crash { entries, unflushed });
    assert_eq!(crash(3, Unflushed::Kept), "abbo");
    assert_eq!(crash(3, Unflushed::Lost), "aooo");
    assert_eq!(crash(1, Unflushed::Lost), "oooo");
    assert_eq!(crash(0, Unflushed::Kept), "oooo");
}

#[test]
fn a_write_may_be_torn_between_its_sectors_but_never_before_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 2, &[(0, 2, 0, b'a'), (0, 0, FLUSH, 0), (2, 2, 0, b'b')]);
    let seen: std::collections::BTreeSet<String> =
        (0..32).map(|seed| after(&folder, &log, Crash { entries: 3, unflushed: Unflushed::Torn(seed) })).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["aabb", "aabo", "aaob", "aaoo"]);
}

#[test]
fn what_was_discarded_is_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 1, &[(0, 4, 0, b'a'), (1, 2, DISCARD, 0)]);
    assert_eq!(after(&folder, &log, Crash { entries: 2, unflushed: Unflushed::Kept }), "a..a");
}

#[test]
fn an_entry_that_the_cut_tore_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(&folder, 1, &[(0, 1, 0, b'a'), (1, 2, 0, b'b')]);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(WriteLog::open(&path).unwrap().entries().len(), 1);
}

#[test]
fn a_log_that_lacks_entries_it_counts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(&folder, 3, &[(0, 1, 0, b'a')]);
    let said = format!("{:#}", WriteLog::open(&path).err().unwrap());
    assert!(said.contains("1 whole entries, and says that it has 3"), "{said}");
}

#[test]
fn a_file_that_is_no_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, [7; 2048]).unwrap();
    assert!(WriteLog::open(&path).is_err());
}
