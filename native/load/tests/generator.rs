//! The generator as a process: against a real Redis where there is one, and
//! against servers that lie, which it must notice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

const GENERATOR: &str = env!("CARGO_BIN_EXE_domp-load");

fn generator(words: &[&str]) -> Output {
    Command::new(GENERATOR)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the generator was built with this test")
}

/// A run that is steered over pipes.
struct Steered {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Steered {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(GENERATOR)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the generator was built with this test");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable");
        line
    }

    fn ask(&mut self, command: &str) -> String {
        // A generator that has failed is noticed by its empty answer.
        let _ = writeln!(self.input, "{command}");
        self.line()
    }

    /// What it complained about, after it has failed.
    fn complaint(mut self) -> String {
        let mut text = String::new();
        let mut errors = self.child.stderr.take().expect("piped");
        errors.read_to_string(&mut text).expect("readable");
        assert!(!self.child.wait().expect("it runs").success());
        text
    }

    fn finish(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("it runs").success());
    }
}

/// The number of a field in a line of JSON.
fn number(line: &str, field: &str) -> f64 {
    let text = line.split(&format!("\"{field}\":")).nth(1).expect(line);
    let end = text.find([',', '}']).expect("the field ends");
    text[..end].parse().expect("a number")
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("domp-load-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("writable");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Redis for a test; `None` says that it is skipped.
struct Redis {
    child: Child,
    address: String,
}

impl Redis {
    fn start(directory: &Path) -> Option<Self> {
        let port = free_port();
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
            ])
            .args([
                "--dir",
                directory.to_str().expect("text"),
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(
                std::env::var_os("DOMP_NO_SKIPS").is_none(),
                "needs redis-server"
            );
            eprintln!("skipped: needs redis-server");
            return None;
        };
        let address = format!("127.0.0.1:{port}");
        let start = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "redis-server does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { child, address })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

/// Frames of 16 are what Redis gets as a pipeline of 16.
fn run_words<'a>(address: &'a str, load: &'a str, count: &'a str) -> Vec<&'a str> {
    let system = [
        "run",
        "--system",
        "redis",
        "--address",
        address,
        "--load",
        load,
    ];
    let shape = [
        "--connections",
        "4",
        "--in-flight",
        "4",
        "--operations",
        "16",
    ];
    [&system[..], &shape, &["--count", count, "--seed", "1"]].concat()
}

#[test]
fn puts_are_made_counted_and_read_back() {
    let directory = Directory::new("puts");
    let Some(redis) = Redis::start(&directory.0) else {
        return;
    };
    let mut run = Steered::start(&run_words(&redis.address, "put", "500"));
    assert!(run.line().contains("\"ready\":true"));
    let window = run.ask("window 0 0.05");
    assert!(number(&window, "operations") > 0.0);
    assert!(number(&window, "puts") >= number(&window, "operations"));
    let checked = run.ask("check");
    assert!(number(&checked, "checked") > 0.0, "{checked}");
    run.finish();
}

#[test]
fn what_was_lost_after_its_answer_is_noticed() {
    let directory = Directory::new("lost");
    let Some(redis) = Redis::start(&directory.0) else {
        return;
    };
    let mut run = Steered::start(&run_words(&redis.address, "put", "500"));
    run.line();
    assert!(number(&run.ask("window 0 0.05"), "operations") > 0.0);
    let mut other = TcpStream::connect(&redis.address).expect("it listens");
    other.write_all(b"FLUSHALL\r\n").expect("it listens");
    let mut answer = [0; 5];
    other.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"+OK\r\n");
    assert_eq!(run.ask("check"), "");
    assert!(run.complaint().contains("Absent"));
}

#[test]
fn gets_find_what_was_preloaded_and_transfers_keep_the_total() {
    let directory = Directory::new("gets");
    let Some(redis) = Redis::start(&directory.0) else {
        return;
    };
    for dataset in ["entries", "accounts"] {
        let system = ["preload", "--system", "redis", "--address", &redis.address];
        let words = [&system[..], &["--dataset", dataset, "--count", "300"]].concat();
        let output = generator(&words);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut gets = Steered::start(&run_words(&redis.address, "get", "300"));
    gets.line();
    let window = gets.ask("window 0.01 0.05");
    assert!(number(&window, "hits") > 0.0, "{window}");
    gets.finish();

    let mut transfers = Steered::start(&run_words(&redis.address, "transfer", "300"));
    transfers.line();
    let window = transfers.ask("window 0.01 0.05");
    assert!(number(&window, "applied") > 0.0, "{window}");
    let checked = transfers.ask("check");
    assert!((number(&checked, "checked") - 300.0).abs() < f64::EPSILON);
    transfers.finish();
}

/// A server that greets like Redis and then answers everything with the same bytes.
fn liar(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut greeting = [0; 14];
                let mut asked = [0; 8_192];
                let _ = stream.read_exact(&mut greeting);
                let _ = stream.write_all(b"+PONG\r\n");
                while stream.read(&mut asked).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(answer);
                }
            });
        }
    });
    address
}

#[test]
fn a_server_that_lies_gets_no_figures() {
    for (load, answer, complaint) in [
        ("get", b"$-1\r\n".as_slice(), "Absent"),
        ("get", b"$4\r\nnope\r\n", "wrong value"),
        ("put", b"-ERR disk full\r\n", "disk full"),
        ("put", b"$2\r\nOK\r\n", "wrong value"),
        ("transfer", b":7\r\n", "7"),
    ] {
        let address = liar(answer);
        let mut run = Steered::start(&run_words(&address, load, "100"));
        assert!(run.line().contains("ready"));
        assert_eq!(
            run.ask("window 0 0.2"),
            "",
            "{load} answered with {answer:?}"
        );
        let told = run.complaint();
        assert!(told.contains(complaint), "{told}");
    }
}

#[test]
fn the_disk_is_written_and_its_method_told() {
    let directory = Directory::new("disk");
    let path = directory.0.to_str().expect("text");
    let words = [
        "disk",
        "--directory",
        path,
        "--load",
        "put",
        "--operations",
        "64",
    ];
    let mut disk = Steered::start(&words);
    assert!(disk.line().contains("\"method\":"));
    let window = disk.ask("window 0 0.05");
    // Each write stands for all the operations of a group commit.
    assert!(number(&window, "operations") >= 64.0, "{window}");
    assert!(number(&window, "operations") % 64.0 < f64::EPSILON);
    disk.finish();
}

#[test]
fn a_program_is_timed_to_its_end() {
    let output = generator(&["lifetime", "--", "sh", "-c", "echo unheard"]);
    assert!(output.status.success());
    let line = String::from_utf8(output.stdout).expect("text");
    assert!(line.starts_with("{\"lifetime_us\":"), "{line}");
    assert!(number(&line, "lifetime_us") > 0.0);
    for words in [&["sh", "-c", "exit 3"][..], &["/no/such/program"], &[]] {
        let output = generator(&[&["lifetime", "--"], words].concat());
        assert!(!output.status.success(), "{words:?}");
    }
}

#[test]
fn a_window_ends_early_when_told_to() {
    let directory = Directory::new("early");
    let Some(redis) = Redis::start(&directory.0) else {
        return;
    };
    let mut run = Steered::start(&run_words(&redis.address, "put", "500"));
    run.line();
    writeln!(run.input, "window 0 3600").expect("it listens");
    std::thread::sleep(Duration::from_millis(100));
    let window = run.ask("stop");
    assert!(number(&window, "elapsed_s") < 1_800.0, "{window}");
    let next = run.ask("window 0 0.02");
    assert!(
        number(&next, "operations") > 0.0,
        "a later window is whole: {next}"
    );
    run.finish();
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    for words in [
        &["nonsense"][..],
        &["run", "--sistem", "redis"],
        &["run", "--system", "oracle", "--address", "127.0.0.1:1"],
        &["preload", "--system", "redis"],
    ] {
        let output = generator(words);
        assert!(!output.status.success(), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}
