//! A gateway for tests: what `src/native.ts` does, over the same rings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domp_engine::rings::{Chunk, Direction, Memory, RingReader, RingWriter, Word, kind};
use domp_engine::{Answer, Control, Engine, Options};
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::handshake::{Welcome, parse_welcome};
use domp_protocol::reply::{ReplyHead, parse_replies};
use domp_protocol::results::{Results, parse_results};
use domp_protocol::transaction::{Operation, TransactionBuilder, ValueRef};

/// The space `default`.
pub const DEFAULT_SPACE: u32 = 1;
/// Nothing here takes longer, on the busiest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own, gone with the value.
pub struct TestDirectory(PathBuf);

impl TestDirectory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("domp-engine-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for a test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn options(&self) -> Options {
        Options::new(self.0.clone())
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        // A leftover in the temporary directory fails no test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An answer on its way.
pub struct Pending(Receiver<Result<String, String>>);

impl Pending {
    pub fn wait(&self) -> Result<String, String> {
        self.0
            .recv_timeout(PATIENCE)
            .expect("an answer comes in time")
    }
}

fn answer() -> (Answer, Pending) {
    let (sender, receiver): (Sender<Result<String, String>>, _) = channel();
    // A test that stopped waiting has failed already.
    (
        Box::new(move |outcome| drop(sender.send(outcome))),
        Pending(receiver),
    )
}

/// One reply as a client sees it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub head: ReplyHead,
    pub results: Results,
}

/// An engine and the gateway's side of its rings.
pub struct Gateway {
    pub engine: Engine,
    pub report: String,
    memory: Arc<Memory>,
    writer: RingWriter,
    reader: RingReader,
    chunk: Chunk,
    woken: Receiver<()>,
    /// Frames that came, by socket, in order.
    pub frames: HashMap<(u32, u32), Vec<Vec<u8>>>,
}

impl Gateway {
    /// Opens an engine, or says why it does not open.
    pub fn open(options: Options) -> Result<Self, String> {
        let (wake, woken) = channel();
        let wake = Mutex::new(wake);
        let (opened, report) = answer();
        let memory = Engine::memory_for(&options).map_err(|error| error.to_string())?;
        let engine = Engine::open(
            options,
            memory.clone(),
            Box::new(move || {
                // A gateway that is gone needs no wake-up.
                let _ = wake.lock().expect("nobody panics with it").send(());
            }),
            opened,
        );
        let report = report.wait()?;
        Ok(Self {
            writer: RingWriter::new(memory.clone(), Direction::Inbound),
            reader: RingReader::new(memory.clone(), Direction::Outbound),
            chunk: Chunk::new(),
            engine,
            report,
            memory,
            woken,
            frames: HashMap::new(),
        })
    }

    /// Puts a record into the ring, however long it takes to find room; not if the engine failed.
    pub fn push(&mut self, slot: u32, generation: u32, record_kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("test bodies are short");
        while self.engine.fatal().is_none() {
            if let Some(mut record) = self.writer.begin(slot, generation, record_kind, length) {
                record.write(body);
                record.finish();
                return;
            }
            self.flush();
            if !self.writer.wait_for_room(length + 64) {
                self.drain_for(Duration::from_millis(20));
            }
        }
    }

    pub fn flush(&mut self) {
        if self.writer.publish() && self.memory.take_flag(Word::Sleeping) {
            self.engine.submit();
        }
    }

    pub fn attach(&mut self, slot: u32, generation: u32, token: &[u8]) -> Welcome {
        let mut body = vec![0; 16];
        body[0] = 7;
        body.extend_from_slice(token);
        self.push(slot, generation, kind::ATTACH, &body);
        self.flush();
        let frame = self.next_frame(slot, generation);
        parse_welcome(&frame).expect("a welcome")
    }

    pub fn detach(&mut self, slot: u32, generation: u32) {
        self.push(slot, generation, kind::DETACH, &[]);
    }

    /// Sends transactions as one frame, the first under `sequence`.
    pub fn submit(&mut self, slot: u32, generation: u32, sequence: u64, payloads: &[Vec<u8>]) {
        let mut frame = FrameBuilder::new(FrameKind::Submit);
        for (sequence, payload) in (sequence..).zip(payloads) {
            frame.push_item(sequence, ItemKind::Transaction, payload);
        }
        let frame = frame.finish(sequence, 60_000, DEFAULT_SPACE);
        self.push(slot, generation, kind::FRAME, &frame);
        self.flush();
    }

    /// Takes what is in the ring.
    pub fn drain(&mut self) {
        self.memory
            .word(Word::WakePending)
            .store(0, Ordering::SeqCst);
        while self
            .reader
            .fill_chunk(&mut self.chunk, 1 << 20)
            .expect("an honest engine")
        {
            while let Some(record) = self.chunk.next() {
                let socket = (record.slot, record.generation);
                self.frames
                    .entry(socket)
                    .or_default()
                    .push(record.body.to_vec());
            }
        }
        if self.memory.take_flag(Word::OutboundBlocked) {
            self.engine.submit();
        }
    }

    /// Waits for a wake-up, but not long, then drains.
    pub fn drain_for(&mut self, timeout: Duration) {
        // Timing out is as good as waking: both drain.
        let _ = self.woken.recv_timeout(timeout);
        self.drain();
    }

    pub fn next_frame(&mut self, slot: u32, generation: u32) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        loop {
            let frames = self.frames.entry((slot, generation)).or_default();
            if !frames.is_empty() {
                return frames.remove(0);
            }
            assert!(
                Instant::now() < until,
                "no frame came; fatal: {:?}",
                self.engine.fatal()
            );
            self.drain_for(Duration::from_millis(100));
        }
    }

    /// Waits for so many replies of a socket, in whatever frames they come.
    pub fn replies(&mut self, slot: u32, generation: u32, count: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        while replies.len() < count {
            let frame = self.next_frame(slot, generation);
            for (head, payload) in parse_replies(&frame).expect("a replies frame") {
                let results = match head.code {
                    None => parse_results(payload).expect("results"),
                    Some(_) => Results::default(),
                };
                replies.push(Reply { head, results });
            }
        }
        assert_eq!(replies.len(), count, "no more than was asked for");
        replies
    }

    /// What the key holds, read through a transaction under `sequence`.
    pub fn get(
        &mut self,
        slot: u32,
        generation: u32,
        sequence: u64,
        key: &[u8],
    ) -> Option<Vec<u8>> {
        self.submit(slot, generation, sequence, &[get(key)]);
        let reply = self.replies(slot, generation, 1).remove(0);
        assert_eq!((reply.head.sequence, reply.head.code), (sequence, None));
        let entry = reply.results.results.into_iter().next()?.entry?;
        match entry.value? {
            domp_protocol::results::EntryValue::Bytes(bytes) => Some(bytes),
            domp_protocol::results::EntryValue::Number(_) => None,
        }
    }

    pub fn control(&self, control: Control) -> Pending {
        let (answer, pending) = answer();
        self.engine.control(control, answer);
        pending
    }

    pub fn begin_close(&self) -> Pending {
        let (answer, pending) = answer();
        self.engine.close(answer);
        pending
    }

    /// Closes and fetches the last replies.
    pub fn close(mut self) -> HashMap<(u32, u32), Vec<Vec<u8>>> {
        let closed = self.begin_close();
        let until = Instant::now() + PATIENCE;
        loop {
            self.drain_for(Duration::from_millis(5));
            match closed.0.try_recv() {
                Ok(outcome) => {
                    assert_eq!(outcome, Ok("{\"drained\":true}".to_owned()));
                    break;
                }
                Err(_) => assert!(Instant::now() < until, "closing takes too long"),
            }
        }
        self.drain();
        self.frames
    }
}

pub fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let value = ValueRef::Bytes(value);
    TransactionBuilder::new(DEFAULT_SPACE)
        .then(Operation::Put {
            key,
            value,
            expire_after_ms: None,
        })
        .finish()
}

pub fn get(key: &[u8]) -> Vec<u8> {
    TransactionBuilder::new(DEFAULT_SPACE)
        .then(Operation::Get { key })
        .finish()
}
