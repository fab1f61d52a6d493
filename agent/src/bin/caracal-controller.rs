//! The controller's program: settings, run, exit code.

use caracal_agent::settings::ControllerSettings;
use caracal_agent::{controller, telemetry};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = ControllerSettings::parse();
    telemetry::start(settings.log_json);
    tokio::select! {
        result = controller::run(&settings) => result,
        result = telemetry::told_to_stop() => Ok(result?),
    }
}
