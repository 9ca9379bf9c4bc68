//! Nodes of a test: transports on loopback, with what their owners saw.

#![allow(dead_code)] // Each test file uses its part.

pub mod proxy;
pub mod raw;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use domp_transport::{
    Authority, Cause, Certificate, Credentials, Event, Handshake, Hello, Identity, Lane, NodeKey,
    Options, Transport, Validity, Wake,
};

pub const CLUSTER: u128 = 0xc0_ffee;

/// For what must happen, however slow the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const FOR_EVER: Validity = Validity {
    from_unix_s: 0,
    until_unix_s: u64::MAX,
};

/// A node's credentials.
pub fn credentials(authority: &Authority, cluster: u128, node: u64) -> Credentials {
    credentials_of(authority, cluster, node, FOR_EVER)
}

pub fn credentials_of(
    authority: &Authority,
    cluster: u128,
    node: u64,
    validity: Validity,
) -> Credentials {
    let key = NodeKey::generate().unwrap();
    let request = key.signing_request(cluster, node).unwrap();
    Credentials {
        certificate: authority.sign(&request, node, validity).unwrap(),
        key,
        authorities: vec![again(authority.certificate())],
    }
}

pub fn again(certificate: &Certificate) -> Certificate {
    Certificate::from_pem(certificate.pem()).unwrap()
}

/// What the layers above would say; refuses whom the test wants refused.
#[derive(Default)]
pub struct Words {
    pub refused: Mutex<BTreeMap<u64, String>>,
    pub long: AtomicBool,
    pub panics: AtomicBool,
}

impl Words {
    fn padded(&self, text: String) -> Vec<u8> {
        let mut words = text.into_bytes();
        if self.long.load(Ordering::SeqCst) {
            words.resize(64 << 10, b' ');
        }
        words
    }
}

impl Handshake for Words {
    fn hello(&self, node: u64, lane: Lane) -> Vec<u8> {
        self.padded(format!("hello {node} {lane:?}"))
    }

    fn judge(&self, peer: &Hello, outgoing: bool) -> Result<Vec<u8>, String> {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        match self.refused.lock().unwrap().get(&peer.node) {
            Some(text) => Err(text.clone()),
            None if outgoing => Ok(Vec::new()),
            None => Ok(self.padded(format!("welcome {} {:?}", peer.node, peer.lane))),
        }
    }
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

/// A transport, its owner, and all that the owner has seen and not looked at yet.
pub struct Node {
    pub id: u64,
    pub transport: Transport,
    pub words: Arc<Words>,
    bell: Arc<Bell>,
    seen: Vec<Event>,
}

pub fn options(node: u64) -> Options {
    let identity = Identity {
        cluster: CLUSTER,
        node,
        incarnation: 10 + node,
        nonce: 100 + node,
    };
    let mut options = Options::new(identity, node);
    // Tests that are about a timeout set it; the others must pass on a machine that hardly runs them.
    options.progress_timeout_ms = 60_000;
    options.connect_timeout_ms = 20_000;
    options.handshake_timeout_ms = 20_000;
    options
}

pub fn start(authority: &Authority, node: u64) -> Node {
    start_with(&credentials(authority, CLUSTER, node), options(node))
}

pub fn start_with(credentials: &Credentials, options: Options) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    start_at(listener, credentials, options)
}

pub fn start_at(listener: TcpListener, credentials: &Credentials, options: Options) -> Node {
    let bell = Arc::new(Bell::default());
    let ringing = bell.clone();
    let wake: Wake = Arc::new(move || {
        *ringing.rung.lock().unwrap() = true;
        ringing.ring.notify_one();
    });
    let words = Arc::new(Words::default());
    let id = options.identity.node;
    let transport = Transport::start(listener, credentials, options, words.clone(), wake).unwrap();
    Node {
        id,
        transport,
        words,
        bell,
        seen: Vec::new(),
    }
}

impl Node {
    pub fn address(&self) -> SocketAddr {
        self.transport.address()
    }

    pub fn knows(&self, others: &[(&Node, SocketAddr)]) {
        let peers: Vec<_> = others
            .iter()
            .map(|(node, at)| (node.id, vec![*at]))
            .collect();
        self.transport.set_peers(&peers);
    }

    fn wait(&self, until: Instant) {
        let mut rung = self.bell.rung.lock().unwrap();
        while !*rung && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            rung = self.bell.ring.wait_timeout(rung, left).unwrap().0;
        }
        *rung = false;
    }

    /// The next event, if one comes in time.
    pub fn next_within(&self, patience: Duration) -> Option<Event> {
        let until = Instant::now() + patience;
        loop {
            if let Some(event) = self.transport.poll() {
                return Some(event);
            }
            if Instant::now() >= until {
                return None;
            }
            self.wait(until);
        }
    }

    /// Waits for an event; what else came is kept for later looks.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, look: impl Fn(&Event) -> Option<T>) -> T {
        let found = |event: &Event| look(event);
        if let Some(at) = self.seen.iter().position(|event| found(event).is_some()) {
            return look(&self.seen.remove(at)).unwrap();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(event) = self.next_within(left) else {
                panic!(
                    "node {} did not see {what}; it saw {:?}",
                    self.id, self.seen
                );
            };
            if let Some(found) = look(&event) {
                return found;
            }
            self.seen.push(event);
        }
    }

    #[track_caller]
    pub fn connected(&mut self, node: u64, lane: Lane, outgoing: bool) -> Hello {
        let what = format!("a connection (outgoing: {outgoing}) with {node} on {lane:?}");
        self.until(&what, |event| match event {
            Event::Connected { outgoing: is, peer } => {
                (*is == outgoing && peer.node == node && peer.lane == lane).then(|| peer.clone())
            }
            _ => None,
        })
    }

    #[track_caller]
    pub fn disconnected(&mut self, node: u64, lane: Lane, outgoing: bool) -> Cause {
        let what = format!("the end (outgoing: {outgoing}) of {node}'s {lane:?}");
        self.until(&what, |event| match event {
            Event::Disconnected {
                node: of,
                lane: on,
                outgoing: is,
                cause,
            } => (*is == outgoing && *of == node && *on == lane).then(|| cause.clone()),
            _ => None,
        })
    }

    #[track_caller]
    pub fn frame(&mut self, node: u64, lane: Lane) -> Vec<u8> {
        let what = format!("a frame of {node} on {lane:?}");
        self.until(&what, |event| match event {
            Event::Frame {
                node: from,
                lane: on,
                bytes,
            } => (*from == node && *on == lane).then(|| bytes.clone()),
            _ => None,
        })
    }

    /// Whether an event of that kind came, or comes within a moment.
    pub fn has(&mut self, moment: Duration, look: impl Fn(&Event) -> bool) -> bool {
        let until = Instant::now() + moment;
        while let Some(event) = self.next_within(until.saturating_duration_since(Instant::now())) {
            self.seen.push(event);
        }
        self.seen.iter().any(look)
    }

    /// Forgets what was seen.
    pub fn forget(&mut self) {
        self.has(Duration::ZERO, |_| false);
        self.seen.clear();
    }
}

/// Two nodes that have all their connections.
pub fn pair() -> (Node, Node) {
    let authority = Authority::generate(CLUSTER).unwrap();
    let (mut one, mut two) = (start(&authority, 1), start(&authority, 2));
    join(&mut one, &mut two);
    (one, two)
}

pub fn join(one: &mut Node, two: &mut Node) {
    one.knows(&[(two, two.address())]);
    two.knows(&[(one, one.address())]);
    for lane in Lane::ALL {
        for outgoing in [true, false] {
            one.connected(two.id, lane, outgoing);
            two.connected(one.id, lane, outgoing);
        }
    }
}

/// Tries until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
