//! LVM's answers about groups and volumes on devices that the settings name. It is never asked about others, nor let near
//! them: every command names its devices.
//!
//! What is ours carries a tag made from our UUID of it.

use crate::ask::Ask;
use crate::facts::Facts;
use crate::ground::{Ground, Place};
use crate::part::vg::Vg;
use crate::spec::Spec;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

/// What volumes are made of: a size is rounded up to it.
pub const EXTENT: u64 = 4 << 20;
/// What libblkid calls a physical volume.
pub const MEMBER: &str = "LVM2_member";

/// A physical volume, with what LVM says of its group.
#[derive(Clone, Debug, Deserialize)]
pub struct Pv {
    pub pv_uuid: String,
    /// Empty where it is in no group.
    pub vg_name: String,
    pub vg_uuid: String,
    vg_tags: String,
    #[serde(deserialize_with = "number")]
    pub pv_size: u64,
    /// 0 where the device is not there.
    #[serde(deserialize_with = "number")]
    pub dev_size: u64,
    #[serde(deserialize_with = "number")]
    pub pe_start: u64,
    #[serde(deserialize_with = "number")]
    pub vg_free: u64,
}

/// A logical volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Lv {
    pub lv_name: String,
    pub lv_uuid: String,
    lv_tags: String,
    #[serde(deserialize_with = "number")]
    pub lv_size: u64,
    lv_active: String,
}

/// LVM writes numbers as texts, and nothing where there is none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(0) } else { text.parse().map_err(D::Error::custom) }
}

impl Pv {
    pub fn has(&self, tag: &str) -> bool {
        self.vg_tags.split(',').any(|word| word == tag)
    }
}

impl Lv {
    pub fn has(&self, tag: &str) -> bool {
        self.lv_tags.split(',').any(|word| word == tag)
    }

    pub fn is_active(&self) -> bool {
        self.lv_active == "active"
    }
}

/// The tag of what has this UUID of ours.
pub fn tag(uuid: Uuid) -> String {
    format!("mimg-{uuid}")
}

/// A UUID in LVM's own letters and groups.
pub fn id(uuid: Uuid) -> String {
    let digits = uuid.simple().to_string();
    let groups = [0..6, 6..10, 10..14, 14..18, 18..22, 22..26, 26..32];
    groups.map(|range| &digits[range]).join("-")
}

/// The option that keeps a command to these devices.
pub fn devices(paths: &[String]) -> String {
    format!("--devices={}", paths.join(","))
}

fn question(command: &str, fields: &str, paths: &[String]) -> Ask {
    let (devices, fields) = (devices(paths), format!("--options={fields}"));
    Ask::run(&[command, &devices, "--reportformat=json", "--units=b", "--nosuffix", &fields])
}

pub fn pvs_ask(paths: &[String]) -> Ask {
    question("pvs", "pv_uuid,vg_name,vg_uuid,vg_tags,pv_size,dev_size,pe_start,vg_free", paths)
}

pub fn lvs_ask(paths: &[String]) -> Ask {
    question("lvs", "lv_name,lv_uuid,lv_tags,lv_size,lv_active", paths)
}

/// Physical volumes on these devices, and those that their groups lack; `None` while LVM did not answer.
pub fn pvs(paths: &[String], facts: &Facts) -> Option<Vec<Pv>> {
    #[derive(Deserialize)]
    struct Pvs {
        pv: Vec<Pv>,
    }
    Some(report::<Pvs>(&pvs_ask(paths), facts)?.into_iter().flat_map(|report| report.pv).collect())
}

/// Logical volumes of the groups on these devices.
pub fn lvs(paths: &[String], facts: &Facts) -> Option<Vec<Lv>> {
    #[derive(Deserialize)]
    struct Lvs {
        lv: Vec<Lv>,
    }
    Some(report::<Lvs>(&lvs_ask(paths), facts)?.into_iter().flat_map(|report| report.lv).collect())
}

fn report<T: DeserializeOwned>(ask: &Ask, facts: &Facts) -> Option<Vec<T>> {
    #[derive(Deserialize)]
    struct Reports<T> {
        report: Vec<T>,
    }
    let Ask::Run(argv) = ask else { return None };
    let said = facts.said(argv)?;
    Some(serde_json::from_str::<Reports<T>>(said).ok()?.report)
}

/// A group of the settings, as it stands on the machine.
#[derive(Clone, Debug)]
pub enum Group {
    /// It cannot be told yet.
    Unknown,
    /// Nothing of it is there, nor of anything else in its place.
    ToCome,
    /// One of its physical volumes.
    There(Pv),
}

impl Group {
    /// The group of `vg`, from the answers to `asks`.
    pub fn of(vg: &Vg, spec: &Spec, facts: &Facts) -> Group {
        let places = spec.places(&vg.devices, facts);
        if !places.iter().any(is_member) {
            let fresh = |place: &Place| match place.ground {
                Ground::There(probe) => probe.is_empty(),
                ground => ground == Ground::ToCome,
            };
            return if places.iter().all(fresh) { Group::ToCome } else { Group::Unknown };
        }
        let tag = tag(vg.uuid(spec));
        let Some(pvs) = pvs(&vg.paths(spec), facts) else { return Group::Unknown };
        let orphans = pvs.iter().all(|pv| pv.vg_name.is_empty());
        match pvs.into_iter().find(|pv| pv.vg_name == vg.name && pv.has(&tag)) {
            Some(pv) => Group::There(pv),
            None if orphans => Group::ToCome,
            None => Group::Unknown,
        }
    }

    /// What `of` has to know.
    pub fn asks(vg: &Vg, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = spec.place_asks(&vg.devices, facts);
        if spec.places(&vg.devices, facts).iter().any(is_member) {
            asks.push(pvs_ask(&vg.paths(spec)));
        }
        asks
    }
}

/// A physical volume is there.
pub fn is_member(place: &Place) -> bool {
    matches!(place.ground, Ground::There(probe) if probe.find(MEMBER).is_some())
}
