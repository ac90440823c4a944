//! Finds out how a BMC is spoken to, by the address alone: who answers, and what can be done that way.
//!
//! Both doors are knocked at without a name. One login follows, never two: a BMC counts wrong passwords.

use std::net::{Ipv4Addr, SocketAddrV4};

use farrier_common::{hardware::BmcProtocol, secret::Secret};
use tokio::time::Duration;

use super::{
    BmcError, Bmcs, Capability, Face, Login, Probe,
    gate::Class,
    ipmi::lanplus::{self, KnownSuites},
    redfish::{self, Https, http::Limits},
    webhook,
};

/// How long each door is waited for: with the login after it, a probe fits into the minute that the region waits.
const KNOCK: Duration = Duration::from_secs(10);
/// What the life-cycle needs of a BMC.
const NEEDED: [Capability; 3] = [Capability::Power, Capability::BootOverride, Capability::Accounts];

/// A BMC of which nobody has said how it is spoken to.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// Where it is.
    pub address: Ipv4Addr,
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
    /// What is known of it should it speak Redfish.
    pub https: Https,
}

impl Stranger {
    fn login(&self, protocol: BmcProtocol, face: Face) -> Login {
        Login {
            address: SocketAddrV4::new(self.address, protocol.port()),
            username: self.username.clone(),
            password: self.password.clone(),
            face,
            suites: KnownSuites::default(),
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// What the chosen way told.
    pub probe: Probe,
    /// The protocols that it answers to.
    pub speaks: Vec<BmcProtocol>,
    /// Why that way was chosen, for people.
    pub because: String,
}

impl Bmcs {
    /// Chooses Redfish if it answers and can do what is needed, else IPMI; logs in that way and asks what it is.
    ///
    /// # Errors
    /// See [`BmcError`]. A refused login ends it: the other protocol is not tried with the same password.
    pub async fn discover(&self, stranger: &Stranger) -> Result<Discovery, BmcError> {
        let by_redfish = stranger.login(BmcProtocol::Redfish, Face::Redfish(stranger.https.clone()));
        let by_ipmi = stranger.login(BmcProtocol::Ipmi, Face::Ipmi);
        let (redfish, ipmi) = tokio::join!(self.greet(&by_redfish), self.greet(&by_ipmi));
        let mut speaks = Vec::new();
        speaks.extend(redfish.is_ok().then_some(BmcProtocol::Redfish));
        speaks.extend(ipmi.is_ok().then_some(BmcProtocol::Ipmi));
        let not_redfish = match redfish {
            // Somebody else than the BMC that is known answers: nobody is told a password.
            Err(error @ BmcError::Untrusted(_)) => return Err(error),
            Err(error) => format!("no Redfish ({error})"),
            Ok(()) => match self.probe(&by_redfish).await {
                Ok(probe) => {
                    let lacks = lacks(&probe);
                    if lacks.is_empty() {
                        let because = "Redfish answers, and offers all that is needed".to_owned();
                        return Ok(Discovery { probe, speaks, because });
                    }
                    if ipmi.is_err() {
                        let because = format!("nothing but Redfish answers, although it does not offer {lacks}");
                        return Ok(Discovery { probe, speaks, because });
                    }
                    format!("its Redfish does not offer {lacks}")
                }
                Err(error @ (BmcError::Nonsense(_) | BmcError::Unsupported(_))) if ipmi.is_ok() => {
                    format!("its Redfish is not to be used ({error})")
                }
                Err(error) => return Err(error),
            },
        };
        if let Err(error) = ipmi {
            return Err(BmcError::Unreachable(format!("{not_redfish}, no IPMI ({error})")));
        }
        self.fits_ipmi(stranger)?;
        let probe = self.probe(&by_ipmi).await?;
        Ok(Discovery { probe, speaks, because: format!("IPMI answers; {not_redfish}") })
    }

    /// Is there somebody who speaks it? Tells nobody's name.
    async fn greet(&self, login: &Login) -> Result<(), BmcError> {
        let turn = self.gate.enter(login.address, Class::Inventory).await?;
        let met = match &login.face {
            Face::Ipmi => {
                let pace = lanplus::Pace { deadline: KNOCK.min(self.pace.deadline), ..self.pace };
                lanplus::greet(login.address, pace).await.map_err(BmcError::from)
            }
            Face::Redfish(https) => {
                let limits = Limits { whole: KNOCK.min(self.limits.whole), ..self.limits };
                redfish::greet(&self.redfish(login, https, limits)).await
            }
            Face::Webhook(_) => webhook::cannot("being found out"),
        };
        // A door that is shut makes no silent BMC: many have one of the two.
        if met.is_ok() { turn.end(met) } else { met }
    }

    /// Farrier's bounds for IPMI: what every IPMI 2.0 BMC holds.
    fn fits_ipmi(&self, stranger: &Stranger) -> Result<(), BmcError> {
        let (name, password) = BmcProtocol::Ipmi.longest_login();
        if stranger.username.len() <= name && stranger.password.expose().len() <= password {
            return Ok(());
        }
        Err(BmcError::Unsupported(format!(
            "it is to be spoken to by IPMI, whose user names have up to {name} bytes and passwords up to {password}"
        )))
    }
}

/// What is needed and not offered, for people; empty: nothing.
fn lacks(probe: &Probe) -> String {
    let missing = NEEDED.iter().filter(|c| !probe.capabilities.contains(c));
    missing.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
