//! The speaker: sessions, RIB and their one handle.
