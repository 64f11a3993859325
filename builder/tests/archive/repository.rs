//! Archives beside Debian's, as a profile names them: the key that it pins, and an image with a package of such a one.

use crate::person::{err, fleet, is_bad_input, mimg, mimg_with, out, put};
use crate::server::Server;
use crate::signer::{DAY, SOUND, Shape, Signer, clear};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use pgp::crypto::hash::HashAlgorithm::Sha256;
use sha2::{Digest, Sha256 as Hash};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// With what other tests download beside it: packages are fetched once for all of them.
fn build(fleet: &TempDir, arguments: &[&str]) -> Output {
    mimg_with(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("building"), fleet.path(), arguments)
}

/// A repository with this key and fingerprint.
fn repository(key: &str, fingerprint: &str, more: &str) -> String {
    at("http://127.0.0.1:1", key, fingerprint, more)
}

fn at(uri: &str, key: &str, fingerprint: &str, more: &str) -> String {
    format!(
        "[[repository]]\nname = \"own\"\nuri = \"{uri}\"\nsuite = \"stable\"\ncomponents = [\"main\"]\n\
         fingerprint = \"{fingerprint}\"\n{more}key = '''\n{key}'''\n"
    )
}

#[test]
fn a_key_with_another_fingerprint_than_the_pinned_one_is_refused_where_that_is_written() {
    let (own, other) = (Signer::sound(), Signer::sound());
    is_bad_input(
        &fleet(&repository(&own.armored(), &other.fingerprint(), "")),
        &[
            &format!("repository.own.fingerprint: the key has another fingerprint: {}", own.fingerprint()),
            "--> profiles/mine.toml:7:15",
            "take the fingerprint from the repository's maker",
        ],
    );
}

#[test]
fn an_expired_or_revoked_key_is_refused_with_its_date() {
    let expired = Signer::new(Shape { life: 100 * DAY, ..SOUND }, None);
    let key = repository(&expired.armored(), &expired.fingerprint(), "");
    let date = "expired on 2025-04-11T00:00:00Z";
    is_bad_input(&fleet(&key), &["repository.own.key: the key", date, "--> profiles/mine.toml:8:7", "newer key"]);
    let revoked = Signer::new(Shape { revoked: true, ..SOUND }, None);
    is_bad_input(&fleet(&repository(&revoked.armored(), &revoked.fingerprint(), "")), &["was revoked by its owner"]);
    let mute = Signer::new(Shape { signs: false, ..SOUND }, None);
    is_bad_input(&fleet(&repository(&mute.armored(), &mute.fingerprint(), "")), &["has no key that signs"]);
}

#[test]
fn what_is_no_key_and_a_priority_out_of_range_are_refused() {
    let none = repository("-----BEGIN NOTHING-----\n", &"0".repeat(40), "");
    is_bad_input(&fleet(&none), &["repository.own.key: ", "an OpenPGP certificate", "--> profiles/mine.toml:8:7"]);
    let sound = Signer::sound();
    let priority = |number: &str| repository(&sound.armored(), &sound.fingerprint(), &format!("priority = {number}\n"));
    is_bad_input(&fleet(&priority("-1")), &["repository.own.priority: -1", "--> profiles/mine.toml:8:12", "1 to 1000"]);
    let checked = mimg(fleet(&priority("900")).path(), &["check"]);
    assert!(checked.status.success(), "{}", err(&checked));
}

#[test]
fn a_priority_that_would_be_debians_on_the_machine_too_is_refused() {
    let sound = Signer::sound();
    let fleet = fleet(&repository(&sound.armored(), &sound.fingerprint(), "priority = 900\n"));
    let root = fs::read_to_string(fleet.path().join("fleet.toml")).expect("fleet.toml");
    put(fleet.path(), "fleet.toml", &(root + "[archive]\nnode-mirror = \"http://127.0.0.1:3142/debian\"\n"));
    let same = "900, and Debian itself comes from the same host, http://127.0.0.1:3142/debian";
    is_bad_input(&fleet, &["repository.own.priority", same, "--> profiles/mine.toml:8:12", "[archive] in fleet.toml"]);
}

/// A package for the archive: its control fields but for the sums, and its files.
struct Packed {
    name: &'static str,
    version: &'static str,
    depends: &'static str,
    deb: Vec<u8>,
}

/// A real package, made by dpkg-deb, with a program, and a script that says that it ran.
fn packed(name: &'static str, version: &'static str, depends: &'static str) -> Result<Packed> {
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\n{depends}Description: made\n"
    );
    put(&tree, "DEBIAN/control", &control);
    put(&tree, "DEBIAN/postinst", &format!("#!/bin/sh\necho \"$1 $(id -un)\" >/etc/{name}.configured\n"));
    put(&tree, &format!("usr/share/{name}/greeting"), &format!("{name} {version}\n"));
    let script = tree.join("DEBIAN/postinst");
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let deb = folder.path().join("made.deb");
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(tree).arg(&deb).output()?;
    ensure!(built.status.success(), "dpkg-deb: {}", err(&built));
    Ok(Packed { name, version, depends, deb: fs::read(deb)? })
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Hash::digest(bytes))
}

/// The files of an archive of one suite, "stable", signed now by `signer`.
fn archive(packages: &[Packed], signer: &Signer) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    let mut index = String::new();
    for Packed { name, version, depends, deb } in packages {
        let (size, sum) = (deb.len(), digest(deb));
        index += &format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nPriority: optional\n{depends}\
             Filename: pool/{name}_{version}.deb\nSize: {size}\nSHA256: {sum}\n\n"
        );
        files.insert(format!("/pool/{name}_{version}.deb"), deb.clone());
    }
    let now = Timestamp::now();
    let (date, size, sum) = (now.strftime("%a, %d %b %Y %H:%M:%S UTC"), index.len(), digest(index.as_bytes()));
    let release =
        format!("Suite: stable\nCodename: stable\nDate: {date}\nSHA256:\n {sum} {size} main/binary-amd64/Packages\n");
    let at = u32::try_from(now.as_second()).expect("a date of this century");
    let signed = clear(&release, |text| vec![signer.sign(text, at, Sha256)]);
    files.insert("/dists/stable/InRelease".to_owned(), signed.into_bytes());
    files.insert("/dists/stable/main/binary-amd64/Packages".to_owned(), index.into_bytes());
    files
}

#[test]
fn an_archive_signed_by_another_key_than_the_pinned_one_is_not_taken_from() -> Result<()> {
    let (pinned, other) = (Signer::sound(), Signer::sound());
    let server = Server::of_files(archive(&[], &other));
    let fleet = fleet(&at(&server.url(""), &pinned.armored(), &pinned.fingerprint(), ""));
    let output = build(&fleet, &["build", "--profile", "mine"]);
    let said = err(&output);
    ensure!(output.status.code() == Some(1), "{said}");
    for part in [&server.url(" stable"), &pinned.fingerprint(), &format!("{} is not pinned", other.fingerprint())] {
        ensure!(said.contains(part.as_str()), "{part:?} is missing in: {said}");
    }
    ensure!(!fleet.path().join("mine.img").exists());
    Ok(())
}

#[test]
fn an_archive_is_opened_once_for_all_images_of_a_fleet() -> Result<()> {
    let signer = Signer::sound();
    let server = Server::of_files(archive(&[], &signer));
    let asks = "packages = [\"that-nobody-has\"]\n".to_owned();
    let fleet = fleet(&(asks + &at(&server.url(""), &signer.armored(), &signer.fingerprint(), "")));
    let output = build(&fleet, &["build", "--all"]);
    let said = err(&output);
    ensure!(output.status.code() == Some(1) && said.matches("that-nobody-has").count() >= 2, "{said}");
    let asked = server.requests().iter().filter(|request| request.path.ends_with("/InRelease")).count();
    ensure!(asked == 1, "its Release was asked for {asked} times: {said}");
    Ok(())
}

/// The whole way once: a package that only the repository has, one that Debian has in a newer version, and an overlay that
/// replaces a file of Debian's.
#[test]
fn an_image_has_the_packages_of_a_repository_as_its_priority_wants_it() -> Result<()> {
    let signer = Signer::sound();
    let packages = [packed("greeter", "1.0", "Depends: hello\n")?, packed("hello", "0.1", "")?];
    let server = Server::of_files(archive(&packages, &signer));
    let settings = "packages = [\"greeter\"]\nreplaces = [\"/etc/issue\", \"/usr/bin/dpkg-split\"]\n";
    let priority = |number: &str| {
        settings.to_owned()
            + &at(&server.url(""), &signer.armored(), &signer.fingerprint(), &format!("priority = {number}\n"))
    };
    let fleet = fleet(&priority("900"));
    put(fleet.path(), "overlays/mine/etc/issue", "ours\n");
    put(fleet.path(), "overlays/mine/usr/bin/dpkg-split", "#!/bin/sh\n");
    let output = build(&fleet, &["build", "--profile", "mine", "--json"]);
    ensure!(output.status.success(), "{}", err(&output));
    let manifest: serde_json::Value = serde_json::from_str(&out(&output))?;
    let member = |name: &str| {
        let packages = manifest["packages"].as_array().into_iter().flatten();
        packages.clone().find(|package| package["name"] == name).cloned().unwrap_or_default()
    };
    ensure!(member("hello")["version"] == "0.1" && member("greeter")["suite"] == "stable", "{manifest}");
    let image = fleet.path().join("mine.img");
    let wanted = [
        ("/usr/share/greeter/greeting", "greeter 1.0\n"),
        ("/usr/share/hello/greeting", "hello 0.1\n"),
        ("/etc/greeter.configured", "configure root\n"),
        ("/etc/issue", "ours\n"),
        ("/usr/bin/dpkg-split", "#!/bin/sh\n"),
    ];
    for (path, content) in wanted {
        let found = read(&image, path)?;
        ensure!(found == content, "{path} holds {found:?}");
    }
    let policy = policy(fleet.path(), &image, "hello")?;
    ensure!(policy.contains("Candidate: 0.1\n") && policy.contains("0.1 900\n"), "the machine's apt says: {policy}");
    let diversions = read(&image, "/var/lib/dpkg/diversions")?;
    ensure!(diversions.contains("/usr/bin/dpkg-split\n/usr/bin/dpkg-split.distrib\n:\n"), "{diversions}");
    Ok(())
}

/// What the host's apt says of a package, with the image's own key, source and preferences, and nothing else.
fn policy(folder: &Path, image: &Path, package: &str) -> Result<String> {
    let apt = folder.join("apt");
    let place = apt.display().to_string();
    for path in ["keyrings/own.asc", "sources.list.d/own.sources", "preferences.d/own.pref"] {
        let content = read(image, &format!("/etc/apt/{path}"))?;
        ensure!(!content.is_empty(), "the image has no /etc/apt/{path}");
        // The one path that apt does not look for below its own folder.
        put(&apt, &format!("etc/{path}"), &content.replace("/etc/apt/keyrings", &format!("{place}/etc/keyrings")));
    }
    put(&apt, "status", "");
    for folder in ["lists/partial", "cache/archives/partial", "etc/apt.conf.d"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    put(
        &apt,
        "apt.conf",
        &format!(
            "Dir \"{place}\";\nDir::Etc \"{place}/etc\";\nDir::State::lists \"{place}/lists\";\n\
             Dir::State::status \"{place}/status\";\nDir::Cache \"{place}/cache\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\nDebug::NoLocking \"true\";\n"
        ),
    );
    let run = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).env("APT_CONFIG", apt.join("apt.conf")).output()?;
        let said = out(&output) + &err(&output);
        ensure!(output.status.success() && !said.contains("W:"), "{program} {arguments:?}: {said}");
        Ok(said)
    };
    run("apt-get", &["update"])?;
    run("apt-cache", &["policy", package])
}

/// A file of the image's root, as debugfs reads it.
fn read(image: &Path, path: &str) -> Result<String> {
    let table =
        Command::new("sfdisk").arg("--json").arg(image).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output()?;
    let table: serde_json::Value = serde_json::from_slice(&table.stdout)?;
    let root = table["partitiontable"]["partitions"].as_array().and_then(|all| all.last()).context("the root")?;
    let offset = root["start"].as_u64().context("its start")? * 512;
    let mut device = PathBuf::from(image).into_os_string();
    device.push(format!("?offset={offset}"));
    let mut command = Command::new("debugfs");
    command.arg("-R").arg(format!("cat {path}")).arg(device).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(String::from_utf8(command.output().context("running debugfs, of e2fsprogs")?.stdout)?)
}
