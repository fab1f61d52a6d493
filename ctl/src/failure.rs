//! What can go wrong, in words that say what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no socket.
    #[error(
        "connecting to the agent: there is no socket {}: the agent does not run on this machine, or uses another path.\n\
         Look at its pod (kubectl -n kube-system get pods -o wide), or name the socket with --socket or CARACAL_SOCKET",
        path.display()
    )]
    NoSocket { path: PathBuf },
    /// The socket may not be opened.
    #[error(
        "connecting to the agent: no permission to open {}: the socket is root's alone.\nRun caracalctl as root (sudo)",
        path.display()
    )]
    NotPermitted { path: PathBuf },
    /// Nobody listens.
    #[error(
        "connecting to the agent: nobody listens on {}: the agent is not running, and left its socket behind.\n\
         Start it, or read its log to see why it stopped",
        path.display()
    )]
    NotRunning { path: PathBuf },
    /// It does not accept.
    #[error(
        "connecting to the agent: {} did not answer within {seconds} s: the agent hangs or is overloaded.\nRead its log",
        path.display()
    )]
    NoAnswer { path: PathBuf, seconds: u64 },
    /// Another error of the connection.
    #[error("connecting to the agent on {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The connection was made, but is no gRPC connection.
    #[error(
        "speaking with the agent on {}: {reason}.\nIs this the administration socket (admin.sock), not the one for pods?",
        path.display()
    )]
    Protocol { path: PathBuf, reason: String },
    /// The agent answered with an error.
    #[error("{doing}: {}", said(status))]
    Agent { doing: String, status: Box<Status> },
    /// No way to the API server.
    #[error(
        "reading how to reach the API server ({}): {reason}.\n\
         Name a kubeconfig with --kubeconfig or KUBECONFIG",
        path.as_ref().map_or_else(|| "no --kubeconfig was given".to_owned(), |path| path.display().to_string())
    )]
    Kubeconfig { path: Option<PathBuf>, reason: String },
    /// The API server refused, or did not answer.
    #[error("{doing}: {reason}{}", cluster_hint(*code))]
    Cluster { doing: String, reason: String, code: Option<u16> },
    /// A report that cannot be read or written.
    #[error("{doing} the report {}: {reason}", path.display())]
    Report { doing: &'static str, path: PathBuf, reason: String },
    /// Problems are left.
    #[error("{count} problems are left; see the column REMEDY, and `-o wide` for what they mean")]
    Problems { count: usize },
    /// Agents that were to be asked did not answer.
    #[error(
        "the agents of {count} nodes were not asked, so that what they hold is not known; the column WHY says why"
    )]
    Silent { count: usize },
    /// Addresses were not released.
    #[error("{count} addresses were not released; the column OUTCOME says why")]
    NotReleased { count: usize },
    /// A pool that does not exist.
    #[error("splitting pool {wanted}: there is no such pool; the pools are: {known}")]
    NoSuchPool { wanted: String, known: String },
    /// A pool that cannot be split.
    #[error("splitting pool {pool}: {found}")]
    Split { pool: String, found: String },
    /// A peer that does not exist.
    #[error("there is no BGP peer '{wanted}'; the peers are: {known}")]
    NoSuchPeer { wanted: String, known: String },
    /// A kind that does not exist.
    #[error("there is no kind '{found}'; the kinds are {known}")]
    UnknownKind { found: String, known: String },
    /// Names with several kinds.
    #[error("names can be given for one kind only: leave them out, or ask for the kinds one by one")]
    NamesForSeveralKinds,
    /// The node's kernel lacks what the cluster's resources ask for.
    #[error(
        "the kernel of {node} lacks what the pools ask for: {missing}; the column REASON says what to do, or change the pools"
    )]
    System { node: String, missing: String },
    /// A document that cannot be read.
    #[error("reading the {kind} that the agent sent: {source}")]
    Document { kind: &'static str, source: serde_json::Error },
    /// A document that cannot be written.
    #[error("writing the answer as {format}: {reason}")]
    Write { format: &'static str, reason: String },
    /// The output cannot be written.
    #[error("printing the answer: {0}")]
    Print(#[from] io::Error),
    /// Manual pages that cannot be written.
    #[error("writing manual pages into {}: {source}", folder.display())]
    Man { folder: PathBuf, source: io::Error },
    /// No runtime.
    #[error("starting: {source}")]
    Runtime { source: io::Error },
}

fn said(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unimplemented => {
            format!("the agent does not know this request ({message}): it is older than this caracalctl")
        }
        Code::Unavailable => format!("the agent went away while answering ({message}): try again"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => message.to_owned(),
    }
}

/// What to do about an answer of the API server.
fn cluster_hint(code: Option<u16>) -> &'static str {
    match code {
        Some(401) => ".\nLog in again, or name another kubeconfig with --kubeconfig",
        Some(403) => ".\nAsk for the right to do so, or name another kubeconfig with --kubeconfig",
        Some(404) => ".\nAre caracal's CRDs installed (kubectl get crd | grep caracal.dev)?",
        None => ".\nIs the API server up, and is it the one of the kubeconfig?",
        Some(_) => "",
    }
}

impl Failure {
    /// Makes the error of a request that did `doing`.
    pub(crate) fn agent(doing: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let doing = doing.into();
        move |status| Self::Agent { doing, status: Box::new(status) }
    }

    /// Whether the reader of our output left, as `| head` does.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 1: refused or failed; 2: wrong arguments; 3: not reached.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NoSocket { .. }
            | Self::NotPermitted { .. }
            | Self::NotRunning { .. }
            | Self::NoAnswer { .. }
            | Self::Connect { .. }
            | Self::Protocol { .. } => 3,
            Self::UnknownKind { .. } | Self::NamesForSeveralKinds => 2,
            Self::Agent { .. }
            | Self::NoSuchPeer { .. }
            | Self::System { .. }
            | Self::Kubeconfig { .. }
            | Self::Cluster { .. }
            | Self::Report { .. }
            | Self::Problems { .. }
            | Self::Silent { .. }
            | Self::NotReleased { .. }
            | Self::NoSuchPool { .. }
            | Self::Split { .. }
            | Self::Document { .. }
            | Self::Write { .. }
            | Self::Print(_)
            | Self::Man { .. }
            | Self::Runtime { .. } => 1,
        })
    }
}
