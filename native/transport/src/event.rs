//! What a transport tells its owner.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use domp_protocol::PeerFrameError;
use domp_protocol::generated::peer::{PeerClosing, PeerRefusal};

use crate::verify::Dates;
use domp_protocol::Lane;

/// Something happened on a lane. Events of one node and lane come in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame came.
    Frame {
        /// From whom.
        node: u64,
        /// On which lane.
        lane: Lane,
        /// Its body.
        bytes: Vec<u8>,
    },
    /// A connection stands: frames can be sent if it is outgoing, and will come if not.
    Connected {
        /// Whether this node dialled.
        outgoing: bool,
        /// Who is at the other end.
        peer: Hello,
    },
    /// A connection ended, or could not be made.
    Disconnected {
        /// To or from whom.
        node: u64,
        /// Of which lane.
        lane: Lane,
        /// Whether this node dialled.
        outgoing: bool,
        /// Why.
        cause: Cause,
    },
}

/// What the other side said of itself, and its certificate proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node.
    pub node: u64,
    /// What the connection is for.
    pub lane: Lane,
    /// Starts of the node's directory, counted.
    pub incarnation: u64,
    /// Random, made at that start.
    pub nonce: u64,
    /// What the layers above said there.
    pub words: Vec<u8>,
    /// Whether the certificate's dates fit this machine's clock; to warn by.
    pub dates: Dates,
    /// Where it is, or comes from.
    pub address: SocketAddr,
}

/// Why a connection ended or was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The other side closed it without a word: its process is gone, or the network cut it.
    Reset,
    /// The other side does not want it.
    Refused(Refusal),
    /// This side does not: [`crate::Handshake::judge`] said so of the node that was dialled.
    Declined(String),
    /// The other side's certificate is not taken here, or this node's not there.
    Untrusted(String),
    /// Nothing was taken from it for the progress timeout.
    Silent,
    /// What came is not what was sent.
    Broken(PeerFrameError),
    /// What came is none of the protocol.
    Malformed(String),
    /// The other side closed it as planned.
    Closed(Closing),
    /// The node is not a peer any more ([`crate::Transport::set_peers`]).
    Removed,
    /// The other node dialled anew on this lane.
    Replaced,
    /// The owner lost a frame, and ended it ([`crate::Transport::reset`]).
    Lost,
    /// No address took the connection, or nobody finished the handshake.
    Dial(io::ErrorKind),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind it is.
    pub reason: RefusalReason,
    /// For the operator.
    pub text: String,
}

/// Why a node refuses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// It does not speak this version of the protocol.
    Version,
    /// It is of another cluster.
    Cluster,
    /// The certificate is of another node than the hello, or another node was dialled.
    Node,
    /// It knows no such lane.
    Lane,
    /// The layers above said so there.
    Declined,
    /// For a reason that this version does not know.
    Other(u8),
}

impl RefusalReason {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Version => PeerRefusal::version.0,
            Self::Cluster => PeerRefusal::cluster.0,
            Self::Node => PeerRefusal::node.0,
            Self::Lane => PeerRefusal::lane.0,
            Self::Declined => PeerRefusal::declined.0,
            Self::Other(number) => number,
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        match PeerRefusal(number) {
            PeerRefusal::version => Self::Version,
            PeerRefusal::cluster => Self::Cluster,
            PeerRefusal::node => Self::Node,
            PeerRefusal::lane => Self::Lane,
            PeerRefusal::declined => Self::Declined,
            _ => Self::Other(number),
        }
    }
}

/// A planned close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What kind it is.
    pub reason: ClosingReason,
    /// For the operator.
    pub text: String,
}

/// Why a node closes a connection as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingReason {
    /// It stops.
    Stopping,
    /// This node is not its peer any more.
    Removed,
    /// This node has dialled anew on the lane.
    Replaced,
    /// It dialled, and the layers above there do not take this node's welcome.
    Declined,
    /// It dialled, and has lost a frame.
    Lost,
    /// For a reason that this version does not know.
    Other(u8),
}

impl ClosingReason {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Stopping => PeerClosing::stopping.0,
            Self::Removed => PeerClosing::removed.0,
            Self::Replaced => PeerClosing::replaced.0,
            Self::Declined => PeerClosing::declined.0,
            Self::Lost => PeerClosing::lost.0,
            Self::Other(number) => number,
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        match PeerClosing(number) {
            PeerClosing::stopping => Self::Stopping,
            PeerClosing::removed => Self::Removed,
            PeerClosing::replaced => Self::Replaced,
            PeerClosing::declined => Self::Declined,
            PeerClosing::lost => Self::Lost,
            _ => Self::Other(number),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("the connection was reset"),
            Self::Refused(refusal) => write!(f, "refused ({:?}): {}", refusal.reason, refusal.text),
            Self::Declined(text) => write!(f, "declined: {text}"),
            Self::Untrusted(text) => write!(f, "not trusted: {text}"),
            Self::Silent => f.write_str("nothing was taken from the connection for too long"),
            Self::Broken(error) => write!(f, "broken: {error}"),
            Self::Malformed(text) => write!(f, "malformed: {text}"),
            Self::Closed(closing) => write!(f, "closed ({:?}): {}", closing.reason, closing.text),
            Self::Removed => f.write_str("the node is not a peer any more"),
            Self::Replaced => f.write_str("the node dialled anew"),
            Self::Lost => f.write_str("a frame was lost, and this node ended the connection"),
            Self::Dial(kind) => write!(f, "can't connect: {kind}"),
        }
    }
}
