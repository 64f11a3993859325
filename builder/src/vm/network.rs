//! Cables: what an emulated machine's network cards are plugged into. None needs a privilege.

use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU32, Ordering};

/// One network card and what it is plugged into.
#[derive(Clone, Debug)]
pub enum Link {
    /// QEMU's own small network with DHCP. The guest reaches nothing; TCP ports of the guest named here are reachable
    /// from the host, on a port of 127.0.0.1 that `Running::forwarded` tells.
    Host { ports: Vec<u16> },
    /// A network segment that other machines are plugged into as well.
    Segment(Segment),
}

/// An Ethernet segment between machines: UDP multicast that does not leave the host's loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    group: String,
    port: u16,
}

impl Segment {
    /// A segment of its own: no other one of this process or of another has its group and port.
    #[expect(clippy::new_without_default, reason = "each one is different: there is no default segment")]
    pub fn new() -> Segment {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{} {next}", std::process::id()));
        // 239.192.0.0/14 is for an organisation's own use (RFC 2365); the port is below Linux' ephemeral ones.
        let group = format!("239.{}.{}.{}", 192 + digest[0] % 4, digest[1], digest[2]);
        Segment { group, port: 20000 + u16::from_le_bytes([digest[3], digest[4]]) % 10000 }
    }
}

impl Link {
    /// QEMU's -netdev, without the id.
    pub(super) fn netdev(&self) -> String {
        match self {
            Link::Segment(Segment { group, port }) => format!("socket,mcast={group}:{port},localaddr=127.0.0.1"),
            Link::Host { ports } => {
                let forwards: String = ports.iter().map(|port| format!(",hostfwd=tcp:127.0.0.1:0-:{port}")).collect();
                format!("user,restrict=on{forwards}")
            }
        }
    }
}

/// The address of card `index` of the machine `name`: the same in each run, locally administered, unicast.
pub(super) fn mac(name: &str, index: usize) -> String {
    let digest = Sha256::digest(format!("{name} {index}"));
    format!("52:54:00:{:02x}:{:02x}:{:02x}", digest[0], digest[1], digest[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_segments_never_share_a_group_and_port() {
        assert_ne!(Segment::new(), Segment::new());
    }

    #[test]
    fn addresses_differ_by_machine_and_card_and_stay_the_same() {
        assert_eq!(mac("a", 0), mac("a", 0));
        assert_ne!(mac("a", 0), mac("a", 1));
        assert_ne!(mac("a", 0), mac("b", 0));
    }
}
