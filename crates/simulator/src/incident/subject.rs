//! Whom an incident is about: names and addresses that nothing else in the log has.

use std::net::Ipv6Addr;

use crate::corpus::PRODUCTS;
use crate::random::{Id, Random};

/// The subject of an incident. All of it follows from the seed and the number.
pub(crate) struct Subject {
    number: u32,
    pub(crate) product: &'static str,
    pub(crate) version: &'static str,
    /// A gateway of its own, `edge-…`, so that incidents do not add up at one gateway.
    pub(crate) instance: String,
    /// An agent of the fleet, by its place.
    pub(crate) agent: usize,
    pub(crate) session: Id,
    pub(crate) run: Id,
    pub(crate) trace: Id,
    /// An account used from the gateway's own machine.
    pub(crate) actor: String,
    pub(crate) address: String,
}

impl Subject {
    pub(crate) fn new(number: u32, agents: usize, seed: u64) -> Self {
        let mut random = Random::new(Random::new(seed ^ u64::from(number) << 32).next());
        let (product, version) = PRODUCTS[0];
        Self {
            number,
            product,
            version,
            instance: format!("edge-{number:02}"),
            agent: random.below(agents as u64) as usize,
            session: Id::new(&mut random),
            run: Id::new(&mut random),
            trace: Id::new(&mut random),
            actor: format!("service-{number:02}"),
            address: address(number),
        }
    }

    /// The n-th address of a spray: in 198.19.0.0/16 (RFC 2544) as long as 64 for each subject
    /// last, then IPv6.
    pub(crate) fn spray_address(&self, n: u64) -> String {
        match self.number {
            number @ 0..1024 if n < 64 => {
                let place = u64::from(number) * 64 + n;
                format!("198.19.{}.{}", place >> 8, place & 0xFF)
            }
            number => ipv6(0xB, number, n),
        }
    }

    /// A target that no policy allows, and that no other subject reaches for.
    pub(crate) fn sensitive_target(&self) -> String {
        let n = self.number;
        match n % 4 {
            _ if n == 0 => "/etc/shadow".to_owned(),
            0 | 1 => format!("~/.ssh/id_ed25519_{n}"),
            2 => format!("~/.aws/credentials.{n}"),
            _ => format!("http://169.254.169.254/latest/meta-data/iam/role-{n}"),
        }
    }
}

/// The address of a subject: 203.0.113.0/24 (RFC 5737) while it lasts, every eighth and all
/// later ones IPv6.
fn address(number: u32) -> String {
    match number {
        0..254 if number % 8 != 7 => format!("203.0.113.{}", number + 1),
        _ => ipv6(0xA, number, 1),
    }
}

/// An address of the documentation prefix 2001:db8::/32 (RFC 3849).
fn ipv6(block: u16, subject: u32, n: u64) -> String {
    let part = |value: u64, place: u32| (value >> (16 * place) & 0xFFFF) as u16;
    let subject = u64::from(subject);
    let (high, low) = (part(subject, 1), part(subject, 0));
    Ipv6Addr::new(0x2001, 0xDB8, block, high, low, part(n, 2), part(n, 1), part(n, 0)).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_subjects_share_a_name_or_an_address() {
        let mut seen = BTreeSet::new();
        for number in 0..3000 {
            let subject = Subject::new(number, 200, 1);
            assert!(seen.insert(subject.sensitive_target()), "{number}");
            assert!(seen.insert(subject.address.clone()), "{number}");
            assert!((0..70).all(|n| seen.insert(subject.spray_address(n))), "{number}");
        }
    }
}
