//! Accepting connections.

use crate::admin::sample;
use crate::app::{Admin, App, stopped};
use crate::auth::Authority;
use crate::config::{Config, check};
use crate::directory::Shelf;
use crate::http::router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lamplighter_port::Port;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long an HTTP connection may be used before it has to be made anew; the feed's are not bound by it.
const HTTP_LIFE: Duration = Duration::from_secs(300);
/// How long connections may take to end when the gateway stops.
const DRAIN: Duration = Duration::from_secs(1);
/// The pause after a failed accept, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Why the web adapter ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may not be served like this; the text names the key below `[web]`.
    #[error("web.{0}")]
    Config(String),
    /// The listening socket is broken.
    #[error("cannot accept connections: {0}")]
    Accept(#[from] io::Error),
}

/// What handlers know of the connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub peer: SocketAddr,
    _place: Arc<OwnedSemaphorePermit>,
}

/// Serves until `stop` turns true (or its sender is gone), then says goodbye to all feed clients and returns once
/// they have left, at most a second later.
pub async fn serve(
    config: Config,
    port: Port,
    admin: Admin,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    check(&config, &port.addresses()).map_err(Error::Config)?;
    let auth = Authority::new(&config.auth).map_err(Error::Config)?;
    if !config.auth.is_configured() {
        let local = listener.local_addr()?;
        match local.ip().to_canonical().is_loopback() {
            true => tracing::info!(listen = %local, "nobody has to sign in to the web side; it is on loopback only"),
            false if config.open => tracing::warn!(listen = %local, "nobody has to sign in to the web side"),
            false => {
                return Err(Error::Config("listen: the socket is reachable from outside and open is not set".into()));
            }
        }
    }
    // Connections inherit them. Linux doubles the size, for what it needs itself: socket(7), SO_SNDBUF.
    setsockopt(&listener, sockopt::SndBuf, &(config.send_buffer / 2)).map_err(io::Error::from)?;
    setsockopt(&listener, sockopt::TcpNoDelay, &true).map_err(io::Error::from)?;
    let places = Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS)));
    let all = places.available_permits() as u32;
    let (ended, ending) = watch::channel(false);
    let reload = admin.reload.clone();
    let file = Some(config.directory.clone()).filter(|file| !file.as_os_str().is_empty());
    let shelf = Shelf::open(file, &port.addresses()).map_err(|bad| Error::Config(format!("directory: {bad}")))?;
    let app = Arc::new(App::new(config, auth, shelf, port, admin, ending));
    let tasks = [
        tokio::spawn(sample(Arc::clone(&app))),
        tokio::spawn(follow(Arc::clone(&app), reload)),
        tokio::spawn(Arc::clone(&app).ring()),
    ];
    let service = TowerToHyperService::new(router(Arc::clone(&app)));
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, Connection { peer, _place: Arc::new(place) }))
        };
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = accept => match accepted {
                Ok((stream, connection)) => {
                    tokio::spawn(talk(stream, connection, service.clone(), Arc::clone(&app)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    ended.send_replace(true);
    app.rouse();
    tasks.iter().for_each(JoinHandle::abort);
    // When all places are free, everybody has left.
    let _ = timeout(DRAIN, places.acquire_many(all)).await;
    Ok(())
}

/// Takes over what files say now, each time the gateway is told to.
async fn follow(app: Arc<App>, mut reload: watch::Receiver<u64>) {
    while reload.changed().await.is_ok() {
        let app = Arc::clone(&app);
        // The file is read where waiting for a disk harms nobody.
        let read = tokio::task::spawn_blocking(move || app.reload());
        if let Ok(Err(error)) = read.await {
            tracing::error!(error, "a file is wrong and was not taken over");
        }
    }
}

async fn talk(stream: TcpStream, connection: Connection, service: TowerToHyperService<axum::Router>, app: Arc<App>) {
    let peer = connection.peer;
    let handle = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        service.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.hello_timeout)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), handle)
        .with_upgrades();
    tokio::pin!(serving);
    let mut stop = app.stop.clone();
    let result = tokio::select! {
        result = timeout(HTTP_LIFE, serving.as_mut()) => result.unwrap_or(Ok(())),
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            timeout(DRAIN, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
