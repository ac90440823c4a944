//! Users, tokens, racks, subnets, images and secrets.

use chrono::TimeDelta;
use farrier_common::{
    hardware::{Architecture, Compression},
    id::{ImageId, RackId, SubnetId, TokenId, UserId},
    net::Ipv4Range,
};
use farrier_region::{
    domain::{
        Error,
        event::EventKind,
        image::{Blob, BlobRole, Image, ImageKind},
        network::Subnet,
        pool,
        user::{Role, Token, User},
    },
    store::{Enrollment, Heartbeat, JoinToken, Once},
};

use crate::world::{World, event, fresh, on_both, request};

#[test]
fn users_are_found_listed_and_unique() {
    on_both(|world: World| async move {
        let (a, b) = (world.user("a").await, world.user("b").await);
        assert_eq!(world.store.user_get(a.id).await.unwrap(), Some(a.clone()));
        assert_eq!(world.store.user_find("b").await.unwrap(), Some(b.clone()));
        assert_eq!(world.store.user_find(&b.id.to_string()).await.unwrap(), Some(b.clone()));
        assert_eq!(world.store.user_find("c").await.unwrap(), None);
        let ids = |users: Vec<User>| users.into_iter().map(|u| u.id).collect::<Vec<_>>();
        assert_eq!(ids(world.store.user_list(None, 9).await.unwrap()), [a.id, b.id]);
        assert_eq!(ids(world.store.user_list(Some(a.id), 9).await.unwrap()), [b.id]);
        let same = User { id: UserId::generate(), ..a };
        let refused = world.store.user_insert(None, same, event(EventKind::User), |_| vec![]).await.unwrap_err();
        assert_eq!(refused.to_string(), "user \"a\" exists already");
    });
}

#[test]
fn the_default_pool_is_there_and_found() {
    on_both(|world: World| async move {
        for found in ["default".to_owned(), pool::DEFAULT.to_string()] {
            let there = world.store.pool_find(&found).await.unwrap().unwrap();
            assert_eq!((there.id, there.name.as_str(), there.everyone), (pool::DEFAULT, "default", true));
        }
        for missing in ["gpu", "", "DEFAULT"] {
            assert_eq!(world.store.pool_find(missing).await.unwrap(), None);
        }
    });
}

fn token(world: &World, user: UserId) -> Token {
    Token {
        id: TokenId::generate(),
        user,
        comment: "laptop".to_owned(),
        created_at: world.now(),
        expires_at: Some(world.now() + TimeDelta::seconds(60)),
        revoked: false,
    }
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    on_both(|world: World| async move {
        let user = world.user("a").await;
        let by_digest = async |digest: &str| {
            let found = world.store.user_by_token_digest(digest, world.now()).await.unwrap();
            found.map(|u| u.name.to_string())
        };
        let (ends, lasts) = (token(&world, user.id), Token { expires_at: None, ..token(&world, user.id) });
        for (t, digest) in [(&ends, "d1"), (&lasts, "d2")] {
            let put = world.store.token_insert(None, t.clone(), digest, event(EventKind::User), |_| vec![]).await;
            assert_eq!(fresh(put.unwrap()), *t);
        }
        assert_eq!(world.store.token_get(ends.id).await.unwrap().as_ref(), Some(&ends));
        assert_eq!(world.store.token_list(user.id, None, 9).await.unwrap(), [ends.clone(), lasts.clone()]);
        assert_eq!(world.store.token_list(user.id, Some(ends.id), 9).await.unwrap(), vec![lasts.clone()]);
        assert_eq!(by_digest("d1").await.as_deref(), Some("a"));
        assert_eq!(by_digest("none").await, None);
        world.later(60);
        assert_eq!(by_digest("d1").await, None);
        assert_eq!(by_digest("d2").await.as_deref(), Some("a"));
        let revoke = || world.store.token_revoke(None, lasts.id, event(EventKind::User), |_| vec![]);
        assert!(fresh(revoke().await.unwrap()).revoked);
        let logged = world.store.event_revision().await.unwrap();
        assert!(fresh(revoke().await.unwrap()).revoked);
        assert_eq!(world.store.event_revision().await.unwrap(), logged, "once");
        assert_eq!(by_digest("d2").await, None);
        let nobody = token(&world, UserId::generate());
        let refused = world.store.token_insert(None, nobody, "d3", event(EventKind::User), |_| vec![]).await;
        assert!(matches!(refused, Err(Error::NotFound { kind: "user", .. })));
        let none = world.store.token_revoke(None, TokenId::generate(), event(EventKind::User), |_| vec![]).await;
        assert!(matches!(none, Err(Error::NotFound { kind: "token", .. })));
    });
}

#[test]
fn there_is_one_first_user() {
    on_both(|world: World| async move {
        let insert = async |name: &str| {
            let id = UserId::generate();
            let user = User { id, ..User::new(name.parse().unwrap(), Role::Admin, world.now()) };
            world.store.user_insert_first(user, token(&world, id), name, event(EventKind::User)).await.unwrap()
        };
        assert!(insert("admin").await);
        assert!(!insert("other").await);
        let found = world.store.user_by_token_digest("admin", world.now()).await.unwrap();
        assert_eq!(found.unwrap().role, Role::Admin);
    });
}

#[test]
fn a_join_token_lets_one_key_in() {
    on_both(|world: World| async move {
        let first = world.rack("r1").await;
        let enrollment = |key: &str, join: &str| Enrollment {
            join_digest: join.to_owned(),
            key_digest: key.to_owned(),
            address: "10.0.0.3:5251".to_owned(),
            software_version: "0.1.1".to_owned(),
            certificate_expires_at: world.now() + TimeDelta::days(90),
        };
        let again = world.store.rack_enroll(enrollment("key r1", "join r1")).await.unwrap();
        assert_eq!((again.id, again.address.as_str()), (first.id, "10.0.0.3:5251"), "the answer was lost");
        for (key, join) in [("other key", "join r1"), ("key", "no such token")] {
            let refused = world.store.rack_enroll(enrollment(key, join)).await;
            assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
        }
        let token = JoinToken { rack: "r1".parse().unwrap(), expires_at: world.now() + TimeDelta::seconds(9) };
        world.store.join_token_insert(None, token, "rebuilt", event(EventKind::Rack), |_| vec![]).await.unwrap();
        let rebuilt = world.store.rack_enroll(enrollment("new key", "rebuilt")).await.unwrap();
        assert_eq!(rebuilt.id, first.id);
        world.later(10);
        let late = world.store.rack_enroll(enrollment("new key", "rebuilt")).await;
        assert!(matches!(late, Err(Error::Unauthenticated(_))));
    });
}

#[test]
fn racks_are_found_and_their_heartbeats_kept() {
    on_both(|world: World| async move {
        let (a, b) = (world.rack("a").await, world.rack("b").await);
        assert_eq!(world.store.rack_list(None, 9).await.unwrap(), [a.clone(), b.clone()]);
        assert_eq!(world.store.rack_list(Some(a.id), 9).await.unwrap(), vec![b.clone()]);
        assert_eq!(world.store.rack_find("b").await.unwrap(), Some(b.clone()));
        assert_eq!(world.store.rack_find(&b.id.to_string()).await.unwrap(), Some(b));
        let now = world.later(5);
        let beat = Heartbeat {
            address: "h:1".to_owned(),
            software_version: "2".to_owned(),
            snapshot: Some("s".to_owned()),
            intents: 7,
            http_port: Some(80),
        };
        world.store.rack_heartbeat(a.id, beat.clone(), now).await.unwrap();
        world.store.rack_certificate(a.id, now).await.unwrap();
        let seen = world.store.rack_get(a.id).await.unwrap().unwrap();
        assert_eq!((seen.address.as_str(), seen.software_version.as_str(), seen.intents), ("h:1", "2", 7));
        assert_eq!((seen.last_seen, seen.snapshot.as_deref()), (Some(now), Some("s")));
        assert_eq!(seen.certificate_expires_at, now);
        let nobody = RackId::generate();
        assert!(matches!(world.store.rack_heartbeat(nobody, beat, now).await, Err(Error::NotFound { .. })));
        assert!(matches!(world.store.rack_certificate(nobody, now).await, Err(Error::NotFound { .. })));
        assert_eq!(world.store.rack_get(nobody).await.unwrap(), None);
    });
}

fn subnet(name: &str, third: u8, rack: RackId) -> Subnet {
    let range = Ipv4Range::new([10, 0, third, 100].into(), [10, 0, third, 199].into()).unwrap();
    Subnet {
        id: SubnetId::generate(),
        name: name.parse().unwrap(),
        cidr: format!("10.0.{third}.0/24").parse().unwrap(),
        rack,
        gateway: (third == 1).then_some([10, 0, third, 1].into()),
        dns: vec![[10, 0, third, 2].into(), [9, 9, 9, 9].into()],
        dynamic: range,
        lease_seconds: 600,
    }
}

#[test]
fn subnets_come_back_and_never_overlap() {
    on_both(|world: World| async move {
        let rack = world.rack("r1").await.id;
        let insert = |s: &Subnet| world.store.subnet_insert(None, s.clone(), event(EventKind::Subnet), |_| vec![]);
        let (a, b) = (subnet("a", 1, rack), subnet("b", 2, rack));
        assert_eq!(fresh(insert(&a).await.unwrap()), a);
        insert(&b).await.unwrap();
        assert_eq!(world.store.subnet_list(None, 9).await.unwrap(), [a.clone(), b.clone()]);
        assert_eq!(world.store.subnet_list(Some(a.id), 9).await.unwrap(), vec![b.clone()]);
        assert_eq!(world.store.subnet_find("a").await.unwrap(), Some(a.clone()));
        assert_eq!(world.store.subnet_find(&a.id.to_string()).await.unwrap(), Some(a.clone()));
        assert_eq!(world.store.subnets_of_rack(rack).await.unwrap(), [a, b]);
        assert_eq!(world.store.subnets_of_rack(RackId::generate()).await.unwrap(), []);
        let refused = async |s: Subnet| insert(&s).await.unwrap_err().to_string();
        assert_eq!(refused(subnet("a", 3, rack)).await, "subnet \"a\" exists already");
        assert_eq!(refused(subnet("c", 2, rack)).await, "spec.cidr: overlaps subnet b (10.0.2.0/24)");
        let nobody = RackId::generate();
        assert_eq!(refused(subnet("c", 3, nobody)).await, format!("there is no rack \"{nobody}\""));
    });
}

#[test]
fn of_overlapping_subnets_at_once_one_is_made() {
    on_both(|world: World| async move {
        let rack = world.rack("r1").await.id;
        for third in 1..=5 {
            let insert = |name: &str| {
                let s = subnet(&format!("{name}{third}"), third, rack);
                world.store.subnet_insert(None, s, event(EventKind::Subnet), |_| vec![])
            };
            let (a, b) = tokio::join!(insert("a"), insert("b"));
            assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
        }
    });
}

fn image(world: &World, name: &str, digest: &str) -> Image {
    let blob = |role| Blob {
        role,
        sha256: format!("{digest}-{role}"),
        size: 1 << 40,
        compression: Compression::Zstd,
        content_sha256: digest.to_owned(),
        content_size: 1 << 41,
    };
    Image {
        id: ImageId::generate(),
        name: name.parse().unwrap(),
        kind: ImageKind::Ephemeral,
        architecture: Architecture::Amd64,
        blobs: vec![blob(BlobRole::Initrd), blob(BlobRole::Kernel)],
        created_at: world.now(),
    }
}

#[test]
fn a_replaced_image_is_still_there_for_who_uses_it() {
    on_both(|world: World| async move {
        let insert = |i: &Image, replace| {
            world.store.image_insert(None, i.clone(), replace, event(EventKind::Image), |_| vec![])
        };
        let (a, b) = (image(&world, "a", "1"), image(&world, "b", "2"));
        assert_eq!(fresh(insert(&a, false).await.unwrap()), a);
        insert(&b, true).await.unwrap();
        let newer = image(&world, "a", "3");
        let refused = insert(&newer, false).await.unwrap_err();
        assert_eq!(refused.to_string(), "image \"a\" exists already");
        insert(&newer, true).await.unwrap();
        assert_eq!(world.store.image_find("a").await.unwrap().as_ref(), Some(&newer));
        assert_eq!(world.store.image_get(a.id).await.unwrap().as_ref(), Some(&a));
        assert_eq!(world.store.image_find(&a.id.to_string()).await.unwrap(), Some(a));
        assert_eq!(world.store.image_list(None, 9).await.unwrap(), [b.clone(), newer.clone()]);
        assert_eq!(world.store.image_list(Some(b.id), 9).await.unwrap(), [newer]);
        assert_eq!(world.store.image_get(ImageId::generate()).await.unwrap(), None);
        assert!(world.store.blob_known("1-kernel").await.unwrap(), "of the replaced one");
        assert!(world.store.blob_known("3-kernel").await.unwrap());
        assert!(!world.store.blob_known("4-kernel").await.unwrap());
        let mut double = image(&world, "c", "5");
        double.blobs.push(double.blobs[0].clone());
        assert_eq!(insert(&double, false).await.unwrap_err().to_string(), "blobs: image c has more than one initrd");
    });
}

#[test]
fn answers_are_replayed_for_every_kind() {
    on_both(|world: World| async move {
        let r = request("r1", "body");
        let user = User::new("a".parse().unwrap(), Role::User, world.now());
        let insert =
            || world.store.user_insert(Some(&r), user.clone(), event(EventKind::User), |u| u.id.to_string().into());
        assert_eq!(insert().await.unwrap(), Once::Fresh(user.clone()));
        assert_eq!(insert().await.unwrap(), Once::Replay(user.id.to_string().into_bytes()));
    });
}

#[test]
fn secrets_are_put_replaced_and_deleted() {
    on_both(|world: World| async move {
        let get = async || world.store.secret_get("p").await.unwrap();
        assert_eq!(get().await, None);
        world.store.secret_put("p", vec![0, 255]).await.unwrap();
        assert_eq!(get().await, Some(vec![0, 255]));
        world.store.secret_put("p", vec![1]).await.unwrap();
        assert_eq!(get().await, Some(vec![1]));
        world.store.secret_delete("p").await.unwrap();
        world.store.secret_delete("p").await.unwrap();
        assert_eq!(get().await, None);
    });
}
