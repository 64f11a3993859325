//! Who an image is: every GUID and UUID in it follows from a namespace and a name, so that two builds give the same
//! ones.

use uuid::Uuid;

/// `namespace` is the fleet's id, or one of our own for an image built without a fleet; `name` says which image, such
/// as "node/nuc1".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub namespace: Uuid,
    pub name: String,
}

impl Identity {
    /// The UUIDv5 of what lies at `path` of this image, such as "disk" or "partition/root".
    pub fn uuid(&self, path: &str) -> Uuid {
        Uuid::new_v5(&self.namespace, format!("{}/{path}", self.name).as_bytes())
    }

    /// The first 32 bits of that UUID, for a FAT volume's serial number.
    pub fn serial(&self, path: &str) -> u32 {
        self.uuid(path).as_fields().0
    }
}
