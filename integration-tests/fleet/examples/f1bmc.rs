//! scratch
use farrier_fleet::{accounts::Accounts, chassis::Chassis, dice::Dice, ipmi::*, personality::Personality};
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let mut host = host::Host::new(10);
    for (i, v) in Personality::names().enumerate() {
        let p = Personality::shipped(v).unwrap();
        let chassis = Chassis::new(Arc::default());
        let acc = Accounts::shared(p.clone(), chassis.truth().clone());
        let id = Identity { address: [127, 66, 0, i as u8 + 1].into(), mac: farrier_common::net::MacAddr([2, 0, 0, 0, 0, i as u8]), guid: [i as u8 + 1; 16], serial: format!("SN{i}") };
        let a = host.add(([127, 66, 0, i as u8 + 1], 6623).into(), Server::new(id, p, chassis, acc, Faults::shared(), Dice::new(1))).await.unwrap();
        println!("{v} {a}");
    }
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
}
