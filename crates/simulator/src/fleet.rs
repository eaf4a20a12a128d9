//! The fleet: gateways, the agents behind them, the people who use them.

use lapwing_event::time::MINUTE;

use crate::corpus::{MODELS, PRODUCTS, Targets};
use crate::random::Random;

/// An installation of a product.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) product: &'static str,
    pub(crate) version: &'static str,
    /// Before this time it sees no further failed login; see [`crate::noise`].
    pub(crate) quiet_until_us: i64,
}

/// One agent.
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) instance: usize,
    pub(crate) model: usize,
    /// The person it mostly works for.
    pub(crate) operator: String,
}

/// All of it.
pub(crate) struct Fleet {
    pub(crate) instances: Vec<Instance>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) targets: Targets,
}

/// Agents behind one gateway.
const AGENTS_PER_INSTANCE: usize = 10;
/// The most gateways: the background's addresses are used again only after 65,536 failed logins,
/// so with at most 1,000 gateways and 5 minutes between two failures at each, not within 5 hours.
const MAX_INSTANCES: usize = 1_000;

impl Fleet {
    pub(crate) fn new(agents: u32, start_us: i64, random: &mut Random) -> Self {
        let agents = agents.max(1) as usize;
        let instances = agents.div_ceil(AGENTS_PER_INSTANCE).min(MAX_INSTANCES);
        Self {
            instances: (0..instances)
                .map(|n| {
                    // Of ten gateways, seven are of the first product.
                    let (product, version) = PRODUCTS[(n % 10).saturating_sub(6).min(2)];
                    Instance {
                        id: format!("gw-{n:02}"),
                        product,
                        version,
                        quiet_until_us: start_us + random.between_us(0, 15 * MINUTE),
                    }
                })
                .collect(),
            agents: (0..agents)
                .map(|n| Agent {
                    id: format!("agent-{n:03}"),
                    // Every fifth agent was started by its neighbour.
                    parent: (n % 5 == 4).then(|| format!("agent-{:03}", n - 1)),
                    instance: n % instances,
                    model: random.skewed(MODELS.len()),
                    operator: format!("operator-{:02}", random.below(1 + agents as u64 / 4)),
                })
                .collect(),
            targets: Targets::new(),
        }
    }
}
