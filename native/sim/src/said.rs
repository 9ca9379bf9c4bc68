//! What a turn of a node says to clients.

use std::collections::BTreeMap;

use domp_node::{Socket, Turn};
use domp_protocol::reply::parse_replies;

use crate::branch::replies_frame;
use crate::clients::Clients;
use crate::history::{Answer, Broken};

/// What the items of a turn's replies answer: to whom, and about which space.
pub fn answers(turn: &Turn, clients: &Clients) -> Result<Vec<(Socket, u64, Answer)>, Broken> {
    let mut answers = Vec::new();
    for span in turn.replies.spans.iter().filter(|span| !span.frame) {
        let bytes = &turn.replies.bytes[span.start as usize..span.end as usize];
        let frame = replies_frame(span.space, &[bytes]);
        let replies =
            parse_replies(&frame).map_err(|code| format!("a reply does not parse: {code:?}"))?;
        for reply in replies {
            let (head, payload) = reply;
            let candidates = clients.sent(span.socket, span.space.into(), head.sequence);
            let answer = Answer {
                candidates,
                head,
                payload: payload.to_vec(),
            };
            answers.push((span.socket, span.space.into(), answer));
        }
    }
    Ok(answers)
}

/// The frames of a turn's replies: one a connection and space, and those that are whole by themselves.
pub fn frames(turn: &Turn) -> Vec<(Socket, Vec<u8>)> {
    let mut order: Vec<(Socket, u32)> = Vec::new();
    let mut items: BTreeMap<(Socket, u32), Vec<&[u8]>> = BTreeMap::new();
    let mut frames: Vec<(Socket, Vec<u8>)> = Vec::new();
    for span in &turn.replies.spans {
        let bytes = &turn.replies.bytes[span.start as usize..span.end as usize];
        if span.frame {
            frames.push((span.socket, bytes.to_vec()));
        } else {
            let lane = (span.socket, span.space);
            if !items.contains_key(&lane) {
                order.push(lane);
            }
            items.entry(lane).or_default().push(bytes);
        }
    }
    for (socket, space) in order {
        let items = &items[&(socket, space)];
        frames.push((socket, replies_frame(space, items)));
    }
    frames
}
