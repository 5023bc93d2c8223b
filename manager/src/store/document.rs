//! Small files of one JSON object that is told from a torn, foreign or changed one.
//!
//! The text of each, with nothing between its parts and a newline at its end:
//! `{"format":"<format>","key":"<32 hex>","checksum":"<32 hex>","row":<row>}`. The checksum is the [`Content`] of the row's
//! text. Who changes a row by hand has to write its checksum anew.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::content::Content;
use super::hex;

/// The text of a document.
pub(crate) fn write(
    format: &str,
    key: &[u8; 16],
    row: &impl Serialize,
) -> serde_json::Result<Vec<u8>> {
    let row = serde_json::to_vec(row)?;
    let mut text = head(format, key).into_bytes();
    text.extend_from_slice(Content::of(&row).to_string().as_bytes());
    text.extend_from_slice(b"\",\"row\":");
    text.extend_from_slice(&row);
    text.extend_from_slice(b"}\n");
    Ok(text)
}

/// What was written, or what is wrong with the text.
pub(crate) fn read<T: DeserializeOwned>(
    format: &str,
    key: &[u8; 16],
    text: &[u8],
) -> Result<T, String> {
    let rest = text
        .strip_prefix(head(format, key).as_bytes())
        .ok_or_else(|| format!("it is no `{format}` of this key"))?;
    let (checksum, rest) = rest.split_at_checked(32).ok_or("it is cut off")?;
    let row = rest
        .strip_prefix(b"\",\"row\":")
        .and_then(|rest| rest.strip_suffix(b"}\n"))
        .ok_or("it is cut off")?;
    if Content::of(row).to_string().as_bytes() != checksum {
        return Err("its checksum is another one".to_owned());
    }
    serde_json::from_slice(row).map_err(|error| error.to_string())
}

fn head(format: &str, key: &[u8; 16]) -> String {
    format!(r#"{{"format":"{format}","key":"{}","checksum":""#, hex::of(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_document_is_one_json_object() {
        let text = write("flockgate-spool-1", &[0xab; 16], &("a\"}", 1)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["row"], serde_json::json!(["a\"}", 1]));
        assert_eq!(value["key"], "ab".repeat(16));
        assert_eq!(read("flockgate-spool-1", &[0xab; 16], &text), Ok(("a\"}".to_owned(), 1)));
        assert!(read::<(String, i32)>("flockgate-spool-1", &[0xac; 16], &text).is_err());
        assert!(read::<(String, i32)>("flockgate-spool-2", &[0xab; 16], &text).is_err());
    }

    proptest! {
        #[test]
        fn no_other_text_is_taken_for_it(at in 0..200_usize, flip in 1..=255_u8, cut in 0..200_usize) {
            let row = "x".repeat(80);
            let text = write("f-1", &[7; 16], &row).unwrap();
            let mut changed = text.clone();
            changed[at % text.len()] ^= flip;
            prop_assert!(read::<String>("f-1", &[7; 16], &changed).is_err());
            prop_assert!(read::<String>("f-1", &[7; 16], &text[..cut % text.len()]).is_err());
        }
    }
}
