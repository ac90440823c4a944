//! Lists of machines: what the database is asked for must never change what comes out.

use std::{cmp::Ordering, time::Instant};

use chrono::TimeDelta;
use farrier_common::hardware::PowerState;
use farrier_region::{
    domain::{
        filter::{Filter, Seen},
        machine::{Hardware, Lock, Machine, Owner},
        order::{Key, Order},
    },
    store::{MOST_SCANNED, MachineFilter, MachineQuery, MachineView, Place},
};

use crate::world::{World, machine, on_both};

/// Machines that differ in much, several equal in each.
async fn fleet(world: &World, count: u8) -> Vec<MachineView> {
    let rack = world.rack("r1").await;
    let ann = world.user("ann").await;
    for n in 0..count {
        let at = world.now() + TimeDelta::seconds(i64::from(n / 3));
        let mut m =
            Machine { created_at: at, since: at - TimeDelta::seconds(i64::from(n % 4)), ..machine(n, world.now()) };
        m.zone = ["east", "west"][usize::from(n % 2)].parse().unwrap();
        m.tags = ["gpu", "big", "gpu-x"].iter().take(usize::from(n % 4)).map(|t| t.parse().unwrap()).collect();
        m.rack = (n % 3 == 0).then_some(rack.id);
        m.owner = (n % 5 == 0).then_some(Owner::User(ann.id));
        m.power = (n % 4 == 1).then_some((PowerState::On, at));
        m.details.lock = (n % 6 == 1).then(|| Lock {
            by: "ann".to_owned(),
            admin: n % 4 == 1,
            since: at,
            comment: "the auditors".to_owned(),
        });
        m.details.labels = [("site".to_owned(), format!("s{}", n % 3))].into();
        m.details.hardware = (n % 2 == 0).then(|| Hardware {
            cpu_cores: n.into(),
            vendor: "Dell Inc.".to_owned(),
            ..Hardware::default()
        });
        world.insert(m).await.unwrap();
    }
    let (all, _) = world.store.machine_list(MachineFilter::default(), None, 1000).await.unwrap();
    all
}

fn query(filter: &str, order: &str) -> MachineQuery {
    MachineQuery {
        wanted: Filter::parse(filter).unwrap(),
        order: Order::parse(order).unwrap(),
        ..MachineQuery::default()
    }
}

/// All pages.
async fn pages(world: &World, query: &MachineQuery, size: usize) -> Vec<MachineView> {
    let (mut all, mut behind): (_, Option<Place>) = (Vec::new(), None);
    loop {
        let page = world.store.machine_page(query.clone(), behind, size).await.unwrap();
        assert!(page.items.len() <= size);
        all.extend(page.items);
        behind = page.next;
        if behind.is_none() {
            return all;
        }
    }
}

fn names(views: &[MachineView]) -> Vec<String> {
    views.iter().map(|v| v.machine.name.to_string()).collect()
}

fn seen(v: &MachineView) -> Seen<'_> {
    Seen { machine: &v.machine, owner: v.owner.as_ref(), project: None, pool: &v.pool, rack: v.rack.as_ref() }
}

#[test]
fn the_database_and_the_filter_agree() {
    on_both(|world: World| async move {
        let all = fleet(&world, 24).await;
        let since = world.now().to_rfc3339();
        for filter in [
            "",
            "state=commissioning",
            "state=ready OR zone=east",
            "state!=ready AND name=m7",
            "name=m1* AND zone=west",
            "tags:gpu",
            "tags:gpu AND tags:big AND -tags:gpu-x",
            "tags:*",
            "owner=ann",
            "owner=\"\"",
            "owner!=ann AND rack=r1",
            "rack!=r1",
            "power=on",
            "power!=on",
            "power:off",
            "pool=default AND architecture=amd64",
            "pool=other",
            "locked=true",
            "locked!=true AND zone=west",
            "NOT locked=false OR name=m3",
            "project=x",
            "cpu_cores>=8 AND cpu_cores!=10",
            "vendor:dell AND labels.site=s1",
            "bmc_address=10.1.0.4 OR mac:52:54:00:00:00:09",
            &format!("since<\"{since}\""),
            &format!("since>=\"{since}\" AND created_at!=\"{since}\" AND updated_at=\"{since}\""),
            &format!("NOT created_at=\"{since}\""),
            &format!("id={}", all[3].machine.id),
        ] {
            let query = query(filter, "");
            let wanted: Vec<_> = all.iter().filter(|v| query.wanted.matches(&seen(v))).cloned().collect();
            for size in [1, 7, 100] {
                assert_eq!(names(&pages(&world, &query, size).await), names(&wanted), "{filter} by {size}");
            }
            let exact = MachineQuery { whole: true, ..query };
            assert_eq!(pages(&world, &exact, 100).await, wanted, "{filter}");
        }
        let short = pages(&world, &query("zone=east", ""), 100).await;
        assert!(short.iter().all(|v| v.machine.details.hardware.is_none() && !v.machine.details.labels.is_empty()));
    });
}

#[test]
fn every_order_is_kept_over_pages() {
    on_both(|world: World| async move {
        let all = fleet(&world, 24).await;
        let by = |key: Key, a: &MachineView, b: &MachineView| -> Ordering {
            let (x, y) = (&a.machine, &b.machine);
            match key {
                Key::Id => x.id.to_string().cmp(&y.id.to_string()),
                Key::Name => x.name.cmp(&y.name),
                Key::State => x.state.as_str().cmp(y.state.as_str()),
                Key::Since => x.since.cmp(&y.since),
                Key::CreatedAt => x.created_at.cmp(&y.created_at),
                Key::UpdatedAt => x.updated_at.cmp(&y.updated_at),
                Key::Pool => a.pool.cmp(&b.pool),
                Key::Zone => x.zone.cmp(&y.zone),
            }
        };
        let mut orders: Vec<String> = Key::ALL.iter().flat_map(|k| [k.to_string(), format!("{k} desc")]).collect();
        orders.extend(["zone desc, since, name desc".to_owned(), "pool, state desc, created_at desc".to_owned()]);
        for order in orders {
            let query = query("tags:gpu OR zone=east", &order);
            let mut wanted: Vec<_> = all.iter().filter(|v| query.wanted.matches(&seen(v))).cloned().collect();
            wanted.sort_by(|a, b| {
                let parts = query.order.parts().iter();
                let each = parts.map(|(key, desc)| if *desc { by(*key, b, a) } else { by(*key, a, b) });
                each.fold(Ordering::Equal, Ordering::then).then(by(Key::Id, a, b))
            });
            for size in [1, 5, 50] {
                assert_eq!(names(&pages(&world, &query, size).await), names(&wanted), "{order} by {size}");
            }
        }
    });
}

/// `FARRIER_LIST_MACHINES=10000 cargo test --release … a_list_costs -- --nocapture` tells what a whole list costs.
#[test]
fn a_list_costs_what_its_view_needs() {
    let count = std::env::var("FARRIER_LIST_MACHINES").map_or(40, |n| n.parse().unwrap());
    on_both(|world: World| async move {
        for n in 0..count {
            let mut m = machine(0, world.now());
            m.name = format!("n{n}").parse().unwrap();
            m.interfaces.clear();
            m.details.hardware = Some(Hardware {
                disks: vec![Default::default(); 8],
                nics: vec![Default::default(); 4],
                ..Hardware::default()
            });
            world.insert(m).await.unwrap();
        }
        for (view, filter, whole, found) in
            [("basic", "", false, count), ("full", "", true, count), ("scan", "cpu_cores>0", false, 0)]
        {
            let begun = Instant::now();
            let all = pages(&world, &MachineQuery { whole, ..query(filter, "") }, 1000).await;
            println!("{count} machines, {view} {filter}: {:.0?}", begun.elapsed());
            assert_eq!(all.len(), found);
            assert!(all.iter().all(|v| v.machine.details.hardware.is_some() == whole));
        }
        const { assert!(MOST_SCANNED >= 1000) };
    });
}
