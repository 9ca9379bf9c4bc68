//! Who the other side of a connection is: signed by the cluster's authority, of this cluster, the node it must
//! be, with a key that is pinned. Dates only warn: a cluster that was off past its dates, or whose clock says
//! 1970, still comes up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::authority::{Certificate, sha256};
use crate::shared::read;

/// Hashes of the public keys that a node may have ([`crate::NodeKey::public_key_hash`]).
pub type Pins = BTreeMap<u64, Vec<[u8; 32]>>;

/// How a certificate's dates fit this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// It is within them.
    Valid,
    /// It is past them.
    Expired,
    /// It is before them.
    NotYetValid,
}

/// Why a certificate is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Untrusted {
    Unnamed,
    Cluster { theirs: u128, ours: u128 },
    Node { theirs: u64, dialled: u64 },
    Authority(webpki::Error),
    Pin(u64),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("its certificate names no node of a cluster"),
            Self::Cluster { theirs, ours } => write!(
                f,
                "its certificate is of cluster {theirs:032x}, this one is {ours:032x}"
            ),
            Self::Node { theirs, dialled } => write!(
                f,
                "its certificate is of node {theirs:016x}, dialled was {dialled:016x}"
            ),
            Self::Authority(error) => {
                write!(
                    f,
                    "its certificate is not of this cluster's authority: {error:?}"
                )
            }
            Self::Pin(node) => write!(f, "its key is none of those of node {node:016x}"),
        }
    }
}

impl std::error::Error for Untrusted {}

impl From<Untrusted> for Error {
    fn from(untrusted: Untrusted) -> Self {
        CertificateError::Other(OtherError(Arc::new(untrusted))).into()
    }
}

/// What rustls says, or this module said through it.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.to_string(),
        Error::AlertReceived(alert) => {
            format!("it does not take this node's certificate: {alert:?}")
        }
        _ => error.to_string(),
    }
}

/// How a certificate names a node.
pub(crate) fn node_uri(cluster: u128, node: u64) -> String {
    format!("domp://{cluster:032x}/{node:016x}")
}

/// The cluster and node that a certificate names.
pub(crate) fn named(certificate: &CertificateDer<'_>) -> Option<(u128, u64)> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut uris = certificate.valid_uri_names();
    let uri = uris.next()?;
    let (cluster, node) = uri.strip_prefix("domp://")?.split_once('/')?;
    let cluster = u128::from_str_radix(cluster, 16).ok()?;
    let node = u64::from_str_radix(node, 16).ok()?;
    // One name a certificate, written in one way, or checks could be about different ones.
    let is_only = uris.next().is_none() && node_uri(cluster, node) == uri;
    is_only.then_some((cluster, node))
}

/// What a pin is compared with.
pub(crate) fn key_hash(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(sha256(&certificate.subject_public_key_info()))
}

/// Whether an authority signed it.
pub(crate) fn is_signed_by(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
) -> bool {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let Ok(anchor) = anchor_from_trusted_cert(authority) else {
        return false;
    };
    chain(certificate, &[anchor], &algorithms, now(), Side::Client).is_ok()
}

/// What the certificate must serve for.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client,
    Server,
}

fn chain(
    certificate: &CertificateDer<'_>,
    authorities: &[TrustAnchor<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
    side: Side,
) -> Result<Dates, webpki::Error> {
    let certificate = EndEntityCert::try_from(certificate)?;
    let verify = |time| {
        let usage = match side {
            Side::Client => KeyUsage::client_auth(),
            Side::Server => KeyUsage::server_auth(),
        };
        certificate
            .verify_for_usage(algorithms.all, authorities, &[], time, usage, None, None)
            .map(|_| ())
    };
    // Dates are looked at first, so all else is asked again at a time within them.
    match verify(now) {
        Ok(()) => Ok(Dates::Valid),
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            verify(not_after).map(|()| Dates::Expired)
        }
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            verify(not_before).map(|()| Dates::NotYetValid)
        }
        Err(error) => Err(error),
    }
}

/// Judges certificates.
pub(crate) struct Verifier {
    cluster: u128,
    authorities: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    pins: Arc<RwLock<Pins>>,
}

impl Verifier {
    pub fn new(
        cluster: u128,
        authorities: &[Certificate],
        algorithms: WebPkiSupportedAlgorithms,
        pins: Arc<RwLock<Pins>>,
    ) -> Result<Self, webpki::Error> {
        let anchors = authorities.iter().map(|authority| {
            let der = authority.to_der();
            anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned())
        });
        Ok(Self {
            cluster,
            authorities: anchors.collect::<Result<_, _>>()?,
            algorithms,
            pins,
        })
    }

    /// Which node it is, and whether its dates fit.
    pub fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        side: Side,
    ) -> Result<(u64, Dates), Untrusted> {
        // Names first, though nothing vouches for them yet: "of another cluster" says more than "unknown".
        let (theirs, node) = named(certificate).ok_or(Untrusted::Unnamed)?;
        if theirs != self.cluster {
            let ours = self.cluster;
            return Err(Untrusted::Cluster { theirs, ours });
        }
        let dates = chain(
            certificate,
            &self.authorities,
            &self.algorithms,
            now(),
            side,
        )
        .map_err(Untrusted::Authority)?;
        if let Some(pins) = read(&self.pins).get(&node) {
            let hash = key_hash(certificate).ok_or(Untrusted::Unnamed)?;
            if !pins.contains(&hash) {
                return Err(Untrusted::Pin(node));
            }
        }
        Ok((node, dates))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier of {:032x}", self.cluster)
    }
}

/// The name under which rustls hands a verifier the node that was dialled.
pub(crate) fn server_name(node: u64) -> ServerName<'static> {
    // It is never sent: SNI is off.
    let name = format!("{node:016x}.node.domp");
    ServerName::try_from(name).expect("hexadecimal is a DNS name")
}

fn dialled(name: &ServerName<'_>) -> Option<u64> {
    let ServerName::DnsName(name) = name else {
        return None;
    };
    u64::from_str_radix(name.as_ref().strip_suffix(".node.domp")?, 16).ok()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (theirs, _) = self.judge(end_entity, Side::Server)?;
        let dialled = dialled(server_name).ok_or(Untrusted::Unnamed)?;
        if theirs != dialled {
            return Err(Untrusted::Node { theirs, dialled }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Whether it is the node that the hello claims is seen when the hello is there.
        self.judge(end_entity, Side::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// This machine's time. A clock before 1970 is taken as 1970.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SanType};

    #[test]
    fn a_name_is_written_in_one_way_and_stands_alone() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let named_by = |uris: &[&str]| {
            let mut params = CertificateParams::default();
            let names = uris
                .iter()
                .map(|uri| SanType::URI((*uri).try_into().unwrap()));
            params.subject_alt_names = names.collect();
            named(params.self_signed(&key).unwrap().der())
        };
        let (good, other) = (node_uri(1, 2), node_uri(1, 3));
        assert_eq!(named_by(&[&good]), Some((1, 2)));
        assert_eq!(named_by(&[&good, &other]), None);
        for bad in [
            "domp://1/2",
            "https://1/2",
            &good[..good.len() - 1],
            &good.replace("//0", "//+"),
        ] {
            assert_eq!(named_by(&[bad]), None, "{bad}");
        }
        assert_eq!(named_by(&[]), None);
    }
}
