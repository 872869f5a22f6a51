//! Reading a body that comes in JSON.

use super::{Body, base64};
use crate::node::{Node, document};
use bytes::Bytes;
use lamplighter_model::package::{BadBody, Format};

pub(super) fn read(json: &[u8], formats: &[Format]) -> Result<Body, BadBody> {
    let value = document(json)?;
    let root = Node::root(&value);
    let format = root.get("content_type", |node| {
        let essence = node.text(crate::node::TEXT)?.split(';').next().unwrap_or_default().trim();
        let format = formats.iter().position(|format| format.content_type.eq_ignore_ascii_case(essence));
        let format = format.and_then(|format| u8::try_from(format).ok());
        format.ok_or_else(|| node.bad("not a content type of this package"))
    })?;
    let text = root.get("body", |body| body.text(usize::MAX))?;
    let encoded = root.get("body_base64", |body| {
        let encoded = body.text(usize::MAX)?;
        base64::read(encoded).ok_or_else(|| body.bad("not base64"))
    })?;
    let bytes = match (text, encoded) {
        (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(bytes)) => bytes.into(),
        (Some(_), Some(_)) => return Err(root.bad("expected either body or body_base64")),
        (None, None) => return Err(root.bad("expected body or body_base64")),
    };
    Ok(Body { format: format.unwrap_or(0), bytes })
}
