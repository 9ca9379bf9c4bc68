//! `domp-sim --seeds N [--from SEED]`: lives that many worlds; `--seed SEED` just one; `--cluster`: of several machines.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use domp_sim::{Counts, Lived, Named, live_cluster, live_world};

const HELP: &str = "\
Usage: domp-sim [--cluster] [--seeds N] [--from SEED] [--seed SEED] [--repeat]

  --cluster     worlds of three machines and a network; else of one machine
  --seeds N     live N worlds (default 100)
  --from SEED   the first seed (default 1)
  --seed SEED   live the world of one seed
  --repeat      live every world twice and compare what was said (Promise 9)
  --partial     do not fail when a named situation never occurred
  --help        this

A seed is at least 2,000 requests and 20 faults. Exit codes: 0 all promises
held and every named situation occurred, 1 otherwise, 2 usage.
";

struct Options {
    cluster: bool,
    from: u64,
    seeds: u64,
    repeat: bool,
    partial: bool,
}

fn parse() -> Result<Option<Options>, String> {
    let mut options = Options {
        cluster: false,
        from: 1,
        seeds: 100,
        repeat: false,
        partial: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments
                .next()
                .ok_or(format!("{argument} needs a number"))?;
            text.parse::<u64>()
                .map_err(|_| format!("{argument} needs a number, not `{text}`"))
        };
        match argument.as_str() {
            "--cluster" => options.cluster = true,
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--seed" => {
                options.from = number()?;
                options.seeds = 1;
                options.partial = true;
            }
            "--repeat" => options.repeat = true,
            "--partial" => options.partial = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    Ok(Some(options))
}

/// How the world of a seed is lived.
type Live<S> = fn(u64) -> Result<Lived<S>, String>;

fn live<S>(run: Live<S>, seed: u64, repeat: bool) -> Result<Lived<S>, String> {
    let outcome = std::panic::catch_unwind(|| {
        let report = run(seed)?;
        if repeat {
            let again = run(seed)?;
            if again.digest != report.digest {
                return Err("Promise 9: the same seed gave another run".to_owned());
            }
        }
        Ok(report)
    });
    outcome.unwrap_or_else(|_| Err("a panic, see above".to_owned()))
}

/// Lives all of them; whether everything held and occurred.
fn live_all<S: Named>(options: &Options, run: Live<S>) -> bool {
    let mut situations = Counts::<S>::default();
    let (mut requests, mut faults, mut failed) = (0, 0, 0_u64);
    let show = std::io::stderr().is_terminal();
    let kind = if options.cluster { " --cluster" } else { "" };
    for at in 0..options.seeds {
        let seed = options.from + at;
        // Every tenth world is lived twice whether asked or not.
        match live(run, seed, options.repeat || seed.is_multiple_of(10)) {
            Ok(report) => {
                situations.add(&report.situations);
                requests += report.requests;
                faults += report.faults;
            }
            Err(why) => {
                failed += 1;
                println!("seed {seed}: {why}");
                println!("  repeat: npm run simulate --{kind} --seed {seed}");
                if failed >= 10 {
                    println!("stopped after 10 failing seeds");
                    break;
                }
            }
        }
        if show {
            eprint!("\r{} of {} seeds", at + 1, options.seeds);
            let _ = std::io::stderr().flush();
        }
    }
    if show {
        eprintln!();
    }
    println!("{:>10}  situation", "times");
    for situation in S::ALL {
        println!("{:>10}  {}", situations.count(*situation), situation.text());
    }
    println!(
        "{} seeds, {requests} requests, {faults} faults, {failed} failing",
        options.seeds
    );
    let missing = situations.missing();
    if failed == 0 && !options.partial && !missing.is_empty() {
        for situation in &missing {
            println!("never occurred: {}", situation.text());
        }
        return false;
    }
    failed == 0
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let held = if options.cluster {
        live_all(&options, live_cluster)
    } else {
        live_all(&options, live_world)
    };
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
