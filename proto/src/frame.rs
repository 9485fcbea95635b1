//! Framing of the Unix socket: how requests and replies become bytes and back.
//!
//! A frame is a length (u32, big-endian, at most [`MAX_PAYLOAD`]) and a payload of bincode with a
//! fixed configuration. Both sides first send a [`Hello`]; then the client sends [`Call`]s and the
//! daemon answers each with one [`Answer`], or with several of which the last says so. Bytes of
//! the peer are never trusted: a length is refused before anything is allocated for it, lengths
//! inside a payload are held to the payload's own limit, and bytes left over are an error.
//!
//! Nothing here reads or writes: each side brings its own loop. This is the only place on the wire
//! where bincode is used, so that it can be replaced with a new [`PROTOCOL`] number. What may change
//! under the same number, and what needs a new one, is said in `docs/protocol.md`.

mod hello;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::failure::Failure;
use crate::request::{Reply, Request};
pub use hello::{Hello, OLDEST_PROTOCOL, PROTOCOL, Program, TooOld};

/// Bytes of a frame before its payload.
pub const HEADER_LENGTH: usize = 4;

/// Most bytes of a payload.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// A request with the number that its answers carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client, from 1 on; unique among its unanswered calls.
    pub id: u32,
    /// What is asked for.
    pub request: Request,
}

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the call; 0 when it is about the connection, which then ends.
    pub id: u32,
    /// Whether this is the last answer to that call; only a watch has more than one.
    pub last: bool,
    /// What is answered.
    pub reply: Reply,
}

/// Why bytes are not a frame, or a message cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A payload is larger than a frame may be.
    #[error("cannot carry {length} bytes in a frame: at most {MAX_PAYLOAD} are allowed")]
    TooLarge {
        /// Its length.
        length: usize,
    },
    /// The message cannot be encoded.
    #[error("cannot encode a message: {0}")]
    Encode(String),
    /// The payload is not the message that was expected.
    #[error("cannot decode a message: {0}")]
    Decode(String),
    /// The payload goes on after the message.
    #[error("cannot decode a message: {0} bytes are left over")]
    LeftOver(usize),
    /// The peer speaks only protocols that are not known here any more.
    #[error(transparent)]
    TooOld(#[from] TooOld),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Failure {
        let failure = Failure::new(Code::BadFrame, error.to_string());
        match error {
            FrameError::TooOld(why) => failure.with_help(why.help()),
            _ => failure,
        }
    }
}

/// A whole frame, header included.
///
/// # Errors
/// The message is larger than a frame may be.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let payload = bincode::serde::encode_to_vec(message, bincode::config::standard())
        .map_err(|error| FrameError::Encode(error.to_string()))?;
    let too_large = FrameError::TooLarge {
        length: payload.len(),
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(too_large);
    }
    let length = u32::try_from(payload.len()).map_err(|_| too_large)?;
    let mut frame = Vec::with_capacity(HEADER_LENGTH + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Length of the payload that follows a header.
///
/// # Errors
/// It is larger than a frame may be; nothing should be allocated or read for it.
pub fn payload_length(header: [u8; HEADER_LENGTH]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length <= MAX_PAYLOAD {
        Ok(length)
    } else {
        Err(FrameError::TooLarge { length })
    }
}

/// The message in a payload.
///
/// # Errors
/// The payload is too large, cut short, something else, or longer than the message.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLarge {
            length: payload.len(),
        });
    }
    let config = bincode::config::standard().with_limit::<MAX_PAYLOAD>();
    let (message, used) = bincode::serde::decode_from_slice(payload, config)
        .map_err(|error| FrameError::Decode(error.to_string()))?;
    match payload.len() - used {
        0 => Ok(message),
        left => Err(FrameError::LeftOver(left)),
    }
}

/// A message after whose number something follows that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Unread {
    /// Number of the call or of the answer, where that can be read.
    pub id: Option<u32>,
    /// Why the rest cannot.
    #[source]
    pub error: FrameError,
}

/// The [`Call`] or the [`Answer`] in a payload. Both begin with their number, so that what a newer
/// peer says can be told from rubbish, and belongs to somebody.
///
/// # Errors
/// As [`decode`].
pub fn decode_numbered<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Unread> {
    decode(payload).map_err(|error| {
        let config = bincode::config::standard();
        let id = bincode::serde::decode_from_slice(payload, config);
        Unread {
            id: id.ok().map(|(id, _)| id),
            error,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::operation::{JournalLine, OperationId};
    use crate::request::{InstallRequest, OperationRequest, RequestOptions, UninstallRequest};

    fn payload(frame: &[u8]) -> &[u8] {
        let header = frame[..HEADER_LENGTH].try_into().unwrap();
        assert_eq!(payload_length(header).unwrap(), frame.len() - HEADER_LENGTH);
        &frame[HEADER_LENGTH..]
    }

    fn operations() -> impl Strategy<Value = OperationRequest> {
        let install = (
            option::of(".*"),
            option::of(".*"),
            option::of("[0-9a-f]{64}"),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(version, source, sha256, adopt, single_user)| {
                OperationRequest::Install(InstallRequest {
                    version,
                    source,
                    sha256,
                    adopt,
                    single_user,
                })
            });
        let uninstall = any::<bool>()
            .prop_map(|keep_store| OperationRequest::Uninstall(UninstallRequest { keep_store }));
        prop_oneof![install, uninstall, Just(OperationRequest::SelfUninstall)]
    }

    fn options() -> impl Strategy<Value = RequestOptions> {
        (
            any::<bool>(),
            option::of(".*"),
            option::of(".*"),
            option::of(any::<u64>()),
        )
            .prop_map(|(dry_run, request_id, reason, deadline)| RequestOptions {
                dry_run,
                request_id,
                expected_current: None,
                deadline,
                reason,
            })
    }

    fn requests() -> impl Strategy<Value = Request> {
        let ids = (0u64..1 << 50, any::<u32>()).prop_map(|(t, r)| OperationId::from_parts(t, r));
        prop_oneof![
            Just(Request::Status),
            Just(Request::Settings),
            any::<u32>().prop_map(Request::List),
            operations().prop_map(Request::Plan),
            (operations(), options()).prop_map(|(r, o)| Request::Submit(r, o)),
            ids.prop_map(Request::Watch),
            (".*", ".*").prop_map(|(key, value)| Request::Configure { key, value }),
        ]
    }

    proptest! {
        #[test]
        fn calls_come_back(id in any::<u32>(), request in requests()) {
            let call = Call { id, request };
            prop_assert_eq!(decode::<Call>(payload(&encode(&call).unwrap())).unwrap(), call);
        }

        #[test]
        fn a_cut_call_is_an_error(request in requests(), at in any::<prop::sample::Index>()) {
            let frame = encode(&Call { id: 7, request }).unwrap();
            let whole = payload(&frame);
            prop_assert!(decode::<Call>(&whole[..at.index(whole.len())]).is_err());
        }

        #[test]
        fn a_longer_call_is_an_error(request in requests(), more in 1usize..9) {
            let mut frame = encode(&Call { id: 7, request }).unwrap();
            frame.extend(vec![0; more]);
            prop_assert_eq!(
                decode::<Call>(&frame[HEADER_LENGTH..]),
                Err(FrameError::LeftOver(more))
            );
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<Call>(&bytes);
            let _ = decode::<Answer>(&bytes);
        }
    }

    #[test]
    fn answers_come_back() {
        let line = JournalLine {
            sequence: 3,
            time: 1_700_000_000_000,
            record: "done".to_owned(),
            step: Some(2),
            text: "create the directory /nix".to_owned(),
        };
        for reply in [
            Reply::Done,
            Reply::Journal(vec![line]),
            Reply::Refused(Failure::new(
                Code::NoSpace,
                "cannot install: 5 bytes are missing",
            )),
        ] {
            let answer = Answer {
                id: 9,
                last: true,
                reply,
            };
            assert_eq!(
                decode::<Answer>(payload(&encode(&answer).unwrap())).unwrap(),
                answer
            );
        }
    }

    #[test]
    fn lengths_are_refused_before_they_cost_anything() {
        assert_eq!(payload_length([0, 0x10, 0, 0]), Ok(MAX_PAYLOAD));
        for header in [[0, 0x10, 0, 1], [0xff; 4], *b"GET "] {
            assert!(matches!(
                payload_length(header),
                Err(FrameError::TooLarge { .. })
            ));
        }
        assert!(matches!(
            decode::<Hello>(&vec![0; MAX_PAYLOAD + 1]),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn lengths_inside_a_payload_are_refused_too() {
        // protocol 1, then a string that says it has 2^40 bytes
        let mut bytes = vec![1, 253];
        bytes.extend((1u64 << 40).to_le_bytes());
        assert!(matches!(
            decode::<Hello>(&bytes),
            Err(FrameError::Decode(_))
        ));
        // a list of journal lines that says it has 2^40 entries
        let mut bytes = vec![1, 1, 5, 253];
        bytes.extend((1u64 << 40).to_le_bytes());
        assert!(matches!(
            decode::<Answer>(&bytes),
            Err(FrameError::Decode(_))
        ));
    }

    #[test]
    fn what_does_not_fit_is_not_sent() {
        let call = Call {
            id: 1,
            request: Request::Configure {
                key: "k".to_owned(),
                value: "v".repeat(MAX_PAYLOAD),
            },
        };
        assert!(matches!(encode(&call), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn the_number_of_an_unknown_message_is_read() {
        let call = Call {
            id: 300,
            request: Request::Metrics,
        };
        let whole = payload(&encode(&call).unwrap()).to_vec();
        assert_eq!(decode_numbered::<Call>(&whole), Ok(call));
        let head = &whole[..whole.len() - 1];
        let unknown = [head, &[200]].concat();
        let longer = [whole.as_slice(), &[1]].concat();
        for (bytes, id) in [
            (unknown.as_slice(), Some(300)),
            (longer.as_slice(), Some(300)),
            (head, Some(300)),
            (&[0xff; 5], None),
            (&[], None),
        ] {
            let unread = decode_numbered::<Call>(bytes).unwrap_err();
            assert_eq!(unread.id, id, "{bytes:?}");
        }
    }
}
