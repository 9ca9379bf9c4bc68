//! What travels from a client to the node.

use domp_node::{Attach, Grants, Node, Socket, Stateless, Turn};

/// Something on its way to the node.
#[derive(Clone, Debug)]
pub enum Arrival {
    Attach {
        socket: Socket,
        principal: u64,
        resume: Vec<u8>,
    },
    Frame {
        socket: Socket,
        frame: Vec<u8>,
    },
    Stateless {
        socket: Socket,
        principal: u64,
        frame: Vec<u8>,
    },
    Detach {
        socket: Socket,
    },
}

impl Arrival {
    /// Hands it in.
    pub fn deliver(&self, node: &mut Node, waited_us: u64, turn: &mut Turn) {
        match self {
            Self::Attach {
                socket,
                principal,
                resume,
            } => {
                let attach = Attach {
                    principal: *principal,
                    grants: Grants::WRITE,
                    resume,
                };
                node.on_attach(*socket, &attach, turn);
            }
            Self::Frame { socket, frame } => node.on_frame(*socket, frame, waited_us, turn),
            Self::Stateless {
                socket,
                principal,
                frame,
            } => {
                let request = Stateless {
                    principal: *principal,
                    grants: Grants::WRITE,
                    frame,
                };
                node.on_stateless(*socket, &request, waited_us, turn);
            }
            Self::Detach { socket } => node.on_detach(*socket),
        }
    }

    pub fn socket(&self) -> Socket {
        match self {
            Self::Attach { socket, .. }
            | Self::Frame { socket, .. }
            | Self::Stateless { socket, .. }
            | Self::Detach { socket } => *socket,
        }
    }
}
