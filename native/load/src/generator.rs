//! The loop: all connections of one system on one thread over epoll.

use crate::clock::{Clock, thread_cpu_ns};
use crate::connection::Connection;
use crate::fault::{Fault, Result};
use crate::recorder::Recorder;
use crate::stream::Stream;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;

/// Bytes read at once from one connection.
const SCRATCH_BYTES: usize = 512 * 1024;
/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// A server that answers nothing for this long is taken for dead.
const SILENCE_MAX_NS: u64 = 30_000_000_000;
/// The event of standard input.
const INPUT: u64 = u64::MAX;

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After a warm-up and a window; standard input ends the window early.
    Window {
        /// Time before the window in which nothing counts.
        warm_ns: u64,
        /// Length of the window.
        window_ns: u64,
    },
    /// When every stream has ended.
    Exhausted,
}

/// A moment at which the caller may look around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The window begins.
    Begin,
    /// The window ends; answers still outstanding follow.
    End,
}

/// How long a window was and what it cost this thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Length in nanoseconds.
    pub elapsed_ns: u64,
    /// Processor time of this thread in nanoseconds.
    pub cpu_ns: u64,
}

/// The connections of one system and the loop over them.
pub struct Generator {
    connections: Vec<Connection>,
    poll: OwnedFd,
    scratch: Vec<u8>,
    recorder: Recorder,
    clock: Clock,
    watches_input: bool,
}

impl Generator {
    /// Takes over connections that have said hello.
    ///
    /// # Errors
    /// No epoll instance, or a socket can't be registered.
    pub fn new(connections: Vec<Connection>) -> Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        for (position, connection) in connections.iter().enumerate() {
            let data = EventData::new_u64(position as u64);
            epoll::add(&poll, connection.socket(), data, EventFlags::IN)?;
        }
        Ok(Self {
            connections,
            poll,
            scratch: vec![0; SCRATCH_BYTES],
            recorder: Recorder::new(),
            clock: Clock::start(),
            watches_input: false,
        })
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What the last run has shown.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Hands each connection its stream.
    pub fn set_sources(&mut self, mut source: impl FnMut(u32) -> Stream) {
        for (position, connection) in (0_u32..).zip(self.connections.iter_mut()) {
            connection.set_source(source(position));
        }
    }

    /// The streams as far as they were drawn.
    pub fn sources(&self) -> impl Iterator<Item = &Stream> {
        self.connections.iter().map(Connection::source)
    }

    /// Runs until the end said; every answer to what was asked has come then.
    ///
    /// # Errors
    /// A wrong answer, a lost connection, or silence.
    pub fn run(&mut self, until: Until, mut edge: impl FnMut(Edge) -> Result<()>) -> Result<Span> {
        self.recorder.reset();
        let start_ns = self.clock.now_ns();
        let (warm_end_ns, window_ns) = match until {
            Until::Window { warm_ns, window_ns } => (start_ns + warm_ns, window_ns),
            Until::Exhausted => (start_ns, u64::MAX - start_ns),
        };
        self.watch_input(matches!(until, Until::Window { .. }))?;
        self.ask_all()?;
        self.poll_until(warm_end_ns, true)?;
        edge(Edge::Begin)?;
        let opened_ns = self.clock.now_ns();
        let cpu_before_ns = thread_cpu_ns();
        self.recorder.begin_window(opened_ns);
        self.poll_until(opened_ns.saturating_add(window_ns), true)?;
        let closed_ns = self.clock.now_ns();
        let span = Span {
            elapsed_ns: closed_ns - opened_ns,
            cpu_ns: thread_cpu_ns() - cpu_before_ns,
        };
        self.recorder.end_window(closed_ns);
        edge(Edge::End)?;
        self.watch_input(false)?;
        self.poll_until(u64::MAX, false)?;
        Ok(span)
    }

    fn ask_all(&mut self) -> Result<()> {
        for position in 0..self.connections.len() {
            let connection = &mut self.connections[position];
            connection.ask(self.clock.now_ns());
            self.flush(position)?;
        }
        Ok(())
    }

    /// Serves events until a time, the end of all streams, or (where watched) input.
    fn poll_until(&mut self, end_ns: u64, asking: bool) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut heard_ns = self.clock.now_ns();
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= end_ns || self.connections.iter().all(Connection::is_quiet) {
                return Ok(());
            }
            if now_ns.saturating_sub(heard_ns) > SILENCE_MAX_NS {
                return Err(Fault::new("the server has answered nothing for 30 s"));
            }
            events.clear();
            let wait_ns = (end_ns - now_ns).min(1_000_000_000);
            match epoll::wait(
                &self.poll,
                spare_capacity(&mut events),
                Some(&timespec(wait_ns)),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let target = event.data.u64();
                if target == INPUT {
                    return Ok(());
                }
                let flags = event.flags;
                heard_ns = self.serve(target, flags, asking)?;
            }
        }
    }

    #[inline]
    fn serve(&mut self, target: u64, flags: EventFlags, asking: bool) -> Result<u64> {
        let position = usize::try_from(target).expect("registered under a usize");
        let connection = &mut self.connections[position];
        let was_blocked = connection.is_blocked();
        let clock = self.clock;
        let now_ns = if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let now_ns =
                connection.receive(&mut self.scratch, || clock.now_ns(), &mut self.recorder)?;
            if asking {
                connection.ask(now_ns);
            }
            now_ns
        } else {
            clock.now_ns()
        };
        connection.flush()?;
        if connection.is_blocked() != was_blocked {
            self.register(position)?;
        }
        Ok(now_ns)
    }

    fn flush(&mut self, position: usize) -> Result<()> {
        let was_blocked = self.connections[position].is_blocked();
        self.connections[position].flush()?;
        if self.connections[position].is_blocked() != was_blocked {
            self.register(position)?;
        }
        Ok(())
    }

    fn register(&self, position: usize) -> Result<()> {
        let connection = &self.connections[position];
        let mut flags = EventFlags::IN;
        if connection.is_blocked() {
            flags |= EventFlags::OUT;
        }
        let data = EventData::new_u64(position as u64);
        epoll::modify(&self.poll, connection.socket(), data, flags)?;
        Ok(())
    }

    /// Lets standard input end a window. A file there can't be watched and ends none.
    fn watch_input(&mut self, watch: bool) -> Result<()> {
        if watch == self.watches_input {
            return Ok(());
        }
        let input = std::io::stdin();
        if watch {
            match epoll::add(
                &self.poll,
                &input,
                EventData::new_u64(INPUT),
                EventFlags::IN,
            ) {
                Ok(()) => self.watches_input = true,
                Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            epoll::delete(&self.poll, &input)?;
            self.watches_input = false;
        }
        Ok(())
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    }
}
