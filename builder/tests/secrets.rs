//! The fleet's secrets as a person meets them, with Debian's own age as the judge of what is encrypted.

use builder::publish::signature::{PublicKey, SigningKey};
use builder::secrets::identity::Identity;
use builder::secrets::{Secret, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a fleet `home`, the administrator's key `id`, and `offline.txt`, an age key.
struct Home {
    folder: TempDir,
    offline: String,
}

/// Where the host lacks a tool the test says so, and is a failure with CI=true.
fn lacks(tool: &str, package: &str) -> bool {
    let lacks = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if lacks {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{tool} is not here: apt install {package}");
        eprintln!("skipped: {tool} is not on this host: apt install {package}");
    }
    lacks
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Home {
    fn new() -> Option<Home> {
        if lacks("age-keygen", "age") || lacks("ssh-keygen", "openssh-client") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home { folder, offline: String::new() };
        assert!(home.mimg(&["init", "home"]).status.success());
        home.ssh_key("id", "ed25519", "");
        home.run("age-keygen", &["-o", "offline.txt"]);
        let offline = text(&home.run("age-keygen", &["-y", "offline.txt"]).stdout).trim().to_owned();
        home.user(&fs::read_to_string(home.path("id.pub")).expect("a key"));
        Some(Home { offline, ..home })
    }

    fn started() -> Option<Home> {
        let home = Home::new()?;
        let started = home.init(&["--offline-recipient", &home.offline]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        Some(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = Command::new(program).args(arguments).current_dir(self.folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("running {program}: {error}"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
        output
    }

    fn ssh_key(&self, name: &str, kind: &str, passphrase: &str) {
        self.run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-C", "ana@laptop", "-f", name]);
    }

    /// Gives fleet.toml one administrator with this key.
    fn user(&self, key: &str) {
        let fleet = fs::read_to_string(self.path("home/fleet.toml")).expect("fleet.toml");
        let fleet = fleet.split("[[user]]\nname = \"ana\"\nsudo = true").next().expect("a first part").to_owned();
        let user = format!("[[user]]\nname = \"ana\"\nsudo = true\nssh-keys = [{:?}]\n", key.trim());
        fs::write(self.path("home/fleet.toml"), fleet + &user).expect("fleet.toml");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mimg"));
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        // No build gets beyond the signing key here: there is no folder for its cache.
        command.env("MIMG_CACHE", "/proc/no/such/folder").env_remove("MIMG_IDENTITY");
        command
    }

    fn mimg(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("running mimg")
    }

    fn init(&self, more: &[&str]) -> Output {
        self.mimg(&[&["secrets", "init", "--fleet", "home"], more].concat())
    }

    /// Exit code and message of a build, which ends for want of a cache if the signing key was opened.
    fn build(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self.mimg(&[&["build", "--node", "eccles", "--fleet", "home"], more].concat());
        (output.status.code(), text(&output.stderr))
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![self.path("home")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                match entry.path() {
                    path if path.is_dir() => open.push(path),
                    path => found.push((path.clone(), fs::read(path).expect("a file"))),
                }
            }
        }
        found.sort();
        found
    }
}

const OPENED: &str = "making the cache";

#[test]
fn what_is_made_opens_with_each_recipients_key_and_age_itself_and_with_no_other() {
    let Some(home) = Home::started() else { return };
    let age = |identity: &str| {
        let mut age = Command::new("age");
        age.args(["-d", "-i", identity, "home/secrets/signing.key.age"]).current_dir(home.folder.path());
        age.output().expect("running age")
    };
    let by_ssh = age("id");
    assert!(by_ssh.status.success(), "{}", text(&by_ssh.stderr));
    assert_eq!(age("offline.txt").stdout, by_ssh.stdout);
    let key = SigningKey::parse(&text(&by_ssh.stdout)).expect("a signing key");
    let public = fs::read_to_string(home.path("home/secrets/signing.pub")).expect("a key");
    assert!(PublicKey::parse(&public).expect("a key") == key.public());
    home.ssh_key("other", "ed25519", "");
    assert!(!age("other").status.success());
    // Others' files open here as well, and what is put here there.
    home.run("age", &["-R", "home/secrets/recipients.txt", "-o", "home/secrets/theirs.age", "id.pub"]);
    let store = Store::open(&home.path("home")).expect("a store").expect("it is there");
    let identity = Identity::open(Some(&home.path("offline.txt"))).expect("an identity");
    assert_eq!(store.get("theirs", &identity).expect("it").expose(), fs::read(home.path("id.pub")).expect("it"));
    store.put("nodes/eccles/tunnel.key", &Secret::new(b"canary".to_vec())).expect("putting it");
    let output = home.run("age", &["-d", "-i", "id", "home/secrets/nodes/eccles/tunnel.key.age"]);
    assert_eq!(output.stdout, b"canary");
    let checked = home.mimg(&["check", "--fleet", "home"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn no_file_and_no_word_of_mimgs_has_the_secret_in_it() {
    let Some(home) = Home::started() else { return };
    let store = Store::open(&home.path("home")).expect("a store").expect("it is there");
    let identity = Identity::open(Some(&home.path("id"))).expect("an identity");
    store.put("canary", &Secret::new(b"the-canary-sings".to_vec())).expect("putting it");
    let secret = text(store.get("signing.key", &identity).expect("it").expose());
    let line = secret.lines().nth(1).expect("its second line");
    for (path, bytes) in home.files() {
        let text = text(&bytes);
        assert!(!text.contains("the-canary-sings") && !text.contains(&line[8..]), "{}", path.display());
    }
    let spoken = [
        home.init(&[]),
        home.mimg(&["check", "--fleet", "home"]),
        home.mimg(&["build", "--node", "eccles", "--fleet", "home", "--identity", "id"]),
    ];
    for output in spoken {
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains(&line[8..]), "{said}");
    }
    let mode = fs::metadata(home.path("home/secrets")).expect("it").permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "all of it is public, and git keeps no other mode");
}

#[test]
fn a_second_init_changes_nothing_and_says_what_is_there() {
    let Some(home) = Home::started() else { return };
    let before = home.files();
    let again = home.init(&["--json"]);
    let said: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!((&said["made"], said["recipients"].as_array().map(Vec::len)), (&false.into(), Some(2)));
    assert!(again.status.success() && home.files() == before);
}

#[test]
fn without_a_second_key_that_is_kept_offline_nothing_is_made() {
    let Some(home) = Home::new() else { return };
    let refused = |more: &[&str], word: &str| {
        let output = home.init(more);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(word), "{more:?}: {said}");
        assert!(!home.path("home/secrets").exists() && !said.contains("AGE-SECRET-KEY"), "{said}");
    };
    refused(&[], "age-keygen -o offline.txt");
    let id = fs::read_to_string(home.path("id.pub")).expect("a key");
    refused(&["--offline-recipient", &id], "is an administrator's as well");
    refused(&["--offline-recipient", "id.pub"], "is an administrator's as well");
    refused(&["--offline-recipient", "id"], "its public half");
    refused(&["--offline-recipient", "offline.txt"], "age-keygen -y");
    let secret = fs::read_to_string(home.path("offline.txt")).expect("a key");
    refused(&["--offline-recipient", secret.lines().last().expect("its last line")], "age-keygen -y");
    home.ssh_key("rsa", "rsa", "");
    refused(&["--offline-recipient", "rsa.pub"], "ssh-keygen -t ed25519");
    home.ssh_key("ecdsa", "ecdsa", "");
    refused(&["--offline-recipient", "ecdsa.pub"], "signs only");
    refused(&["--offline-recipient", "age1yubikey1q2w3e"], "plugins");
    refused(&["--offline-recipient", &home.offline[..40]], "mistyped");
    refused(&["--offline-recipient", &id[..50]], "cut short");
    refused(&["--offline-recipient", "nowhere.pub"], "something that begins with");
    // Of the administrators as well; one with another key beside it is fine.
    home.user(&fs::read_to_string(home.path("rsa.pub")).expect("a key"));
    refused(&["--offline-recipient", &home.offline], "user ana has an ssh-rsa key");
    let made = home.init(&["--offline-recipient", &home.offline, "--recipient", "id.pub"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let list = fs::read_to_string(home.path("home/secrets/recipients.txt")).expect("the list");
    assert!(list.contains(id.trim()) && list.contains(&home.offline) && !list.contains("ssh-rsa"), "{list}");
}

#[test]
fn the_signing_key_opens_for_its_recipients_before_a_build_and_others_are_told() {
    let Some(home) = Home::started() else { return };
    for identity in ["id", "offline.txt"] {
        let (_, said) = home.build(&["--identity", identity]);
        assert!(said.contains(OPENED), "{identity}: {said}");
    }
    home.ssh_key("other", "ed25519", "");
    home.ssh_key("rsa", "rsa", "");
    fs::write(home.path("empty"), "# nothing\n").expect("a file");
    for (identity, word) in [
        ("other", "other does not open home/secrets/signing.key.age"),
        ("rsa", "rsa is an RSA key"),
        ("id.pub", "id.pub is a public key"),
        ("nowhere", "there is no file nowhere"),
        ("empty", "empty has no key in it"),
        ("home/secrets/signing.key.age", "not a text"),
    ] {
        let (code, said) = home.build(&["--identity", identity]);
        assert!(code == Some(2) && said.contains(word), "{identity}: {said}");
    }
    let (code, said) = home.build(&[]);
    assert!(code == Some(2) && said.contains(".ssh/id_ed25519") && said.contains("MIMG_IDENTITY"), "{said}");
    let (_, said) = home.build(&["--unsigned"]);
    assert!(said.contains(OPENED), "{said}");
    fs::create_dir(home.path(".ssh")).expect("a folder");
    fs::copy(home.path("id"), home.path(".ssh/id_ed25519")).expect("a key");
    let (_, said) = home.build(&[]);
    assert!(said.contains(OPENED), "the usual key is found: {said}");
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_and_without_one_that_is_said() {
    let Some(home) = Home::new() else { return };
    if lacks("setsid", "util-linux") || lacks("script", "bsdutils") {
        return;
    }
    home.ssh_key("locked", "ed25519", "open sesame");
    let init = home.init(&["--recipient", "locked.pub", "--offline-recipient", &home.offline]);
    assert!(init.status.success(), "{}", text(&init.stderr));
    let mimg = env!("CARGO_BIN_EXE_mimg");
    let build = ["build", "--node", "eccles", "--fleet", "home", "--identity", "locked"];
    // A session of its own has no terminal.
    let mut alone = Command::new("setsid");
    alone.args(["--wait", mimg]).args(build).current_dir(home.folder.path()).stdin(Stdio::null());
    let alone = alone.output().expect("running setsid");
    let said = text(&alone.stderr);
    assert!(alone.status.code() == Some(2) && said.contains("there is no terminal to ask for it"), "{said}");
    let typed = |passphrase: &str| {
        let line = format!("{mimg} {}", build.join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(home.folder.path());
        script.env("MIMG_CACHE", "/proc/no/such/folder").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("running script");
        let mut stdin = child.stdin.take().expect("its input");
        std::io::Write::write_all(&mut stdin, format!("{passphrase}\n").as_bytes()).expect("typing");
        // The terminal stays open until the end: closing it now would be typing ^D.
        let output = child.stdout.take().map(std::io::read_to_string).expect("its output").expect("reading");
        drop(stdin);
        child.wait().expect("its end");
        output
    };
    let good = typed("open sesame");
    assert!(good.contains("Passphrase of locked") && good.contains(OPENED), "{good}");
    let bad = typed("open barley");
    assert!(bad.contains("this is not the passphrase of locked"), "{bad}");
}

#[test]
fn a_key_of_another_fleet_is_a_clear_error() {
    let Some(home) = Home::started() else { return };
    let public = home.path("home/secrets/signing.pub");
    let ours = fs::read_to_string(&public).expect("a key");
    fs::write(&public, SigningKey::generate().expect("a key").public().render()).expect("a key");
    let (code, said) = home.build(&["--identity", "id"]);
    assert!(code == Some(1) && said.contains("is not the public half of the fleet's signing key"), "{said}");
    fs::write(&public, &ours).expect("a key");
    let store = Store::open(&home.path("home")).expect("a store").expect("it is there");
    store.put("signing.key", &Secret::new(b"not a key".to_vec())).expect("putting it");
    let (code, said) = home.build(&["--identity", "id"]);
    assert!(code == Some(1) && said.contains("reading the signing key") && !said.contains("not a key"), "{said}");
    let sealed = home.path("home/secrets/signing.key.age");
    let mut bytes = fs::read(&sealed).expect("it");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&sealed, bytes).expect("it");
    let (code, said) = home.build(&["--identity", "id"]);
    assert!(code == Some(1) && said.contains("it is damaged"), "{said}");
}

#[test]
fn check_tells_what_is_missing_halved_or_in_the_clear() {
    let Some(home) = Home::started() else { return };
    let files = ["recipients.txt", "signing.pub", "signing.key.age"].map(|name| home.path("home/secrets").join(name));
    let kept = files.clone().map(|path| fs::read(path).expect("a file"));
    let refused = |word: &str| {
        let output = home.mimg(&["check", "--fleet", "home"]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(word), "{word} was wanted: {said}");
        said
    };
    for (path, word) in
        files.iter().zip(["no secrets/recipients.txt", "no secrets/signing.pub", "no secrets/signing.key.age"])
    {
        fs::remove_file(path).expect("it");
        refused(word);
        assert_eq!(home.init(&[]).status.code(), Some(2), "half a store is not taken for a whole one");
        for (path, bytes) in files.iter().zip(&kept) {
            fs::write(path, bytes).expect("it");
        }
    }
    fs::write(&files[1], "RW").expect("it");
    refused("signing.pub");
    fs::write(&files[1], &kept[1]).expect("it");
    let list = text(&kept[0]);
    for (bad, word) in [
        (list.replace("age1", "age2"), "secrets/recipients.txt:4: something that begins with \"age2"),
        (format!("{list}{}\n", home.offline), "secrets/recipients.txt:5: a key that stands in it twice"),
        (list.lines().take(2).collect::<Vec<_>>().join("\n"), "has 1 recipients"),
        (
            format!(
                "{list}{}\n",
                fs::read_to_string(home.path("offline.txt")).expect("it").lines().last().expect("it")
            ),
            "the secret half",
        ),
    ] {
        fs::write(&files[0], bad).expect("it");
        assert!(!refused(word).contains("AGE-SECRET-KEY"));
    }
    fs::write(&files[0], &kept[0]).expect("it");
    fs::create_dir(home.path("home/secrets/nodes")).expect("a folder");
    for name in ["tunnel.key", "tunnel.key.age"] {
        let path = home.path("home/secrets/nodes").join(name);
        fs::write(&path, "in the clear").expect("it");
        refused(&format!("secrets/nodes/{name} is not encrypted by age"));
        fs::remove_file(path).expect("it");
    }
    assert!(home.mimg(&["check", "--fleet", "home"]).status.success());
    // Together with what else is wrong in the fleet.
    fs::write(home.path("home/secrets/plain"), "in the clear").expect("it");
    fs::write(home.path("home/nodes/eccles.toml"), "profiles = [\"nuc\"]\npackges = []\n").expect("it");
    assert!(refused("secrets/plain is not encrypted by age").contains("did you mean `packages`?"));
}

#[test]
fn a_name_leads_nowhere_but_into_the_store() {
    let Some(home) = Home::started() else { return };
    let store = Store::open(&home.path("home")).expect("a store").expect("it is there");
    let before = home.files();
    for name in ["", "../x", "/etc/x", "a//b", "a/../../x", ".hidden", "a/.git", "A", "a b", "a\0b", "a\nb", "ä"] {
        assert!(store.put(name, &Secret::new(Vec::new())).is_err(), "{name:?} was taken");
    }
    assert_eq!(before, home.files());
    let identity = Identity::open(Some(&home.path("id"))).expect("an identity");
    let said = format!("{:#}", store.get("nobody", &identity).err().expect("no such secret"));
    assert!(said.contains("the fleet has no secret nobody"), "{said}");
    assert!(Store::open(Path::new("/proc")).expect("no store").is_none());
}
