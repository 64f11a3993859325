//! The text of a lock, line by line: what each says, and what is wrong with those that say nothing.

use crate::archive::relation::parse_version;
use crate::archive::source::ARCHITECTURES;
use crate::lock::request::Repository;
use crate::lock::words::{digest, is_name, moment, unword};
use crate::lock::{Entry, FILE};
use jiff::Timestamp;
use profiles::problem::{Problem, Problems, Span, Texts};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Raised when an older mimg could misread a lock.
pub const FORMAT: u32 = 1;

const RESTORE: &str = "restore the file from git (`git checkout mimg.lock`), then `mimg lock`";

/// What one line says.
#[derive(Debug)]
pub enum Fact {
    Fleet(Uuid),
    Release { origin: String, date: Timestamp, sha256: String },
    Package(Box<Entry>),
    From { label: String, component: String },
    Repository { label: String, repository: Repository },
    Asks { label: String, name: String, package: String },
    Has { label: String, name: String, version: Option<String> },
    As { label: String, other: String },
}

/// All facts of a lock with their places.
pub struct Facts {
    pub texts: Texts,
    pub all: Vec<(Span, Fact)>,
}

/// Reads every line. Errors: what is no lock, has another format, is cut off or in conflict, and lines that cannot be read.
pub fn facts(text: &str) -> Result<Facts, Problems> {
    let mut texts = Texts::default();
    texts.add(FILE, text);
    let lines = lines(text);
    head(&texts, &lines)?;
    let conflicts = conflicts(&texts, &lines);
    if !conflicts.0.is_empty() {
        return Err(conflicts);
    }
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    let whole = text.ends_with('\n') && lines.last().is_some_and(|(_, line)| *line == "end");
    let body = &lines[1..lines.len() - usize::from(lines.len() > 1)];
    for (span, line) in if whole { body } else { &lines[1..] } {
        match fact(line) {
            Ok(fact) => all.push((span.clone(), fact)),
            Err((saw, wanted)) => problems.push(texts.problem(&quoted(span, line, &saw), &saw, wanted, RESTORE)),
        }
    }
    if !whole {
        // What is wrong with the last line is that the rest of it is missing.
        let end = text.len()..text.len();
        let cut = lines.last().map_or(end, |(span, _)| span.clone());
        problems.retain(|problem| texts.place(&cut) != format!("{FILE}:{}", problem.line));
        problems.push(texts.problem(&cut, "the file is cut off here", "more lines, the last of them `end`", RESTORE));
    }
    Problems(problems).or(Facts { texts, all })
}

/// The word of the line that was seen in quotes, if it is one.
fn quoted(span: &Span, line: &str, saw: &str) -> Span {
    let word = saw.split('"').nth(1).filter(|word| !word.is_empty());
    let at = word.and_then(|word| Some((line.find(word)?, word.len())));
    at.map_or(span.clone(), |(at, length)| span.start + at..span.start + at + length)
}

/// The lines that say something, and where they are.
fn lines(text: &str) -> Vec<(Span, &str)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let said = line.trim_end();
        if !said.is_empty() && !said.starts_with('#') {
            lines.push((start..start + said.len(), said));
        }
        start += line.len();
    }
    lines
}

/// The first line says what it is.
fn head(texts: &Texts, lines: &[(Span, &str)]) -> Result<(), Problems> {
    let wanted = format!("mimg.lock {FORMAT}");
    let (span, line) = lines.first().cloned().unwrap_or((0..0, ""));
    if line == wanted || is_marker(line) {
        return Ok(());
    }
    let problem = match line.strip_prefix("mimg.lock ") {
        Some(format) => texts.problem(
            &span,
            &format!("the lock has format {format:?}"),
            &format!("format {FORMAT}, which this mimg reads"),
            "use the mimg that wrote it, or a newer one",
        ),
        None => texts.problem(&span, "this is no lock", &format!("`{wanted}` as the first line"), RESTORE),
    };
    Err(Problems(vec![problem]))
}

fn is_marker(line: &str) -> bool {
    ["<<<<<<<", "|||||||", "=======", ">>>>>>>"].iter().any(|marker| line.starts_with(marker))
}

/// Where git left both sides of a conflict.
fn conflicts(texts: &Texts, lines: &[(Span, &str)]) -> Problems {
    let markers = lines.iter().filter(|(_, line)| is_marker(line));
    let mut starts: Vec<&(Span, &str)> = markers.clone().filter(|(_, line)| line.starts_with('<')).collect();
    if starts.is_empty() {
        starts = markers.collect();
    }
    let cure =
        "take one side (`git checkout --theirs mimg.lock`), then `mimg lock`: it adds what the other side asks for";
    let problem = |(span, _): &&(Span, &str)| {
        texts.problem(span, "git left a conflict here", "a lock of one piece, without git's conflict markers", cure)
    };
    Problems(starts.iter().map(problem).collect())
}

/// What was seen, and what the line would have to be.
type Wrong = (String, &'static str);

fn fact(line: &str) -> Result<Fact, Wrong> {
    let words: Vec<String> = line.split(' ').map(unword).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["fleet", id] => {
            id.parse().map(Fact::Fleet).map_err(|_| (format!("{id:?} is no UUID"), "`fleet` and the fleet's id"))
        }
        ["release", origin, date, sha256] => release(origin, date, sha256),
        ["package", ..] => package(&words[1..]).map(|entry| Fact::Package(Box::new(entry))),
        [label, ref said @ ..] if is_label(label) => of_spec(label, said),
        _ => Err((
            format!("{:?} begins no line of a lock", words[0]),
            "a line about the fleet, a release, a package, a node or a profile",
        )),
    }
}

fn is_label(word: &str) -> bool {
    word.split_once('/').is_some_and(|(kind, name)| ["node", "profile"].contains(&kind) && !name.is_empty())
}

fn release(origin: &str, date: &str, sha256: &str) -> Result<Fact, Wrong> {
    let wanted = "`release`, a suite, a date such as 20260912T075541Z, and the SHA-256 of its signed Release";
    let wrong = |saw: String| (saw, wanted);
    let date = moment(date).map_err(wrong)?;
    let sha256 = digest(sha256).map_err(wrong)?;
    Ok(Fact::Release { origin: origin.to_owned(), date, sha256 })
}

fn package(words: &[&str]) -> Result<Entry, Wrong> {
    let wanted = "`package`, then name, version, architecture, suite, date, size, SHA-256 and path, maybe `essential` and `needs=…`";
    let wrong = |saw: String| (saw, wanted);
    let [name, version, architecture, origin, date, size, sha256, path, ref more @ ..] = words[..] else {
        return Err(wrong(format!("{} words about a package", words.len())));
    };
    parse_version(version).map_err(|error| wrong(error.to_string()))?;
    if !is_name(name) {
        return Err(wrong(format!("{name:?} is no package's name")));
    }
    if !ARCHITECTURES.contains(&architecture) {
        return Err(wrong(format!("{architecture:?} is none of {}", ARCHITECTURES.join(", "))));
    }
    let (essential, more) = match more {
        ["essential", more @ ..] => (true, more),
        more => (false, more),
    };
    let needs = match more {
        [] => Vec::new(),
        [needs] => groups(needs).map_err(wrong)?,
        [_, rest, ..] => return Err(wrong(format!("{rest:?} after the end of what a package's line says"))),
    };
    let size =
        size.parse().ok().filter(|size| *size > 0).ok_or_else(|| wrong(format!("{size:?} is no size in bytes")))?;
    let entry = Entry {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        origin: origin.to_owned(),
        date: moment(date).map_err(wrong)?,
        size,
        sha256: digest(sha256).map_err(wrong)?,
        path: path.to_owned(),
        essential,
        needs,
    };
    is_path(&entry).map_err(wrong)?;
    Ok(entry)
}

/// Below a mirror's address; and Debian names its files after what is in them.
fn is_path(entry: &Entry) -> Result<(), String> {
    let Entry { name, version, architecture, path, .. } = entry;
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.split('/').all(plain) || path.contains([':', '\\', '?', '#']) && path.contains("://") {
        return Err(format!("{path:?} is no path below a mirror"));
    }
    let upstream = version.split_once(':').map_or(version.as_str(), |(_, rest)| rest);
    let named = format!("{name}_{upstream}_{architecture}.deb");
    if !entry.origin.contains(':') && path.rsplit('/').next() != Some(named.as_str()) {
        return Err(format!("{path:?} is no file of {name} {version}, which Debian calls {named}"));
    }
    Ok(())
}

fn groups(text: &str) -> Result<Vec<Vec<String>>, String> {
    let list = text.strip_prefix("needs=").ok_or_else(|| format!("{text:?}"))?;
    let group = |group: &str| -> Result<Vec<String>, String> {
        let names = group.split('|').map(|name| match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(format!("{name:?} is needed, and is no package's name")),
        });
        names.collect()
    };
    list.split(',').map(group).collect()
}

fn of_spec(label: &str, said: &[&str]) -> Result<Fact, Wrong> {
    let label = label.to_owned();
    let wanted = "after a node or profile: `from`, `repository`, `asks`, `has` or `as`, and what belongs to it";
    Ok(match *said {
        ["from", component] => Fact::From { label, component: component.to_owned() },
        ["asks", name] if is_name(name) => Fact::Asks { label, name: name.to_owned(), package: name.to_owned() },
        ["asks", name, package] if is_name(name) && is_name(package) => {
            Fact::Asks { label, name: name.to_owned(), package: package.to_owned() }
        }
        ["has", name] if is_name(name) => Fact::Has { label, name: name.to_owned(), version: None },
        ["has", name, version] if is_name(name) && parse_version(version).is_ok() => {
            Fact::Has { label, name: name.to_owned(), version: Some(version.to_owned()) }
        }
        ["as", other] if is_label(other) => Fact::As { label, other: other.to_owned() },
        ["repository", name, suite, priority, fingerprint, components] => {
            let Ok(priority) = priority.parse() else { return Err((format!("{priority:?} is no priority"), wanted)) };
            let components: BTreeSet<String> = components.split(',').map(unword).collect();
            let (name, suite, fingerprint) = (name.to_owned(), suite.to_owned(), fingerprint.to_owned());
            Fact::Repository { label, repository: Repository { name, suite, priority, fingerprint, components } }
        }
        _ => return Err((format!("{:?} says nothing about {label}", said.join(" ")), wanted)),
    })
}

/// A problem whose cure is to lock again.
pub fn unsound(texts: &Texts, span: &Span, saw: &str, wanted: &str) -> Problem {
    texts.problem(span, saw, wanted, "`mimg lock`: it keeps the versions that it can")
}
