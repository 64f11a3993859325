//! Who a number is: the accounts of a tree, as its own /etc/passwd and /etc/group say.
//!
//! Not the C library's look-up: that knows the accounts of the machine that runs this, not those of a tree.

use crate::file;
use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid};
use std::path::Path;

/// Names and numbers of users and groups.
pub(crate) struct Owners {
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32)>,
}

impl Owners {
    /// The accounts known below `root`. Root itself is known everywhere.
    pub fn load(root: &Path) -> Result<Self> {
        Ok(Owners { users: accounts(root, "/etc/passwd")?, groups: accounts(root, "/etc/group")? })
    }

    /// `user:group`; a number stands for itself where it has no name.
    pub fn name(&self, uid: u32, gid: u32) -> String {
        let of = |accounts: &[(String, u32)], id: u32| {
            accounts.iter().find(|(_, number)| *number == id).map_or(id.to_string(), |(name, _)| name.clone())
        };
        format!("{}:{}", of(&self.users, uid), of(&self.groups, gid))
    }

    /// The numbers of `user:group`, each a name or a number.
    pub fn ids(&self, owner: &str) -> Result<(Uid, Gid)> {
        let Some((user, group)) = owner.split_once(':') else {
            bail!("its owner {owner:?} is not written as user:group");
        };
        let uid = id(&self.users, user).with_context(|| format!("there is no user {user}"))?;
        let gid = id(&self.groups, group).with_context(|| format!("there is no group {group}"))?;
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }
}

fn id(accounts: &[(String, u32)], name: &str) -> Option<u32> {
    accounts.iter().find(|(known, _)| known == name).map(|(_, id)| *id).or_else(|| name.parse().ok())
}

/// Lines of passwd(5) and group(5): the name first, the number third.
fn accounts(root: &Path, path: &str) -> Result<Vec<(String, u32)>> {
    let mut accounts = Vec::new();
    let text = file::load(root, path)?.map(|(text, _)| text).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            accounts.push((name.to_owned(), id));
        }
    }
    accounts.push(("root".to_owned(), 0));
    Ok(accounts)
}
