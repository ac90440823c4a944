// One boot against a rack that speaks the protocol on a socket, with faults that it is told to make.

use std::{collections::VecDeque, fs, net::SocketAddr, path::Path, sync::Mutex};

use farrier_common::id::BootId;
use farrier_proto::agent::{
    EnlistRequest, EnlistResponse, HelloRequest, HelloResponse, Idle, InventoryTask, NextTaskRequest, NextTaskResponse,
    PowerOffTask, ReportTaskRequest, ReportTaskResponse, RunScriptsTask, ScriptStatus, ScriptToRun,
    agent_service_server::{AgentService, AgentServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};

use super::*;

type Handout = (&'static str, Option<Task>);

/// A rack with a queue of tasks. A fault is used up by the next call.
#[derive(Clone, Default)]
struct FakeRack {
    tasks: Arc<Mutex<VecDeque<Handout>>>,
    reports: Arc<Mutex<Vec<(String, Report)>>>,
    faults: Arc<Mutex<VecDeque<Code>>>,
    stop: Arc<Mutex<bool>>,
}

impl FakeRack {
    fn fault(&self) -> Result<(), Status> {
        self.faults.lock().unwrap().pop_front().map_or(Ok(()), |code| Err(Status::new(code, "injected")))
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(AgentServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn results(&self) -> Vec<(String, Report)> {
        let is_result = |(_, report): &&(String, Report)| !matches!(report, Report::Progress(_));
        self.reports.lock().unwrap().iter().filter(is_result).cloned().collect()
    }
}

#[tonic::async_trait]
impl AgentService for FakeRack {
    async fn enlist(&self, request: Request<EnlistRequest>) -> Result<Response<EnlistResponse>, Status> {
        self.fault()?;
        let identity = request.into_inner().identity.unwrap();
        Ok(Response::new(EnlistResponse { machine_name: identity.macs.concat(), state: "New".to_owned() }))
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.fault()?;
        assert_eq!(request.into_inner().session.len(), 64);
        Ok(Response::new(HelloResponse { machine_name: "m1".to_owned(), purpose: "commission".to_owned() }))
    }

    async fn next_task(&self, _: Request<NextTaskRequest>) -> Result<Response<NextTaskResponse>, Status> {
        self.fault()?;
        let mut tasks = self.tasks.lock().unwrap();
        let Some((id, task)) = tasks.pop_front() else {
            return Ok(Response::new(NextTaskResponse { task_id: String::new(), task: Some(Task::Idle(Idle {})) }));
        };
        Ok(Response::new(NextTaskResponse { task_id: id.to_owned(), task }))
    }

    async fn report_task(&self, request: Request<ReportTaskRequest>) -> Result<Response<ReportTaskResponse>, Status> {
        let request = request.into_inner();
        let report = request.report.unwrap();
        if !matches!(report, Report::Progress(_)) {
            self.fault()?;
        }
        self.reports.lock().unwrap().push((request.task_id, report));
        Ok(Response::new(ReportTaskResponse { stop: *self.stop.lock().unwrap() }))
    }
}

fn machine(root: &Path) -> Host {
    fs::create_dir_all(root.join("proc")).unwrap();
    fs::write(root.join("proc/cpuinfo"), "processor: 0\nmodel name: Test\n").unwrap();
    fs::write(root.join("proc/meminfo"), "MemTotal: 1024 kB\n").unwrap();
    Host::below(root)
}

/// Serves one boot of an empty machine and tells how it ended.
async fn boot(fake: &FakeRack, host: Host) -> Result<(), BootError> {
    let address = fake.start().await;
    let rack = Rack::new(
        address,
        Duration::from_millis(300),
        Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
    )
    .unwrap();
    let session = Session { boot_id: BootId::generate(), secret: Secret::random_token() };
    let store =
        Store::new(&"http://127.0.0.1:1".parse().unwrap(), session.boot_id, &session.secret, Patience::default());
    let job = Job {
        host: Arc::new(host),
        store: Arc::new(store.unwrap()),
        clock: Clock::System,
        boot_mac: None,
        progress: Progress::default(),
        crash: Crash::default(),
    };
    rack.hello(&session, &Secret::random_token(), &Identity::default()).await?;
    serve(&rack, &session, &job).await
}

fn queue(tasks: Vec<Handout>) -> FakeRack {
    FakeRack { tasks: Arc::new(Mutex::new(tasks.into())), ..FakeRack::default() }
}

fn inventory() -> Option<Task> {
    Some(Task::Inventory(InventoryTask {}))
}

fn off() -> Option<Task> {
    Some(Task::PowerOff(PowerOffTask {}))
}

#[tokio::test]
async fn does_task_after_task_until_it_is_to_power_off() {
    let dir = tempfile::tempdir().unwrap();
    let write = WriteImageTask::default();
    let tasks = vec![
        ("t1", inventory()),
        ("t2", Some(Task::Erase(EraseTask { sample_permille: 1 }))),
        ("t3", Some(Task::WriteImage(write))),
        ("t4", None),
        ("t5", off()),
    ];
    let fake = queue(tasks);
    boot(&fake, machine(dir.path())).await.unwrap();
    let results = fake.results();
    let seen: Vec<_> = results.iter().map(|(id, report)| (id.as_str(), report)).collect();
    let [
        ("t1", Report::Inventory(found)),
        ("t2", Report::Erase(erased)),
        ("t3", Report::Failed(bad)),
        ("t4", Report::Failed(unknown)),
        ("t5", Report::PowerOff(_)),
    ] = seen[..]
    else {
        panic!("{seen:?}");
    };
    let hardware = found.hardware.as_ref().unwrap();
    assert_eq!((hardware.cpu_model.as_str(), hardware.cpu_cores, hardware.memory_bytes), ("Test", 1, 1 << 20));
    assert!(erased.disks.is_empty());
    assert_eq!(bad.reason, "blob: is missing");
    assert!(unknown.reason.contains("does not know that task"), "{}", unknown.reason);
}

#[tokio::test]
async fn runs_scripts_and_its_own_tests_whatever_became_of_the_ones_before() {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, content: &str| ScriptToRun {
        name: name.to_owned(),
        content: content.as_bytes().to_vec(),
        timeout_seconds: 60,
    };
    let scripts = vec![
        script("bad", "#!/bin/sh\necho broken; exit 2\n"),
        script("good", "#!/bin/sh\necho fine\n"),
        script("disk-read", ""),
        script("future", ""),
    ];
    let fake = queue(vec![("t1", Some(Task::RunScripts(RunScriptsTask { scripts }))), ("t2", off())]);
    boot(&fake, machine(dir.path())).await.unwrap();
    let results = fake.results();
    let [(_, Report::RunScripts(ran)), (_, Report::PowerOff(_))] = &results[..] else { panic!("{results:?}") };
    let told: Vec<_> =
        ran.outcomes.iter().map(|o| (o.name.as_str(), o.status(), o.exit_code, o.output.as_str())).collect();
    let [bad, good, disks, future] = told[..] else { panic!("{told:?}") };
    assert_eq!(bad, ("bad", ScriptStatus::Failed, 2, "broken\n"));
    assert_eq!(good, ("good", ScriptStatus::Passed, 0, "fine\n"));
    assert_eq!(disks, ("disk-read", ScriptStatus::Skipped, 77, "the machine has no disk\n"));
    assert_eq!((future.1, future.2), (ScriptStatus::Failed, 127));
    assert!(ran.outcomes.iter().all(|o| o.started_unix_ms > 0 && o.finished_unix_ms >= o.started_unix_ms));
}

#[tokio::test]
async fn a_rack_that_is_away_costs_time_but_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let fake = queue(vec![("t1", inventory()), ("t2", off())]);
    *fake.faults.lock().unwrap() =
        [Code::Unavailable, Code::Unknown, Code::DeadlineExceeded, Code::Internal, Code::Cancelled].into();
    boot(&fake, machine(dir.path())).await.unwrap();
    assert_eq!(fake.results().len(), 2);
}

#[tokio::test]
async fn a_task_handed_out_twice_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let fake =
        queue(vec![("t1", inventory()), ("t1", Some(Task::Erase(EraseTask { sample_permille: 9999 }))), ("t2", off())]);
    boot(&fake, machine(dir.path())).await.unwrap();
    let results = fake.results();
    assert!(
        matches!(&results[..], [(_, Report::Inventory(a)), (_, Report::Inventory(b)), (_, Report::PowerOff(_))] if a == b)
    );
}

#[tokio::test]
async fn gives_up_at_once_when_refused_and_in_time_when_alone() {
    let dir = tempfile::tempdir().unwrap();
    let refusing = queue(vec![]);
    refusing.faults.lock().unwrap().push_back(Code::PermissionDenied);
    let outcome = boot(&refusing, machine(dir.path())).await;
    assert!(matches!(outcome, Err(BootError::Rack(RackError::Refused { what: "this boot", .. }))), "{outcome:?}");

    let down = FakeRack::default();
    *down.faults.lock().unwrap() = vec![Code::Unavailable; 1000].into();
    let outcome = boot(&down, machine(dir.path())).await;
    assert!(matches!(outcome, Err(BootError::Rack(RackError::Silent { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn a_task_that_is_no_longer_wanted_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let host = machine(dir.path());
    fs::create_dir_all(dir.path().join("sys/block/vda")).unwrap();
    fs::create_dir_all(dir.path().join("dev")).unwrap();
    fs::write(dir.path().join("sys/block/vda/size"), "2048").unwrap();
    fs::write(dir.path().join("dev/vda"), vec![7; 1 << 20]).unwrap();
    let fake = queue(vec![("t1", Some(Task::Erase(EraseTask { sample_permille: 1 }))), ("t2", off())]);
    *fake.stop.lock().unwrap() = true;
    boot(&fake, host).await.unwrap();
    let results = fake.results();
    assert!(matches!(&results[0].1, Report::Failed(f) if f.reason.starts_with("stopped")), "{results:?}");
    assert!(fs::read(dir.path().join("dev/vda")).unwrap().iter().all(|b| *b == 7));
}

#[tokio::test]
async fn enlists_with_what_it_is() {
    let fake = FakeRack::default();
    fake.faults.lock().unwrap().push_back(Code::Unavailable);
    let address = fake.start().await;
    let rack =
        Rack::new(address, Duration::from_secs(5), Backoff::new(Duration::from_millis(5), Duration::from_millis(5)))
            .unwrap();
    let identity = Identity { macs: vec!["52:54:00:00:00:01".to_owned()], ..Identity::default() };
    assert_eq!(rack.enlist(&identity).await.unwrap().machine_name, "52:54:00:00:00:01");
}
