//! What mimg says of itself on paper: the docs' tables, schemas, man pages, completions. All are made from the definitions
//! that it works by, and what lies in the repository is what they make now.

mod commands;
mod keys;
#[path = "../person/mod.rs"]
#[expect(dead_code, reason = "the fleets are as mimg init makes them")]
mod person;

use builder::cli::Cli;
use builder::editor;
use clap::CommandFactory;
use fs_err as fs;
use person::{err, mimg};
use profiles::schema::Document;
use std::path::{Path, PathBuf};
use std::process::Command;

const RENEW: &str = "MIMG_DOCS=write cargo test --release -p builder --test papers";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Compares a file of the docs with what it should be; with MIMG_DOCS=write it is written.
fn hold(path: &str, wanted: &str) {
    let file = docs().join(path);
    if std::env::var("MIMG_DOCS").is_ok_and(|value| value == "write") {
        return fs::write(file, wanted).expect("writing docs");
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count() + 1;
    assert!(found == wanted, "docs/{path} is stale from line {line} on. Renew it:\n    {RENEW}");
}

/// The answer of a program that has to succeed. `None`, and a word about it, where it is not on this host.
fn said(command: &mut Command) -> Option<String> {
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("NOT RUN: {} is not on this host", command.get_program().to_string_lossy());
            return None;
        }
        output => output.expect("running a program"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn the_reference_has_the_keys_that_the_types_have() {
    let page = fs::read_to_string(docs().join("reference.md")).expect("docs/reference.md");
    let mut wanted = page.clone();
    for (document, name) in [(Document::Fleet, "fleet"), (Document::Profile, "profile")] {
        let (start, end) =
            (format!("<!-- keys of a {name}: {RENEW} -->\n"), format!("<!-- end of a {name}'s keys -->\n"));
        let (before, rest) = wanted.split_once(&start).unwrap_or_else(|| panic!("no line {start}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no line {end}"));
        wanted = format!("{before}{start}\n{}{end}{after}", keys::of(document));
    }
    hold("reference.md", &wanted);
}

#[test]
fn the_commands_page_has_the_commands_that_there_are() {
    hold("commands.md", &commands::page(&format!("<!-- made by: {RENEW} -->")));
}

#[test]
fn every_page_is_in_the_book() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).expect("docs/SUMMARY.md");
    let (head, decisions) = ("(decisions/README.md)\n", pages("decisions"));
    let kept: String = summary.split_inclusive('\n').filter(|line| !line.starts_with("    - [")).collect();
    let (before, after) = kept.split_once(head).expect("the line of the decisions");
    let below: String =
        decisions.iter().map(|name| format!("    - [{}](decisions/{name}.md)\n", name.replace('-', " "))).collect();
    let wanted = format!("{before}{head}{below}{after}");
    hold("SUMMARY.md", &wanted);
    for name in pages(".") {
        assert!(wanted.contains(&format!("]({name}.md)")), "docs/{name}.md needs a line in docs/SUMMARY.md");
    }
}

/// Names of the pages in a folder of the docs, without those that have a part of their own.
fn pages(folder: &str) -> Vec<String> {
    let files = fs::read_dir(docs().join(folder)).expect("a folder of docs");
    let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".md")?.to_owned()));
    let mut names: Vec<String> = names.filter(|name| !["README", "SUMMARY"].contains(&name.as_str())).collect();
    names.sort();
    names
}

#[test]
fn the_published_schemas_are_those_that_mimg_prints() {
    for document in Document::ALL {
        let printed = mimg(&docs(), &["schema", document.name()]);
        assert_eq!(String::from_utf8_lossy(&printed.stdout), document.text());
        hold(&format!("schemas/{}.json", document.name()), &document.text());
    }
}

#[test]
fn every_command_has_a_man_page_that_man_can_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = mimg(folder.path(), &["man", "pages"]);
    let written = String::from_utf8(output.stdout).expect("names of pages");
    for below in Cli::command().get_subcommands() {
        let page = format!("pages/mimg-{}.1\n", below.get_name());
        assert!(written.contains(&page), "no {page}among {written}");
    }
    assert!(written.contains("pages/mimg.1\n") && written.contains("pages/firstboot-plan.8\n"), "{written}");
    for page in written.lines() {
        // What groff warns of goes to stderr.
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file", page]).current_dir(folder.path());
        let Some(text) = said(man.env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8")) else { return };
        let name = page.trim_start_matches("pages/").split('.').next().expect("a name");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("{name} - ")) && text.contains("EXIT STATUS"), "{text}");
        assert!(!text.contains("warning:"), "{text}");
    }
}

/// A fleet with the nodes eccles and nook, and a profile web.
fn fleet() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "home"]).status.success());
    let home = folder.path().join("home");
    fs::create_dir(home.join("profiles")).expect("a folder");
    fs::write(home.join("nodes/nook.toml"), "profiles = [\"nuc\"]\n[swap]\nsize = \"2G\"\n").expect("a node");
    fs::write(home.join("profiles/web.toml"), "profiles = [\"base\"]\npackages = [\"nginx-light\"]\n")
        .expect("a profile");
    folder
}

#[test]
fn a_shell_completes_commands_and_the_names_of_the_fleet() {
    let folder = fleet();
    // Broken files have names as well.
    fs::write(folder.path().join("home/nodes/nook.toml"), "packges = [").expect("a node");
    let programs = Path::new(env!("CARGO_BIN_EXE_mimg")).parent().expect("a folder").to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("PATH"));
    let complete = |shell: &str, words: &[&str]| {
        let script = match shell {
            "fish" => "mimg completions fish | source; complete --do-complete \"$argv\" | cut --fields=1",
            _ => {
                "source <(mimg completions bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
                 $(complete -p mimg | sed 's/.* -F \\([^ ]*\\) .*/\\1/') mimg \"${@: -1}\" 2>/dev/null
                 declare -p COMPREPLY >/dev/null && printf '%s\\n' \"${COMPREPLY[@]}\""
            }
        };
        let mut command = Command::new(shell);
        command.args(["-c", script]).args((shell == "bash").then_some("bash")).args(words);
        command.current_dir(folder.path()).env("PATH", &path).env("HOME", folder.path());
        said(&mut command).map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    for shell in ["bash", "fish"] {
        let Some(nodes) = complete(shell, &["mimg", "build", "--fleet", "home", "--node", ""]) else { continue };
        assert_eq!(nodes, ["eccles", "nook"], "{shell}");
        let shown = |words: &[&str]| complete(shell, words).unwrap_or_default();
        assert_eq!(shown(&["mimg", "build", "--fleet=home", "--node", "n"]), ["nook"], "{shell}");
        let profiles = shown(&["mimg", "spec", "--fleet", "home", "--profile", ""]);
        assert_eq!(profiles, ["web", "base", "droplet", "nuc", "r720"], "{shell}");
        assert_eq!(shown(&["mimg", "bui"]), ["build"], "{shell}");
        assert_eq!(shown(&["mimg", "schema", "no"]), ["node"], "{shell}");
    }
    let zsh = mimg(folder.path(), &["completions", "zsh"]).stdout;
    assert!(zsh.starts_with(b"#compdef mimg\n"), "{}", String::from_utf8_lossy(&zsh));
    fs::write(folder.path().join("_mimg"), zsh).expect("a script");
    said(Command::new("zsh").args(["--no-exec", "_mimg"]).current_dir(folder.path()));
}

#[test]
fn an_editors_judge_takes_a_new_fleet_and_sees_what_is_wrong_with_another() {
    let folder = fleet();
    let home = folder.path().join("home");
    let lint = || Command::new("tombi").args(["lint", "--offline", "--error-on-warnings"]).current_dir(&home).output();
    let Ok(good) = lint() else { return eprintln!("NOT RUN: tombi is not on this host") };
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    // By its place, and by the line at its head.
    fs::write(home.join("nodes/nook.toml"), "profiles = [\"nuc\"]\npackges = [\"htop\"]\n").expect("a node");
    fs::remove_file(home.join(".tombi.toml")).expect(".tombi.toml");
    let directive = editor::directive(Document::Profile);
    fs::write(home.join("profiles/web.toml"), directive + "[swap]\nsize = \"2GB\"\n").expect("a profile");
    let seen = String::from_utf8_lossy(&lint().expect("tombi").stderr).into_owned();
    assert!(seen.contains("2GB") && !seen.contains("packges"), "{seen}");
    assert!(mimg(&home, &["schema", "--write"]).status.success());
    let seen = String::from_utf8_lossy(&lint().expect("tombi").stderr).into_owned();
    assert!(seen.contains("2GB") && seen.contains("packges"), "{seen}");
}

#[test]
fn check_tells_that_schemas_are_of_another_mimg_until_they_are_renewed() {
    let folder = fleet();
    let check = || err(&mimg(&folder.path().join("home"), &["check"]));
    assert_eq!(check(), "");
    fs::write(folder.path().join("home/schemas/node.json"), "{}\n").expect("a schema");
    assert!(check().contains("`mimg schema --write` renews them"), "{}", check());
    assert!(mimg(folder.path(), &["schema", "--write", "--fleet", "home"]).status.success());
    assert_eq!(check(), "");
    fs::remove_dir_all(folder.path().join("home/schemas")).expect("removing schemas");
    assert_eq!(check(), "", "a fleet without schemas is none the worse");
    assert_eq!(mimg(folder.path(), &["schema", "--write"]).status.code(), Some(2), "no fleet here");
    assert_eq!(mimg(folder.path(), &["schema"]).status.code(), Some(2));
}

#[test]
fn mimg_needs_no_glibc_newer_than_that_of_debian_12() {
    let newest = |text: &str, head: &str| {
        let versions = text.split(|c: char| c != '.' && c != '_' && !c.is_ascii_alphanumeric());
        let numbers = versions.filter_map(|word| {
            let (major, minor) = word.strip_prefix(head)?.split_once('.')?;
            Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
        });
        numbers.max().unwrap_or_else(|| panic!("no version in {text}"))
    };
    let here = said(Command::new("getconf").arg("GNU_LIBC_VERSION")).expect("getconf is part of libc-bin");
    if newest(&here, "") > (2, 36) {
        return eprintln!(
            "NOT RUN: what is linked on this host is for its own glibc; builder/package looks at it again"
        );
    }
    let symbols =
        said(Command::new("objdump").args(["-T", env!("CARGO_BIN_EXE_mimg")])).expect("objdump comes with gcc");
    let needed = newest(&symbols, "GLIBC_");
    assert!(needed > (2, 0) && needed <= (2, 36), "mimg needs glibc {needed:?}");
}
