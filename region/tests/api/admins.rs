//! There is always an admin who may call, whoever demotes or disables whom.

use farrier_proto::v1::{self, Role};
use farrier_region::app::events::Bounds;
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::{
    held::Held,
    postgres,
    site::{Machines, Site, Users, by, options, refused},
};

/// What is done to a user.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Demote,
    Disable,
    Reinstate,
}

async fn deed(site: &Site, token: &str, user: &str, deed: Deed) -> Result<Response<v1::User>, Status> {
    let (role, disabled, paths) = match deed {
        Deed::Demote => (Role::User, false, &["role"][..]),
        Deed::Disable => (Role::Unspecified, true, &["disabled"][..]),
        Deed::Reinstate => (Role::Admin, false, &["role", "disabled"][..]),
    };
    let q = v1::UpdateUserRequest {
        options: options(),
        user: user.to_owned(),
        update_mask: Some(FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() }),
        role: role.into(),
        disabled,
        ..Default::default()
    };
    Users::new(site.connect(None)).update_user(by(token, q)).await
}

/// The admins who may call, as the database has them.
async fn admins(site: &Site) -> Vec<String> {
    let all = site.app.store.user_list(None, 100).await.unwrap();
    let may = all.iter().filter(|u| u.role == farrier_region::domain::user::Role::Admin && !u.disabled);
    may.map(|u| u.name.to_string()).collect()
}

/// Two admins, ann and bea, with their tokens; nobody else is one.
async fn two(site: &Site) -> [String; 2] {
    let both = [site.user("ann", Role::Admin).await, site.user("bea", Role::Admin).await];
    deed(site, &both[0], "admin", Deed::Demote).await.unwrap();
    assert_eq!(admins(site).await, ["ann", "bea"]);
    both
}

#[tokio::test]
async fn the_last_admin_stays() {
    let site = Site::start().await;
    let mut users = Users::new(site.channel.clone());
    for what in [Deed::Demote, Deed::Disable] {
        let status = refused(deed(&site, &site.admin, "admin", what).await, Code::FailedPrecondition);
        assert_eq!(status.message(), "he is the last admin who is enabled; make another user admin first", "{what:?}");
    }
    // One who is disabled does not count.
    let [ann, bea] = two(&site).await;
    deed(&site, &ann, "bea", Deed::Disable).await.unwrap();
    let status = refused(users.who_am_i(by(&bea, v1::WhoAmIRequest {})).await, Code::Unauthenticated);
    assert_eq!(status.message(), "user bea is disabled; an admin can enable him");
    refused(deed(&site, &ann, "ann", Deed::Demote).await, Code::FailedPrecondition);
    deed(&site, &ann, "bea", Deed::Reinstate).await.unwrap();
    users.who_am_i(by(&bea, v1::WhoAmIRequest {})).await.unwrap();
    // A role that is taken is taken from the next call on.
    deed(&site, &bea, "ann", Deed::Demote).await.unwrap();
    refused(deed(&site, &ann, "bea", Deed::Demote).await, Code::PermissionDenied);
    Machines::new(site.channel.clone()).list_machines(by(&ann, v1::ListMachinesRequest::default())).await.unwrap();
    assert_eq!(admins(&site).await, ["bea"]);
}

/// To whom what is done.
type To = (&'static str, Deed);

/// What two admins do at the same time, ann and bea.
const AT_ONCE: [(To, To); 5] = [
    (("bea", Deed::Demote), ("ann", Deed::Demote)),
    (("bea", Deed::Disable), ("ann", Deed::Disable)),
    (("bea", Deed::Demote), ("ann", Deed::Disable)),
    (("ann", Deed::Demote), ("bea", Deed::Demote)),
    (("ann", Deed::Disable), ("bea", Deed::Demote)),
];

/// Does both at once, and sees that one was done and the other refused.
async fn meet(site: &Site, [ann, bea]: &[String; 2], (a, b): (To, To), lock: Option<Held>) {
    let surely = lock.is_some();
    let released = async {
        if let Some(lock) = lock {
            lock.until_wait(2).await;
        }
    };
    let (first, second, ()) = tokio::join!(deed(site, ann, a.0, a.1), deed(site, bea, b.0, b.1), released);
    let left = admins(site).await;
    assert_eq!(left.len(), 1, "{a:?} {b:?}: {left:?}");
    assert_eq!([&first, &second].iter().filter(|done| done.is_ok()).count(), 1, "{first:?} {second:?}");
    let loser = first.err().or(second.err()).unwrap();
    // Who is not made to wait may come after the other one is done, and is no admin any more.
    let late = !surely && matches!(loser.code(), Code::PermissionDenied | Code::Unauthenticated);
    assert!(late || loser.message().starts_with("he is the last admin who is enabled"), "{loser:?}");
    let (survivor, lost) = if left == ["ann"] { (ann, "bea") } else { (bea, "ann") };
    deed(site, survivor, lost, Deed::Reinstate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_end_each_other_at_once_leave_one_on_postgres() {
    let url = postgres::database();
    let site = Site::with(Bounds::default(), Some(url.clone())).await;
    let both = two(&site).await;
    for deeds in AT_ONCE {
        // Both are let in, and then wait for the same lock.
        let lock = Held::take(&url, "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE");
        meet(&site, &both, deeds, Some(lock)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_end_each_other_at_once_leave_one_on_sqlite() {
    let site = Site::start().await;
    let both = two(&site).await;
    for deeds in AT_ONCE {
        meet(&site, &both, deeds, None).await;
    }
}
