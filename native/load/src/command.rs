//! Runs that are steered: lines come in, a line of JSON answers each.
//!
//! ```text
//! window WARM_S SECONDS   load for a while; any input ends it early
//! check                   compare what the server holds with what was written
//! stop                    ends a window early; answered by that window's line
//! ```
//! The end of standard input ends the process.

use crate::arguments::Arguments;
use crate::codec::domp::Templates;
use crate::disk::Disk;
use crate::fault::{Fault, Result};
use crate::generator::{Edge, Generator, Span, Until};
use crate::json;
use crate::operation::{ACCOUNT_START, ANY_STAMP, Kind, Operation, PRELOADED_STAMP};
use crate::preload::Dataset;
use crate::processes::{Processes, Seen};
use crate::recorder::Recorder;
use crate::stream::{Fill, Gets, Puts, Stream, Transfers};
use crate::system::{self, System};
use crate::zipf;
use serde::Serialize;
use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;
use std::str::FromStr;

/// A generator that used this share of its thread's time was the limit itself.
const BOUND_SHARE: f64 = 0.95;
/// Exponent of the accounts' distribution.
const ZIPF: f64 = 1.5;
/// Keys that are read back after a run of puts.
const CHECKED_KEYS: u32 = 20_000;

/// What a run asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Put,
    Get,
    Transfer,
}

impl FromStr for Load {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "put" => Ok(Self::Put),
            "get" => Ok(Self::Get),
            "transfer" => Ok(Self::Transfer),
            _ => Err(Fault::new(format!("no load is called `{text}`"))),
        }
    }
}

/// A run against a server.
struct Run {
    generator: Generator,
    processes: Processes,
    load: Load,
    count: u32,
    seed: u64,
    checked: bool,
}

/// `run --system S --address A --load L --connections C --in-flight P --operations K
/// --count N --seed N [--pids P,P] [--directory D] [--stamp any]`
///
/// # Errors
/// A wrong answer, a lost connection, an unknown command.
pub fn run(arguments: &Arguments) -> Result<()> {
    const OWN: [&str; 9] = [
        "load",
        "connections",
        "in-flight",
        "operations",
        "count",
        "seed",
        "pids",
        "directory",
        "stamp",
    ];
    arguments.allow_only(&[&system::ARGUMENTS[..], &OWN].concat())?;
    let mut system = System::from_arguments(arguments)?;
    let load: Load = arguments.required("load")?;
    let dataset = if load == Load::Transfer {
        Dataset::Accounts
    } else {
        Dataset::Entries
    };
    system.set_tables(dataset.tables());
    let connections: u32 = arguments.required("connections")?;
    let count: u32 = arguments.required("count")?;
    if connections == 0 || count < connections.max(2) {
        return Err(Fault::new("there must be a connection, and a key for each"));
    }
    let (in_flight, operations) = (
        arguments.required("in-flight")?,
        arguments.required("operations")?,
    );
    let mut generator = system.generator(connections, in_flight, operations)?;
    let seed: u64 = arguments.required("seed")?;
    let stamp = match arguments.text("stamp") {
        None => PRELOADED_STAMP,
        Some("any") => ANY_STAMP,
        Some(other) => {
            return Err(Fault::new(format!(
                "--stamp {other}: only `any` can be said"
            )));
        }
    };
    let pairs = (load == Load::Transfer).then(|| zipf::pairs(count, ZIPF, seed));
    generator.set_sources(|connection| match (&pairs, load) {
        (Some(pairs), _) => {
            Stream::Transfers(Transfers::new(connection, connections, pairs.clone(), seed))
        }
        (None, Load::Get) => Stream::Gets(Gets::new(connection, count, seed, stamp)),
        (None, _) => Stream::Puts(Puts::new(connection, connections, count, seed)),
    });
    let processes = watched(arguments)?;
    let mut run = Run {
        generator,
        processes,
        load,
        count,
        seed,
        checked: false,
    };
    ready(None);
    each_line(|words| match words {
        ["window", warm, seconds] => {
            let (warm_ns, window_ns) = (nanoseconds(warm)?, nanoseconds(seconds)?);
            let report = run.window(warm_ns, window_ns)?;
            Ok(Some(json::line(&report)))
        }
        ["check"] => Ok(Some(json::line(&run.check()?))),
        ["stop"] => Ok(None),
        _ => Err(Fault::new(format!("unknown command `{}`", words.join(" ")))),
    })
}

impl Run {
    fn window(&mut self, warm_ns: u64, window_ns: u64) -> Result<Report> {
        if self.checked {
            return Err(Fault::new("a run that was checked is over"));
        }
        let processes = &mut self.processes;
        processes.find()?;
        let mut seen = Seen::default();
        let span = self
            .generator
            .run(Until::Window { warm_ns, window_ns }, |edge| {
                match edge {
                    Edge::Begin => processes.begin(),
                    Edge::End => seen = processes.end(),
                }
                Ok(())
            })?;
        Ok(report(self.generator.recorder(), span, seen))
    }

    fn check(&mut self) -> Result<Checked> {
        self.checked = true;
        match self.load {
            Load::Get => Ok(Checked { checked: 0 }),
            Load::Put => self.check_puts(),
            Load::Transfer => self.check_total(),
        }
    }

    /// Reads keys back: each must hold what was last written to it, found by
    /// replaying the streams.
    fn check_puts(&mut self) -> Result<Checked> {
        let connections = self.connections();
        let wanted = CHECKED_KEYS.min(self.count);
        let step = zipf::scatter_step(self.count);
        let mut last: HashMap<u32, u64> = HashMap::new();
        for (connection, source) in (0_u32..).zip(self.generator.sources()) {
            let Stream::Puts(puts) = source else {
                return Err(Fault::new("a run of puts has another stream"));
            };
            let drawn = usize::try_from(puts.drawn()).expect("a count of 32 bits");
            let replay = Stream::Puts(Puts::new(connection, connections, self.count, self.seed));
            for put in replay.take(drawn) {
                if zipf::scatter(put.key, step, self.count) < wanted {
                    last.insert(put.key, put.stamp);
                }
            }
        }
        let mut lists: Vec<Vec<Operation>> = vec![Vec::new(); connections as usize];
        for (&key, &stamp) in &last {
            let read = Operation {
                kind: Kind::Get,
                key,
                stamp,
                ..Operation::default()
            };
            lists[(key % connections) as usize].push(read);
        }
        self.generator.set_sources(|connection| {
            Stream::List(std::mem::take(&mut lists[connection as usize]).into_iter())
        });
        self.generator.run(Until::Exhausted, |_| Ok(()))?;
        let hits = self.generator.recorder().tally().hits;
        if hits != last.len() as u64 {
            return Err(Fault::new(format!(
                "{hits} of {} keys were read back",
                last.len()
            )));
        }
        Ok(Checked { checked: hits })
    }

    /// Reads every account: no transfer may have made or lost money.
    fn check_total(&mut self) -> Result<Checked> {
        let (connections, count) = (self.connections(), self.count);
        self.generator.set_sources(|connection| {
            Stream::Fill(Fill::new(Kind::ReadAccount, connection, connections, count))
        });
        self.generator.run(Until::Exhausted, |_| Ok(()))?;
        let tally = self.generator.recorder().tally();
        let expected = i64::from(count) * ACCOUNT_START;
        if tally.numbers != u64::from(count) || tally.sum != expected {
            return Err(Fault::new(format!(
                "{} accounts hold {} together instead of {count} holding {expected}",
                tally.numbers, tally.sum
            )));
        }
        Ok(Checked {
            checked: tally.numbers,
        })
    }

    fn connections(&self) -> u32 {
        u32::try_from(self.generator.connections()).expect("counted by a u32 when they were opened")
    }
}

/// `disk --directory D --load L --operations K`: each write is as long as the
/// items of K such operations.
///
/// # Errors
/// A write fails, or the command is unknown.
pub fn disk(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&["directory", "load", "operations"])?;
    let directory: String = arguments.required("directory")?;
    let directory = Path::new(&directory);
    let operations: u32 = arguments.required("operations")?;
    let kind = match arguments.required("load")? {
        Load::Put => Kind::Put,
        Load::Get => Kind::Get,
        Load::Transfer => Kind::Transfer,
    };
    let bytes = Templates::new(1).frame_bytes(kind, operations as usize);
    let operations = u64::from(operations);
    let mut disk = Disk::new(directory, bytes)?;
    let mut processes = Processes::new(Vec::new(), Some(directory))?;
    let mut recorder = Recorder::new();
    ready(Some(disk.method().name()));
    each_line(|words| match words {
        ["window", warm, seconds] => {
            let (warm_ns, window_ns) = (nanoseconds(warm)?, nanoseconds(seconds)?);
            let span = disk.run(warm_ns, window_ns, operations, &mut recorder, || {
                processes.begin();
                Ok(())
            })?;
            let report = report(&recorder, span, processes.end());
            Ok(Some(json::line(&report)))
        }
        ["stop"] => Ok(None),
        _ => Err(Fault::new(format!("unknown command `{}`", words.join(" ")))),
    })
}

fn watched(arguments: &Arguments) -> Result<Processes> {
    let pids = arguments.text("pids").unwrap_or_default();
    let pids: std::result::Result<Vec<u32>, _> = pids
        .split(',')
        .filter(|pid| !pid.is_empty())
        .map(str::parse)
        .collect();
    let pids = pids.map_err(|_| Fault::new("--pids is a list of numbers"))?;
    Processes::new(pids, arguments.text("directory").map(Path::new))
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
}

#[derive(Serialize)]
struct Checked {
    checked: u64,
}

/// What a window came to.
#[derive(Serialize)]
struct Report {
    operations: u64,
    operations_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    gap_max_us: f64,
    elapsed_s: f64,
    generator_share: f64,
    generator_bound: bool,
    puts: u64,
    hits: u64,
    applied: u64,
    refused: u64,
    echoes: u64,
    #[serde(flatten)]
    seen: Seen,
}

/// Says that windows may begin; `method`: how the disk is written to.
fn ready(method: Option<&'static str>) {
    let ready = Ready {
        ready: true,
        method,
    };
    println!("{}", json::line(&ready));
}

/// Serves lines of standard input until its end.
fn each_line(mut serve: impl FnMut(&[&str]) -> Result<Option<String>>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(answer) = serve(&words)? {
            println!("{answer}");
        }
    }
    Ok(())
}

fn nanoseconds(seconds: &str) -> Result<u64> {
    let seconds: f64 = seconds.parse().unwrap_or(-1.0);
    if !(0.0..=3_600.0).contains(&seconds) {
        return Err(Fault::new("a window lasts up to an hour"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the bounds above
    Ok((seconds * 1e9) as u64)
}

fn report(recorder: &Recorder, span: Span, seen: Seen) -> Report {
    let tally = recorder.tally();
    let seconds = span.elapsed_ns as f64 / 1e9;
    let share = span.cpu_ns as f64 / span.elapsed_ns.max(1) as f64;
    Report {
        operations: recorder.operations(),
        operations_per_s: recorder.operations() as f64 / seconds,
        p50_us: recorder.quantile_us(0.5),
        p99_us: recorder.quantile_us(0.99),
        max_us: recorder.max_us(),
        gap_max_us: recorder.gap_max_us(),
        elapsed_s: seconds,
        generator_share: share,
        generator_bound: share >= BOUND_SHARE,
        puts: tally.puts,
        hits: tally.hits,
        applied: tally.applied,
        refused: tally.refused,
        echoes: tally.echoes,
        seen,
    }
}
