//! The address book changes while the node runs.

mod support;

use std::net::TcpListener;
use std::time::Duration;

use domp_transport::{Authority, Cause, Closing, ClosingReason, Event, Identity, Lane, SendError};
use support::{CLUSTER, credentials, join, options, pair, start, start_at, start_with};

#[test]
fn a_removed_node_hears_so_and_is_not_dialled() {
    let (mut one, mut two) = pair();
    one.transport.set_peers(&[]);
    let said = Cause::Closed(Closing {
        reason: ClosingReason::Removed,
        text: "it is not a peer any more".into(),
    });
    for lane in Lane::ALL {
        for outgoing in [true, false] {
            assert_eq!(one.disconnected(2, lane, outgoing), Cause::Removed);
            assert_eq!(two.disconnected(1, lane, outgoing), said);
        }
        assert_eq!(
            one.transport.send(2, lane, vec![0; 8]),
            Err(SendError::NotConnected)
        );
    }
    let outgoing = |event: &Event| matches!(event, Event::Connected { outgoing: true, .. });
    assert!(!one.has(Duration::from_millis(200), outgoing));
    // It is a peer again.
    two.forget();
    one.knows(&[(&two, two.address())]);
    for lane in Lane::ALL {
        one.connected(2, lane, true);
        one.transport.send(2, lane, vec![1; 8]).unwrap();
        assert_eq!(two.frame(1, lane), vec![1; 8]);
    }
}

#[test]
fn a_node_is_found_at_its_new_address_without_a_wait() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut patient = options(1);
    (patient.backoff_min_ms, patient.backoff_max_ms) = (600_000, 600_000);
    let mut one = start_with(&credentials(&authority, CLUSTER, 1), patient);
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    one.transport.set_peers(&[(2, vec![nobody])]);
    for lane in Lane::ALL {
        one.disconnected(2, lane, true);
    }
    let two = start(&authority, 2);
    one.knows(&[(&two, two.address())]);
    for lane in Lane::ALL {
        one.connected(2, lane, true);
    }
    // The same book once more changes nothing.
    one.knows(&[(&two, two.address())]);
    assert!(!one.has(Duration::from_millis(200), |_| true));
}

#[test]
fn all_addresses_are_tried_and_only_the_last_failure_is_told() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, two, three) = (
        start(&authority, 1),
        start(&authority, 2),
        start(&authority, 3),
    );
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Nobody, another node, and then the one.
    one.transport
        .set_peers(&[(2, vec![nobody, three.address(), two.address()])]);
    for lane in Lane::ALL {
        one.connected(2, lane, true);
    }
    assert!(!one.has(Duration::ZERO, |_| true));
}

#[test]
fn a_node_that_starts_anew_is_another_incarnation() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, mut two) = (start(&authority, 1), start(&authority, 2));
    join(&mut one, &mut two);
    let address = two.address();
    two.transport.close("restart", support::PATIENCE);
    for lane in Lane::ALL {
        for outgoing in [true, false] {
            let cause = one.disconnected(2, lane, outgoing);
            assert!(matches!(cause, Cause::Closed(_)), "{cause:?}");
        }
    }
    one.forget();
    let mut again = options(2);
    again.identity = Identity {
        incarnation: 13,
        nonce: 7,
        ..again.identity
    };
    let listener = TcpListener::bind(address).unwrap();
    let _two = start_at(listener, &credentials(&authority, CLUSTER, 2), again);
    for lane in Lane::ALL {
        let hello = one.connected(2, lane, true);
        assert_eq!((hello.incarnation, hello.nonce), (13, 7));
    }
}

#[test]
fn a_twin_that_dials_replaces_the_connection_before() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let ours = credentials(&authority, CLUSTER, 2);
    let mut first = support::raw::dial(one.address(), Some(&ours));
    support::raw::greet(&mut first, &support::raw::hello(2, 1));
    one.connected(2, Lane::Log, false);
    let mut second = support::raw::dial(one.address(), Some(&ours));
    support::raw::greet(&mut second, &support::raw::hello(2, 1));
    assert_eq!(one.disconnected(2, Lane::Log, false), Cause::Replaced);
    one.connected(2, Lane::Log, false);
    assert!(support::raw::is_closed(&mut first));
    let counters = one.transport.snapshot().lanes[1];
    assert!(
        counters.is_connected_in && counters.accepts == 2,
        "{counters:?}"
    );
}
