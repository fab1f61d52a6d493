//! What is wrong with one field of an object: the entries of a 422 answer.
//!
//! Clients look at `details.causes[].reason` and `.field`, people at the message; both follow the shapes
//! that Kubernetes gives them (`<field>: <what>: <value>: <detail>`).

use std::fmt;

use serde_json::{Value, json};

/// The machine-readable reason of one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Required,
    Invalid,
    NotSupported,
    Forbidden,
    TypeInvalid,
    TooLong,
    TooMany,
    Duplicate,
}

impl Cause {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Cause::Required => "FieldValueRequired",
            Cause::Invalid => "FieldValueInvalid",
            Cause::NotSupported => "FieldValueNotSupported",
            Cause::Forbidden => "FieldValueForbidden",
            Cause::TypeInvalid => "FieldValueTypeInvalid",
            Cause::TooLong => "FieldValueTooLong",
            Cause::TooMany => "FieldValueTooMany",
            Cause::Duplicate => "FieldValueDuplicate",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Cause::Required => "Required value",
            Cause::Invalid | Cause::TypeInvalid => "Invalid value",
            Cause::NotSupported => "Unsupported value",
            Cause::Forbidden => "Forbidden",
            Cause::TooLong => "Too long",
            Cause::TooMany => "Too many",
            Cause::Duplicate => "Duplicate value",
        }
    }
}

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) cause: Cause,
    /// `spec.peers[0].asn`; empty for the object itself.
    pub(crate) path: String,
    /// The value as JSON text, where showing it helps.
    pub(crate) value: Option<String>,
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn new(cause: Cause, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { cause, path: path.into(), value: None, detail: detail.into() }
    }

    pub(crate) fn required(path: impl Into<String>) -> Self {
        Self::new(Cause::Required, path, "")
    }

    pub(crate) fn invalid(path: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(Cause::Invalid, path, detail).with_value(value)
    }

    pub(crate) fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Cause::Forbidden, path, detail)
    }

    pub(crate) fn with_value(mut self, value: &Value) -> Self {
        self.value = Some(value.to_string());
        self
    }

    /// The text without the leading path.
    fn body(&self) -> String {
        let mut text = self.cause.words().to_owned();
        for part in self.value.iter().chain(Some(&self.detail).filter(|detail| !detail.is_empty())) {
            text.push_str(": ");
            text.push_str(part);
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"reason": self.cause.code(), "message": self.body(), "field": self.shown_path()})
    }

    fn shown_path(&self) -> &str {
        if self.path.is_empty() { "<nil>" } else { &self.path }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.shown_path(), self.body())
    }
}

/// `base.name`, or `name` at the root.
pub(crate) fn child(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}.{name}") }
}

/// `base[key]`: an item of a list or an entry of a map.
pub(crate) fn item(base: &str, key: impl fmt::Display) -> String {
    format!("{base}[{key}]")
}
