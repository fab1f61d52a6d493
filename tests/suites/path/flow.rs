//! Flows between pods.

pub(crate) use caracal_suites::flow::Flow;
