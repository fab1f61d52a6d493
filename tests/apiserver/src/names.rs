//! Which names, labels and annotations are allowed (RFC 1123, RFC 1035 and Kubernetes' own bounds).

/// What a name must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// Lower-case RFC 1123 labels joined by dots, at most 253 bytes.
    Subdomain,
    /// One lower-case RFC 1123 label, at most 63 bytes.
    Label,
    /// One RFC 1035 label: begins with a letter.
    Label1035,
    /// What fits between two slashes of a path.
    Segment,
}

impl NameRule {
    pub(crate) fn check(self, name: &str) -> Result<(), String> {
        match self {
            NameRule::Subdomain => dns_subdomain(name),
            NameRule::Label => dns_label(name),
            NameRule::Segment if name == "." || name == ".." => Err(format!("may not be '{name}'")),
            NameRule::Segment => match name.find(['/', '%']) {
                None => Ok(()),
                Some(_) => Err("may not contain '/' or '%'".into()),
            },
            NameRule::Label1035 => dns_label(name).and_then(|()| {
                let letter = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
                if letter {
                    Ok(())
                } else {
                    Err("a lowercase RFC 1035 label must begin with a letter".into())
                }
            }),
        }
    }
}

/// A lower-case RFC 1123 label.
pub(crate) fn dns_label(name: &str) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    if name.is_empty() || !name.bytes().all(inner) || name.starts_with('-') || name.ends_with('-') {
        return Err(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                    must start and end with an alphanumeric character"
                .into(),
        );
    }
    Ok(())
}

/// Lower-case RFC 1123 labels joined by dots.
pub(crate) fn dns_subdomain(name: &str) -> Result<(), String> {
    if name.len() > 253 {
        return Err("must be no more than 253 characters".into());
    }
    // Unlike a label on its own, a part of a subdomain may be longer than 63 bytes.
    let part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.split('.').all(part) {
        return Ok(());
    }
    Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
         must start and end with an alphanumeric character"
        .into())
}

/// The key of a label, annotation or finalizer: an optional subdomain, a slash, a name.
pub(crate) fn qualified_name(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return Err("name part must be no more than 63 characters".into());
    }
    if !label_characters(name) {
        return Err(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                    with an alphanumeric character"
                .into(),
        );
    }
    Ok(())
}

/// The value of a label.
pub(crate) fn label_value(value: &str) -> Result<(), String> {
    if value.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    if !value.is_empty() && !label_characters(value) {
        return Err(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                    '.', and must start and end with an alphanumeric character"
                .into(),
        );
    }
    Ok(())
}

fn label_characters(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A name made from `generateName`: five characters without vowels, so that no words appear.
pub(crate) fn generated(base: &str) -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const LONGEST_BASE: usize = 58;
    let mut random = rand::rng();
    let mut name: String = base.chars().take(LONGEST_BASE).collect();
    name.extend((0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
    name
}

/// A random (version 4) UUID.
pub(crate) fn new_uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        assert!(NameRule::Subdomain.check("10-244-0-0-26").is_ok());
        assert!(NameRule::Subdomain.check("node.a-1").is_ok());
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "a/b"] {
            assert!(NameRule::Subdomain.check(bad).is_err(), "{bad:?}");
        }
        assert!(NameRule::Label.check("a.b").is_err());
        assert!(NameRule::Label1035.check("1a").is_err());
    }

    #[test]
    fn labels_are_bounded_and_qualified() {
        assert!(qualified_name("caracal.dev/pool").is_ok());
        assert!(qualified_name("caracal.dev/").is_err());
        assert!(qualified_name("UP_per.case-1").is_ok());
        assert!(qualified_name("Bad_Prefix/x").is_err());
        assert!(label_value("").is_ok());
        assert!(label_value("a b").is_err());
        assert!(label_value(&"x".repeat(64)).is_err());
    }

    #[test]
    fn generated_names_are_valid_and_differ() {
        let (one, two) = (generated("pool-"), generated("pool-"));
        assert_ne!(one, two);
        assert!(dns_subdomain(&one).is_ok());
        assert_eq!(generated(&"x".repeat(100)).len(), 63);
        assert_eq!(new_uid().len(), 36);
    }
}
