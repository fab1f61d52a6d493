//! The server: options, listeners, connections, the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{App, closed};
use crate::collect;
use crate::fault::Faults;
use crate::handler::{Door, handle};
use crate::load::{self, LoadError};
use crate::status::ApiError;

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the API is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the side door (`/lab/…`) is served even while the API is down.
    pub control: Option<SocketAddr>,
    /// Directories (or files) of CRDs, loaded before anything is served.
    pub crds: Vec<PathBuf>,
    /// Files (or directories) of objects, loaded after the CRDs.
    pub load: Vec<PathBuf>,
    /// Changes kept for each resource; what is older is `410 Gone`.
    pub history: usize,
    /// The longest body of a request and the longest object, in bytes.
    pub body_limit: usize,
    /// A watch ends after at most this time, and not long before.
    pub watch_limit: Duration,
    /// How often a watch that asked for bookmarks gets one.
    pub bookmark_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            crds: Vec::new(),
            load: Vec::new(),
            history: 10_000,
            body_limit: 1_572_864,
            watch_limit: Duration::from_secs(600),
            bookmark_interval: Duration::from_secs(30),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose a free address of this machine")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A namespace that every cluster has could not be created.
    #[error("cannot create the namespace {name:?}: {why}")]
    Namespace {
        /// Its name.
        name: &'static str,
        /// The server's words.
        why: String,
    },
}

/// A running server. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct Server {
    /// Where the API is served.
    pub addr: SocketAddr,
    /// Where the side door is served, if apart.
    pub control: Option<SocketAddr>,
    /// Trouble on demand.
    pub faults: Faults,
    app: Arc<App>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Loads what is to be loaded, then serves. Needs a tokio runtime.
    ///
    /// # Errors
    /// An address that is taken, a file that cannot be read, an object that is refused.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (listen, control) = (options.listen, options.control);
        let app = Arc::new(App::new(options));
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let refused = |error: ApiError| StartError::Namespace { name, why: error.message };
            app.ensure_namespace(name).map_err(refused)?;
        }
        for path in app.options.crds.iter().chain(&app.options.load) {
            for file in load::files(path)? {
                let count = load::load(&app, &file)?;
                tracing::info!(file = %file.display(), objects = count, "loaded");
            }
        }
        let listener = bind(listen).await?;
        let addr = local(&listener, listen)?;
        let mut tasks = vec![
            tokio::spawn(collect::run(app.clone())),
            tokio::spawn(serve(app.clone(), Some(listener), addr, Door::Api)),
        ];
        let mut control_addr = None;
        if let Some(address) = control {
            let listener = bind(address).await?;
            control_addr = Some(local(&listener, address)?);
            tasks.push(tokio::spawn(serve(app.clone(), Some(listener), address, Door::Control)));
        }
        tracing::info!(%addr, "serving");
        Ok(Self { addr, control: control_addr, faults: app.faults.clone(), app, tasks })
    }

    /// `http://address:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A kubeconfig for this server. It knows no users.
    pub fn kubeconfig(&self) -> String {
        let url = self.url();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: lab\n  cluster:\n    server: {url}\nusers:\n\
             - name: lab\n  user: {{}}\ncontexts:\n- name: lab\n  context:\n    cluster: lab\n    user: lab\n\
             current-context: lab\n"
        )
    }

    /// Forgets all history, as compaction does.
    pub fn compact(&self) {
        self.app.store.compact();
    }

    /// Closes the port and every connection, and waits for that.
    pub async fn stop(mut self) {
        self.app.closing.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the API server did not end well");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.app.closing.send_replace(true);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address, source })
}

/// Accepts connections until the server closes. While it is down there is no listener, so that the port
/// refuses.
async fn serve(app: Arc<App>, mut listener: Option<TcpListener>, address: SocketAddr, door: Door) {
    const REBIND: Duration = Duration::from_millis(50);
    let mut closing = app.closing.subscribe();
    let mut down = app.faults.watch_down();
    // Dropped or changed: every connection of this period ends.
    let mut period = watch::Sender::new(());
    loop {
        let is_down = door == Door::Api && *down.borrow_and_update();
        if is_down {
            listener = None;
            period = watch::Sender::new(());
            app.faults.refuses(true);
        } else if listener.is_none() {
            match TcpListener::bind(address).await {
                Ok(bound) => {
                    listener = Some(bound);
                    app.faults.refuses(false);
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot listen again yet");
                    tokio::time::sleep(REBIND).await;
                    continue;
                }
            }
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = closed(&mut closing) => return,
            result = down.changed(), if door == Door::Api => if result.is_err() { return },
            accepted = accept => match accepted {
                Ok((stream, from)) => {
                    tokio::spawn(connection(app.clone(), stream, from, door, period.subscribe()));
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot accept a connection");
                    tokio::time::sleep(REBIND).await;
                }
            },
        }
    }
}

async fn connection(
    app: Arc<App>,
    stream: TcpStream,
    from: SocketAddr,
    door: Door,
    mut period: watch::Receiver<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "small writes may wait for acknowledgements");
    }
    let service = service_fn(move |request| handle(app.clone(), from, door, request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = served => if let Err(error) = result {
            tracing::trace!(%from, %error, "a connection broke");
        },
        // The sender is dropped when the server goes down or ends.
        _ = period.changed() => {}
    }
}
