//! Who may call, and what repeating a call does.

use farrier_proto::v1::{self, Role};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::site::{Machines, Racks_, Site, Subnets, Tokens, Users, by, options, refused};

#[tokio::test]
async fn only_the_known_are_answered_but_health_and_reflection_are_for_all() {
    let site = Site::start().await;
    let mut users = Users::new(site.channel.clone());
    refused(users.who_am_i(v1::WhoAmIRequest {}).await, Code::Unauthenticated);
    refused(users.who_am_i(by("nonsense", v1::WhoAmIRequest {})).await, Code::Unauthenticated);
    let mut basic = Request::new(v1::WhoAmIRequest {});
    basic.metadata_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    refused(users.who_am_i(basic).await, Code::Unauthenticated);
    let me = users.who_am_i(by(&site.admin, v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!((me.name.as_str(), me.role()), ("admin", Role::Admin));

    let mut health = HealthClient::new(site.channel.clone());
    for service in ["", "farrier.v1.Machines", "farrier.v1.Events", "farrier.rack.v1.RackGateway"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    reflection(&site).await;
}

async fn reflection(site: &Site) {
    use tonic_reflection::pb::v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(site.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&"farrier.v1.Machines") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(!names.contains(&"farrier.agent.v1.AgentService"), "racks serve it: {names:?}");
}

#[tokio::test]
async fn roles_bound_what_people_do() {
    let site = Site::start().await;
    site.rack("r1").await;
    let viewer = site.user("vera", Role::Viewer).await;
    let user = site.user("ulf", Role::User).await;
    let (mut users, mut tokens) = (Users::new(site.channel.clone()), Tokens::new(site.channel.clone()));
    let mut machines = Machines::new(site.channel.clone());
    for token in [&viewer, &user] {
        let new = v1::CreateUserRequest { options: options(), name: "x".to_owned(), role: Role::Admin.into() };
        refused(users.create_user(by(token, new)).await, Code::PermissionDenied);
        let new = v1::CreateTokenRequest { options: options(), user: "admin".to_owned(), ..Default::default() };
        refused(tokens.create_token(by(token, new)).await, Code::PermissionDenied);
        let new = v1::CreateJoinTokenRequest { options: options(), rack: "x".to_owned(), valid_seconds: 0 };
        refused(Racks_::new(site.channel.clone()).create_join_token(by(token, new)).await, Code::PermissionDenied);
        let new = v1::CreateSubnetRequest {
            options: options(),
            name: String::new(),
            spec: Some(v1::SubnetSpec {
                cidr: "10.1.0.0/24".to_owned(),
                rack: "r1".to_owned(),
                dynamic_start: "10.1.0.9".to_owned(),
                dynamic_end: "10.1.0.10".to_owned(),
                ..Default::default()
            }),
        };
        refused(Subnets::new(site.channel.clone()).create_subnet(by(token, new)).await, Code::PermissionDenied);
        refused(machines.create_machine(by(token, crate::site::new_machine("m1", 1))).await, Code::PermissionDenied);
        users.list_users(by(token, v1::ListUsersRequest { page: None })).await.unwrap();
        machines.list_machines(by(token, v1::ListMachinesRequest::default())).await.unwrap();
    }
    let others = v1::ListTokensRequest { page: None, user: "admin".to_owned() };
    refused(tokens.list_tokens(by(&user, others)).await, Code::PermissionDenied);
    let own = tokens.list_tokens(by(&user, v1::ListTokensRequest::default())).await.unwrap().into_inner();
    assert_eq!(own.tokens.iter().map(|t| t.user.as_str()).collect::<Vec<_>>(), ["ulf"]);
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_another_body_is_refused() {
    let site = Site::start().await;
    let mut tokens = Tokens::new(site.channel.clone());
    let new = v1::CreateTokenRequest { options: options(), comment: "ci".to_owned(), ..Default::default() };
    let first = tokens.create_token(by(&site.admin, new.clone())).await.unwrap().into_inner();
    let again = tokens.create_token(by(&site.admin, new.clone())).await.unwrap().into_inner();
    assert_eq!(first, again);
    let mut users = Users::new(site.channel.clone());
    users.who_am_i(by(&first.secret, v1::WhoAmIRequest {})).await.unwrap();

    let other = v1::CreateTokenRequest { comment: "other".to_owned(), ..new };
    let status = refused(tokens.create_token(by(&site.admin, other)).await, Code::InvalidArgument);
    assert!(status.message().contains("was used for another request"), "{status:?}");

    for id in ["", "a\tb", &"x".repeat(65)] {
        let options = Some(v1::MutationOptions { request_id: id.to_owned(), ..v1::MutationOptions::default() });
        let bad = v1::CreateTokenRequest { options, ..Default::default() };
        let status = refused(tokens.create_token(by(&site.admin, bad)).await, Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "options.request_id");
    }

    let revoke = v1::RevokeTokenRequest { options: options(), token: first.token.unwrap().id };
    assert!(tokens.revoke_token(by(&site.admin, revoke)).await.unwrap().into_inner().revoked);
    refused(users.who_am_i(by(&first.secret, v1::WhoAmIRequest {})).await, Code::Unauthenticated);
}

#[tokio::test]
async fn the_answer_that_is_kept_holds_no_secret() {
    let site = Site::start().await;
    let new = v1::CreateTokenRequest { options: options(), ..Default::default() };
    let made = Tokens::new(site.channel.clone()).create_token(by(&site.admin, new.clone())).await.unwrap().into_inner();
    let all = site.database();
    let holds = |text: &str| all.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds(&new.options.unwrap().request_id));
    assert!(!holds(&made.secret));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let site = Site::start().await;
    for n in 0..4 {
        site.user(&format!("u{n}"), Role::User).await;
    }
    let mut users = Users::new(site.channel.clone());
    let (mut names, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = Some(v1::PageRequest { page_size: 2, page_token: token });
        let answer = users.list_users(by(&site.admin, v1::ListUsersRequest { page })).await.unwrap().into_inner();
        names.extend(answer.users.into_iter().map(|u| u.name));
        pages += 1;
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
        let page = Some(v1::PageRequest { page_size: 2, page_token: token.clone() });
        let foreign = v1::ListEventsRequest { page, ..Default::default() };
        let mut events = v1::events_client::EventsClient::new(site.channel.clone());
        refused(events.list_events(by(&site.admin, foreign)).await, Code::InvalidArgument);
    }
    assert_eq!((names, pages), (["admin", "u0", "u1", "u2", "u3"].map(ToOwned::to_owned).to_vec(), 3));
    for (page_size, page_token) in [(-1, ""), (1001, ""), (0, "*"), (0, "eA")] {
        let page = Some(v1::PageRequest { page_size, page_token: page_token.to_owned() });
        let status =
            refused(users.list_users(by(&site.admin, v1::ListUsersRequest { page })).await, Code::InvalidArgument);
        assert!(status.message().starts_with("page.page_"), "{status:?}");
    }
}

#[tokio::test]
async fn a_subnet_that_cannot_be_names_the_field() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    let good = v1::SubnetSpec {
        cidr: "10.2.0.0/24".to_owned(),
        rack: "r1".to_owned(),
        dynamic_start: "10.2.0.100".to_owned(),
        dynamic_end: "10.2.0.199".to_owned(),
        ..Default::default()
    };
    type Spoil = fn(&mut v1::SubnetSpec);
    let spoiled: [(&str, Spoil); 7] = [
        ("spec.cidr", |s| s.cidr = "10.2.0.0".to_owned()),
        ("spec.cidr", |s| s.cidr = "10.1.0.0/16".to_owned()),
        ("spec.rack", |s| s.rack = "r2".to_owned()),
        ("spec.gateway", |s| s.gateway = "gw".to_owned()),
        ("spec.dns_servers[0]", |s| s.dns_servers = vec!["dns".to_owned()]),
        ("spec.dynamic_end", |s| s.dynamic_end = "10.2.0.1".to_owned()),
        ("spec.lease_seconds", |s| s.lease_seconds = 1),
    ];
    let mut subnets = Subnets::new(site.channel.clone());
    for (field, spoil) in spoiled {
        let mut spec = good.clone();
        spoil(&mut spec);
        let new = v1::CreateSubnetRequest { options: options(), name: String::new(), spec: Some(spec) };
        let status = refused(subnets.create_subnet(by(&site.admin, new)).await, Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{field}: {status:?}");
    }
    let new = v1::CreateSubnetRequest { options: options(), name: String::new(), spec: Some(good) };
    let made = subnets.create_subnet(by(&site.admin, new)).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.spec.unwrap().lease_seconds), ("net-10-2-0-0-24", 600));
}
