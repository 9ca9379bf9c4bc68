//! The cluster's authority, and what it signs: the certificates by which nodes know each other.
//!
//! A certificate names its node as a URI, `domp://CLUSTER/NODE` in hexadecimal. All keys are Ed25519. A signing
//! request is this module's own fixed 96 bytes (public key, and a signature over key, cluster and node that
//! proves that the node has the other half): reading X.509's would take a parser of some fifteen crates.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use crate::verify;

/// Why a key, a certificate or a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// It is no Ed25519 key.
    Key(String),
    /// It is no certificate.
    Certificate(String),
    /// The certificate does not belong to the key or the cluster.
    Mismatch,
    /// The signing request does not prove what it must, for this cluster and node.
    Request,
    /// The system gives no randomness, or signing fails.
    Signing(String),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "this is no Ed25519 key: {error}"),
            Self::Certificate(error) => write!(f, "this is no certificate: {error}"),
            Self::Mismatch => f.write_str("the certificate is of another key or cluster"),
            Self::Request => f.write_str("the signing request is of another key, cluster or node"),
            Self::Signing(error) => write!(f, "can't sign: {error}"),
        }
    }
}

impl std::error::Error for AuthorityError {}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Signing(error.to_string())
    }
}

/// From when to when a certificate is meant to be used. Peers only warn outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Seconds since 1970.
    pub from_unix_s: u64,
    /// Seconds since 1970; what is later than the year 9999 is its end.
    pub until_unix_s: u64,
}

/// The last second that a certificate can say.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// A certificate, of a node or of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`].
    pub fn from_pem(pem: &str) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let pem = pem.to_owned();
        Ok(Self { pem, der })
    }

    fn from_made(made: &rcgen::Certificate) -> Self {
        Self {
            pem: made.pem(),
            der: made.der().clone(),
        }
    }

    /// As text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// As bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its bytes: by an authority's, a node that joins knows the cluster.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    pub(crate) fn to_der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }
}

/// Signs the certificates of a cluster's nodes.
pub struct Authority {
    cluster: u128,
    key: KeyPair,
    certificate: Certificate,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// [`AuthorityError::Signing`].
    pub fn generate(cluster: u128) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = authority_params(cluster);
        params.serial_number = Some(serial_number()?);
        let certificate = Certificate::from_made(&params.self_signed(&key)?);
        Ok(Self {
            cluster,
            key,
            certificate,
        })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// [`AuthorityError`], also when key, certificate and cluster do not belong together.
    pub fn from_pem(
        cluster: u128,
        key_pem: &str,
        certificate_pem: &str,
    ) -> Result<Self, AuthorityError> {
        let authority = Self {
            cluster,
            key: key_from_pem(key_pem)?,
            certificate: Certificate::from_pem(certificate_pem)?,
        };
        // What it signs must be what its certificate verifies: nothing less tells that they fit.
        let probe = NodeKey::generate()?;
        let validity = Validity {
            from_unix_s: 0,
            until_unix_s: UNIX_S_MAX,
        };
        let signed = authority.sign(&probe.signing_request(cluster, 0)?, 0, validity)?;
        if verify::is_signed_by(&signed.der, &authority.certificate.der) {
            Ok(authority)
        } else {
            Err(AuthorityError::Mismatch)
        }
    }

    /// Its secret key.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its certificate, which every node has.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs a node's certificate.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] when the request is not that node's, [`AuthorityError::Signing`].
    pub fn sign(
        &self,
        request: &[u8],
        node: u64,
        validity: Validity,
    ) -> Result<Certificate, AuthorityError> {
        let key = RequestedKey::prove(request, self.cluster, node)?;
        let at =
            |unix_s: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s.min(UNIX_S_MAX));
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(format!("DOMP node {node:016x}"));
        let uri = verify::node_uri(self.cluster, node);
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.not_before = at(validity.from_unix_s);
        params.not_after = at(validity.until_unix_s);
        params.serial_number = Some(serial_number()?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let issuer = Issuer::new(authority_params(self.cluster), &self.key);
        Ok(Certificate::from_made(&params.signed_by(&key, &issuer)?))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority of {:032x}", self.cluster)
    }
}

/// A node's key.
pub struct NodeKey {
    key: KeyPair,
}

impl NodeKey {
    /// Makes one.
    ///
    /// # Errors
    /// [`AuthorityError::Signing`].
    pub fn generate() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(Self { key })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// [`AuthorityError::Key`].
    pub fn from_pem(pem: &str) -> Result<Self, AuthorityError> {
        let key = key_from_pem(pem)?;
        Ok(Self { key })
    }

    /// As text. It is secret.
    pub fn pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 of the public key as certificates hold it: what a pin is.
    pub fn public_key_hash(&self) -> [u8; 32] {
        sha256(&self.key.subject_public_key_info())
    }

    /// What the authority signs for that node of that cluster.
    ///
    /// # Errors
    /// [`AuthorityError::Signing`].
    pub fn signing_request(&self, cluster: u128, node: u64) -> Result<Vec<u8>, AuthorityError> {
        let mut request = self.key.der_bytes().to_vec();
        let signature = self.key.sign(&to_prove(&request, cluster, node))?;
        request.extend_from_slice(&signature);
        Ok(request)
    }

    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

/// What a node shows others, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    /// The node's.
    pub key: NodeKey,
    /// Signed by one of the authorities, for the key.
    pub certificate: Certificate,
    /// The cluster's; while they rotate there are two.
    pub authorities: Vec<Certificate>,
}

const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A public key whose owner has shown that it has the secret one.
struct RequestedKey([u8; KEY_BYTES]);

impl RequestedKey {
    fn prove(request: &[u8], cluster: u128, node: u64) -> Result<Self, AuthorityError> {
        let (key, signature) = request
            .split_first_chunk::<KEY_BYTES>()
            .filter(|(_, signature)| signature.len() == SIGNATURE_BYTES)
            .ok_or(AuthorityError::Request)?;
        webpki::ring::ED25519
            .verify_signature(key, &to_prove(key, cluster, node), signature)
            .map_err(|_| AuthorityError::Request)?;
        Ok(Self(*key))
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// What the signature in a request is over. It begins with words that nothing else is signed with.
fn to_prove(key: &[u8], cluster: u128, node: u64) -> Vec<u8> {
    let mut out = b"DOMP signing request 1\0".to_vec();
    out.extend_from_slice(&cluster.to_le_bytes());
    out.extend_from_slice(&node.to_le_bytes());
    out.extend_from_slice(key);
    out
}

/// All of an authority's certificate that its signatures refer to.
fn authority_params(cluster: u128) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(format!("DOMP cluster {cluster:032x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn common_name(name: String) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn key_from_pem(pem: &str) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ED25519)
        .map_err(|error| AuthorityError::Key(error.to_string()))
}

fn serial_number() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Signing("the system gives no randomness".into()))?;
    // Positive, and of 16 bytes always.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
