//! QS-14: bodies of several parts.

use super::super::multipart::{BadMultipart, Part, parts, root};

const KIND: &[u8] = b"multipart/related;type=\"application/rlmi+xml\";start=\"<top@x>\";boundary=\"50 UBfW7\"";

fn read(body: &str) -> Result<Vec<String>, BadMultipart> {
    let show = |part: &Part<'_>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let encoded = if part.encoded { " encoded" } else { "" };
        format!("{}|{}|{}{encoded}", text(part.content_id), text(part.content_type), text(part.body))
    };
    parts(KIND, body.as_bytes(), 4).map(|parts| parts.iter().map(show).collect())
}

fn check(body: &str, expected: &[&str]) {
    assert_eq!(read(body).unwrap(), expected, "{body}");
}

#[test]
fn parts_with_their_heads() {
    let body = "This is not for readers.\r\n--50 UBfW7\r\nContent-Transfer-Encoding: binary\r\n\
                Content-ID: <top@x>\r\nContent-Type: application/rlmi+xml;\r\n charset=\"UTF-8\"\r\n\r\n<list/>\r\n\
                --50 UBfW7 \t\r\ncontent-type:text/plain\r\nCONTENT-ID:<b@x>\r\nX\r\n\r\n1\r\n\r\n2\r\n\r\n--50 UBfW7--\r\nend";
    check(body, &["top@x|application/rlmi+xml;\r\n charset=\"UTF-8\"|<list/>", "b@x|text/plain|1\r\n\r\n2\r\n"]);
    check(
        &body.replace("\r\n", "\n"),
        &["top@x|application/rlmi+xml;\n charset=\"UTF-8\"|<list/>", "b@x|text/plain|1\n\n2\n"],
    );
    let all = parts(KIND, body.as_bytes(), 4).unwrap();
    assert_eq!(root(KIND, &all).unwrap().body, b"<list/>");
    assert_eq!(root(b"multipart/related", &all[1..]).unwrap().content_id, b"b@x");
    assert_eq!(root(b"multipart/related;start=nobody", &all), None);
    check("--50 UBfW7\r\n\r\nplain\r\n--50 UBfW7--", &["||plain"]);
    check("--50 UBfW7\r\n--50 UBfW7--", &["||"]);
    check("--50 UBfW7\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--50 UBfW7--", &["||AAAA encoded"]);
    check("--50 UBfW7\r\nContent-Type: a/b\r\n--50 UBfW7--", &["|a/b|"]);
}

/// Only a line of its own is a delimiter.
#[test]
fn a_boundary_inside_a_document_ends_nothing() {
    check(
        "--50 UBfW7\r\n\r\na --50 UBfW7\r\n--50 UBfW7x\r\n--50 UBfW7--x\r\n--50 UBf\r\n--50 UBfW7--",
        &["||a --50 UBfW7\r\n--50 UBfW7x\r\n--50 UBfW7--x\r\n--50 UBf"],
    );
}

#[test]
fn what_cannot_be_read() {
    let body = "--50 UBfW7\r\n\r\na\r\n--50 UBfW7\r\n\r\nb\r\n--50 UBfW7--\r\n";
    let whole = body.trim_end().len();
    for end in 0..whole {
        assert_eq!(read(&body[..end]), Err(BadMultipart::Truncated), "{end}");
    }
    for kind in ["multipart/related", "multipart/related;boundary=", "multipart/related;boundary=\"\"", ""] {
        assert_eq!(parts(kind.as_bytes(), body.as_bytes(), 4), Err(BadMultipart::NoBoundary), "{kind}");
    }
    let long = format!("multipart/related;boundary={}", "x".repeat(71));
    assert_eq!(parts(long.as_bytes(), body.as_bytes(), 4), Err(BadMultipart::NoBoundary));
    assert_eq!(read(&("--50 UBfW7\r\n\r\n\r\n".repeat(1000) + "--50 UBfW7--")), Err(BadMultipart::TooMany));
    let head = format!("--50 UBfW7\r\n{}\r\n\r\n--50 UBfW7--", "x: y\r\n".repeat(1000));
    assert_eq!(read(&head), Err(BadMultipart::Head));
    // Blanks and folds without end are read once.
    let blanks = format!("--50 UBfW7\r\n{}--50 UBfW7--", " \r\n".repeat(50_000));
    assert_eq!(read(&blanks).unwrap().len(), 1);
    let folds = format!("--50 UBfW7\r\nx: y\r\n{}--50 UBfW7--", " z\r\n".repeat(50_000));
    assert!(read(&folds).is_err());
}
