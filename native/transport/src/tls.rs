//! TLS 1.3 between nodes, both sides with certificates, by rustls with ring.

use std::sync::{Arc, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, version};

use crate::authority::Credentials;
use crate::verify::{self, Pins, Verifier};

/// What makes connections, for one set of credentials.
#[derive(Clone)]
pub(crate) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    pub verifier: Arc<Verifier>,
}

#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    // Not rustls' own, which panics before 1970.
    fn current_time(&self) -> Option<UnixTime> {
        Some(verify::now())
    }
}

impl Tls {
    /// The error is for the operator.
    pub fn new(
        cluster: u128,
        credentials: &Credentials,
        pins: Arc<RwLock<Pins>>,
    ) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier::new(cluster, &credentials.authorities, algorithms, pins)
            .map_err(|error| format!("an authority's certificate does not read: {error:?}"))?;
        let verifier = Arc::new(verifier);
        let chain = vec![credentials.certificate.to_der()];
        let why = |error: rustls::Error| format!("certificate and key of the node: {error}");

        let mut client = ClientConfig::builder_with_details(provider.clone(), Arc::new(Clock))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(why)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(chain.clone(), credentials.key.to_der())
            .map_err(why)?;
        client.enable_sni = false;
        // A resumed session would show no certificate.
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_details(provider, Arc::new(Clock))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(why)?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, credentials.key.to_der())
            .map_err(why)?;
        server.send_tls13_tickets = 0;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
            verifier,
        })
    }

    /// To a node. None if the configuration does not go together, which `new` would have said.
    pub fn dial(&self, node: u64) -> Option<Connection> {
        let connection = ClientConnection::new(self.client.clone(), verify::server_name(node));
        connection.ok().map(Connection::from)
    }

    /// From whoever it is.
    pub fn accept(&self) -> Option<Connection> {
        let connection = ServerConnection::new(self.server.clone());
        connection.ok().map(Connection::from)
    }
}
