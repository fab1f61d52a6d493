//! The gRPC contract of caracal: what agents answer, and `caracalctl` asks.
//!
//! The files under `proto/` are the contract and its documentation; the code here is generated from them when the
//! crate is built. Resources travel as JSON documents, never as messages, so that a new field of a kind does not
//! change the contract.

/// Timestamps and durations, in the version that the contract's code uses.
pub use prost_types;

/// Version 1 of the contract.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/caracal/v1"
)]
pub mod v1 {
    tonic::include_proto!("caracal.v1");
}

/// The contract as an encoded `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fds.bin"));

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/caracal/admin.sock";

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn every_message_field_and_method_of_the_contract_is_documented() {
        let set = FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap();
        let mut bare = Vec::new();
        let mut seen = 0;
        for file in set.file.iter().filter(|f| f.package() == "caracal.v1") {
            let documented = |path: &[i32]| {
                file.source_code_info
                    .iter()
                    .flat_map(|i| &i.location)
                    .any(|l| l.path == path && !l.leading_comments().trim().is_empty())
            };
            let mut check = |path: &[i32], name: String| {
                seen += 1;
                if !documented(path) {
                    bare.push(name);
                }
            };
            for (m, message) in file.message_type.iter().enumerate() {
                let m = m as i32;
                check(&[4, m], message.name().to_owned());
                for (f, field) in message.field.iter().enumerate() {
                    check(&[4, m, 2, f as i32], format!("{}.{}", message.name(), field.name()));
                }
            }
            for (e, kind) in file.enum_type.iter().enumerate() {
                check(&[5, e as i32], kind.name().to_owned());
                for (v, value) in kind.value.iter().enumerate() {
                    check(&[5, e as i32, 2, v as i32], value.name().to_owned());
                }
            }
            for (s, service) in file.service.iter().enumerate() {
                check(&[6, s as i32], service.name().to_owned());
                for (m, method) in service.method.iter().enumerate() {
                    check(&[6, s as i32, 2, m as i32], format!("{}/{}", service.name(), method.name()));
                }
            }
        }
        assert!(seen > 80, "only {seen} items found: the descriptor set is not the whole contract");
        assert_eq!(bare, Vec::<String>::new());
    }
}
