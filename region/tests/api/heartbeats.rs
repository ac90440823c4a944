//! When agents were heard last, and what becomes of one that is heard no more.

use std::time::Duration;

use chrono::TimeDelta;
use farrier_common::clock::{Clock, Timestamp};
use farrier_proto::{
    agent::{self, report_task_request::Report},
    rack,
    v1::{self, MachineState},
};
use farrier_region::{
    crash::Crash,
    domain::{
        advance::Deadlines,
        decide::Rules,
        lifecycle::{Event, Phase},
        observation::TaskKind,
    },
    engine::Engine,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    fake_rack::{self, Orders},
    gateway::Boot,
    site::{Machines, Rack, Site, by},
};

const SILENCE: TimeDelta = TimeDelta::seconds(90);

/// A site whose clock stands still, with m1, whose agent has opened its session and is to take the inventory.
struct Scene {
    site: Site,
    clock: Clock,
    rack: Rack,
    orders: Orders,
    boot: Boot,
}

impl Scene {
    async fn new() -> Self {
        let clock = Clock::manual(Clock::System.now());
        let site = Site::at(clock.clone()).await;
        let (mut rack, orders) = fake_rack::serving(&site, "r1").await;
        orders.answer("GetPower", &rack::GetPowerResponse { power: v1::PowerState::On.into() });
        site.subnet("r1", 1).await;
        site.machine("m1", 2).await;
        let boot = Boot::of(&site, "m1", Phase::Inventory, TaskKind::Inventory).await;
        boot.open(&mut rack, 2).await;
        Self { site, clock, rack, orders, boot }
    }

    async fn status(&self) -> v1::MachineStatus {
        let get = v1::GetMachineRequest { machine: "m1".to_owned(), ..Default::default() };
        let got = Machines::new(self.site.channel.clone()).get_machine(by(&self.site.admin, get)).await;
        got.unwrap().into_inner().status.unwrap()
    }

    /// When the agent was heard last, as people are told.
    async fn heard(&self) -> Option<Timestamp> {
        let at = self.status().await.agent_heard_at?;
        Timestamp::from_timestamp(at.seconds, u32::try_from(at.nanos).unwrap())
    }

    /// The rack says that it is there.
    async fn beat(&mut self) {
        let address = self.site.app.store.rack_list(None, 1).await.unwrap()[0].address.clone();
        let beat = rack::HeartbeatRequest { address, software_version: "test".to_owned(), ..Default::default() };
        self.rack.client.heartbeat(beat).await.unwrap();
    }

    /// Lets time pass, with a rack that is there all along.
    async fn pass(&mut self, seconds: i64) -> Timestamp {
        for left in (1..=seconds).rev() {
            self.clock.advance(TimeDelta::seconds(1));
            if left % 10 == 1 {
                self.beat().await;
            }
        }
        self.clock.now()
    }

    /// What the log says of an agent that was lost.
    async fn lost(&self) -> Option<String> {
        let ask = v1::ListEventsRequest { machine: "m1".to_owned(), ..Default::default() };
        let mut events = v1::events_client::EventsClient::new(self.site.channel.clone());
        let all = events.list_events(by(&self.site.admin, ask)).await.unwrap().into_inner().events;
        all.into_iter().map(|event| event.reason).find(|reason| reason.contains("has not been heard"))
    }

    fn engine(&self) -> DropGuard {
        let app = &self.site.app;
        let engine = Engine {
            store: app.store.clone(),
            racks: app.racks.clone(),
            vault: app.vault.clone(),
            rules: Rules::default(),
            deadlines: Deadlines::new(),
            bmc_account: "maas".parse().unwrap(),
            clock: self.clock.clone(),
            owner: "test".to_owned(),
            crash: Crash::default(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(engine.run(stop.clone()));
        stop.drop_guard()
    }

    /// Has the engine look at the machine as it is now, as when a report comes.
    async fn looked_at(&self) -> v1::MachineStatus {
        let now = self.clock.now();
        self.site.engine("m1", None, |change| change.machine.due_at = Some(now)).await;
        let machine = self.site.id_of("m1").await;
        let looked = async {
            while self.site.app.store.machine_get(machine).await.unwrap().unwrap().machine.due_at
                <= Some(self.clock.now())
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looked).await.expect("the engine looks");
        self.status().await
    }
}

#[tokio::test]
async fn each_word_of_an_agent_is_noted_and_kept() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.heard().await, Some(scene.clock.now()), "by its hello");
    let asked = scene.pass(10).await;
    let (task, _) = scene.boot.task(&mut scene.rack).await;
    assert_eq!(scene.heard().await, Some(asked), "by its question what to do");
    let told = scene.pass(20).await;
    let report = scene.boot.report(&task, Report::Progress(agent::Progress::default()));
    scene.rack.client.relay_report_task(report).await.unwrap();
    scene.pass(5).await;
    assert_eq!(scene.heard().await, Some(told), "by its report, and not since");

    let kept = async |scene: &Scene| scene.site.app.store.boot_get(scene.boot.id).await.unwrap().unwrap().heard_at;
    assert_eq!(kept(&scene).await, None);
    assert_eq!(scene.site.app.store.heard_write().await.unwrap(), 1);
    assert_eq!(kept(&scene).await, Some(told));
    // It says something of the boot in progress, and of no other.
    scene.site.engine("m1", Some(Event::Abort), |_| {}).await;
    let status = scene.status().await;
    assert_eq!((status.state(), status.agent_heard_at), (MachineState::FailedCommissioning, None));
}

#[tokio::test]
async fn an_agent_that_is_heard_no_more_is_lost_and_it_is_told_since_when() {
    let mut scene = Scene::new().await;
    scene.boot.task(&mut scene.rack).await;
    let heard = scene.clock.now();
    let _engine = scene.engine();
    scene.looked_at().await;
    scene.pass(SILENCE.num_seconds() - 1).await;
    let status = scene.looked_at().await;
    assert_eq!((status.phase.as_str(), status.reason.as_str()), ("inventory", "the agent does inventory: "));
    assert_eq!(scene.lost().await, None);
    scene.pass(1).await;
    let status = scene.looked_at().await;
    assert_eq!(status.state(), MachineState::Commissioning, "it is given another boot");
    let told = scene.lost().await.unwrap();
    let since = heard.format("%F %T UTC");
    let why = format!("the agent was to do inventory and has not been heard since {since}; trying again (boot ");
    assert!(told.starts_with(&why), "{told}");
    let boot = scene.site.app.store.machine_find("m1").await.unwrap().unwrap().machine.details.boot;
    assert_ne!(boot, Some(scene.boot.id));
    assert!(scene.orders.count("GetPower") > 0);
}

#[tokio::test]
async fn nobody_is_lost_while_his_rack_is_away() {
    let mut scene = Scene::new().await;
    scene.boot.task(&mut scene.rack).await;
    let _engine = scene.engine();
    scene.beat().await;
    scene.looked_at().await;
    // Nobody could hear him for twice as long, and a little after the rack is back he is not lost either.
    scene.clock.advance(SILENCE * 2);
    assert_eq!(scene.looked_at().await.phase, "inventory");
    scene.beat().await;
    scene.pass(SILENCE.num_seconds() - 1).await;
    assert_eq!(scene.looked_at().await.reason, "the agent does inventory: ");
    assert_eq!(scene.lost().await, None);
    scene.pass(1).await;
    scene.looked_at().await;
    assert!(scene.lost().await.is_some());
}
