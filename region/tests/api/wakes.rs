//! A machine that is woken is looked at, whoever writes it at the same moment.

use farrier_region::app::events::Bounds;

use crate::{held::Held, postgres, site::Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_meets_the_commit_of_a_tick_is_not_lost() {
    let url = postgres::database();
    let site = Site::with(Bounds::default(), Some(url.clone())).await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    let (id, store) = (site.id_of("m1").await, site.app.store.clone());
    store.machine_wake(id).await.unwrap();

    // What a tick does that found nothing to do.
    let later = format!("UPDATE machines SET due_at = due_at + interval '1 hour' WHERE id = '{id}'");
    let tick = Held::take(&url, &later);
    let report = tokio::spawn(async move { store.machine_wake(id).await });
    tick.commits_when_wait(1).await;
    report.await.unwrap().unwrap();
    let due = site.app.store.machine_get(id).await.unwrap().unwrap().machine.due_at.unwrap();
    assert!(due <= site.app.clock.now(), "{due}");
}
