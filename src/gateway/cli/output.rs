//! What is printed: buffered, coloured where somebody looks at it.

use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    to: BufWriter<Stdout>,
    colours: bool,
}

/// How a word stands out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Colour {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Output {
    /// Coloured when it is a terminal and `NO_COLOR` is not set (no-color.org).
    pub(super) fn standard() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stdout = io::stdout();
        let colours = wanted && stdout.is_terminal();
        Self { to: BufWriter::new(stdout), colours }
    }

    /// Without colours, whatever the tests write to.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { to: BufWriter::new(io::stdout()), colours: false }
    }

    /// `text` in `colour`.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Plain => return text.to_owned(),
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Text of a peer as a terminal may show it: control characters become spaces.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An age or lifetime as people say it: `45s`, `3m 20s`, `2h 5m`, `4d 1h`.
pub(super) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// The time of day of a moment, UTC.
pub(super) fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The time of day in a member of a row.
pub(super) fn moment(row: &Value, name: &str) -> String {
    row[name].as_u64().map_or_else(|| "--:--:--Z".into(), clock)
}

/// How a subscription or publication stands, in its colour.
pub(super) fn standing(out: &Output, row: &Value) -> String {
    let state = row["state"].as_str().unwrap_or("-");
    let colour = match state {
        "active" => Colour::Green,
        "pending" | "retrying" => Colour::Yellow,
        _ => Colour::Dim,
    };
    out.paint(colour, &clean(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(span(999), "0s");
        assert_eq!(span(200_000), "3m 20s");
        assert_eq!(span(7_500_000), "2h 5m");
        assert_eq!(span(4 * 86_400_000 + 3_600_000), "4d 1h");
    }

    #[test]
    fn clocks_show_the_day_only() {
        assert_eq!(clock(1_795_263_600_123), "12:20:00Z");
    }

    #[test]
    fn escape_codes_of_peers_do_not_reach_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\nc"), "a [31mb c");
    }
}
