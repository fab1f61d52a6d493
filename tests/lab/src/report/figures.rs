//! What a lab costs: time until it was ready, memory of its programs.

use std::time::Duration;

use serde::Serialize;

use crate::lab::Lab;
use crate::node::Node;

/// Times in seconds, sizes in KiB of resident memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Nodes.
    pub nodes: usize,
    /// Pods.
    pub pods: usize,
    /// From the first namespace to the last route, in seconds.
    pub ready: f64,
    /// Resident memory of one agent, in KiB.
    pub agent: Spread,
    /// The same of the API server.
    pub api_server: u64,
    /// The same of the controller.
    pub controller: u64,
    /// The same of all routers' programs together.
    pub routers: u64,
    /// Round trips of the pings, in microseconds.
    pub round_trip: Spread,
    /// What the plugin's ADDs took, in microseconds.
    pub add: Spread,
}

/// How values are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: u64,
    /// The median.
    pub median: u64,
    /// 99 of 100 are not more than this.
    pub p99: u64,
    /// The most.
    pub most: u64,
}

impl Spread {
    /// Of these values; all zero for none.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = values.into_iter().collect();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return Self::default() };
        let at = |hundredths: usize| sorted[last * hundredths / 100];
        Self { least: at(0), median: at(50), p99: sorted[(last * 99).div_ceil(100)], most: at(100) }
    }
}

/// Measures a lab that is up.
pub async fn of(lab: &Lab, ready: Duration, round_trips: impl Iterator<Item = u64>) -> Figures {
    let mut agents = Vec::new();
    for node in lab.nodes().iter().map(Node::agent) {
        agents.extend(node.resident().await);
    }
    let mut routers = 0;
    for process in lab.routers().iter().flat_map(crate::Router::processes) {
        routers += process.resident().await.unwrap_or_default();
    }
    let adds = lab.pods().iter().filter_map(|pod| u64::try_from(pod.add_took().as_micros()).ok());
    Figures {
        nodes: lab.nodes().len(),
        pods: lab.pods().len(),
        ready: (ready.as_secs_f64() * 100.0).round() / 100.0,
        agent: Spread::of(agents),
        api_server: lab.control().api().resident().await.unwrap_or_default(),
        controller: lab.control().controller().resident().await.unwrap_or_default(),
        routers,
        round_trip: Spread::of(round_trips),
        add: Spread::of(adds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_read_from_sorted_values() {
        let spread = Spread::of((1..=100).rev());
        assert_eq!(spread, Spread { least: 1, median: 50, p99: 100, most: 100 });
        assert_eq!(Spread::of([7]), Spread { least: 7, median: 7, p99: 7, most: 7 });
        assert_eq!(Spread::of([]), Spread::default());
    }
}
