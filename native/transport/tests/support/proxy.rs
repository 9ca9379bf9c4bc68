//! A network between two nodes that does what networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One direction of one connection.
#[derive(Default)]
pub struct Way {
    pub bytes: AtomicU64,
    stalled: AtomicBool,
    flip: AtomicBool,
    drops: AtomicBool,
    delay_ms: AtomicU64,
}

/// A connection through the proxy.
pub struct Wire {
    dialler: TcpStream,
    acceptor: TcpStream,
    /// From the node that dialled.
    pub out: Way,
    /// To it.
    pub back: Way,
}

impl Wire {
    /// Nothing passes any more, and nobody is told.
    pub fn stall(&self) {
        self.out.stalled.store(true, Ordering::SeqCst);
        self.back.stalled.store(true, Ordering::SeqCst);
    }

    /// What comes back is thrown away.
    pub fn drop_back(&self) {
        self.back.drops.store(true, Ordering::SeqCst);
    }

    /// Flips a bit of the next bytes.
    pub fn flip_out(&self) {
        self.out.flip.store(true, Ordering::SeqCst);
    }

    /// Each read waits so long.
    pub fn delay(&self, delay_ms: u64) {
        self.out.delay_ms.store(delay_ms, Ordering::SeqCst);
        self.back.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// As when the process at either end is killed.
    pub fn cut(&self) {
        let _ = self.dialler.shutdown(Shutdown::Both);
        let _ = self.acceptor.shutdown(Shutdown::Both);
    }
}

/// See the module.
pub struct Proxy {
    pub address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    wires: Arc<Mutex<Vec<Arc<Wire>>>>,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(Some(target)));
        let wires = Arc::new(Mutex::new(Vec::new()));
        let (to, kept) = (target.clone(), wires.clone());
        thread::spawn(move || {
            for dialler in listener.incoming() {
                let to: Option<SocketAddr> = *to.lock().unwrap();
                let (Ok(dialler), Some(to)) = (dialler, to) else {
                    continue;
                };
                let Ok(acceptor) = TcpStream::connect(to) else {
                    continue;
                };
                let wire = Arc::new(Wire {
                    dialler,
                    acceptor,
                    out: Way::default(),
                    back: Way::default(),
                });
                kept.lock().unwrap().push(wire.clone());
                let other = wire.clone();
                thread::spawn(move || {
                    carry(&wire.dialler, &wire.acceptor, &wire.out);
                });
                thread::spawn(move || {
                    carry(&other.acceptor, &other.dialler, &other.back);
                });
            }
        });
        Self {
            address,
            target,
            wires,
        }
    }

    /// New connections are closed at once.
    pub fn refuse(&self) {
        *self.target.lock().unwrap() = None;
    }

    /// The connections so far.
    pub fn wires(&self) -> Vec<Arc<Wire>> {
        self.wires.lock().unwrap().clone()
    }

    /// The connection over which most was sent: TLS hides which lane it is.
    pub fn busiest(&self) -> Arc<Wire> {
        let wires = self.wires();
        let busiest = wires
            .iter()
            .max_by_key(|wire| wire.out.bytes.load(Ordering::SeqCst));
        busiest.expect("no connection").clone()
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, way: &Way) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) if count > 0 => count,
            _ => break,
        };
        let delay_ms = way.delay_ms.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(delay_ms));
        while way.stalled.load(Ordering::SeqCst) {
            // Until the test's process ends.
            thread::sleep(Duration::from_millis(10));
            if from.peek(&mut [0]).is_err() {
                return;
            }
        }
        let bytes = &mut buffer[..count];
        if way.flip.swap(false, Ordering::SeqCst) {
            bytes[count - 1] ^= 1;
        }
        way.bytes.fetch_add(count as u64, Ordering::SeqCst);
        if !way.drops.load(Ordering::SeqCst) && to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
