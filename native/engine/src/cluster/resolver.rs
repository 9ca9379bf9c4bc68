//! Where members listen that are given by name: looked up again and again, since machines move.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use domp_transport::Transport;

use super::membership::{Member, Membership};

/// Names are looked up anew after this, and those that gave nothing after less.
const AGAIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// Ends its thread when dropped; a lookup under way ends first, unwaited for.
pub(super) struct Resolver {
    _end: Sender<()>,
}

/// A member and where it was last seen to listen.
struct Looked {
    member: Member,
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// Tells the transport whom to dial. `None`: all members are given by address, and nothing is to be looked up.
    pub fn start(membership: &Membership, transport: &Arc<Transport>) -> io::Result<Option<Self>> {
        let fixed: Option<Vec<(u64, Vec<SocketAddr>)>> = membership
            .others()
            .map(|member| Some((member.node, vec![member.address.parse().ok()?])))
            .collect();
        if let Some(fixed) = fixed {
            transport.set_peers(&fixed);
            return Ok(None);
        }
        let others = membership.others().cloned().map(|member| Looked {
            member,
            addresses: Vec::new(),
        });
        let mut others: Vec<Looked> = others.collect();
        let transport: Weak<Transport> = Arc::downgrade(transport);
        let (end, ended) = channel::<()>();
        thread::Builder::new()
            .name("domp-resolver".into())
            .spawn(move || {
                loop {
                    look_up(&mut others);
                    let Some(transport) = transport.upgrade() else {
                        return;
                    };
                    let peers: Vec<_> = others
                        .iter()
                        .map(|other| (other.member.node, other.addresses.clone()))
                        .collect();
                    transport.set_peers(&peers);
                    drop(transport);
                    let missing = others.iter().any(|other| other.addresses.is_empty());
                    let wait = if missing { RETRY } else { AGAIN };
                    if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Some(Self { _end: end }))
    }
}

/// A name that gives nothing now keeps what it gave before.
fn look_up(others: &mut [Looked]) {
    for other in others {
        if let Ok(found) = other.member.address.to_socket_addrs() {
            let found: Vec<SocketAddr> = found.collect();
            if !found.is_empty() {
                other.addresses = found;
            }
        }
    }
}
