//! BIRD 2.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use caracal_lab::Process;
use caracal_lab::wait::{self, NotYet};

use crate::passwords::Rekeys;
use crate::peer::{LONG_LIVED, Neighbor, Peer, Plan, SOON, Seen};
use crate::restart::{PathSeen, Restarts};
use crate::segment::Host;

/// A running `bird`.
pub(crate) struct Bird {
    process: Process,
    control: String,
}

fn configuration(host: &Host, plan: &Plan) -> String {
    let (own_v4, own_v6) = (host.v4(), host.v6());
    let mut text = format!("log stderr all;\nrouter id {own_v4};\nprotocol device {{ scan time 3600; }}\n");
    if let Some(neighbor) = plan.neighbors.iter().find(|neighbor| neighbor.bfd) {
        let (interval, multiplier) = neighbor.bfd_times();
        let times = format!("interval {interval} ms; idle tx interval 1 s; multiplier {multiplier};");
        writeln!(text, "protocol bfd {{ interface \"*\" {{ {times} }}; multihop {{ {times} }}; }}").unwrap();
    }
    if plan.kernel {
        for family in ["ipv4", "ipv6"] {
            let what = format!("{family} {{ import none; export where source = RTS_BGP; }};");
            writeln!(text, "protocol kernel {{ {what} graceful restart on; }}").unwrap();
        }
    }
    for prefix in &plan.v4 {
        let tags = "bgp_community.add((64700,8)); bgp_large_community.add((64700,1,2)); \
                    bgp_ext_community.add((rt,64700,9));";
        writeln!(text, "protocol static {{ ipv4; route {prefix} blackhole {{ {tags} }}; }}").unwrap();
    }
    for prefix in &plan.v6 {
        writeln!(text, "protocol static {{ ipv6; route {prefix} blackhole; }}").unwrap();
    }
    for (place, neighbor) in plan.neighbors.iter().enumerate() {
        let own = if neighbor.over_v6 { &own_v6 } else { &own_v4 };
        let Neighbor { asn, .. } = neighbor;
        writeln!(text, "protocol bgp p{place} {{ local {own} as {};", plan.asn).unwrap();
        writeln!(text, "neighbor {} as {asn};", neighbor.address()).unwrap();
        writeln!(text, "connect delay time 0; connect retry time 1; error wait time 1,2;").unwrap();
        writeln!(text, "enable extended messages on;").unwrap();
        if neighbor.multihop {
            writeln!(text, "multihop 5;").unwrap();
        }
        if let Some(hold) = neighbor.hold {
            writeln!(text, "hold time {hold};").unwrap();
        }
        if neighbor.client {
            writeln!(text, "rr client;").unwrap();
        }
        if neighbor.bfd {
            // By itself it takes the end of BFD for the end of all routes, also of one that restarts.
            writeln!(text, "bfd {};", if neighbor.restart { "graceful" } else { "on" }).unwrap();
        }
        if neighbor.restart {
            let time = neighbor.restart_time();
            writeln!(text, "graceful restart on; graceful restart time {time};").unwrap();
        }
        if neighbor.long_lived {
            writeln!(text, "long lived graceful restart on; long lived stale time {LONG_LIVED};").unwrap();
        }
        if let Some(password) = neighbor.password {
            writeln!(text, "password \"{password}\";").unwrap();
        }
        let paths = if neighbor.add_path { "add paths on;" } else { "" };
        if !neighbor.over_v6 || neighbor.extended_next_hop {
            let extended = if neighbor.extended_next_hop { "extended next hop on;" } else { "" };
            writeln!(text, "ipv4 {{ import all; export all; {paths} {extended} }};").unwrap();
        }
        writeln!(text, "ipv6 {{ import all; export all; {paths} next hop address {own_v6}; }};\n}}").unwrap();
    }
    text
}

impl Bird {
    /// Starts it with this configuration.
    pub(crate) async fn with(host: &Host, text: &str) -> anyhow::Result<Self> {
        host.write("bird.conf", text)?;
        Ok(Self { process: spawn(host, &[]).await?, control: control(host) })
    }

    /// Ends it as an operator would: it says goodbye to its neighbours.
    pub(crate) async fn stop(&self, host: &Host) -> anyhow::Result<()> {
        host.run(&["birdc", "-s", &self.control, "down"]).await.map(drop)
    }
}

fn control(host: &Host) -> String {
    host.file("bird.ctl").display().to_string()
}

async fn spawn(host: &Host, more: &[&str]) -> anyhow::Result<Process> {
    let file = host.file("bird.conf").display().to_string();
    let control = control(host);
    let pid = host.file("bird.pid").display().to_string();
    let mut words = vec!["-f", "-c", &file, "-s", &control, "-P", &pid];
    words.extend(more);
    host.start("bird", Path::new("/usr/sbin/bird"), &words).await
}

impl Restarts for Bird {
    async fn is_up(&self, host: &Host, _: &Neighbor) -> anyhow::Result<bool> {
        let text = host.run(&["birdc", "-s", &self.control, "show", "protocols", "p0"]).await?;
        Ok(text.contains("Established"))
    }

    async fn sees_path(&self, host: &Host) -> anyhow::Result<bool> {
        let text = host.run(&["birdc", "-s", &self.control, "show", "bfd", "sessions"]).await?;
        Ok(text.split_whitespace().any(|word| word == "Up"))
    }

    async fn path(&self, host: &Host) -> anyhow::Result<PathSeen> {
        let text = host.run(&["birdc", "-s", &self.control, "show", "bfd", "sessions"]).await?;
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Address, interface, state, since when, interval, time-out.
        let read = |words: Vec<&str>| match words.as_slice() {
            [_, _, "Up", since @ .., _, patience] => {
                let patience: f64 = patience.parse().ok()?;
                Some(PathSeen { since: since.join(" "), patience_millis: (patience * 1000.0).round() as u64 })
            }
            _ => None,
        };
        lines
            .filter_map(read)
            .next()
            .with_context(|| format!("BIRD has no session of BFD that is up: {text}"))
    }

    async fn leave(&self, host: &Host) -> anyhow::Result<()> {
        host.run(&["birdc", "-s", &self.control, "graceful", "restart"]).await?;
        wait::until(SOON, "BIRD has left", || async {
            if self.process.is_running().await { Err(NotYet::because("it is there")) } else { Ok(()) }
        })
        .await
    }

    async fn back(&mut self, host: &Host, _: &Plan) -> anyhow::Result<()> {
        // -R: it has restarted.
        self.process = spawn(host, &["-R"]).await?;
        Ok(())
    }
}

impl Rekeys for Bird {
    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        host.write("bird.conf", &configuration(host, plan))?;
        host.run(&["birdc", "-s", &self.control, "configure"]).await.map(drop)
    }
}

impl Peer for Bird {
    const NAME: &'static str = "BIRD";

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        Self::with(host, &configuration(host, plan)).await
    }

    async fn routes(&self, host: &Host) -> anyhow::Result<Vec<Seen>> {
        Ok(read(&host.run(&["birdc", "-s", &self.control, "show", "route", "all"]).await?))
    }

    async fn refresh(&self, host: &Host, _: &Neighbor) -> anyhow::Result<()> {
        host.run(&["birdc", "-s", &self.control, "reload", "in", "all"]).await.map(drop)
    }

    async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

/// Reads `show route all`: a route is a line that is not indented, its attributes follow.
fn read(text: &str) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    let mut prefix = String::new();
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        // Further routes of a prefix leave it out.
        if line.contains(" [") && line.contains(']') && !line.starts_with('\t') {
            if !indented {
                prefix = line.split_whitespace().next().unwrap_or_default().to_owned();
            }
            all.push(Seen { prefix: prefix.clone(), ..Seen::default() });
            continue;
        }
        let (Some((name, value)), Some(last)) = (line.trim().split_once(':'), all.last_mut()) else {
            continue;
        };
        let value = value.trim();
        match name {
            "BGP.next_hop" => value.split(' ').next().unwrap_or_default().clone_into(&mut last.next_hop),
            "BGP.as_path" => value.clone_into(&mut last.as_path),
            "BGP.community" | "BGP.ext_community" | "BGP.large_community" => {
                let tuples = value.split('(').skip(1);
                last.communities.extend(tuples.map(|one| {
                    let (inside, _) = one.split_once(')').unwrap_or((one, ""));
                    inside.split(',').map(str::trim).collect::<Vec<_>>().join(":")
                }));
            }
            _ => {}
        }
    }
    all
}

impl Bird {
    /// Whether it has a route for exactly this prefix.
    pub(crate) async fn has(&self, host: &Host, prefix: &str) -> anyhow::Result<bool> {
        let output = host.netns().exec(&["birdc", "-s", &self.control, "show", "route", prefix]).await?;
        Ok(output.stdout.contains(&format!("\n{prefix} ")))
    }
}
