//! Between machines: connections that delay and break, lose, repeat and spoil what they carry.
//!
//! A lane is a connection of its own. It keeps its order, and what its far end can't take for the next frame
//! ends it: then all that is on its way is lost, and the next frame opens another.

use std::collections::{BTreeMap, BTreeSet};

use domp_node::Lane;
use domp_protocol::{PEER_FRAME_HEADER_BYTES, PeerFrameReader, PeerFrameWriter};

use crate::rng::Rng;

/// From one machine to another, on a lane.
pub type Link = (usize, usize, Lane);

/// Longer frames are refused.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Flying {
    pub link: Link,
    /// Of its connection.
    epoch: u64,
    header: [u8; PEER_FRAME_HEADER_BYTES],
    body: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    epoch: u64,
    writer: PeerFrameWriter,
    reader: PeerFrameReader,
    /// When the last frame arrives.
    last_us: u64,
}

impl Connection {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            writer: PeerFrameWriter::default(),
            reader: PeerFrameReader::new(FRAME_BYTES_MAX),
            last_us: 0,
        }
    }
}

/// What becomes of a frame that arrives.
pub enum Arrived {
    /// Its bytes.
    Whole(Vec<u8>),
    /// Its connection ended meanwhile.
    Gone,
    /// It is not what is due: the connection ends.
    Broken,
}

/// See the module.
#[derive(Default)]
pub struct Network {
    connections: BTreeMap<Link, Connection>,
    /// What is sent from the one to the other vanishes.
    cut: BTreeSet<(usize, usize)>,
    /// The same of the lane of requests alone.
    cut_requests: BTreeSet<(usize, usize)>,
    /// Connections of that lane, which are told.
    open: BTreeSet<(usize, usize)>,
    /// How long a frame of that lane takes at the most, beside the others.
    pub slow_requests_us: u64,
    /// How long a frame takes at the most, beside the usual.
    pub slow_us: u64,
    /// How many in ten thousand frames are spoilt.
    pub spoilt: u64,
}

impl Network {
    /// Sends a frame; what arrives, and when.
    pub fn send(
        &mut self,
        link: Link,
        body: Vec<u8>,
        now_us: u64,
        rng: &mut Rng,
    ) -> Vec<(u64, Flying)> {
        let (from, to, lane) = link;
        let is_requests = lane == Lane::Requests;
        let connection = self
            .connections
            .entry(link)
            .or_insert_with(|| Connection::new(0));
        let header = connection.writer.header(&body);
        let mut after_us = rng.between(15, 250) + rng.below(self.slow_us + 1);
        if is_requests {
            after_us += rng.below(self.slow_requests_us + 1);
        }
        let at_us = (now_us + after_us).max(connection.last_us + 1);
        connection.last_us = at_us;
        let mut flying = Flying {
            link,
            epoch: connection.epoch,
            header,
            body,
        };
        let vanishes = self.cut.contains(&(from, to));
        if vanishes || is_requests && self.cut_requests.contains(&(from, to)) {
            return Vec::new();
        }
        if rng.below(10_000) >= self.spoilt {
            return vec![(at_us, flying)];
        }
        match rng.below(3) {
            0 => Vec::new(),
            1 => vec![(at_us, flying.clone()), (at_us, flying)],
            _ => {
                let at = rng.index(flying.body.len());
                flying.body[at] ^= 1 << rng.below(8);
                vec![(at_us, flying)]
            }
        }
    }

    /// A frame arrives.
    pub fn arrive(&mut self, flying: Flying) -> Arrived {
        let Some(connection) = self.connections.get_mut(&flying.link) else {
            return Arrived::Gone;
        };
        if connection.epoch != flying.epoch {
            return Arrived::Gone;
        }
        let checked = connection.reader.check(&flying.header, &flying.body);
        if checked.is_err() {
            self.reset(flying.link);
            return Arrived::Broken;
        }
        Arrived::Whole(flying.body)
    }

    /// The connection ends; the next frame opens another.
    pub fn reset(&mut self, link: Link) {
        if let Some(connection) = self.connections.get_mut(&link) {
            *connection = Connection::new(connection.epoch + 1);
        }
    }

    /// All connections of a machine end.
    pub fn reset_all(&mut self, of: usize) {
        let links: Vec<Link> = self.connections.keys().copied().collect();
        for link in links {
            if link.0 == of || link.1 == of {
                self.reset(link);
            }
        }
    }

    /// What is sent that way vanishes from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Everything gets through again.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.cut_requests.clear();
        self.slow_us = 0;
        self.slow_requests_us = 0;
    }

    /// The lane of requests is cut that way.
    pub fn cut_requests(&mut self, from: usize, to: usize) {
        self.cut_requests.insert((from, to));
    }

    /// Whether a connection of the lane of requests can't begin.
    pub fn is_cut_between(&self, from: usize, to: usize) -> bool {
        let ways = [(from, to), (to, from)];
        ways.iter()
            .any(|way| self.cut.contains(way) || self.cut_requests.contains(way))
    }

    pub fn is_open(&self, from: usize, to: usize) -> bool {
        self.open.contains(&(from, to))
    }

    /// A connection of the lane of requests begins.
    pub fn open(&mut self, from: usize, to: usize) {
        self.reset((from, to, Lane::Requests));
        self.open.insert((from, to));
    }

    /// It ends; false: there was none.
    pub fn close(&mut self, from: usize, to: usize) -> bool {
        self.reset((from, to, Lane::Requests));
        self.open.remove(&(from, to))
    }

    /// Which connection a link has.
    pub fn epoch(&self, link: Link) -> u64 {
        self.connections.get(&link).map_or(0, |each| each.epoch)
    }

    pub fn is_of(&self, link: Link, epoch: u64) -> bool {
        self.epoch(link) == epoch
    }

    pub fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }
}
