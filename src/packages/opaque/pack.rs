//! Bodies as the store keeps them: protobuf messages to which fields are only ever added.

use prost::Message;

/// A body with its MIME type: the order of formats may be another at the next start.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PackedBody {
    #[prost(string, tag = "1")]
    pub(super) content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) bytes: bytes::Bytes,
}
