//! What the command says. One document or text on stdout, everything else on stderr; colours only where they are
//! wanted (a terminal, no `NO_COLOR`). A reader that went away, as in `segno gate | head`, is no error.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// One JSON document, on stdout.
pub fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    stdout(&text)
}

/// Text that may carry colours, on stdout.
pub fn text(text: &str) -> anyhow::Result<()> {
    stdout(text)
}

/// One line on stdout, for a parent process that waits for it.
pub fn line(line: &str) {
    // A parent that is gone waits for nothing.
    let _ = stdout(&format!("{line}\n"));
}

fn stdout(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One line on stderr.
pub fn note(line: impl Display) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// An error with its causes, on stderr.
pub fn error(error: &anyhow::Error) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    note(format_args!("{red}error{red:#}: {error:#}"));
}
