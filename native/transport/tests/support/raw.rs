//! A node that says what the test wants, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use domp_protocol::{HelloHead, PEER_PROTOCOL_VERSION, WelcomeHead};
use domp_transport::Credentials;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use super::{CLUSTER, PATIENCE};

/// Believes everybody.
#[derive(Debug)]
struct Naive;

impl ServerCertVerifier for Naive {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Dials with TLS, with a certificate or none.
pub fn dial(address: SocketAddr, credentials: Option<&Credentials>) -> Stream {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Naive));
    let config = match credentials {
        Some(credentials) => {
            let chain = vec![CertificateDer::from(credentials.certificate.der().to_vec())];
            let key = PrivateKeyDer::from_pem_slice(credentials.key.pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("node").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(tls, stream)
}

/// A hello as node `node` would say it to `to` on lane 1.
pub fn hello(node: u64, to: u64) -> HelloHead {
    HelloHead {
        version: PEER_PROTOCOL_VERSION,
        lane: 1,
        cluster: CLUSTER,
        node,
        to,
        incarnation: 1,
        nonce: 1,
        length: 0,
    }
}

/// Says a hello and hears the answer.
pub fn greet(stream: &mut Stream, hello: &HelloHead) -> (WelcomeHead, String) {
    stream.write_all(&hello.encode()).unwrap();
    hear(stream)
}

/// Hears the answer to a hello.
pub fn hear(stream: &mut Stream) -> (WelcomeHead, String) {
    let mut head = [0; WelcomeHead::BYTES];
    stream.read_exact(&mut head).unwrap();
    let head = WelcomeHead::parse(&head).unwrap();
    let mut words = vec![0; head.length as usize];
    stream.read_exact(&mut words).unwrap();
    (head, String::from_utf8(words).unwrap())
}

/// Whether the other side has closed, for which it is waited.
pub fn is_closed(stream: &mut impl Read) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                return !matches!(error.kind(), TimedOut | WouldBlock);
            }
        }
    }
}

/// Takes one connection of a node that dials, with whatever certificate, and hears its hello.
pub fn accept(
    listener: &std::net::TcpListener,
    credentials: &Credentials,
) -> (Accepted, HelloHead) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from(credentials.certificate.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(credentials.key.pem().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(tls, stream);
    let mut head = [0; HelloHead::BYTES];
    stream.read_exact(&mut head).unwrap();
    let head = HelloHead::parse(&head).unwrap();
    stream
        .read_exact(&mut vec![0; head.length as usize])
        .unwrap();
    (stream, head)
}

pub type Accepted = StreamOwned<rustls::ServerConnection, TcpStream>;

/// A welcome as node `node` would say it.
pub fn welcome(node: u64) -> WelcomeHead {
    WelcomeHead {
        version: PEER_PROTOCOL_VERSION,
        refusal: 0,
        cluster: CLUSTER,
        node,
        incarnation: 1,
        nonce: 1,
        length: 0,
    }
}
