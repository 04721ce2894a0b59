//! Text that becomes HTML: what a run said is never markup.

use std::fmt;

/// Text, as it may stand between tags and in a quoted attribute.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A file beside the page.
pub fn beside(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_said_is_no_markup() {
        let said = Text("<script>\"a\" & 'b'</script>é").to_string();
        assert_eq!(said, "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;é");
        assert_eq!(beside("runs/x/7.plan.toml"), "7.plan.toml");
    }
}
