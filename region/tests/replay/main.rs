//! "The same request id and body, the same answer": a run of every mutation while the region is killed at random moments,
//! and then all of it once more. Each leaves one row in the audit.
//!
//! The region is the real program, ended by SIGKILL. Requests and answers are compared as bytes on the wire. No rack is
//! there: what the engine would bring about is written to the database while no region runs.
#![expect(clippy::unwrap_used, reason = "tests")]

mod audit;
mod region;
#[path = "../support/requests.rs"]
mod requests;
mod run;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farrier_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use region::Region;
use requests::LEFT_OUT;
use run::Run;

/// Every call whose request has mutation options.
fn mutations() -> BTreeSet<String> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let files: Vec<_> = all.file.iter().filter(|f| f.package() == "farrier.v1").collect();
    let mutating: BTreeSet<String> = files
        .iter()
        .flat_map(|f| &f.message_type)
        .filter(|m| m.field.iter().any(|f| f.type_name() == ".farrier.v1.MutationOptions"))
        .map(|m| format!(".farrier.v1.{}", m.name()))
        .collect();
    let services = files.iter().flat_map(|f| &f.service);
    let methods = services.flat_map(|s| s.method.iter().map(move |m| (s, m)));
    let found = methods.filter(|(_, m)| mutating.contains(m.input_type()));
    found.map(|(s, m)| format!("farrier.v1.{}/{}", s.name(), m.name())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_once_is_answered_the_same_and_not_done_again() {
    let mut region = Region::start().await;
    let run = Run::new(&region);
    run.set_up().await;
    // Each part is done while the region dies and comes back; between them the machines are brought on as by the engine.
    region.while_it_dies(3, run.people_and_machines()).await;
    region.stopped(async |store| run::commissioned(&store).await).await;
    region.while_it_dies(1, run.belongings()).await;
    region.stopped(async |store| run::at_rest(&store).await).await;
    region.while_it_dies(2, run.use_machines()).await;
    region.stopped(async |store| run::at_rest(&store).await).await;
    region.while_it_dies(2, run.bulk()).await;
    // An operation needs its machines at rest to be over.
    for _ in 0..10 {
        if run.operations_are_over().await {
            break;
        }
        region.stopped(async |store| run::at_rest(&store).await).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert!(run.operations_are_over().await);
    region.stopped(async |store| run::at_rest(&store).await).await;

    let before = region.rows();
    let done = run.done();
    for record in &done {
        let again = run.call(&record.method, &record.token, &record.request).await.unwrap();
        assert_eq!(again, record.answer, "{}", record.method);
    }
    region.stopped(async |_| {}).await;
    for record in done.iter().rev() {
        let again = run.call(&record.method, &record.token, &record.request).await.unwrap();
        assert_eq!(again, record.answer, "{}", record.method);
    }
    assert_eq!(region.rows(), before, "repeating changed something");
    println!("{} mutations, {} deaths, {} calls made again on the way", done.len(), region.deaths(), run.repeated());
    assert!(region.deaths() >= 7 && done.len() >= 60, "{} mutations", done.len());
    run.is_audited(&run.audit().await, &done);
    let (again, refused) = run.anew().await;
    println!("asked for anew, {} were done and {refused} refused", again.len());
    assert!(again.len() >= 10 && refused >= 20, "{} done, {refused} refused", again.len());
    run.is_audited(&run.audit().await, &[done.clone(), again].concat());

    let told: BTreeSet<String> = done.iter().map(|r| r.method.clone()).collect();
    let left_out: BTreeMap<&str, &str> = LEFT_OUT.iter().copied().collect();
    let mut missing = Vec::new();
    for method in mutations() {
        let known = told.contains(&method) || left_out.contains_key(method.as_str());
        if !known && run.is_built(&method).await {
            missing.push(method);
        }
    }
    assert!(missing.is_empty(), "built, and neither in the run nor left out with a reason: {missing:?}");
    assert!(told.iter().all(|m| !left_out.contains_key(m.as_str())), "in the run and left out");
}
