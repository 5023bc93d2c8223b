//! A row of the manifest before it is one: what its publisher says of an artefact.

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::key::Key;
use super::spec::FeatureSpec;

/// What is stored of a publication. It is spooled as JSON where the manifest may not be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) feature: String,
    pub(crate) version: u32,
    pub(crate) params: String,
    pub(crate) code: String,
    /// A JSON list of texts.
    pub(crate) entities: String,
    pub(crate) range: (u32, u32),
    pub(crate) lookahead: u32,
    pub(crate) fit: Option<(u32, u32)>,
    pub(crate) calendar: String,
    /// A JSON object: fingerprints by column.
    pub(crate) inputs: String,
    pub(crate) known_through: u32,
    pub(crate) outcome: Outcome,
    pub(crate) compute_us: u64,
    pub(crate) created_ms: u64,
    pub(crate) pid: u32,
}

/// What a computation came to, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// An artefact; its bytes are in a file unless they are here.
    Ready {
        #[serde(with = "hex_content")]
        content: Content,
        bytes: u64,
        codec: u8,
        inline: Option<Vec<u8>>,
    },
    /// None, for this reason, until then.
    Absent { reason: String, retry_at_ms: u64 },
}

impl Record {
    pub(crate) fn new(spec: &FeatureSpec, key: Key, outcome: Outcome, compute_us: u64) -> Self {
        let inputs =
            spec.get_inputs().iter().map(|input| (input.name(), input.fingerprint().to_string()));
        let inputs: std::collections::BTreeMap<_, _> = inputs.collect();
        let entities: Vec<_> = spec.get_entities().collect();
        Self {
            key,
            feature: spec.name().to_owned(),
            version: spec.version(),
            params: spec.get_params().as_str().to_owned(),
            code: spec.get_code().map_or_else(String::new, |code| code.to_string()),
            entities: as_json(&entities),
            range: (spec.get_range().start, spec.get_range().end),
            lookahead: spec.get_lookahead(),
            fit: spec.get_fit().map(|fit| (fit.start, fit.end)),
            calendar: spec.get_calendar().map_or_else(String::new, |calendar| calendar.to_string()),
            inputs: as_json(&inputs),
            known_through: spec.known_through(),
            outcome,
            compute_us,
            created_ms: crate::seam::clock::unix_ms(),
            pid: crate::seam::process::id(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_nothing(key: Key, outcome: Outcome) -> Self {
        Self::new(&FeatureSpec::new("nothing", 1), key, outcome, 0)
    }

    /// The content whose file it needs.
    pub(crate) fn file(&self) -> Option<Content> {
        match &self.outcome {
            Outcome::Ready { content, inline: None, .. } => Some(*content),
            _ => None,
        }
    }
}

fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lists and maps of texts are JSON")
}

mod hex_content {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Content;

    pub(super) fn serialize<S: Serializer>(content: &Content, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(content)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Content, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|()| D::Error::custom("a content is 32 hexadecimal digits"))
    }
}
