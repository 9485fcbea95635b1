//! The bytes of a value: a version, bincode, and a CRC-32 of both. The only place that knows them.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{StoreError, form};

pub(super) fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

pub(super) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let payload = to_bincode(value).map_err(|why| StoreError::Damaged {
        key: shown(key),
        why,
    })?;
    Ok(seal(form::schema(), payload))
}

/// Puts the version, which is the schema, before a payload and the CRC after both.
pub(super) fn seal(schema: u32, payload: Vec<u8>) -> Vec<u8> {
    let payload = form::raised(schema, payload);
    let mut bytes = Vec::with_capacity(payload.len() + 5);
    bytes.push(u8::try_from(schema).unwrap_or(u8::MAX));
    bytes.extend_from_slice(&payload);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Encodes one value.
pub(in super::super) fn to_bincode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| error.to_string())
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let payload = open_value(key, bytes, form::schema())?;
    from_bincode(&payload).map_err(|why| StoreError::Damaged {
        key: shown(key),
        why,
    })
}

/// Decodes one value that fills its bytes exactly.
pub(in super::super) fn from_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| error.to_string())?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err("bytes are left over".to_owned())
    }
}

/// Checks version and CRC, and returns what is between.
pub(super) fn open_value<'a>(
    key: &[u8],
    bytes: &'a [u8],
    schema: u32,
) -> Result<Cow<'a, [u8]>, StoreError> {
    let damaged = |why: &str| StoreError::Damaged {
        key: shown(key),
        why: why.to_owned(),
    };
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or_else(|| damaged("it is too short"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(damaged("its checksum is wrong"));
    }
    match body.split_first() {
        Some((found, payload)) if u32::from(*found) == schema => {
            form::lowered(schema, payload).ok_or_else(|| damaged("it has another form"))
        }
        Some((found, _)) => Err(damaged(&format!("its version is {found}, not {schema}"))),
        None => Err(damaged("it is empty")),
    }
}
