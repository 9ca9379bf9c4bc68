//! The systems under load, and connections to them.

use crate::arguments::Arguments;
use crate::codec::Codec;
use crate::codec::domp::{Domp, Shared, Templates};
use crate::codec::echo::Echo;
use crate::codec::postgres::{self, Postgres, Tables};
use crate::codec::redis::{self, Redis};
use crate::connection::{self, Connection};
use crate::fault::{Fault, Result};
use crate::generator::Generator;
use crate::outstanding::Outstanding;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

/// The space that stands in the echo's messages, whose bytes nobody reads.
const ECHO_SPACE: u32 = 1;

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DOMP.
    Domp,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// The WebSocket echo.
    Echo,
}

impl FromStr for Kind {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "domp" => Ok(Self::Domp),
            "redis" => Ok(Self::Redis),
            "postgres" => Ok(Self::Postgres),
            "uws" => Ok(Self::Echo),
            _ => Err(Fault::new(format!("no system is called `{text}`"))),
        }
    }
}

/// A server, and all its connections share.
pub struct System {
    kind: Kind,
    address: SocketAddr,
    patience: Duration,
    tables: Tables,
    user: Rc<str>,
    path: Rc<str>,
    domp: Shared,
    echo: Rc<Templates>,
    redis: Rc<redis::Templates>,
    postgres: Rc<postgres::Templates>,
}

/// The arguments that [`System::from_arguments`] reads.
pub const ARGUMENTS: [&str; 5] = ["system", "address", "user", "path", "patience-ms"];

impl System {
    /// Reads which system it is and where.
    ///
    /// # Errors
    /// An argument is missing or wrong.
    pub fn from_arguments(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            kind: arguments.required("system")?,
            address: arguments.required("address")?,
            patience: Duration::from_millis(arguments.optional("patience-ms", 10_000)?),
            tables: Tables::None,
            user: arguments.text("user").unwrap_or("postgres").into(),
            path: arguments.text("path").unwrap_or("/v1").into(),
            domp: Shared::default(),
            echo: Templates::new(ECHO_SPACE),
            redis: redis::Templates::new(),
            postgres: postgres::Templates::new(),
        })
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Prepares later connections for these tables; only PostgreSQL has any.
    pub fn set_tables(&mut self, tables: Tables) {
        self.tables = tables;
    }

    fn codec(&self) -> Box<dyn Codec> {
        match self.kind {
            Kind::Domp => Box::new(Domp::new(Rc::clone(&self.path), Rc::clone(&self.domp))),
            Kind::Redis => Box::new(Redis::new(Rc::clone(&self.redis))),
            Kind::Postgres => {
                let templates = Rc::clone(&self.postgres);
                Box::new(Postgres::new(templates, self.tables, Rc::clone(&self.user)))
            }
            Kind::Echo => Box::new(Echo::new(Rc::clone(&self.echo))),
        }
    }

    /// Opens one connection and leaves its socket blocking.
    ///
    /// # Errors
    /// The server does not answer, or not as it should.
    pub fn open(&self) -> Result<TcpStream> {
        connection::open(self.address, &mut *self.codec(), self.patience)
    }

    /// Opens connections that each keep `in_flight` messages of `operations` outstanding.
    ///
    /// # Errors
    /// The server does not answer, or not as it should.
    pub fn generator(
        &self,
        connections: u32,
        in_flight: usize,
        operations: usize,
    ) -> Result<Generator> {
        let mut opened = Vec::new();
        for _ in 0..connections {
            let mut codec = self.codec();
            let stream = connection::open(self.address, &mut *codec, self.patience)?;
            let outstanding = Outstanding::new(in_flight, operations)?;
            opened.push(Connection::new(stream, codec, outstanding)?);
        }
        Generator::new(opened)
    }
}
