//! `domp-load`: the command line of the load generator.

use domp_load::arguments::Arguments;
use domp_load::fault::{Fault, Result};
use domp_load::{command, first, flood, idle, lifetime, preload};
use std::process::ExitCode;

const USAGE: &str = "domp-load run|disk|preload|idle|flood|first|lifetime --name value …";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let subcommand = words.next().unwrap_or_default();
    match serve(&subcommand, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("domp-load {subcommand}: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn serve(subcommand: &str, words: impl Iterator<Item = String>) -> Result<()> {
    let arguments = Arguments::parse(words)?;
    match subcommand {
        "run" => command::run(&arguments),
        "disk" => command::disk(&arguments),
        "preload" => preload::run(&arguments),
        "idle" => idle::run(&arguments),
        "flood" => flood::run(&arguments),
        "first" => first::run(&arguments),
        "lifetime" => lifetime::run(&arguments),
        _ => Err(Fault::new(USAGE)),
    }
}
