//! An error as a person reads it: what failed, the one cause, the value that shows it, the fixes.
//!
//! For scripts the same error is an [`super::model::ErrorDocument`].

use super::page::Page;
use super::style::{Style, Tone};
use crate::error::Error;

/// An error as text, the least intrusive fix first.
#[must_use]
pub fn render(error: &Error, style: Style) -> String {
    let mut page = Page::new(style);
    page.item(0, Tone::Critical, "error:", 6, &error.message);
    let shown = error.value.as_ref().map_or_else(String::new, |value| format!(" ({value})"));
    page.item(2, Tone::Strong, "cause:", 6, &format!("{}{shown}", error.cause));
    for (number, remedy) in error.remedies.iter().enumerate() {
        page.item(2, Tone::Strong, if number == 0 { "  fix:" } else { "   or:" }, 6, remedy);
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_error_names_its_cause_and_its_fixes() {
        let error = Error::new(
            ErrorKind::NotPermitted,
            "cannot read memory of pid 4242 (gunicorn\x1b[2J worker, uid 1000)",
            "only a parent may attach and you are not root",
        )
        .value("kernel.yama.ptrace_scope=1")
        .remedy("sudo stallscope diagnose 4242")
        .remedy("stallscope diagnose 4242 --level proc");
        let text = render(&error, Style::default());
        assert_eq!(
            text,
            "error:  cannot read memory of pid 4242 (gunicorn\\x1b[2J worker, uid 1000)\n  \
             cause:  only a parent may attach and you are not root (kernel.yama.ptrace_scope=1)\n    \
             fix:  sudo stallscope diagnose 4242\n     \
             or:  stallscope diagnose 4242 --level proc\n"
        );
    }
}
