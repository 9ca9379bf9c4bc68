//! The write-ahead log of a node and its snapshot files.

#![deny(unsafe_code)]

mod aligned;
mod bytes;
mod check;
mod config;
mod disk;
mod dump;
mod frame;
mod job;
mod layout;
mod ledger;
pub mod memory;
mod record;
mod recover;
mod report;
pub mod snapshot;
mod walk;
mod window;
mod writer;

pub use aligned::{AlignedBuf, BLOCK_BYTES};
pub use check::{CheckReport, Finding, GroupCheck, SegmentCheck, Severity, SnapshotCheck, check};
pub use config::{ConfigError, LogConfig};
pub use disk::{Disk, FileInfo};
pub use dump::{DumpFilter, describe_entry, dump};
pub use frame::FrameKind;
pub use job::{Job, JobResult, JobTag, LogWrite, WritePart, run_job, run_write};
pub use layout::{FORMAT_VERSION, segment_name};
pub use ledger::{Pin, PinReason};
pub use memory::{Fault, FaultCounts, MemoryDisk, Tear};
pub use record::{Record, RecordKind};
pub use recover::{RecoverError, Recovery, recover};
pub use report::{Damage, DamagedGroups, Note, Report, Torn};
pub use writer::{AppendError, Space, Statistics, Writer};
