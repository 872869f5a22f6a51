//! `lamplighter trace`: what happens to an address, live.

use super::Failure;
use super::client::{About, segment};
use super::output::{Colour, Output, clean, clock};
use serde_json::Value;
use std::io::{BufRead, Write as _};

/// No line of an event is longer, bytes.
const MOST_BYTES: u64 = 64 << 10;

/// Until it is interrupted. The gateway ends a trace after a while; then it is begun again.
pub(super) fn run(options: &About, out: &mut Output) -> Result<(), Failure> {
    let path = format!("/v1/trace?r={}", segment(&options.resource));
    loop {
        let mut events = std::io::BufReader::new(options.gateway.follow(&path)?);
        let (mut kind, mut line) = (String::new(), Vec::new());
        while next(&mut events, &mut line) {
            let text = String::from_utf8_lossy(&line);
            if let Some(name) = text.strip_prefix("event:") {
                name.trim().clone_into(&mut kind);
            } else if let Some(data) = text.strip_prefix("data:")
                && let Ok(event) = serde_json::from_str::<Value>(data.trim())
            {
                if options.json {
                    writeln!(out, "{event}")?;
                } else {
                    let line = tell(out, &kind, &event);
                    writeln!(out, "{line}")?;
                }
                out.flush()?;
            }
        }
    }
}

/// The next line without its end; false: there are no more.
fn next(events: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    let read = std::io::Read::take(events, MOST_BYTES).read_until(b'\n', line);
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    matches!(read, Ok(1..))
}

fn tell(out: &Output, kind: &str, event: &Value) -> String {
    if kind == "missed" {
        let count = event["missed"].as_u64().unwrap_or(0);
        return out.paint(Colour::Yellow, &format!("{count} happenings were missed: too many at once"));
    }
    let text = |name: &str| clean(event[name].as_str().unwrap_or("?"));
    let at = event["at"].as_u64().map_or_else(|| "--:--:--Z".into(), clock);
    format!("{}  {}  {}", out.paint(Colour::Dim, &at), out.paint(Colour::Bold, &text("what")), text("detail"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn happenings_are_told() {
        let event =
            json!({"resource": "sip:1@b", "at": 1_795_263_600_000_u64, "what": "notify", "detail": "to sip:2@b\n200"});
        assert_eq!(tell(&Output::plain(), "trace", &event), "12:20:00Z  notify  to sip:2@b 200");
        assert_eq!(
            tell(&Output::plain(), "missed", &json!({"missed": 3})),
            "3 happenings were missed: too many at once"
        );
    }

    #[test]
    fn lines_are_bounded() {
        let text = [b"a\r\n\n".as_slice(), &[b'x'; 70_000]].concat();
        let (mut events, mut line) = (text.as_slice(), Vec::new());
        let mut lengths = Vec::new();
        while next(&mut events, &mut line) {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [1, 0, 65_536, 4464]);
    }
}
