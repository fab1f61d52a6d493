//! The agent's program: settings, run, exit code.

use caracal_agent::settings::AgentSettings;
use caracal_agent::{agent, telemetry};
use clap::Parser;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let settings = AgentSettings::parse();
    telemetry::start(settings.log_json);
    agent::run(settings).await
}
