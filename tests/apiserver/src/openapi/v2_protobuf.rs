//! The OpenAPI 2 document as protobuf: messages and field numbers of gnostic's `openapi.v2`, as far as kubectl reads
//! them. Maps are lists of (name, value) there, and extensions carry their value as YAML, of which JSON is a part.

use serde_json::{Map, Value};

/// What kubectl asks for, in its older and its newer spelling.
pub(crate) const ACCEPTED: [&str; 2] =
    ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", MEDIA_TYPE];
/// The content type of the answer. Without the `@`, which no media type may have: clients would refuse it.
pub(crate) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A protobuf message as it grows. Every field here is a string, a flag or a message.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, message: &Message) {
        self.bytes(field, &message.0);
    }

    /// A string of the object, if it has it.
    fn text(&mut self, field: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A list of strings.
    fn texts(&mut self, field: u32, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten() {
            self.text(field, Some(text));
        }
    }

    /// `repeated Named… = field`: name 1, value 2.
    fn named(&mut self, field: u32, name: &str, value: &Message) {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
        self.message(field, &pair);
    }

    /// `repeated NamedAny vendor_extension = field`.
    fn extensions(&mut self, field: u32, object: &Map<String, Value>) {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Message::default();
            any.bytes(2, value.to_string().as_bytes());
            self.named(field, name, &any);
        }
    }
}

/// Encodes a document of [`super::v2`].
pub(crate) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    let mut info = Message::default();
    info.text(1, document.pointer("/info/title"));
    info.text(2, document.pointer("/info/version"));
    out.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in entries(document.get("paths")) {
        paths.named(2, path, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(document.get("definitions")) {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    out.0
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (method, field) in [("put", 3), ("post", 4), ("patch", 8)] {
        if let Some(found) = item.get(method) {
            out.message(field, &operation(found));
        }
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let mut query = Message::default();
        query.text(2, parameter.get("in"));
        query.text(4, parameter.get("name"));
        query.text(6, parameter.get("type"));
        // ParametersItem.parameter.non_body_parameter.query_parameter_sub_schema
        let mut item = query;
        for field in [3, 2, 1] {
            let mut outer = Message::default();
            outer.message(field, &item);
            item = outer;
        }
        out.message(8, &item);
    }
    let mut responses = Message::default();
    for (code, response) in entries(operation.get("responses")) {
        let mut described = Message::default();
        described.text(1, response.get("description"));
        let mut value = Message::default();
        value.message(1, &described);
        responses.named(1, code, &value);
    }
    out.message(9, &responses);
    if let Some(object) = operation.as_object() {
        out.extensions(13, object);
    }
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    let Some(object) = value.as_object() else { return out };
    out.text(2, object.get("format"));
    out.text(4, object.get("description"));
    out.texts(19, object.get("required"));
    if let Some(inner) = object.get("additionalProperties") {
        let mut item = Message::default();
        item.message(1, &schema(inner));
        out.message(21, &item);
    }
    if object.contains_key("type") {
        let mut kind = Message::default();
        kind.text(1, object.get("type"));
        out.message(22, &kind);
    }
    if let Some(inner) = object.get("items") {
        let mut item = Message::default();
        item.message(1, &schema(inner));
        out.message(23, &item);
    }
    if object.contains_key("properties") {
        let mut properties = Message::default();
        for (name, inner) in entries(object.get("properties")) {
            properties.named(1, name, &schema(inner));
        }
        out.message(25, &properties);
    }
    out.extensions(31, object);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_encoded_by_the_numbers_of_its_fields() {
        let message = schema(&json!({"type": "string", "description": "why", "x-a": [1]}));
        let expected = [
            &[0x22, 3][..],
            b"why",
            &[0xb2, 0x01, 8, 0x0a, 6],
            b"string",
            &[0xfa, 0x01, 12, 0x0a, 3],
            b"x-a",
            &[0x12, 5, 0x12, 3],
            b"[1]",
        ]
        .concat();
        assert_eq!(message.0, expected);
    }
}
