//! Values of `[[bmp]]`.

use caracal_bgp::bmp::HostPort;
use caracal_bgp::bmp::message::View;

use super::value::{FromText, word};

impl FromText for HostPort {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: caracal_bgp::bmp::IllegalHostPort| error.to_string())
    }
}

impl FromText for View {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("pre-policy", View::PrePolicy), ("post-policy", View::PostPolicy)])
    }
}
