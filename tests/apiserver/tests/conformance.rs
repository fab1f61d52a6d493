//! What a Kubernetes API server does, as a table of named cases.
//!
//! Without more, the cases run against this package's server, in this process. With
//! `CARACAL_CONFORMANCE_URL=http://…` they run, unchanged, against the server there; with
//! `CARACAL_CONFORMANCE_URL=kubeconfig` against the one that the kubeconfig's current context names, with its
//! credentials. They make namespaces and CRDs of their own and leave nothing that matters behind.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod conformance {
    pub(crate) mod applies;
    pub(crate) mod clients;
    pub(crate) mod deletes;
    pub(crate) mod discovery;
    pub(crate) mod lists;
    pub(crate) mod patches;
    pub(crate) mod schemas;
    pub(crate) mod watches;
    pub(crate) mod world;
    pub(crate) mod writes;
}
