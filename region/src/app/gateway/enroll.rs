//! Racks join, renew their certificates and say that they live.

use farrier_common::{clock::Timestamp, id::RackId, secret::Secret, telemetry::Chain};

use super::{Beat, Certified};
use crate::{
    app::{App, context::clip},
    domain::{Error, Result, rack::Rack},
    pki::{self, PkiError},
    store::{Enrollment, Heartbeat},
};

/// A rack that wants to join.
#[derive(Clone, Debug)]
pub struct NewRack {
    /// From its join token.
    pub secret: Secret<String>,
    /// For its certificate; only the public key is used.
    pub csr_pem: String,
    /// `host:port` at which the region can dial it.
    pub address: String,
    /// What it runs.
    pub software_version: String,
}

/// A rack that has joined.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The rack.
    pub rack: Rack,
    /// Its certificate, PEM.
    pub certificate_pem: String,
}

impl App {
    /// Lets a rack join. Its token is spent, but for the same key: an enrolment whose answer was lost may be repeated.
    ///
    /// A name that has joined before keeps its id, subnets and machines: the rack was set up anew.
    ///
    /// # Errors
    /// The token is unknown, spent or has expired; address or request are malformed.
    pub async fn enroll(&self, new: &NewRack) -> Result<Enrolled> {
        let now = self.clock.now();
        address(&new.address)?;
        // Tried before the token is spent; the certificate itself needs the id that the token leads to.
        let (_, expires) = self.certify(&new.csr_pem, RackId::generate(), now)?;
        let enrollment = Enrollment {
            join_digest: new.secret.digest(),
            key_digest: pki::key_digest(&new.csr_pem).map_err(refused)?,
            address: new.address.clone(),
            software_version: clip(&new.software_version, 64),
            certificate_expires_at: expires,
        };
        let rack = self.store.rack_enroll(enrollment).await?;
        let (certificate_pem, _) = self.certify(&new.csr_pem, rack.id, now)?;
        tracing::info!(rack.id = %rack.id, rack.name = %rack.name, address = rack.address, "a rack enrolled");
        Ok(Enrolled { rack, certificate_pem })
    }

    /// Gives a rack a fresh certificate.
    ///
    /// # Errors
    /// The request is malformed.
    pub async fn renew(&self, rack: &Rack, csr_pem: &str) -> Result<String> {
        let (pem, expires) = self.certify(csr_pem, rack.id, self.clock.now())?;
        self.store.rack_certificate(rack.id, expires).await?;
        Ok(pem)
    }

    /// Notes that a rack lives. One that does not hold what this region told it last is told everything anew.
    ///
    /// # Errors
    /// The address is malformed.
    pub async fn heartbeat(&self, rack: &Rack, beat: &Beat) -> Result<()> {
        address(&beat.address)?;
        let beat = Heartbeat {
            address: beat.address.clone(),
            software_version: clip(&beat.software_version, 64),
            snapshot: (!beat.snapshot.is_empty()).then(|| clip(&beat.snapshot, 64)),
            intents: beat.intents,
            http_port: beat.http_port,
        };
        if !rack.connected(self.clock.now()) {
            self.store.rack_is_back(rack.id);
        }
        let holds = beat.snapshot.clone().unwrap_or_default();
        self.store.rack_heartbeat(rack.id, beat, self.clock.now()).await?;
        if !self.racks.holds_current(rack.id, &holds) {
            self.racks.request_sync(rack.id);
        }
        Ok(())
    }

    fn certify(&self, csr_pem: &str, rack: RackId, now: Timestamp) -> Result<Certified> {
        self.ca.sign_rack(csr_pem, rack, now).map_err(refused)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(e: PkiError) -> Error {
    match &e {
        PkiError::Malformed { .. } => Error::invalid("csr_pem", Chain(&e)),
        PkiError::File { .. } | PkiError::KeyLost(_) | PkiError::Name(_) => Error::Internal(e.to_string()),
    }
}

fn address(text: &str) -> Result<()> {
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.len() <= 253
            && !host.contains(['/', '@', ' '])
            && port.parse::<u16>().is_ok_and(|p| p != 0)
    });
    if fits { Ok(()) } else { Err(Error::invalid("address", format!("{:?} is not HOST:PORT", clip(text, 80)))) }
}
