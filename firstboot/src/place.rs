//! Where firstboot finds and leaves its files. All are paths below the machine's root.

/// The Spec that the image was built with.
pub const SPEC: &str = "/usr/share/mimg/spec.json";
/// The digest of all that the image was built from.
pub const IMAGE: &str = "/usr/share/mimg/image";
/// The Spec that a bare profile image took from a seed.
pub const ADOPTED: &str = "/var/lib/mimg/spec.json";
/// The last pass's Report, readable by all; written by every pass.
pub const REPORT: &str = "/run/mimg/report.json";
/// The same Report, kept over reboots; written when it changed.
pub const KEPT_REPORT: &str = "/var/lib/mimg/report.json";
/// There once every verdict was Done since boot. `mimg-ready.target` asserts it.
pub const READY: &str = "/run/mimg/ready";
/// The target that is started when every verdict is Done.
pub const READY_TARGET: &str = "mimg-ready.target";
/// What was done, line by line, for people.
pub const RECORD: &str = "/var/lib/mimg/record.jsonl";
/// What agetty shows above the login prompt.
pub const ISSUE: &str = "/run/issue.d/50-mimg.issue";
/// Held while a pass acts.
pub const LOCK: &str = "/run/mimg/lock";
/// The name of the Spec on a seed medium.
pub const SEED_FILE: &str = "spec.json";
/// Where udev puts links to file systems by their label.
pub const LABELS: &str = "/dev/disk/by-label";
