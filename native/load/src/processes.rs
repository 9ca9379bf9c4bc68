//! What the processor and the disk did during a window, from /proc: which
//! thread of a server, or the disk, was saturated.

use crate::fault::{Fault, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Threads below this share of a core are left out of the report.
const SHARE_SHOWN: f64 = 0.02;
/// Nanoseconds of a clock tick, where the kernel counts in ticks (`USER_HZ` is 100 everywhere).
const TICK_NS: u64 = 10_000_000;

/// A thread of a watched process.
struct Thread {
    pid: u32,
    tid: u32,
    name: String,
    used_ns: u64,
}

/// Watches the threads of some processes, all cores, and a disk.
pub struct Processes {
    roots: Vec<u32>,
    device: Option<(u32, u32)>,
    threads: Vec<Thread>,
    cores: Option<Cores>,
    disk_ms: Option<u64>,
    at: Instant,
}

/// What was seen in a window.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    threads: Vec<Group>,
    /// Of one core: all threads together.
    server_share: f64,
    /// Of all cores: everything that ran.
    cores_share: Option<f64>,
    /// Of the time: the disk was busy.
    disk_share: Option<f64>,
}

/// Threads of one name.
#[derive(Debug, Serialize)]
struct Group {
    name: String,
    #[serde(rename = "main")]
    is_main: bool,
    count: u64,
    share: f64,
    share_max: f64,
}

impl Group {
    fn new(name: &str, is_main: bool, share: f64) -> Self {
        Self {
            name: name.to_owned(),
            is_main,
            count: 1,
            share,
            share_max: share,
        }
    }

    fn add(&mut self, share: f64) {
        self.count += 1;
        self.share += share;
        self.share_max = self.share_max.max(share);
    }
}

/// Ticks of all cores together.
#[derive(Clone, Copy)]
struct Cores {
    busy: u64,
    all: u64,
}

impl Processes {
    /// Watches the trees of processes under `roots` and the disk that holds `directory`.
    ///
    /// # Errors
    /// The directory is not there.
    pub fn new(roots: Vec<u32>, directory: Option<&Path>) -> Result<Self> {
        let device = match directory {
            None => None,
            Some(directory) => {
                let device = rustix::fs::stat(directory)?.st_dev;
                Some((rustix::fs::major(device), rustix::fs::minor(device)))
            }
        };
        Ok(Self {
            roots,
            device,
            threads: Vec::new(),
            cores: None,
            disk_ms: None,
            at: Instant::now(),
        })
    }

    /// Finds the processes and threads there are now; done before a warm-up, for it takes a while.
    ///
    /// # Errors
    /// A watched process is gone.
    pub fn find(&mut self) -> Result<()> {
        let mut pids = self.roots.clone();
        let parents = parents();
        let mut next = 0;
        while let Some(&parent) = pids.get(next) {
            pids.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        self.threads.clear();
        for pid in pids {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                if self.roots.contains(&pid) {
                    return Err(Fault::new(format!("the server (process {pid}) has ended")));
                }
                continue;
            };
            let tids = tasks
                .flatten()
                .filter_map(|task| task.file_name().to_str()?.parse().ok());
            for tid in tids {
                let name = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
                let name = name.unwrap_or_default().trim().to_owned();
                self.threads.push(Thread {
                    pid,
                    tid,
                    name,
                    used_ns: 0,
                });
            }
        }
        Ok(())
    }

    /// Begins a window.
    pub fn begin(&mut self) {
        for thread in &mut self.threads {
            thread.used_ns = thread_ns(thread.pid, thread.tid).unwrap_or_default();
        }
        self.cores = cores();
        self.disk_ms = self.device.and_then(disk_ms);
        self.at = Instant::now();
    }

    /// Ends it: shares of a core by thread, of all cores, of the disk's time.
    pub fn end(&self) -> Seen {
        let elapsed_ns = self.at.elapsed().as_nanos() as f64;
        let mut total = 0.0;
        let mut groups: Vec<Group> = Vec::new();
        for thread in &self.threads {
            let Some(now_ns) = thread_ns(thread.pid, thread.tid) else {
                continue;
            };
            let share = now_ns.saturating_sub(thread.used_ns) as f64 / elapsed_ns;
            total += share;
            let is_main = thread.pid == thread.tid;
            let same = |group: &&mut Group| group.name == thread.name && group.is_main == is_main;
            match groups.iter_mut().find(same) {
                Some(group) => group.add(share),
                None => groups.push(Group::new(&thread.name, is_main, share)),
            }
        }
        groups.retain(|group| group.share >= SHARE_SHOWN);
        let cores_share = match (self.cores, cores()) {
            (Some(before), Some(after)) if after.all > before.all => {
                Some((after.busy - before.busy) as f64 / (after.all - before.all) as f64)
            }
            _ => None,
        };
        let disk_share = match (self.disk_ms, self.device.and_then(disk_ms)) {
            (Some(before), Some(after)) => {
                Some(after.saturating_sub(before) as f64 * 1e6 / elapsed_ns)
            }
            _ => None,
        };
        Seen {
            threads: groups,
            server_share: total,
            cores_share,
            disk_share,
        }
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = after_name(&stat)?.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// The fields of a `stat` line from the state on; a name may hold blanks and brackets.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, fields)| fields)
}

/// Processor time of a thread: from schedstat, or in ticks where the kernel keeps none.
fn thread_ns(pid: u32, tid: u32) -> Option<u64> {
    let task = format!("/proc/{pid}/task/{tid}");
    let exact = fs::read_to_string(format!("{task}/schedstat")).ok();
    if let Some(used) = exact.and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        && used > 0
    {
        return Some(used);
    }
    let stat = fs::read_to_string(format!("{task}/stat")).ok()?;
    let mut fields = after_name(&stat)?.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

fn cores() -> Option<Cores> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    parse_cores(stat.lines().next()?)
}

fn parse_cores(line: &str) -> Option<Cores> {
    let ticks: Vec<u64> = line
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq; guest times are in user already. What comes between,
    // the time stolen by the host, this machine did not have: it was neither busy nor idle.
    let all: u64 = ticks.iter().take(7).sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Cores {
        busy: all - idle,
        all,
    })
}

/// Milliseconds in which the disk had something to do.
fn disk_ms((major, minor): (u32, u32)) -> Option<u64> {
    parse_disk(&fs::read_to_string("/proc/diskstats").ok()?, major, minor)
}

fn parse_disk(stats: &str, major: u32, minor: u32) -> Option<u64> {
    stats.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.first()?.parse() == Ok(major) && words.get(1)?.parse() == Ok(minor);
        is_it.then(|| words.get(12)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_skipped() {
        let stat = "12 (a (b) c) S 7 1 1 0 -1 0 0 0 0 0 30 12 0 0";
        let fields: Vec<&str> = after_name(stat).expect("valid").split(' ').collect();
        assert_eq!((fields[0], fields[1]), ("S", "7"));
    }

    #[test]
    fn cores_count_waiting_as_idle() {
        let cores = parse_cores("cpu  10 1 9 70 10 0 0 0 5 0").expect("valid");
        assert_eq!((cores.busy, cores.all), (20, 100));
    }

    #[test]
    fn cores_do_not_have_what_the_host_stole() {
        let cores = parse_cores("cpu  10 1 7 70 10 1 1 40 5 0").expect("valid");
        assert_eq!((cores.busy, cores.all), (20, 100));
    }

    #[test]
    fn the_right_disk_is_read() {
        let stats = " 254 0 vda 1 2 3 4 5 6 7 8 9 4242 11 12\n 254 1 vda1 1 2 3 4 5 6 7 8 9 7 1\n";
        assert_eq!(parse_disk(stats, 254, 0), Some(4242));
        assert_eq!(parse_disk(stats, 254, 1), Some(7));
        assert_eq!(parse_disk(stats, 8, 0), None);
    }

    #[test]
    fn this_process_is_seen_at_work() {
        let mut processes = Processes::new(vec![std::process::id()], None).expect("no directory");
        processes.find().expect("this process runs");
        processes.begin();
        let start = Instant::now();
        let mut spun = 0_u64;
        while start.elapsed().as_millis() < 50 {
            spun = std::hint::black_box(spun + 1);
        }
        let report = crate::json::line(&processes.end());
        assert!(report.contains("\"share\":"), "{report}");
    }
}
