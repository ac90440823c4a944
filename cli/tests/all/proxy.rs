//! A relay between command and region that can be cut, as a broken network would cut it.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// A relay; [`Proxy::cut`] breaks the connections that are open, later ones work.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(Notify::new());
        let signal = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let signal = signal.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = signal.notified() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }
}
