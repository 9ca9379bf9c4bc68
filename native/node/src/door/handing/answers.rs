//! Answers to what was handed on, and what is said when none can come any more.

use domp_protocol::error::ErrorCode;

use super::waiting::Item;
use super::{Happened, Link};
use crate::commands::Turn;
use crate::node::Node;
use crate::peers::Direction;
use crate::peers::requests::{self, Answers, Name, Word, answers_of};

/// Whoever refused an item and still leads, as far as is known here, is asked again after this.
const ASK_AGAIN_US: u64 = 50_000;

/// Said with `unavailable`.
const TWICE: &str = "no_leader: the space's leader changes";

impl Node {
    /// Looks at what happened on lanes of requests, as far as the turn's replies have room.
    pub(crate) fn take_happened(&mut self, turn: &mut Turn) {
        while !turn.replies.is_spent()
            && let Some((node, happened)) = self.handing.take_happened()
        {
            match happened {
                Happened::Came(bytes) => self.take_words(node, &bytes, turn),
                Happened::Connected(direction) => {
                    // Whatever the connection before had was lost with it.
                    self.lose_lane(node, direction, turn);
                    self.set_open(node, direction, true);
                    self.remote.connected(node, direction);
                }
                Happened::Lost(direction) => {
                    self.lose_lane(node, direction, turn);
                    self.set_open(node, direction, false);
                }
            }
        }
    }

    fn set_open(&mut self, node: u64, direction: Direction, is_open: bool) {
        let link = self.handing.link(node);
        match direction {
            Direction::To => link.to = is_open,
            Direction::From => link.from = is_open,
        }
    }

    /// A connection of the lane of requests ended. What was handed on may have been lost with the one that it
    /// went on, its answers with the one that they come on: nobody can tell what became of it.
    fn lose_lane(&mut self, node: u64, direction: Direction, turn: &mut Turn) {
        let lost = self.handing.link(node).lose();
        if direction == Direction::From {
            for socket in self.remote.forget_door(node) {
                self.forget_work(socket);
            }
            if !lost.is_empty() {
                // That node may work for those still.
                let name = Name {
                    incarnation: self.config.incarnation(),
                    stream: 0,
                };
                requests::put_forgotten(name, self.handing.words_to(node));
            }
        }
        self.lose_items(lost, turn);
    }

    /// Says of items that were handed on that nobody knows what becomes of them.
    pub(super) fn lose_items(&mut self, lost: Vec<Item>, turn: &mut Turn) {
        for item in lost {
            self.handing.counters.lost += 1;
            self.refuse_item(&item, ErrorCode::LeaderChanged, "", turn);
        }
    }

    fn take_words(&mut self, node: u64, bytes: &[u8], turn: &mut Turn) {
        for word in requests::words(bytes) {
            match word {
                Ok(Word::Handed(head, items)) => self.take_handed(node, &head, items, turn),
                Ok(Word::Answers(head, answers, bytes)) => {
                    self.handing.link(node).take_answers(head.connection, bytes);
                    self.take_answers(node, &head, answers, turn);
                }
                Ok(Word::Taken { connection, bytes }) => {
                    self.remote.taken(node, connection, bytes);
                }
                Ok(Word::Forgotten(name)) => {
                    for socket in self.remote.forget(node, name) {
                        self.forget_work(socket);
                    }
                }
                Err(_) => self.peers.counters.senseless += 1,
            }
        }
    }

    fn take_answers(&mut self, node: u64, head: &Answers, answers: &[u8], turn: &mut Turn) {
        if head.name.incarnation != self.config.incarnation() {
            // To what this process never asked: names begin anew with each.
            self.handing.counters.late += u64::from(head.count);
            return;
        }
        for answer in answers_of(answers) {
            let sequence = answer.head.sequence;
            let link = self.handing.links.get_mut(&node);
            let answered = link
                .and_then(|link: &mut Link| link.answered(head.name.stream, head.space, sequence));
            let Some((item, is_only)) = answered else {
                self.handing.counters.late += 1;
                continue;
            };
            self.handing.counters.answered += 1;
            match answer.head.code {
                Some(ErrorCode::Unavailable | ErrorCode::ShuttingDown) => {
                    let group = u64::from(head.space);
                    if self.shards.contains_key(&group) {
                        self.handing.hear_leader(group, head.term, head.leader);
                    }
                    self.try_again(item, (node, head.term), is_only, turn);
                }
                _ => turn
                    .replies
                    .push_encoded(item.sender.socket, head.space, answer.bytes),
            }
        }
    }

    /// An item was not proposed by the node that was taken for its leader.
    fn try_again(&mut self, item: Item, by: (u64, u64), is_only: bool, turn: &mut Turn) {
        let now_us = self.clock.monotonic_us;
        // Of two under one sequence nobody can tell which it was.
        if item.refused.is_some() || !is_only || item.bytes.is_empty() {
            return self.refuse_item(&item, ErrorCode::Unavailable, TWICE, turn);
        }
        let until_us = self.waits_until_us();
        self.handing.waiting.put(Item {
            until_us,
            refused: Some((by.0, by.1, now_us + ASK_AGAIN_US)),
            ..item
        });
    }
}
