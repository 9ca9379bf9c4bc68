//! What a directory stands on.

use std::io;
use std::path::Path;

use rustix::fs::statfs;

/// The kind of file system under a directory, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Memory: a flush does nothing and a power cut loses all.
    Memory,
    /// A container's layered file system: its files go with the container.
    Overlay,
    /// A network file system: what a flush means is up to the server.
    Network,
    /// Anything else.
    Disk,
}

impl FileSystem {
    /// Looks at a path.
    ///
    /// # Errors
    /// What the system says to `statfs`.
    pub fn of(path: &Path) -> io::Result<Self> {
        // Values from the kernel's `magic.h`; the field's type differs by platform.
        Ok(match i128::from(statfs(path)?.f_type) & 0xffff_ffff {
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x794c_7630 => Self::Overlay,
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 => Self::Network,
            _ => Self::Disk,
        })
    }

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Overlay => "overlay",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }

    /// What an operator must know about it, if anything. `what` stands on it.
    pub fn warning(self, what: &str) -> Option<String> {
        Some(match self {
            Self::Memory => format!(
                "the {what} is in memory (tmpfs): flushing does nothing, and a power cut or reboot \
                 loses everything that was acknowledged"
            ),
            Self::Overlay => format!(
                "the {what} is on a container's overlay file system: it goes with the container; \
                 mount a volume for it"
            ),
            Self::Network => format!(
                "the {what} is on a network file system: whether a flush is durable depends on the \
                 server"
            ),
            Self::Disk => return None,
        })
    }
}
