//! A bad network between us and a BMC.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// What happens to datagrams, in parts per hundred of them, both ways.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) delay: Duration,
}

/// Forwards datagrams; ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddrV4,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddrV4, weather: Weather) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let SocketAddr::V4(address) = front.local_addr().unwrap() else { panic!("an IPv4 socket") };
        let task = tokio::spawn(async move {
            let mut backs = HashMap::new();
            let mut dice = Dice(7);
            let mut buffer = [0; 2048];
            while let Ok((length, client)) = front.recv_from(&mut buffer).await {
                if let std::collections::hash_map::Entry::Vacant(entry) = backs.entry(client) {
                    let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                    back.connect(target).await.unwrap();
                    tokio::spawn(answers(Arc::clone(&back), Arc::clone(&front), client, weather, Dice(dice.roll())));
                    entry.insert(back);
                }
                let (back, datagram) = (Arc::clone(&backs[&client]), buffer[..length].to_vec());
                for delay in weather.copies(&mut dice) {
                    let (back, datagram) = (Arc::clone(&back), datagram.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = back.send(&datagram).await;
                    });
                }
            }
        });
        Self { address, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, weather: Weather, mut dice: Dice) {
    let mut buffer = [0; 2048];
    while let Ok(length) = back.recv(&mut buffer).await {
        for delay in weather.copies(&mut dice) {
            let (front, datagram) = (Arc::clone(&front), buffer[..length].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = front.send_to(&datagram, client).await;
            });
        }
    }
}

impl Weather {
    /// The delay of each copy that gets through.
    fn copies(self, dice: &mut Dice) -> Vec<Duration> {
        if dice.roll() % 100 < self.lost {
            return Vec::new();
        }
        let copies = if dice.roll() % 100 < self.doubled { 2 } else { 1 };
        (0..copies).map(|_| if dice.roll() % 100 < self.late { self.delay } else { Duration::ZERO }).collect()
    }
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
