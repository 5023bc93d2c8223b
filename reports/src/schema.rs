//! The JSON Schema of `report.json`, made from the types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::model::Report;

/// Names the schema. No address: nothing is fetched, the file in `reports/schema` is the schema.
const ID: &str = "urn:flockgate:report:v1";

/// The JSON Schema (draft 2020-12) of `report.json`.
///
/// Checked in as `reports/schema/report.v1.schema.json`, where a test keeps it up to date. It is open:
/// keys beyond it are allowed, so that a later minor version still validates.
pub fn schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), ID.into());
    schema.insert("title".to_owned(), "Flockgate report".into());
    schema.to_value()
}
