//! The JSON Schemas against the checks: what a schema refuses, `Fleet::load` refuses as well.

use profiles::catalog;
use profiles::fleet::Fleet;
use profiles::schema::Document;
use profiles::size::Size;
use serde_json::Value;
use std::collections::BTreeMap;

const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1ByYWN0aWNlIG1ha2VzIHBlcmZlY3QhISE";
const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the schema says is wrong with a file, one line each.
fn seen(document: Document, text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let validator = jsonschema::draft7::new(&document.schema()).expect("a JSON Schema");
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// What mimg says is wrong with a fleet that has this node.
fn checked(root: &str, node: &str) -> Option<String> {
    let files = [("fleet.toml", root), ("nodes/eccles.toml", node)].map(|(path, text)| (path.into(), text.into()));
    Fleet::load(&BTreeMap::from(files)).err().map(|problems| problems.to_string())
}

#[test]
fn every_profile_of_the_catalog_is_what_the_schema_says() {
    let profiles = catalog::profiles();
    assert!(profiles.len() >= 4);
    for (name, text) in profiles {
        assert_eq!(seen(Document::Profile, text), [""; 0], "{name}");
    }
}

#[test]
fn a_fleet_with_all_its_keys_is_what_the_schema_says() {
    let root = format!(
        "{ROOT}[archive]\nmirror = \"http://mirror.example.org/debian\"\nsecurity-mirror = \"http://mirror.example.org/s\"\n\
         node-mirror = \"http://mirror.example.org/debian\"\nnode-security-mirror = \"http://mirror.example.org/s\"\n\
         check-valid-until = false\n[[user]]\nname = \"ana\"\nssh-keys = [\"{KEY} ana@laptop\"]\nsudo = true\n\
         groups = [\"adm\"]\nshell = \"/bin/sh\"\nuid = 1000\n"
    );
    let node = "about = \"x\"\nprofiles = [\"nuc\"]\ntimezone = \"Europe/Berlin\"\ncomponents = [\"main\", \"contrib\"]\n\
         kernel-parameters = [\"console=ttyS0,115200n8\"]\n[system]\nslot-size = \"16G\"\nroot = \"slot\"\n[journald]\n\
         system-max-use = \"64M\"\nmax-retention = \"14 days\"\nforward-to-syslog = true\n[ssh]\nport = 2222\n[swap]\n\
         size = \"1G\"\n[[unit]]\nname = \"getty@tty2.service\"\nenable = false\nstart = true\n[[disk]]\nname = \"bulk\"\n\
         count = 6\nabsent = 1\ngeneration = 2\nerase = [\"foreign:0123456789abcdef\"]\n[disk.select]\nbus = [\"sas\"]\n\
         rotational = true\nsize-min = \"100G\"\nsize-max = \"16T\"\nserial = \"x\"\nwwn = \"x\"\nmodel = \"x\"\npath = \"x\"\n\
         [[disk.partition]]\nname = \"zfs\"\ntype = \"zfs\"\nsize = \"rest\"\n";
    assert_eq!(checked(&root, node), None);
    assert_eq!(seen(Document::Fleet, &root), [""; 0]);
    assert_eq!(seen(Document::Node, node), [""; 0]);
}

/// Mistakes of `mistakes.rs` that a look at one file can find; others need the whole fleet, or arithmetic.
#[test]
fn mistakes_are_seen_where_they_are_made() {
    for (rest, place) in [
        ("packges = [\"htop\"]\n", ""),
        ("[journald]\nsystem-max-usage = \"1G\"\n", "/journald"),
        ("[zfs]\narc = \"1G\"\n", ""),
        ("[swap]\nsize = \"2GB\"\n", "/swap/size"),
        ("[swap]\nsize = 2\n", "/swap/size"),
        ("[swap]\n", "/swap"),
        ("[journald]\nmax-retention = \"soon\"\n", "/journald/max-retention"),
        ("timezone = \"Europe/Berln\"\n", "/timezone"),
        ("[[user]]\nsudo = true\n", "/user/0"),
        ("[[user]]\nname = \"Ana Lima\"\n", "/user/0/name"),
        ("[[user]]\nname = \"ana\"\nssh-keys = [\"id_ed25519.pub\"]\n", "/user/0/ssh-keys/0"),
        ("[[unit]]\nname = \"nginx\"\n", "/unit/0/name"),
        ("[[unit]]\nname = \"nginx.service\"\nenabled = true\n", "/unit/0"),
        ("packages = [\"htop=3.4\"]\n", "/packages/0"),
        ("components = [\"non-free-firmwares\"]\n", "/components/0"),
        ("kernel-parameters = [\"a=$b\"]\n", "/kernel-parameters/0"),
        ("[system]\nroot = \"all\"\n", "/system/root"),
        ("[ssh]\nport = 65536\n", "/ssh/port"),
    ] {
        let node = format!("profiles = [\"nuc\"]\n{rest}");
        let errors = seen(Document::Node, &node);
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("{place}: ")), "{node}{errors:?}");
        assert!(checked(ROOT, &node).is_some(), "mimg takes {node}");
    }
    for node in ["packages = [\"htop\"]\n", "profiles = []\n", "profiles = \"nuc\"\n"] {
        assert_eq!(seen(Document::Node, node).len(), 1, "{node}");
        assert!(checked(ROOT, node).is_some(), "mimg takes {node}");
    }
    assert_eq!(seen(Document::Profile, "packages = [\"htop\"]\n"), [""; 0], "a profile may stand alone");
    for root in ["[fleet]\nname = \"home\"\n", "", &ROOT.replace("name", "nam"), &format!("{ROOT}[archiv]\n")] {
        assert!(!seen(Document::Fleet, root).is_empty(), "{root}");
        assert!(checked(root, "profiles = [\"nuc\"]\n").is_some(), "mimg takes {root}");
    }
}

fn repository(name: &str, uri: &str, fingerprint: &str) -> String {
    format!(
        "[[repository]]\nname = \"{name}\"\nsuite = \"x\"\ncomponents = [\"x\"]\nkey = \"x\"\nuri = \"{uri}\"\n\
         fingerprint = \"{fingerprint}\"\n"
    )
}

/// Words of all kinds: some pattern takes each of them, or nearly.
const WORDS: &[&str] = &[
    "",
    "a",
    "ab",
    "a.",
    "+a",
    "a+",
    "A",
    "ä",
    "9",
    "9p",
    "a_b",
    "_a",
    "-a",
    "a b",
    " a",
    "a\\n",
    "a:1",
    "a=b",
    "a\\\\b",
    "a$",
    "a{",
    "a'",
    "a\\\"",
    "a;",
    "quiet",
    "nginx",
    "nginx.service",
    "x.mount",
    ".service",
    "a@b.timer",
    "ä.service",
    "a b.path",
    "nginx.service\\n",
    "x.swap",
    "/",
    "/bin/sh",
    "bin/sh",
    "/bin:sh",
    "/bin\\n",
    "14day",
    "14 days",
    "14",
    "day",
    "1.5h",
    "2  y",
    "3m",
    "3month",
    "3months\\n",
    "main",
    "Main",
    "non-free",
    "Etc/UTC",
    "etc/utc",
    "Europe/Berlin",
    "UTC",
    "slot",
    "rest",
    "Rest",
    "512M",
    "512M ",
    "8G",
    "8g",
    "8GG",
    "+8G",
    "08G",
    "1T",
    "9999999",
    "1K1",
    "http://a",
    "https://a",
    "ftp://a",
    "HTTP://a",
    "http:",
    "http://",
    "http://a b",
    FINGERPRINT,
    "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
    "0123456789abcdef0123456789abcdef0123456",
    "0123456789abcdef0123456789abcdef0123456g",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef012345678",
    "ana",
    "Ana",
    "ana-b_9",
    "0ana",
    "a234567890123456789012345678901x",
    "a2345678901234567890123456789012x",
    KEY,
    "ssh-ed25519 AAAAC3",
    "ssh-dss AAAAC3NzaC1lZDI1NTE5AAAAIJ1ByYWN0aWNlIG1ha2VzIHBlcmZlY3QhISE",
    "ssh-rsa AAAA4567890123456789012345678901234567890",
    "ssh-rsa AAAA456789012345678901234567890123456789x1",
    "ssh-rsa BBBB4567890123456789012345678901234567890x",
];

/// Keys where a word is to fit a pattern.
const TEMPLATES: &[&str] = &[
    "packages = [\"@\"]\n",
    "components = [\"@\"]\n",
    "kernel-parameters = [\"@\"]\n",
    "timezone = \"@\"\n",
    "[system]\nroot = \"@\"\n",
    "[journald]\nmax-retention = \"@\"\n",
    "[[unit]]\nname = \"@\"\n",
    "[[user]]\nname = \"@\"\n",
    "[[user]]\nname = \"ana\"\nshell = \"@\"\n",
    "[[user]]\nname = \"ana\"\nssh-keys = [\"@\"]\n",
];

fn words() -> Vec<String> {
    let around_key = [format!("{KEY} ana@laptop"), format!("{KEY} two words"), format!("{KEY}\\n"), format!(" {KEY}")];
    WORDS.iter().map(|word| word.to_string()).chain(around_key).collect()
}

/// The patterns are written beside the checks, not made from them: they are held together here.
#[test]
fn words_that_a_pattern_takes_are_those_that_the_check_takes() {
    let repositories =
        [repository("x", "http://x", "@"), repository("x", "@", FINGERPRINT), repository("@", "http://x", FINGERPRINT)];
    let templates = TEMPLATES.iter().copied().chain(repositories.iter().map(String::as_str));
    let (mut taken, mut refused) = (0, 0);
    for template in templates {
        for word in words() {
            let node = format!("profiles = [\"base\"]\n{}", template.replace('@', &word));
            let (schema, mimg) = (seen(Document::Node, &node), checked(ROOT, &node));
            assert_eq!(schema.is_empty(), mimg.is_none(), "{node}the schema says {schema:?}, mimg says {mimg:?}");
            if schema.is_empty() { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 100 && refused > 300, "{taken} taken, {refused} refused");
}

/// Whether a size is large enough is beyond a schema.
#[test]
fn a_size_that_is_none_is_seen() {
    for word in words() {
        let node = format!("profiles = [\"base\"]\n[swap]\nsize = \"{word}\"\n");
        assert_eq!(seen(Document::Node, &node).is_empty(), Size::parse(&word).is_ok(), "{node}");
    }
}

#[test]
fn every_key_says_what_it_is_for_and_no_table_takes_others() {
    fn visit(schema: &Value, path: &str, keys: &mut usize) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for (name, property) in properties {
                let path = format!("{path}.{name}");
                let text = property["description"].as_str().unwrap_or("");
                assert!(text.ends_with('.') || text.ends_with(')'), "{path}: {text:?}");
                assert!(property["type"].is_string() || property["oneOf"].is_array(), "{path}: {property}");
                *keys += 1;
                visit(property, &path, keys);
            }
        }
        if schema["items"].is_object() {
            visit(&schema["items"], &format!("{path}[]"), keys);
        }
    }
    for document in Document::ALL {
        let mut keys = 0;
        visit(&document.schema(), document.name(), &mut keys);
        assert!(keys > 10, "{}: {keys}", document.name());
    }
}
