//! Fills a server with what a workload works on.

use crate::arguments::Arguments;
use crate::codec::postgres::{Tables, copy, copy_field, statement};
use crate::fault::{Fault, Result};
use crate::generator::{Generator, Until};
use crate::json;
use crate::operation::{ACCOUNT_START, Kind, PRELOADED_STAMP, VALUE_BYTES, entry_key, write_value};
use crate::stream::{Fill, Stream};
use crate::system::{self, System};
use crate::zipf::{scatter, scatter_step};
use serde::Serialize;
use std::str::FromStr;
use std::time::Instant;

/// Connections, messages in flight and operations a message while preloading.
const SHAPE: (u32, usize, usize) = (4, 4, 64);

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Keys with values of 64 bytes.
    Entries,
    /// Accounts with a number each.
    Accounts,
}

impl FromStr for Dataset {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "entries" => Ok(Self::Entries),
            "accounts" => Ok(Self::Accounts),
            _ => Err(Fault::new(format!("no data set is called `{text}`"))),
        }
    }
}

impl Dataset {
    /// The tables PostgreSQL keeps it in.
    pub fn tables(self) -> Tables {
        match self {
            Self::Entries => Tables::Entries,
            Self::Accounts => Tables::Accounts,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Entries => Kind::Put,
            Self::Accounts => Kind::OpenAccount,
        }
    }
}

#[derive(Serialize)]
struct Loaded {
    loaded: u32,
    seconds: f64,
}

/// `preload --system S --address A --dataset D --count N`
///
/// # Errors
/// The server does not take it.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&[&system::ARGUMENTS[..], &["dataset", "count"]].concat())?;
    let system = System::from_arguments(arguments)?;
    let dataset: Dataset = arguments.required("dataset")?;
    let count: u32 = arguments.required("count")?;
    let start = Instant::now();
    if system.kind() == system::Kind::Postgres {
        tables(&system, dataset, count)?;
    } else {
        let (connections, in_flight, operations) = SHAPE;
        let generator = system.generator(connections, in_flight, operations)?;
        fill(generator, dataset, count)?;
    }
    let loaded = Loaded {
        loaded: count,
        seconds: start.elapsed().as_secs_f64(),
    };
    println!("{}", json::line(&loaded));
    Ok(())
}

fn fill(mut generator: Generator, dataset: Dataset, count: u32) -> Result<()> {
    let (connections, ..) = SHAPE;
    generator.set_sources(|connection| {
        Stream::Fill(Fill::new(dataset.kind(), connection, connections, count))
    });
    generator.run(Until::Exhausted, |_| Ok(()))?;
    let written = generator.recorder().tally().puts;
    if written == u64::from(count) {
        Ok(())
    } else {
        Err(Fault::new(format!("only {written} of {count} were loaded")))
    }
}

/// Creates PostgreSQL's tables and copies the rows in.
fn tables(system: &System, dataset: Dataset, count: u32) -> Result<()> {
    let mut stream = system.open()?;
    let step = scatter_step(count);
    match dataset {
        Dataset::Entries => {
            statement(
                &mut stream,
                "CREATE TABLE entries (key bytea NOT NULL, value bytea NOT NULL)",
            )?;
            let rows = (0..count).map(|rank| {
                move |out: &mut Vec<u8>| {
                    let number = scatter(rank, step, count);
                    let mut value = [0; VALUE_BYTES];
                    write_value(number, PRELOADED_STAMP, &mut value);
                    copy_field(out, &entry_key(number));
                    copy_field(out, &value);
                }
            });
            copy(&mut stream, "entries", 2, rows)?;
            statement(&mut stream, "ALTER TABLE entries ADD PRIMARY KEY (key)")?;
            statement(&mut stream, "ANALYZE entries")
        }
        Dataset::Accounts => {
            // Room for new versions of a row on its own page, as anyone would give it here.
            statement(
                &mut stream,
                "CREATE TABLE accounts (id int4 NOT NULL, balance int8 NOT NULL) WITH (fillfactor = 50)",
            )?;
            let rows = (0..count).map(|number| {
                move |out: &mut Vec<u8>| {
                    copy_field(out, &number.to_be_bytes());
                    copy_field(out, &ACCOUNT_START.to_be_bytes());
                }
            });
            copy(&mut stream, "accounts", 2, rows)?;
            statement(&mut stream, "ALTER TABLE accounts ADD PRIMARY KEY (id)")?;
            statement(&mut stream, "ANALYZE accounts")?;
            statement(&mut stream, TRANSFER)
        }
    }
}

/// Locks the lower number first, whatever the direction, so that no two transfers deadlock.
const TRANSFER: &str =
    "CREATE FUNCTION transfer(source int4, target int4, amount int4) RETURNS int4
LANGUAGE plpgsql AS $$
BEGIN
  IF target < source THEN
    PERFORM 1 FROM accounts WHERE id = target FOR UPDATE;
  END IF;
  UPDATE accounts SET balance = balance - amount WHERE id = source AND balance >= amount;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  UPDATE accounts SET balance = balance + amount WHERE id = target;
  RETURN 1;
END $$";
