//! Bodies in Kubernetes' protobuf encoding, which `kubectl create` and typed Go clients send for built-in kinds.
//!
//! A body is `k8s\0` and a message `Unknown` with the type and the object's own message, whose fields are those of the
//! `generated.proto` beside each Kubernetes type. The tables below name what this server reads; any other kind or field
//! is refused in words, since dropping it silently would change what the client wrote. Answers are always JSON: these
//! clients accept both.

mod tables;

use serde_json::{Map, Value, json};

use tables::{Field, Shape};

/// The content type of such bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";

/// Reads a body as the JSON that would have meant the same.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let unknown = body.strip_prefix(MAGIC).ok_or("it does not begin with `k8s` and a zero byte")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut rest = unknown;
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Bytes(meta)) => {
                let mut meta = meta;
                while !meta.is_empty() {
                    match take(&mut meta)? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = tables::of_kind(&api_version, &kind)
        .ok_or_else(|| format!("this server does not read {kind} of {api_version} as protobuf: send JSON"))?;
    let mut object = message(fields, raw).map_err(|error| format!("{kind}: {error}"))?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The next field of a message.
fn take<'a>(rest: &mut &'a [u8]) -> Result<(u64, Wire<'a>), String> {
    const SHORT: &str = "the message ends in the middle of a field";
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Wire::Varint(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| SHORT)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(SHORT)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        other => {
            return Err(format!("field {} has the wire type {other}, which nothing here uses", key >> 3));
        }
    };
    Ok((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("the message ends in the middle of a number")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number has more than ten bytes".into())
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a string is not UTF-8".into())
}

fn message(fields: &'static [Field], bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, wire) = take(&mut rest)?;
        let field = fields
            .iter()
            .find(|field| field.number == number)
            .ok_or_else(|| format!("field {number} is not known here: send JSON"))?;
        put(&mut object, field, wire).map_err(|error| format!("{}: {error}", field.name))?;
    }
    Ok(object)
}

/// Go's zero values are written too; in JSON they are left out.
fn put(object: &mut Map<String, Value>, field: &Field, wire: Wire<'_>) -> Result<(), String> {
    let name = field.name.to_owned();
    match (field.shape, wire) {
        (Shape::Text, Wire::Bytes(b"")) | (Shape::Number, Wire::Varint(0)) => {}
        (Shape::Text, Wire::Bytes(bytes)) => drop(object.insert(name, utf8(bytes)?.into())),
        (Shape::Number | Shape::SetNumber, Wire::Varint(number)) => {
            object.insert(name, number.cast_signed().into());
        }
        (Shape::Flag, Wire::Varint(number)) => drop(object.insert(name, (number != 0).into())),
        (Shape::Texts, Wire::Bytes(bytes)) => push(object, name, utf8(bytes)?.into()),
        (Shape::TextMap, Wire::Bytes(bytes)) => {
            let (key, value) = pair(bytes)?;
            insert(object, name, key, utf8(value)?.into());
        }
        (Shape::BytesMap, Wire::Bytes(bytes)) => {
            let (key, value) = pair(bytes)?;
            use base64::Engine as _;
            let value = base64::engine::general_purpose::STANDARD.encode(value);
            insert(object, name, key, value.into());
        }
        (Shape::Time { micro }, Wire::Bytes(bytes)) => {
            if let Some(text) = time(bytes, micro)? {
                object.insert(name, text.into());
            }
        }
        (Shape::IntOrText, Wire::Bytes(bytes)) => drop(object.insert(name, int_or_text(bytes)?)),
        (Shape::One(inner), Wire::Bytes(bytes)) => {
            let inner = message(inner, bytes)?;
            if !inner.is_empty() || field.name == "metadata" {
                object.insert(name, inner.into());
            }
        }
        (Shape::Many(inner), Wire::Bytes(bytes)) => push(object, name, message(inner, bytes)?.into()),
        // Recorded by the server alone.
        (Shape::Ignored, _) => {}
        _ => return Err("another wire type than expected".into()),
    }
    Ok(())
}

fn push(object: &mut Map<String, Value>, name: String, value: Value) {
    if let Some(list) = object.entry(name).or_insert_with(|| json!([])).as_array_mut() {
        list.push(value);
    }
}

fn insert(object: &mut Map<String, Value>, name: String, key: String, value: Value) {
    if let Some(map) = object.entry(name).or_insert_with(|| json!({})).as_object_mut() {
        map.insert(key, value);
    }
}

/// An entry of a map: key 1, value 2, either left out when empty.
fn pair(bytes: &[u8]) -> Result<(String, &[u8]), String> {
    let (mut key, mut value, mut rest) = (String::new(), &[][..], bytes);
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Bytes(bytes)) => key = utf8(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return Err("an entry of a map has more than key and value".into()),
        }
    }
    Ok((key, value))
}

/// Seconds 1 and nanoseconds 2; an empty message is no time.
fn time(bytes: &[u8], micro: bool) -> Result<Option<String>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos, mut rest) = (0_i64, 0_i32, bytes);
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = i32::try_from(number).map_err(|_| "no nanoseconds")?,
            _ => return Err("a time has more than seconds and nanoseconds".into()),
        }
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    Ok(Some(if micro { format!("{time:.6}") } else { format!("{time:.0}") }))
}

/// Type 1 (0: number), number 2, text 3.
fn int_or_text(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text, mut rest) = (false, 0, String::new(), bytes);
    while !rest.is_empty() {
        match take(&mut rest)? {
            (1, Wire::Varint(kind)) => is_text = kind != 0,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => return Err("neither number nor text".into()),
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_config_map_is_read_as_its_json() {
        let meta = [field(1, b"cm"), field(2, b""), vec![7 << 3, 0], field(8, b"")].concat();
        let data = field(2, &[field(1, b"a"), field(2, b"1")].concat());
        let binary = field(3, &[field(1, b"b"), field(2, &[255])].concat());
        let read = decode(&body("ConfigMap", &[field(1, &meta), data, binary].concat())).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"},
            "data": {"a": "1"}, "binaryData": {"b": "/w=="},
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_zero_that_was_set_is_kept_where_it_means_something() {
        let read = decode(&body("DeleteOptions", &[1 << 3, 0])).unwrap();
        assert_eq!(read["gracePeriodSeconds"], 0);
    }

    #[test]
    fn times_are_read() {
        // 2009-02-13T23:31:30Z
        let time = [1 << 3, 0xd2, 0x85, 0xd8, 0xcc, 0x04];
        let read = decode(&body("ConfigMap", &field(1, &field(8, &time)))).unwrap();
        assert_eq!(read["metadata"]["creationTimestamp"], "2009-02-13T23:31:30Z");
    }

    #[test]
    fn what_is_not_known_or_cut_off_is_refused_in_words() {
        let error = decode(&body("Pod", b"")).unwrap_err();
        assert!(error.contains("Pod of v1") && error.contains("send JSON"), "{error}");
        let error = decode(&body("ConfigMap", &field(15, b"x"))).unwrap_err();
        assert!(error.contains("ConfigMap: field 15"), "{error}");
        decode(b"{}").unwrap_err();
        let whole = body("ConfigMap", &field(1, &field(1, b"cm")));
        for length in 0..whole.len() {
            // Must answer, whatever it is.
            decode(&whole[..length]).ok();
        }
    }
}
