//! Starts a server and measures how long it takes to its first answer.

use crate::arguments::Arguments;
use crate::fault::{Fault, Result};
use crate::generator::Until;
use crate::json;
use crate::operation::{Kind, Operation};
use crate::stream::Stream;
use crate::system::{self, System};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::process::Child;
use std::time::{Duration, Instant};

/// Pause between attempts to connect: short against what is measured, long
/// enough not to take the processor from the server that is starting.
const PAUSE: Duration = Duration::from_micros(500);
/// A server that has not answered by then won't.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time a server has to stop after SIGTERM.
const STOP: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct First {
    first_reply_us: u64,
}

/// `first --system S --address A -- PROGRAM ARGUMENT…`
///
/// # Errors
/// The program can't be started, ends early, or does not answer a put.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&system::ARGUMENTS)?;
    let system = System::from_arguments(arguments)?;
    let mut command = arguments.program("start")?;
    let start = Instant::now();
    let mut child = command.spawn()?;
    let first = until_first(&system, start, &mut child);
    let stopped = stop(&mut child);
    let micros = u64::try_from(first?.as_micros()).expect("30 s fit");
    stopped?;
    println!(
        "{}",
        json::line(&First {
            first_reply_us: micros
        })
    );
    Ok(())
}

fn until_first(system: &System, start: Instant, child: &mut Child) -> Result<Duration> {
    loop {
        let attempt = put(system);
        if attempt.is_ok() {
            return Ok(start.elapsed());
        }
        if let Some(status) = child.try_wait()? {
            return Err(Fault::new(format!("the server ended: {status}")));
        }
        if start.elapsed() > PATIENCE {
            attempt?;
        }
        std::thread::sleep(PAUSE);
    }
}

/// One connection, one put.
fn put(system: &System) -> Result<()> {
    let mut generator = system.generator(1, 1, 1)?;
    let put = Operation {
        kind: Kind::Put,
        key: 1,
        stamp: 1,
        ..Operation::default()
    };
    generator.set_sources(|_| Stream::List(vec![put].into_iter()));
    generator.run(Until::Exhausted, |_| Ok(()))?;
    Ok(())
}

fn stop(child: &mut Child) -> Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM).or_else(|error| {
        // It has ended by itself: then there is nobody to stop.
        if error == rustix::io::Errno::SRCH {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > STOP {
            child.kill()?;
            child.wait()?;
            return Err(Fault::new("the server did not stop on SIGTERM"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
