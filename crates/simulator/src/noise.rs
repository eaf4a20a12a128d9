//! Failed logins that mean nothing: somebody mistypes a token, an old script knocks.
//!
//! They never fire a rule. Two failures at one gateway are at least [`MIN_GAP_US`] = 5 minutes
//! apart, so that a gateway sees at most 3 addresses in 15 minutes (a spray is 5), and an actor at
//! most one record in 5 minutes. An address comes back at most once, an hour later or more, so
//! that it too has one record in 5 minutes. One record stands for at most 3 occurrences (4 fire).

use std::collections::VecDeque;

use lapwing_event::time::{HOUR, MINUTE};

use crate::corpus::{AUTH_REASONS, CLIENTS};
use crate::fleet::{Fleet, Instance};
use crate::line::{Line, TimeText};
use crate::random::{Id, Random};

/// Between two failed logins at one gateway, at least.
const MIN_GAP_US: i64 = 5 * MINUTE;
/// Before an address tries again, at least.
const RETURN_AFTER_US: i64 = HOUR;
/// Addresses waiting to come back; more are not remembered.
const MAX_RETURNING: usize = 64;

/// The source of failed logins.
pub(crate) struct Noise {
    addresses: u32,
    returning: VecDeque<(i64, String)>,
}

impl Noise {
    pub(crate) fn new() -> Self {
        Self { addresses: 0, returning: VecDeque::new() }
    }

    /// Writes a failed login, unless the gateway drawn had one too recently.
    pub(crate) fn write(
        &mut self,
        fleet: &mut Fleet,
        time_us: i64,
        clock: &mut TimeText,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> bool {
        let n = random.below(fleet.instances.len() as u64) as usize;
        let instance = &mut fleet.instances[n];
        if time_us < instance.quiet_until_us {
            return false;
        }
        instance.quiet_until_us = time_us + MIN_GAP_US + random.between_us(0, 10 * MINUTE);
        let mut line = begin(out, clock, time_us, instance, random);
        if random.once_in(4) {
            // A count of 2 or 3: the product itself summed up repeated attempts.
            line.number("count", random.between(2, 3));
        }
        match random.below(4) {
            0 => {
                let actor = format!("script-{:02}", random.below(20));
                line.open("actor").text("id", &actor).text("type", "device").close();
                if random.once_in(2) {
                    line.open("source").text("ip", "127.0.0.1").close();
                }
            }
            _ => {
                let address = self.address(time_us, random);
                line.open("source").text("ip", &address).text("peer_ip", "127.0.0.1").close();
            }
        }
        end(&mut line, random);
        true
    }

    /// An address that comes back, or a new one of 198.18.0.0/16 (RFC 2544), which no incident
    /// uses. An odd step visits all 65,536 before any of them again.
    fn address(&mut self, time_us: i64, random: &mut Random) -> String {
        if self.returning.front().is_some_and(|(first, _)| time_us >= first + RETURN_AFTER_US)
            && let Some((_, address)) = self.returning.pop_front()
        {
            return address;
        }
        self.addresses = self.addresses.wrapping_add(40_503);
        let [_, _, high, low] = self.addresses.to_be_bytes();
        let address = format!("198.18.{high}.{low}");
        if self.returning.len() < MAX_RETURNING && random.once_in(3) {
            self.returning.push_back((time_us, address.clone()));
        }
        address
    }
}

fn begin<'a>(
    out: &'a mut Vec<u8>,
    clock: &mut TimeText,
    time_us: i64,
    instance: &Instance,
    random: &mut Random,
) -> Line<'a> {
    let mut line = Line::begin(out, clock, time_us, Id::new(random));
    line.text("product", instance.product).text("product_version", instance.version);
    line.open("instance").text("id", &instance.id).close();
    line.text("kind", "auth").text("action", "auth.connect");
    line.text("outcome", ["failure", "denied"][random.below(2) as usize]);
    line
}

fn end(line: &mut Line<'_>, random: &mut Random) {
    let (client, version) = random.pick(&CLIENTS);
    line.open("client").text("name", client).text("version", version).close();
    line.open("reason").text("code", random.pick(&AUTH_REASONS)).close();
    line.open("http").number("status", 401).close();
    line.open("trace").hex32("id", Id::new(random)).close();
    line.number("duration_ms", random.between(1, 30)).end();
}
