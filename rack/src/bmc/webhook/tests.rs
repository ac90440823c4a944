//! Against a small box that switches, and lies when it is told to.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap as Headers, StatusCode as Code},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use farrier_common::{secret::Secret, webhook::Given};
use tokio::task::JoinSet;

use super::*;
use crate::bmc::{Bmcs, Face as Spoken, ipmi::lanplus::KnownSuites, ipmi::lanplus::Pace};

const TOKEN: &str = "hunter2-token";

/// How the box behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Honest,
    /// Says yes to commands, and does nothing.
    Idle,
    /// Tells that it is on and off at once.
    Both,
    /// Tells neither.
    Neither,
    /// Never answers.
    Mute,
    /// Answers without end.
    Huge,
    /// Sends whoever asks to a server elsewhere.
    Away,
    /// Sends whoever asks to another of its pages.
    Moved,
    /// Sends whoever asks in a circle.
    Circle,
    /// Has too much to do.
    Busy,
}

struct Seen {
    on: bool,
    commands: Vec<String>,
}

struct Outlet {
    login: Login,
    seen: Arc<Mutex<Seen>>,
    _server: JoinSet<()>,
}

fn redirect(to: &str) -> Response {
    (Code::SEE_OTHER, [(LOCATION, to.to_owned())]).into_response()
}

async fn told(mood: Mood, page: &'static str, headers: Headers, seen: Arc<Mutex<Seen>>) -> Response {
    let expected = format!("Bearer {TOKEN}");
    if headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) != Some(expected.as_str()) {
        return (Code::UNAUTHORIZED, TOKEN).into_response();
    }
    match mood {
        Mood::Mute => std::future::pending::<()>().await,
        Mood::Away => return redirect("http://127.0.0.2:1/"),
        Mood::Circle => return redirect("/state"),
        Mood::Moved if page == "state" => return redirect("/moved"),
        Mood::Busy => return Code::SERVICE_UNAVAILABLE.into_response(),
        Mood::Huge => return format!("\"on\"{}", " ".repeat(BODY)).into_response(),
        Mood::Both => return "\"on\" \"off\"".into_response(),
        Mood::Neither => return TOKEN.into_response(),
        Mood::Honest | Mood::Idle | Mood::Moved => {}
    }
    let mut seen = seen.lock().unwrap();
    if page == "on" || page == "off" {
        seen.commands.push(page.to_owned());
        if mood != Mood::Idle {
            seen.on = page == "on";
        }
        return "done".into_response();
    }
    if seen.on { "\"on\"" } else { "\"off\"" }.into_response()
}

async fn start(mood: Mood) -> Outlet {
    let seen = Arc::new(Mutex::new(Seen { on: false, commands: Vec::new() }));
    let page = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |headers: Headers| told(mood, name, headers, seen)
    };
    let routes = Router::new()
        .route("/state", get(page("state")))
        .route("/moved", get(page("moved")))
        .route("/on", post(page("on")))
        .route("/off", post(page("off")));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let at = |page: &str| format!("http://127.0.0.1:{port}/{page}");
    let given = Given {
        on_url: at("on"),
        off_url: at("off"),
        query_url: at("state"),
        on_regex: "\"on\"".to_owned(),
        off_regex: "\"off\"".to_owned(),
        insecure: false,
    };
    let login = Login {
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        username: String::new(),
        password: Secret::new(TOKEN.to_owned()),
        face: Spoken::Webhook(Box::new(Face { hook: given.try_into().unwrap(), pin: Pin::Vouched })),
        suites: KnownSuites::default(),
    };
    Outlet { login, seen, _server: server }
}

fn bmcs() -> Bmcs {
    let limit = Duration::from_millis(400);
    let patience = Patience { poll: Duration::from_millis(10), repeat: Duration::from_secs(9), deadline: limit };
    Bmcs::with_times(Pace::default(), patience).with_limits(Limits {
        connect: limit,
        request: limit,
        whole: limit,
        ..Limits::default()
    })
}

#[tokio::test]
async fn a_box_is_switched_and_what_is_so_already_is_not() {
    for mood in [Mood::Honest, Mood::Moved] {
        let (bmcs, it) = (bmcs(), start(mood).await);
        let probe = bmcs.probe(&it.login).await.unwrap();
        assert_eq!((probe.power, probe.capabilities), (Some(PowerState::Off), vec![Capability::Power]));
        bmcs.set_power(&it.login, PowerState::Off).await.unwrap();
        bmcs.set_power(&it.login, PowerState::On).await.unwrap();
        bmcs.cycle_power(&it.login).await.unwrap();
        assert_eq!(bmcs.power(&it.login).await, Ok(PowerState::On));
        assert_eq!(it.seen.lock().unwrap().commands, ["on", "off", "on"]);
    }
}

#[tokio::test]
async fn what_the_box_says_to_a_command_is_no_proof() {
    let it = start(Mood::Idle).await;
    let told = bmcs().set_power(&it.login, PowerState::On).await.unwrap_err();
    assert!(matches!(&told, BmcError::NotConfirmed(text) if text.contains("power is not on")), "{told}");
    assert_eq!(it.seen.lock().unwrap().commands, ["on"]);
}

#[tokio::test]
async fn odd_answers_are_told_apart_and_never_show_the_token() {
    type Is = fn(&BmcError) -> bool;
    let odd: [(Mood, Is); 7] = [
        (Mood::Both, |e| matches!(e, BmcError::Nonsense(t) if t.contains("both of the two"))),
        (Mood::Neither, |e| matches!(e, BmcError::Nonsense(t) if t.contains("none of the two"))),
        (Mood::Mute, |e| matches!(e, BmcError::Unreachable(_))),
        (Mood::Huge, |e| matches!(e, BmcError::Nonsense(t) if t.contains("more than 65536"))),
        (Mood::Away, |e| matches!(e, BmcError::Rejected(t) if t.contains("another server"))),
        (Mood::Circle, |e| matches!(e, BmcError::Nonsense(t) if t.contains("redirects"))),
        (Mood::Busy, |e| matches!(e, BmcError::Busy(_))),
    ];
    for (mood, is) in odd {
        let it = start(mood).await;
        let told = bmcs().power(&it.login).await.unwrap_err();
        assert!(is(&told) && !told.to_string().contains(TOKEN), "{mood:?}: {told}");
        assert!(bmcs().set_power(&it.login, PowerState::On).await.is_err(), "{mood:?} is no proof");
    }
}

#[tokio::test]
async fn a_wrong_token_is_a_refused_login() {
    let it = start(Mood::Honest).await;
    for (username, password) in [("", "wrong"), ("", ""), ("admin", TOKEN)] {
        let login = Login { username: username.into(), password: Secret::new(password.into()), ..it.login.clone() };
        let told = bmcs().set_power(&login, PowerState::On).await.unwrap_err();
        assert!(matches!(&told, BmcError::Refused(t) if !t.contains(TOKEN)), "{told}");
    }
    assert!(it.seen.lock().unwrap().commands.is_empty());
}

#[tokio::test]
async fn a_box_has_nothing_but_power() {
    let it = start(Mood::Honest).await;
    let network = farrier_common::hardware::BootDevice::Network;
    let told = [
        bmcs().soft_off(&it.login).await,
        bmcs().set_boot_device(&it.login, network, true).await,
        bmcs().reset(&it.login).await,
        bmcs().remove_account(&it.login, "maas").await.map(drop),
        bmcs().change_password(&it.login, &Secret::new("x".to_owned())).await.map(drop),
    ];
    for outcome in told {
        assert!(matches!(&outcome, Err(BmcError::Unsupported(t)) if t.contains("webhook")), "{outcome:?}");
    }
}

#[tokio::test]
async fn tls_is_verified_unless_somebody_said_not() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["plug.lab".into()]).unwrap().self_signed(&key).unwrap();
    let seen = farrier_common::tls::Fingerprint::of(certificate.der());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let named = String::from_utf8_lossy(request.get(..read).unwrap_or_default()).contains("host: plug.lab:");
            assert!(named, "the host is named as the URL names it");
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\"on\"";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap_or_default();
        }
    });
    let url = format!("https://plug.lab:{port}/");
    let given = Given {
        on_url: url.clone(),
        off_url: url.clone(),
        query_url: url,
        on_regex: "\"on\"".to_owned(),
        off_regex: "\"off\"".to_owned(),
        insecure: false,
    };
    let hook: Webhook = given.try_into().unwrap();
    let ask = async |bmcs: Bmcs, pin| {
        let login = Login {
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            username: "admin".to_owned(),
            password: Secret::new(TOKEN.to_owned()),
            face: Spoken::Webhook(Box::new(Face { hook: hook.clone(), pin })),
            suites: KnownSuites::default(),
        };
        bmcs.power(&login).await
    };
    let other = farrier_common::tls::Fingerprint::of(b"another");
    assert!(matches!(ask(bmcs(), Pin::Vouched).await, Err(BmcError::Untrusted(_))));
    assert!(matches!(ask(bmcs(), Pin::Known(other)).await, Err(BmcError::Untrusted(_))));
    assert_eq!(ask(bmcs(), Pin::Known(seen)).await, Ok(PowerState::On));
    assert_eq!(ask(bmcs(), Pin::FirstSeen).await, Ok(PowerState::On));
    let vouched = Authorities::from_pem(certificate.pem().as_bytes()).unwrap();
    assert_eq!(ask(bmcs().with_authorities(vouched), Pin::Vouched).await, Ok(PowerState::On));
}
