//! Who is let in, and what those hear who are not.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use domp_protocol::{HelloHead, PEER_PROTOCOL_VERSION};
use domp_transport::{
    Authority, Cause, Certificate, Closing, ClosingReason, Dates, Event, Lane, Refusal,
    RefusalReason, SendError, Validity,
};
use support::raw;
use support::{CLUSTER, Node, credentials, credentials_of, eventually, options, start, start_with};

#[track_caller]
fn untrusted(node: &mut Node, peer: u64, what: &str) {
    for lane in Lane::ALL {
        let cause = node.disconnected(peer, lane, true);
        assert!(
            matches!(&cause, Cause::Untrusted(text) if text.contains(what)),
            "{cause:?}"
        );
    }
}

#[track_caller]
fn nobody_connects(node: &mut Node) {
    let connects = |event: &Event| matches!(event, Event::Connected { .. });
    assert!(!node.has(Duration::ZERO, connects), "{:?}", node.transport);
}

fn introduce(one: &Node, two: &Node) {
    one.knows(&[(two, two.address())]);
    two.knows(&[(one, one.address())]);
}

#[test]
fn another_authority_is_not_trusted_on_either_side() {
    let [one, two] = [1, 2].map(|id| start(&Authority::generate(CLUSTER).unwrap(), id));
    let (mut one, mut two) = (one, two);
    introduce(&one, &two);
    untrusted(&mut one, 2, "not of this cluster's authority");
    untrusted(&mut two, 1, "not of this cluster's authority");
    nobody_connects(&mut one);
    nobody_connects(&mut two);
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_who_is_dialled() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let theirs = credentials(&Authority::generate(CLUSTER).unwrap(), CLUSTER, 2);
    let mut stream = raw::dial(one.address(), Some(&theirs));
    let _ = stream.write_all(&raw::hello(2, 1).encode());
    assert!(raw::is_closed(&mut stream));
    eventually("a stranger", || one.transport.snapshot().strangers == 1);
    let text = one.transport.snapshot().last_stranger.unwrap();
    assert!(text.contains("not of this cluster's authority"), "{text}");
    nobody_connects(&mut one);
}

#[test]
fn who_is_not_trusted_hears_so() {
    // Node 1 trusts both authorities, node 2 only its own: 2 refuses 1's certificate, 1 would take 2's.
    let (ours, theirs) = (
        Authority::generate(CLUSTER).unwrap(),
        Authority::generate(CLUSTER),
    );
    let theirs = theirs.unwrap();
    let mut open = credentials(&ours, CLUSTER, 1);
    open.authorities.push(support::again(theirs.certificate()));
    let (mut one, two) = (start_with(&open, options(1)), start(&theirs, 2));
    one.knows(&[(&two, two.address())]);
    untrusted(&mut one, 2, "does not take this node's certificate");
}

#[test]
fn another_cluster_is_named() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let other_cluster = CLUSTER + 1;
    let theirs = credentials(
        &Authority::generate(other_cluster).unwrap(),
        other_cluster,
        2,
    );
    let mut options = options(2);
    options.identity.cluster = other_cluster;
    let mut two = start_with(&theirs, options);
    introduce(&one, &two);
    untrusted(&mut one, 2, &format!("of cluster {other_cluster:032x}"));
    untrusted(&mut two, 1, &format!("of cluster {CLUSTER:032x}"));
}

#[test]
fn a_certificate_of_another_node_is_not_the_one_that_was_dialled() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, three) = (start(&authority, 1), start(&authority, 3));
    one.transport.set_peers(&[(2, vec![three.address()])]);
    untrusted(
        &mut one,
        2,
        "is of node 0000000000000003, dialled was 0000000000000002",
    );
}

#[test]
fn a_hello_that_does_not_fit_is_refused_by_name() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let ours = credentials(&authority, CLUSTER, 2);
    let good = raw::hello(2, 1);
    let version = PEER_PROTOCOL_VERSION + 1;
    let cluster = CLUSTER + 1;
    for (hello, refusal, text) in [
        (
            HelloHead { version, ..good },
            1,
            "version 1 of the protocol between nodes, not 2",
        ),
        (
            HelloHead { cluster, ..good },
            2,
            "of cluster 00000000000000000000000000c0ffee",
        ),
        (
            HelloHead { node: 3, ..good },
            3,
            "the certificate is of node 0000000000000002",
        ),
        (
            HelloHead { to: 4, ..good },
            3,
            "this is node 0000000000000001",
        ),
        (HelloHead { lane: 4, ..good }, 4, "no lane 4"),
    ] {
        let mut stream = raw::dial(one.address(), Some(&ours));
        let (welcome, said) = raw::greet(&mut stream, &hello);
        assert_eq!(welcome.refusal, refusal, "{said}");
        assert!(said.contains(text), "{said}");
        assert!(raw::is_closed(&mut stream));
    }
    nobody_connects(&mut one);
    assert_eq!(one.transport.snapshot().refused, 5);
    let mut stream = raw::dial(one.address(), Some(&ours));
    assert_eq!(raw::greet(&mut stream, &good).0.refusal, 0);
    one.connected(2, Lane::Log, false);
}

#[test]
fn who_speaks_another_version_is_refused_by_name_whatever_follows() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let one = start(&authority, 1);
    let mut stream = raw::dial(one.address(), Some(&credentials(&authority, CLUSTER, 2)));
    let version = PEER_PROTOCOL_VERSION + 1;
    let hello = HelloHead {
        version,
        ..raw::hello(2, 1)
    };
    // What follows this hello is no hello.
    let twice = [hello.encode(), hello.encode()].concat();
    stream.write_all(&twice).unwrap();
    let (welcome, said) = raw::hear(&mut stream);
    assert_eq!(welcome.refusal, 1, "{said}");
    assert!(raw::is_closed(&mut stream));
}

#[test]
fn a_refusal_is_told_to_the_owner() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let ours = credentials(&authority, CLUSTER, 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    one.transport
        .set_peers(&[(2, vec![listener.local_addr().unwrap()])]);
    for (number, reason) in [
        (1, RefusalReason::Version),
        (2, RefusalReason::Cluster),
        (5, RefusalReason::Declined),
        (77, RefusalReason::Other(77)),
    ] {
        let (mut stream, hello) = raw::accept(&listener, &ours);
        let mut welcome = raw::welcome(2);
        (welcome.refusal, welcome.length) = (number, 7);
        // Of a version to come: a refusal reads all the same.
        welcome.version = 9;
        stream.write_all(&welcome.encode()).unwrap();
        stream.write_all(b"because").unwrap();
        let lane = Lane::from_number(hello.lane).unwrap();
        let text = "because".into();
        let refused = Cause::Refused(Refusal { reason, text });
        assert_eq!(one.disconnected(2, lane, true), refused);
    }
}

#[test]
fn the_layers_above_refuse_on_either_side() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, mut two) = (start(&authority, 1), start(&authority, 2));
    let text = "your history lacks my nonce";
    one.words.refused.lock().unwrap().insert(2, text.into());
    introduce(&one, &two);
    for lane in Lane::ALL {
        let text = text.to_owned();
        let declined = Cause::Declined(text.clone());
        assert_eq!(one.disconnected(2, lane, true), declined);
        let refused = Cause::Refused(Refusal {
            reason: RefusalReason::Declined,
            text: text.clone(),
        });
        assert_eq!(two.disconnected(1, lane, true), refused);
        // That it was declined, and not that the other process is gone.
        let reason = ClosingReason::Declined;
        let closed = Cause::Closed(Closing { reason, text });
        assert_eq!(two.disconnected(1, lane, false), closed);
    }
    let outgoing = |event: &Event| matches!(event, Event::Connected { outgoing: true, .. });
    assert!(!two.has(Duration::ZERO, outgoing));
    nobody_connects(&mut one);
}

#[test]
fn who_was_refused_dials_again_when_the_other_node_dials() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut nodes = [1, 2].map(|id| {
        let mut options = options(id);
        // No wait ends within the test.
        (options.backoff_min_ms, options.backoff_max_ms) = (600_000, 600_000);
        start_with(&credentials(&authority, CLUSTER, id), options)
    });
    let [one, two] = &mut nodes;
    one.words
        .refused
        .lock()
        .unwrap()
        .insert(2, "not yet".into());
    two.knows(&[(one, one.address())]);
    for lane in Lane::ALL {
        let cause = two.disconnected(1, lane, true);
        assert!(matches!(cause, Cause::Refused(_)), "{cause:?}");
    }
    one.words.refused.lock().unwrap().clear();
    assert!(!two.has(Duration::from_millis(200), |event| matches!(
        event,
        Event::Connected { .. }
    )));
    one.knows(&[(two, two.address())]);
    for lane in Lane::ALL {
        two.connected(1, lane, true);
    }
}

#[test]
fn the_layers_above_may_say_64_kib() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, mut two) = (start(&authority, 1), start(&authority, 2));
    one.words.long.store(true, Ordering::SeqCst);
    introduce(&one, &two);
    for lane in Lane::ALL {
        assert_eq!(two.connected(1, lane, false).words.len(), 64 << 10);
        assert_eq!(two.connected(1, lane, true).words.len(), 64 << 10);
        one.connected(2, lane, true);
        one.transport.send(2, lane, vec![1; 8]).unwrap();
        assert_eq!(two.frame(1, lane), vec![1; 8]);
    }
}

#[test]
fn a_panic_of_the_layers_above_is_known() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    one.words.panics.store(true, Ordering::SeqCst);
    assert!(one.transport.is_running());
    introduce(&one, &two);
    eventually("its thread ended", || !one.transport.is_running());
    assert!(two.transport.is_running());
    let sent = one.transport.send(2, Lane::Log, vec![0; 8]);
    assert_eq!(sent, Err(SendError::NotConnected));
}

#[test]
fn dates_only_warn() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_unix_s = since_1970.unwrap().as_secs();
    let expired = Validity {
        from_unix_s: 1_000,
        until_unix_s: now_unix_s - 1_000,
    };
    let early = Validity {
        from_unix_s: now_unix_s + 100_000,
        until_unix_s: now_unix_s + 200_000,
    };
    let [mut one, mut two] = [(1, expired), (2, early)].map(|(id, validity)| {
        start_with(
            &credentials_of(&authority, CLUSTER, id, validity),
            options(id),
        )
    });
    introduce(&one, &two);
    for outgoing in [true, false] {
        assert_eq!(
            one.connected(2, Lane::Log, outgoing).dates,
            Dates::NotYetValid
        );
        assert_eq!(two.connected(1, Lane::Log, outgoing).dates, Dates::Expired);
    }
}

#[test]
fn an_expired_certificate_of_another_authority_is_still_of_another_authority() {
    let past = Validity {
        from_unix_s: 0,
        until_unix_s: 1_000,
    };
    let [mut one, mut two] = [1, 2].map(|id| {
        let authority = Authority::generate(CLUSTER).unwrap();
        start_with(&credentials_of(&authority, CLUSTER, id, past), options(id))
    });
    introduce(&one, &two);
    untrusted(&mut one, 2, "not of this cluster's authority");
    untrusted(&mut two, 1, "not of this cluster's authority");
}

#[test]
fn a_pinned_key_is_the_only_one() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let theirs = credentials(&authority, CLUSTER, 2);
    let (mut one, mut two) = (start(&authority, 1), start_with(&theirs, options(2)));
    let other = credentials(&authority, CLUSTER, 2).key.public_key_hash();
    one.transport.set_pins(BTreeMap::from([(2, vec![other])]));
    introduce(&one, &two);
    untrusted(&mut one, 2, "is none of those of node 0000000000000002");
    untrusted(&mut two, 1, "does not take this node's certificate");
    nobody_connects(&mut one);
    // Its present key beside its next one.
    let pins = BTreeMap::from([(2, vec![other, theirs.key.public_key_hash()])]);
    one.transport.set_pins(pins);
    one.connected(2, Lane::Log, true);
    one.connected(2, Lane::Log, false);
}

#[test]
fn an_authority_is_replaced_without_a_restart() {
    let (before, after) = (Authority::generate(CLUSTER), Authority::generate(CLUSTER));
    let (before, after) = (before.unwrap(), after.unwrap());
    let both: Vec<Certificate> = [&before, &after]
        .map(|authority| support::again(authority.certificate()))
        .into();
    let mut one = start(&before, 1);
    let mut two = start(&after, 2);
    introduce(&one, &two);
    untrusted(&mut one, 2, "not of this cluster's authority");
    for (node, authority) in [(&one, &before), (&two, &after)] {
        let mut shown = credentials(authority, CLUSTER, node.id);
        shown.authorities.clone_from(&both);
        node.transport.set_credentials(&shown).unwrap();
    }
    for outgoing in [true, false] {
        one.connected(2, Lane::Control, outgoing);
        two.connected(1, Lane::Control, outgoing);
    }
    // A key that is not the certificate's is refused, and what was there stays.
    let mut torn = credentials(&before, CLUSTER, 1);
    torn.key = credentials(&before, CLUSTER, 1).key;
    assert!(one.transport.set_credentials(&torn).is_err());
}
