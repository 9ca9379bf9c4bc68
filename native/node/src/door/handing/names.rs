//! A space that this node's replica of the meta group does not know: whether there is none.
//!
//! Ids are given in order and never again, so one below the next that is to be given is of a space that was
//! dropped. Any other may be of a space whose creation has not come here yet. So the meta group is asked for its
//! revision, by a read that came later than the request; once the replica here has all up to that revision, an id
//! that it still does not know is of no space.

use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{META_SPACE, OutcomeOfRequest, encode_outcome_of_request};
use domp_state::entry::BatchHead;

use super::waiting::Item;
use crate::door::{Grants, Sender};
use crate::node::Node;
use crate::replies::Socket;
use crate::spaces::META;

/// The question and what is known of its answer.
#[derive(Default)]
pub struct Names {
    /// Of the question under way: the number of the last request that came before it.
    asked: Option<u64>,
    /// Of the last one answered: the same, and the meta group's revision.
    answered: Option<(u64, u64)>,
    generation: u32,
    /// It was answered since somebody last looked.
    is_answered: bool,
}

impl Names {
    /// Whether the question was answered since this was asked.
    pub fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.is_answered)
    }

    /// The revision that the replica here must have for a request of that number.
    fn revision_for(&self, number: u64) -> Option<u64> {
        let (last, revision) = self.answered?;
        (number <= last).then_some(revision)
    }
}

impl Node {
    /// Whether there surely is no space of that id, which is not known here: `None` while nobody can tell.
    pub(super) fn is_no_space(&mut self, group: u64, number: u64, until_us: u64) -> Option<bool> {
        let meta = self.shards.get(&META)?;
        if group < u64::from(meta.state.next_space_id()) {
            return Some(!self.names.contains_key(&group));
        }
        if let Some(revision) = self.handing.names.revision_for(number) {
            return (meta.state.revision() >= revision).then_some(true);
        }
        if self.handing.names.asked.is_none() {
            self.ask_for_names(until_us);
        }
        None
    }

    fn ask_for_names(&mut self, until_us: u64) {
        let names = &mut self.handing.names;
        names.asked = Some(self.handing.waiting.last_number());
        names.generation = names.generation.wrapping_add(1);
        let socket = Socket {
            slot: 0,
            generation: names.generation,
            door: Socket::NAMES_DOOR,
        };
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        // Under a key that nobody uses: the answer's revision is what is asked for.
        let request = OutcomeOfRequest {
            space: META_SPACE,
            idempotency_key: b"domp names",
        };
        let payload = encode_outcome_of_request(&request);
        builder.push_item(1, ItemKind::OutcomeOf, &payload);
        let frame = builder.finish(0, 1, META_SPACE);
        let item = Item {
            sender: Sender {
                socket,
                principal: 0,
                grants: Grants::READ,
                batch: BatchHead::stateless(0),
                late: false,
            },
            space: META_SPACE,
            sequence: 1,
            deadline_us: until_us,
            reads: true,
            bytes: frame[domp_protocol::frame::FRAME_HEADER_BYTES..].into(),
            number: self.handing.waiting.next_number(),
            until_us,
            refused: None,
        };
        self.handing.waiting.put(item);
    }

    /// The question was answered: with the meta group's revision, or not.
    pub(crate) fn on_names(&mut self, socket: Socket, revision: Option<u64>) {
        let names = &mut self.handing.names;
        if socket.generation != names.generation {
            return;
        }
        names.is_answered = true;
        if let Some(asked) = names.asked.take()
            && let Some(revision) = revision
        {
            names.answered = Some((asked, revision));
        }
    }
}
