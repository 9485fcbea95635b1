//! Which version this program says that it is.
//!
//! It is the version that it was built as. Built for the lab, it is what a marker in the program
//! says, so that the lab makes neighbouring versions of a program by writing over the marker: another
//! version, another form of the state, and faults that a broken build could have.

/// Version of this program.
#[cfg(not(feature = "fault-injection"))]
pub fn version() -> &'static str {
    crate::VERSION
}

/// Version of this program.
#[cfg(feature = "fault-injection")]
pub fn version() -> &'static str {
    marked("version").unwrap_or(crate::VERSION)
}

/// Bytes of the marker.
#[cfg(feature = "fault-injection")]
const LENGTH: usize = 160;

/// What the lab writes over, from the beginning that it knows it by to the last zero.
#[cfg(feature = "fault-injection")]
#[used]
static MARKER: [u8; LENGTH] = padded(
    concat!(
        "nixctl-lab-marker:version=",
        env!("CARGO_PKG_VERSION"),
        ";fault=none;"
    )
    .as_bytes(),
);

#[cfg(feature = "fault-injection")]
const fn padded(text: &[u8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut at = 0;
    while at < text.len() {
        bytes[at] = text[at];
        at += 1;
    }
    bytes
}

/// What the marker says of something; nothing when it says nothing of it.
#[cfg(feature = "fault-injection")]
pub fn marked(name: &str) -> Option<&'static str> {
    // The compiler must not believe that it knows what is written there.
    let bytes: &'static [u8; LENGTH] = std::hint::black_box(&MARKER);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(LENGTH);
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let (_, fields) = text.split_once(':')?;
    let mut fields = fields.split(';').filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    #[test]
    fn unless_it_is_marked_it_is_what_was_built() {
        assert_eq!(super::version(), crate::VERSION);
        #[cfg(feature = "fault-injection")]
        assert_eq!(super::marked("fault"), Some("none"));
    }
}
