//! The first and last frames of a connection: hello, welcome, goodbye.
//!
//! Either side may be the newer one, so fields that this version does not know
//! are skipped.

use flatbuffers::FlatBufferBuilder;

use crate::error::{ErrorCode, Outcome};
use crate::frame::{Frame, FrameKind, single_frame};
use crate::generated::wire;
use crate::limits;
use crate::reply::{outcome_number, outcome_of_number};
use crate::session::SessionToken;
use crate::table::{Malformed, Table, UnknownFields};

/// The versions of the protocol that one side speaks, from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl Versions {
    /// Those of this crate.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked in the tests of this module"
    )]
    pub const OURS: Self = Self {
        min: limits::PROTOCOL_VERSION_MIN as u16,
        max: limits::PROTOCOL_VERSION as u16,
    };

    /// The version to speak with someone who speaks `other`: the highest of both.
    pub fn common(self, other: Self) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min.max(other.min)).then_some(version)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::OURS
    }
}

/// What a client says first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The versions the client speaks.
    pub versions: Versions,
    /// How the client proves who it is.
    pub token: Option<&'a str>,
    /// The session to resume.
    pub session: Option<SessionToken>,
    /// None is defined yet.
    pub capabilities: u64,
    /// Name and version, for the operator's logs.
    pub client: Option<&'a str>,
}

/// Fields of `Hello` by id.
mod hello_field {
    use crate::generated::wire::Hello;
    use crate::table::id;

    pub const VERSION_MAX: usize = id(Hello::VT_VERSION_MAX);
    pub const TOKEN: usize = id(Hello::VT_TOKEN);
    pub const SESSION: usize = id(Hello::VT_SESSION);
    pub const CAPABILITIES: usize = id(Hello::VT_CAPABILITIES);
    pub const CLIENT: usize = id(Hello::VT_CLIENT);
    pub const VERSION_MIN: usize = id(Hello::VT_VERSION_MIN);
    pub const KNOWN: usize = 6;
}

/// Encodes a `hello` frame.
pub fn encode_hello(hello: &Hello<'_>) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let token = hello.token.map(|token| builder.create_string(token));
    let session = hello
        .session
        .map(|session| builder.create_vector(&session.to_bytes()));
    let client = hello.client.map(|client| builder.create_string(client));
    let arguments = wire::HelloArgs {
        version_max: hello.versions.max,
        token,
        session,
        capabilities: hello.capabilities,
        client,
        version_min: hello.versions.min,
    };
    let root = wire::Hello::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    single_frame(FrameKind::Hello, builder.finished_data())
}

/// Reads a `hello` frame.
///
/// # Errors
/// `invalid_frame` if it is malformed or another kind of frame,
/// `unsupported_version` where no version is spoken by both, `too_large` for token or name over their limits,
/// `session_refused` where the session is not a token at all.
pub fn parse_hello(frame: &[u8]) -> Result<Hello<'_>, ErrorCode> {
    let payload = payload_of(frame, FrameKind::Hello)?;
    let invalid = |_: Malformed| ErrorCode::InvalidFrame;
    let table =
        Table::open_root(payload, hello_field::KNOWN, UnknownFields::Ignore).map_err(invalid)?;
    let version = |field| -> Result<u16, ErrorCode> {
        Ok(table.u16(field).map_err(invalid)?.unwrap_or_default())
    };
    let versions = Versions {
        min: version(hello_field::VERSION_MIN)?,
        max: version(hello_field::VERSION_MAX)?,
    };
    if Versions::OURS.common(versions).is_none() {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let token = table.string(hello_field::TOKEN).map_err(invalid)?;
    let client = table.string(hello_field::CLIENT).map_err(invalid)?;
    let over = |text: Option<&str>, bytes_max| text.is_some_and(|t| t.len() as u64 > bytes_max);
    if over(token, limits::TOKEN_BYTES_MAX) || over(client, limits::CLIENT_NAME_BYTES_MAX) {
        return Err(ErrorCode::TooLarge);
    }
    let session = match table.vector(hello_field::SESSION).map_err(invalid)? {
        Some(bytes) => Some(SessionToken::from_bytes(bytes).ok_or(ErrorCode::SessionRefused)?),
        None => None,
    };
    Ok(Hello {
        versions,
        token,
        session,
        capabilities: table
            .u64(hello_field::CAPABILITIES)
            .map_err(invalid)?
            .unwrap_or_default(),
        client,
    })
}

/// The limits a server tells a client; see `schemas/limits.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is its limit's")]
pub struct WelcomeLimits {
    pub frame_bytes_max: u32,
    pub transaction_bytes_max: u32,
    pub key_bytes_max: u32,
    pub value_bytes_max: u32,
    pub operations_max: u32,
    pub guards_max: u32,
    /// Requests a session may have outstanding.
    pub window: u32,
    pub outstanding_bytes_max: u32,
    pub session_ttl_ms: u64,
}

impl Default for WelcomeLimits {
    fn default() -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked in the tests of this module"
        )]
        const fn narrow(limit: u64) -> u32 {
            limit as u32
        }
        Self {
            frame_bytes_max: narrow(limits::FRAME_BYTES_MAX),
            transaction_bytes_max: narrow(limits::TRANSACTION_BYTES_MAX),
            key_bytes_max: narrow(limits::KEY_BYTES_MAX),
            value_bytes_max: narrow(limits::VALUE_BYTES_MAX),
            operations_max: narrow(limits::OPERATIONS_MAX),
            guards_max: narrow(limits::GUARDS_MAX),
            window: narrow(limits::SESSION_WINDOW),
            outstanding_bytes_max: narrow(limits::OUTSTANDING_BYTES_MAX),
            session_ttl_ms: limits::SESSION_TTL_MS,
        }
    }
}

/// What a server answers to `hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: u16,
    /// The versions the server speaks.
    pub versions: Versions,
    /// Sent back in `hello` to resume.
    pub session: SessionToken,
    /// It is the session that the client presented.
    pub resumed: bool,
    /// Grows each time the session is resumed; older ones are refused.
    pub epoch: u64,
    /// The server's wall clock: a hint.
    pub server_time_ms: u64,
    /// The node that answers.
    pub node: u64,
    /// What the server holds clients to.
    pub limits: WelcomeLimits,
    /// The id of the space `default`.
    pub default_space: u32,
}

/// Encodes a `welcome` frame.
pub fn encode_welcome(welcome: &Welcome) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let session = Some(builder.create_vector(&welcome.session.to_bytes()));
    let limits = &welcome.limits;
    let limits = wire::LimitsArgs {
        frame_bytes_max: limits.frame_bytes_max,
        transaction_bytes_max: limits.transaction_bytes_max,
        key_bytes_max: limits.key_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        operations_max: limits.operations_max,
        guards_max: limits.guards_max,
        window: limits.window,
        outstanding_bytes_max: limits.outstanding_bytes_max,
        session_ttl_ms: limits.session_ttl_ms,
    };
    let limits = Some(wire::Limits::create(&mut builder, &limits));
    let arguments = wire::WelcomeArgs {
        version: welcome.version,
        session,
        resumed: welcome.resumed,
        epoch: welcome.epoch,
        server_time_ms: welcome.server_time_ms,
        node: welcome.node,
        limits,
        default_space: welcome.default_space,
        version_min: welcome.versions.min,
        version_max: welcome.versions.max,
    };
    let root = wire::Welcome::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    single_frame(FrameKind::Welcome, builder.finished_data())
}

/// Reads a `welcome` frame.
///
/// # Errors
/// `invalid_frame` if it is malformed, incomplete or another kind of frame.
pub fn parse_welcome(frame: &[u8]) -> Result<Welcome, ErrorCode> {
    let payload = payload_of(frame, FrameKind::Welcome)?;
    let root = flatbuffers::root::<wire::Welcome<'_>>(payload);
    let welcome = root.map_err(|_| ErrorCode::InvalidFrame)?;
    let session = welcome
        .session()
        .and_then(|bytes| SessionToken::from_bytes(bytes.bytes()));
    let limits = welcome.limits().ok_or(ErrorCode::InvalidFrame)?;
    Ok(Welcome {
        version: welcome.version(),
        versions: Versions {
            min: welcome.version_min(),
            max: welcome.version_max(),
        },
        session: session.ok_or(ErrorCode::InvalidFrame)?,
        resumed: welcome.resumed(),
        epoch: welcome.epoch(),
        server_time_ms: welcome.server_time_ms(),
        node: welcome.node(),
        limits: WelcomeLimits {
            frame_bytes_max: limits.frame_bytes_max(),
            transaction_bytes_max: limits.transaction_bytes_max(),
            key_bytes_max: limits.key_bytes_max(),
            value_bytes_max: limits.value_bytes_max(),
            operations_max: limits.operations_max(),
            guards_max: limits.guards_max(),
            window: limits.window(),
            outstanding_bytes_max: limits.outstanding_bytes_max(),
            session_ttl_ms: limits.session_ttl_ms(),
        },
        default_space: welcome.default_space(),
    })
}

/// Why a server ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The reason.
    pub code: ErrorCode,
    /// For a person; may be empty.
    pub message: String,
    /// Worth waiting this long before the next connection, milliseconds; 0: unknown.
    pub retry_after_ms: u32,
    /// Another connection may fare better.
    pub retryable: bool,
    /// What is known of requests that are not answered yet.
    pub outcome: Outcome,
}

/// Encodes a `goodbye` frame. Whether to come again, and what is known of requests without an
/// answer, it says as the table of errors does.
pub fn encode_goodbye(code: ErrorCode, message: &str, retry_after_ms: u32) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let message = (!message.is_empty()).then(|| builder.create_string(message));
    let arguments = wire::GoodbyeArgs {
        code: code.number(),
        message,
        retry_after_ms,
        retryable: code.retryable(),
        outcome: outcome_number(code.outcome()),
    };
    let root = wire::Goodbye::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    single_frame(FrameKind::Goodbye, builder.finished_data())
}

/// Reads a `goodbye` frame.
///
/// # Errors
/// `invalid_frame` if it is malformed, another kind of frame, or gives no known reason or outcome.
pub fn parse_goodbye(frame: &[u8]) -> Result<Goodbye, ErrorCode> {
    let payload = payload_of(frame, FrameKind::Goodbye)?;
    let root = flatbuffers::root::<wire::Goodbye<'_>>(payload);
    let goodbye = root.map_err(|_| ErrorCode::InvalidFrame)?;
    Ok(Goodbye {
        code: ErrorCode::from_number(goodbye.code()).ok_or(ErrorCode::InvalidFrame)?,
        message: goodbye.message().unwrap_or_default().to_owned(),
        retry_after_ms: goodbye.retry_after_ms(),
        retryable: goodbye.retryable(),
        outcome: outcome_of_number(goodbye.outcome()).ok_or(ErrorCode::InvalidFrame)?,
    })
}

/// The payload of a frame that must be of that kind.
fn payload_of(frame: &[u8], kind: FrameKind) -> Result<&[u8], ErrorCode> {
    let frame = Frame::parse(frame)?;
    if frame.kind != kind {
        return Err(ErrorCode::InvalidFrame);
    }
    frame.payload().ok_or(ErrorCode::InvalidFrame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_of_both_is_spoken() {
        let versions = |min, max| Versions { min, max };
        assert_eq!(versions(2, 4).common(versions(1, 3)), Some(3));
        assert_eq!(versions(2, 4).common(versions(4, 9)), Some(4));
        assert_eq!(versions(2, 4).common(versions(5, 9)), None);
        assert_eq!(versions(2, 4).common(versions(0, 1)), None);
        assert_eq!(versions(2, 4).common(versions(3, 2)), None);
    }

    #[test]
    fn versions_fit_their_fields() {
        assert_eq!(u64::from(Versions::OURS.min), limits::PROTOCOL_VERSION_MIN);
        assert_eq!(u64::from(Versions::OURS.max), limits::PROTOCOL_VERSION);
        assert!(u8::try_from(limits::PROTOCOL_VERSION).is_ok());
    }

    #[test]
    fn limits_fit_their_fields() {
        let all = [
            limits::FRAME_BYTES_MAX,
            limits::TRANSACTION_BYTES_MAX,
            limits::KEY_BYTES_MAX,
            limits::VALUE_BYTES_MAX,
            limits::OPERATIONS_MAX,
            limits::GUARDS_MAX,
            limits::SESSION_WINDOW,
            limits::OUTSTANDING_BYTES_MAX,
        ];
        assert!(all.iter().all(|&limit| u32::try_from(limit).is_ok()));
    }
}
