use std::collections::HashSet;

use farrier_common::id::MachineId;
use proptest::prelude::*;

use super::*;
use crate::boot::state::samples;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

struct World {
    table: Table,
    boot: BootState,
    subnet: Subnet,
    now: Timestamp,
    _dir: tempfile::TempDir,
}

impl World {
    /// Ten dynamic addresses, .100 to .109; machine 1 has .20 reserved.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let boot = BootState::open(dir.path()).unwrap();
        boot.replace(samples::snapshot(vec![samples::ephemeral(1, "10.77.0.20")])).unwrap();
        Self { table: Table::default(), boot, subnet: samples::subnet(), now: samples::now(), _dir: dir }
    }

    fn asker(&self, n: u16) -> Asker<'_> {
        Asker { mac: samples::mac(n), subnet: &self.subnet, server: SERVER, boot: &self.boot }
    }

    fn offer(&mut self, n: u16, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let asker = Asker { mac: samples::mac(n), subnet: &self.subnet, server: SERVER, boot: &self.boot };
        self.table.offer(&asker, wish, self.now)
    }

    fn lease(&mut self, n: u16) -> Option<Ipv4Addr> {
        let address = self.offer(n, None)?;
        self.table.bind(samples::mac(n), address, self.now, self.now + TimeDelta::hours(1));
        Some(address)
    }

    fn reserve(&self, n: u16, address: Ipv4Addr) {
        let intent = samples::ephemeral(n, &address.to_string());
        self.boot.put("s1", crate::boot::intent::Intent { machine_id: MachineId::generate(), ..intent }).unwrap();
    }
}

#[test]
fn a_reservation_comes_first_and_is_nobody_elses() {
    let mut world = World::new();
    let reserved = Ipv4Addr::new(10, 77, 0, 20);
    assert_eq!(world.offer(1, Some([10, 77, 0, 105].into())), Some(reserved));
    assert_ne!(world.offer(2, Some(reserved)), Some(reserved));
    world.reserve(3, [10, 77, 0, 105].into());
    assert_ne!(world.offer(2, Some([10, 77, 0, 105].into())), Some([10, 77, 0, 105].into()));
    assert_eq!(world.offer(3, None), Some([10, 77, 0, 105].into()));
}

#[test]
fn the_same_machine_gets_the_same_address() {
    let mut world = World::new();
    let first = world.lease(2).unwrap();
    world.now += TimeDelta::hours(5);
    assert_eq!(world.offer(2, None), Some(first), "long expired");
    assert_eq!(World::new().offer(2, None), Some(first), "nothing remembered");
    world.table.release(samples::mac(2), first, world.now);
    assert_eq!(world.offer(2, Some([10, 77, 0, 103].into())), Some(first));
}

#[test]
fn the_range_fills_up_and_the_longest_unused_goes_first() {
    let mut world = World::new();
    let mut taken = HashSet::new();
    for n in 2..12 {
        world.now += TimeDelta::seconds(1);
        assert!(taken.insert(world.lease(n).unwrap()));
    }
    assert!(taken.iter().all(|a| world.subnet.dynamic.contains(*a)));
    assert_eq!(world.offer(12, None), None, "full");
    let third = world.table.macs[&samples::mac(4)];
    world.table.release(samples::mac(4), third, world.now);
    assert_eq!(world.lease(12), Some(third));
    world.now += TimeDelta::hours(2);
    let first = world.table.macs[&samples::mac(2)];
    assert_eq!(world.offer(13, None), Some(first));
    assert_eq!(world.table.macs.get(&samples::mac(2)), None);
}

#[test]
fn an_offer_is_held_for_its_client_for_a_while() {
    let mut world = World::new();
    let wish = Ipv4Addr::new(10, 77, 0, 107);
    assert_eq!(world.offer(2, Some(wish)), Some(wish));
    assert_ne!(world.offer(3, Some(wish)), Some(wish));
    world.now += OFFER_HOLD;
    assert_eq!(world.offer(4, Some(wish)), Some(wish));
    assert!(world.table.take_changes().is_empty(), "offers are not stored");
    world.table.withdraw(samples::mac(4), world.now);
    assert_eq!(world.offer(5, Some(wish)), Some(wish));
}

#[test]
fn a_declined_address_rests() {
    let mut world = World::new();
    let bad = world.lease(1).unwrap();
    assert!(!world.table.decline(samples::mac(2), bad, world.now), "not its own");
    assert!(world.table.decline(samples::mac(1), bad, world.now));
    let other = world.offer(1, None).unwrap();
    assert!(world.subnet.dynamic.contains(other));
    world.now += DECLINE_REST;
    assert_eq!(world.offer(1, None), Some(bad));
}

#[test]
fn a_running_system_keeps_its_address_unless_another_needs_it() {
    let mut world = World::new();
    let address = world.lease(2).unwrap();
    world.reserve(2, [10, 77, 0, 30].into());
    assert!(world.table.may_keep(&world.asker(2), address, world.now));
    assert_eq!(world.offer(2, None), Some([10, 77, 0, 30].into()));
    assert!(!world.table.may_keep(&world.asker(2), address, world.now), "freed when it asked anew");
    let address = world.lease(3).unwrap();
    world.reserve(4, address);
    assert!(!world.table.may_keep(&world.asker(3), address, world.now));
    assert_ne!(world.offer(4, None), Some(address), "still in use");
    world.now += TimeDelta::hours(2);
    assert_eq!(world.offer(4, None), Some(address));
}

#[test]
fn special_addresses_are_never_given() {
    let mut world = World::new();
    for special in [[10, 77, 0, 0], [10, 77, 0, 1], [10, 77, 0, 255], [10, 78, 0, 5]] {
        world.reserve(2, special.into());
        let offered = world.offer(2, None).unwrap();
        assert!(world.subnet.dynamic.contains(offered));
    }
}

/// Whatever clients do, no address is leased to two of them at one time.
#[test]
fn no_address_has_two_holders() {
    let fresh = std::cell::RefCell::new(World::new());
    let moves = prop::collection::vec((0..5_u8, 1..20_u16, 0..12_u8), 1..120);
    proptest!(|(moves in moves)| {
        let mut world = fresh.borrow_mut();
        world.table = Table::default();
        let mut believed: HashMap<u16, (Ipv4Addr, Timestamp)> = HashMap::new();
        for (action, n, host) in moves {
            let wish = Ipv4Addr::new(10, 77, 0, 98 + host);
            // Whoever asks anew or gives back has no address, until it has one.
            let had = if action < 4 { believed.remove(&n) } else { None };
            match (action, had) {
                (0 | 1, _) => {
                    if let Some(address) = world.lease(n) {
                        believed.insert(n, (address, world.now + TimeDelta::hours(1)));
                    }
                }
                (2, Some((address, _))) => {
                    let now = world.now;
                    world.table.release(samples::mac(n), address, now);
                }
                (2, None) => {}
                (3, _) => {
                    world.offer(n, Some(wish));
                }
                _ => world.now += TimeDelta::minutes(i64::from(host)),
            }
            let now = world.now;
            believed.retain(|_, (_, until)| *until > now);
            let distinct: HashSet<_> = believed.values().map(|(a, _)| a).collect();
            prop_assert_eq!(distinct.len(), believed.len());
            for (n, (address, _)) in &believed {
                prop_assert_eq!(world.table.holder(*address), Some(samples::mac(*n)));
            }
        }
    });
}
