//! What is measured, and how much of it at a time: shared with `cargo compare micro`, which divides by it.

/// One benchmark.
pub(crate) struct Case {
    /// The name of its function in `main.rs`.
    pub(crate) name: &'static str,
    /// How many items one run handles.
    pub(crate) items: usize,
    /// What an item is.
    pub(crate) item: &'static str,
}

/// As many /24s as fit beside the attributes of one UPDATE of 4096 octets, nearly.
pub(crate) const FULL: usize = 900;
/// Prefixes of a table.
pub(crate) const TABLE: usize = 10_000;

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case { name: "nlri_decode", items: FULL, item: "prefix" },
    Case { name: "update_decode", items: 1, item: "UPDATE" },
    Case { name: "update_encode", items: 1, item: "UPDATE" },
    Case { name: "insertion", items: TABLE, item: "path" },
    Case { name: "decision", items: TABLE, item: "path" },
    Case { name: "export", items: TABLE, item: "path" },
    Case { name: "removal", items: TABLE, item: "path" },
];
