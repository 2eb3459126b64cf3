//! Links a client gives us: their form, not whether they may be called.

use url::Url;

/// Most characters of a `callback_url`.
pub(crate) const CALLBACK_CHARS_MAX: usize = 2_048;

/// Most characters of a link to a picture or film; signed links are long.
const LINK_CHARS_MAX: usize = 8_192;

/// Whether a text is an absolute http or https URL with a host and without user name or password.
///
/// The parser repairs what browsers repair (stray blanks, backslashes); such a text is refused here,
/// so that everyone who reads it later reads the same host.
#[must_use]
pub(crate) fn is_web_link(text: &str, chars_max: usize) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '\\';
    if text.len() > chars_max || !text.chars().all(is_plain) {
        return false;
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_web || rest.starts_with('/') {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    !authority.contains('@') && Url::parse(text).is_ok_and(|url| url.has_host())
}

/// Whether a text is an http or https URL, or a `data:` URL.
#[must_use]
pub(crate) fn is_media_link(text: &str) -> bool {
    match text.split_at_checked(5) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("data:") => is_inline(rest),
        _ => is_web_link(text, LINK_CHARS_MAX),
    }
}

/// `image/png;base64,…`: a type, a comma and something after it, in visible ASCII.
fn is_inline(rest: &str) -> bool {
    let is_visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
    let split = rest.split_once(',');
    is_visible && split.is_some_and(|(kind, bytes)| kind.contains('/') && !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn web_links_are_absolute_and_name_no_user() {
        for text in [
            "https://example.com/hook?a=b#c",
            "http://127.0.0.1:8080",
            "HTTPS://[::1]/x",
            "https://example.com/@me",
        ] {
            assert!(is_web_link(text, CALLBACK_CHARS_MAX), "{text}");
        }
        for text in [
            "",
            "example.com",
            "/hook",
            "//example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https:example.com",
            "https:///example.com",
            "https://",
            "https://user@example.com",
            "https://user:pw@example.com/",
            "https://@example.com",
            "https://exa mple.com",
            " https://example.com",
            "https://example.com\\@evil.test",
            "https://example.com/\0",
            "https://example.com:99999",
            "javascript:alert(1)",
        ] {
            assert!(!is_web_link(text, CALLBACK_CHARS_MAX), "{text}");
        }
        let long = format!("https://example.com/{}", "a".repeat(CALLBACK_CHARS_MAX));
        assert!(!is_web_link(&long, CALLBACK_CHARS_MAX));
    }

    #[test]
    fn media_may_be_inline() {
        assert!(is_media_link("data:image/png;base64,iVBORw0KGgo="));
        assert!(is_media_link("https://example.com/a.png"));
        for text in [
            "data:",
            "data:image/png",
            "data:image/png;base64,",
            "data:,x",
            "data:a/b,\0",
        ] {
            assert!(!is_media_link(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = is_media_link(&text);
            let _ = is_media_link(&format!("https://{text}"));
        }
    }
}
