//! Authorities, requests and certificates.

use super::*;

const CLUSTER: u128 = 0xc1;
const VALIDITY: Validity = Validity {
    from_unix_s: 0,
    until_unix_s: u64::MAX,
};

fn signed(authority: &Authority, node: u64) -> Certificate {
    let key = NodeKey::generate().unwrap();
    let request = key.signing_request(CLUSTER, node).unwrap();
    authority.sign(&request, node, VALIDITY).unwrap()
}

#[test]
fn a_certificate_is_of_its_authority_alone_and_names_cluster_and_node() {
    let (one, other) = (Authority::generate(CLUSTER), Authority::generate(CLUSTER));
    let (one, other) = (one.unwrap(), other.unwrap());
    let certificate = signed(&one, 7);
    assert!(verify::is_signed_by(&certificate.der, &one.certificate.der));
    assert!(!verify::is_signed_by(
        &certificate.der,
        &other.certificate.der
    ));
    assert_eq!(verify::named(&certificate.der), Some((CLUSTER, 7)));
    assert_ne!(
        one.certificate.fingerprint(),
        other.certificate.fingerprint()
    );
}

#[test]
fn an_authority_comes_back_from_its_text_and_no_other() {
    let made = Authority::generate(CLUSTER).unwrap();
    let (key, certificate) = (made.key_pem(), made.certificate().pem());
    let back = Authority::from_pem(CLUSTER, &key, certificate).unwrap();
    assert_eq!(
        back.certificate.fingerprint(),
        made.certificate.fingerprint()
    );
    assert!(verify::is_signed_by(
        &signed(&back, 1).der,
        &made.certificate.der
    ));

    let other = Authority::generate(CLUSTER).unwrap();
    let refused = |cluster, key: &str, certificate: &str| {
        Authority::from_pem(cluster, key, certificate).unwrap_err()
    };
    assert_eq!(
        refused(CLUSTER, &other.key_pem(), certificate),
        AuthorityError::Mismatch
    );
    assert_eq!(
        refused(CLUSTER + 1, &key, certificate),
        AuthorityError::Mismatch
    );
    assert!(matches!(
        refused(CLUSTER, "", certificate),
        AuthorityError::Key(_)
    ));
    assert!(matches!(
        refused(CLUSTER, &key, ""),
        AuthorityError::Certificate(_)
    ));
}

#[test]
fn a_request_proves_its_key_for_one_node_of_one_cluster() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let key = NodeKey::generate().unwrap();
    let request = key.signing_request(CLUSTER, 7).unwrap();
    assert!(authority.sign(&request, 7, VALIDITY).is_ok());
    let refused = |request: &[u8], node| authority.sign(request, node, VALIDITY);
    assert_eq!(refused(&request, 8), Err(AuthorityError::Request));
    assert_eq!(refused(&request[..95], 7), Err(AuthorityError::Request));
    let elsewhere = key.signing_request(CLUSTER + 1, 7).unwrap();
    assert_eq!(refused(&elsewhere, 7), Err(AuthorityError::Request));
    for at in 0..request.len() {
        let mut forged = request.clone();
        forged[at] ^= 1;
        assert_eq!(
            refused(&forged, 7),
            Err(AuthorityError::Request),
            "byte {at}"
        );
    }
}

#[test]
fn a_pin_is_of_the_key_in_the_certificate() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let key = NodeKey::from_pem(&NodeKey::generate().unwrap().pem()).unwrap();
    let request = key.signing_request(CLUSTER, 7).unwrap();
    let certificate = authority.sign(&request, 7, VALIDITY).unwrap();
    assert_eq!(
        verify::key_hash(&certificate.der),
        Some(key.public_key_hash())
    );
    let again = Certificate::from_pem(certificate.pem()).unwrap();
    assert_eq!(again, certificate);
}
