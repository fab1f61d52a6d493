//! What `--json` prints: the same as the steps and tables, as one document.

use caracal_lab::load::Summary;
use caracal_lab::report::Report;
use caracal_lab::show::{StepTime, Steps};
use serde::Serialize;

/// The whole document.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    /// The lab's name.
    pub(crate) lab: String,
    /// What it consists of, in short.
    pub(crate) topology: String,
    /// Whether everything worked.
    pub(crate) good: bool,
    /// What did not work, in words.
    pub(crate) failures: Vec<String>,
    /// What was to be known.
    pub(crate) notices: Vec<String>,
    /// The steps with their times.
    pub(crate) steps: Vec<StepTime>,
    /// What was found; nothing if it did not come so far.
    pub(crate) report: Option<Report>,
    /// What came of the load.
    pub(crate) load: Option<Summary>,
}

impl Document {
    /// A document of what has happened.
    pub(crate) fn of(lab: &str, topology: String, steps: &Steps, failures: Vec<String>) -> Self {
        Self {
            lab: lab.to_owned(),
            topology,
            good: failures.is_empty(),
            failures,
            notices: steps.notices(),
            steps: steps.past(),
            report: None,
            load: None,
        }
    }

    /// As text.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
