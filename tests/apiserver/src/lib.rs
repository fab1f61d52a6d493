//! The lab's Kubernetes API server.
//!
//! Labs and tests need a Kubernetes API that starts in milliseconds, runs in a network namespace, and fails
//! on demand. In production the API is Kubernetes itself, so whatever the agent relies on must behave here
//! as it does there; `tests/conformance.rs` is the table of those behaviours, and runs against any server.
//!
//! A request passes through `handler` (faults, routing), becomes a `Call` on a resource, and is carried out
//! by the file named for its verb: `read`, `watch`, `create`, `update`, `delete`. Objects are plain JSON
//! from end to end: `decode` brings them into shape by the `schema` of their kind, `meta` and `strategy`
//! hold them to the rules of the envelope and of single kinds, `store` keeps them and their history.
//! What a real cluster does by controllers (owner references, namespaces, CRD clean-up) is in `collect`.
//!
//! Departures from a real server: a token is its user's name (see `authorize`); protobuf bodies are read for the kinds that
//! `kubectl create` makes, and never written; `metadata.managedFields` is recorded from the first writer on that gives
//! its name (see `apply`); no admission but what the kinds above need; CEL rules have no cost budget.

mod app;
mod apply;
mod authorize;
mod builtin;
mod collect;
mod convert;
mod crd;
mod create;
mod decode;
mod delete;
mod discovery;
mod fault;
mod field;
mod handler;
mod lab;
mod load;
mod meta;
mod names;
mod object;
mod openapi;
mod patch;
mod path;
mod printers;
mod protobuf;
mod query;
mod read;
mod render;
mod resource;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod strategic;
mod strategy;
mod table;
mod update;
mod watch;

pub use fault::{ActiveFault, Fault, Faults, Loss};
pub use load::LoadError;
pub use server::{Options, Server, StartError};
